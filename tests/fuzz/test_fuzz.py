"""Damaged files of every format: one line each, no traceback, no hang, no memory without bound.

`make fuzz` sets NVNMD_FUZZ to 10,000 mutations per format; the suite does 300, the same each time.
"""

from __future__ import annotations

import collections
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis (the extra `test`) is missing")
from fuzz.edits import Edit, edited_bytes, edited_dictionary, edited_json, edited_zip
from fuzz.formats import FORMATS
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "nvnmd_hypothesis")
COUNT = int(os.environ.get("NVNMD_FUZZ", "300"))
WORKS, WAITS = 20.0, 200.0
"""Seconds of work, and of waiting on a machine that may be busy, after which reading a file of some
kB counts as a hang."""

NUMBER = st.integers(0, 2**40)
EDIT = st.tuples(st.integers(0, 2**16), st.lists(
    st.tuples(st.integers(0, 2**16), NUMBER, NUMBER), min_size=1, max_size=3))


def _work(process: int) -> float:
    """Seconds of processor that a process has had."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Reader:
    """The process that reads; a new one where it hung or died."""

    def __init__(self) -> None:
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        paths = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("worker.py"))], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                 "OMP_NUM_THREADS": "1"})
        assert self._answer(10 * WAITS) == {"ready": True}

    def _answer(self, seconds: float) -> dict | None:
        assert self.process is not None and self.process.stdout is not None
        begin, work = time.monotonic(), _work(self.process.pid)
        ready: list = []
        while not ready and time.monotonic() - begin < seconds and (
                _work(self.process.pid) - work < WORKS):
            ready, _, _ = select.select([self.process.stdout], [], [], 1.0)
        line = self.process.stdout.readline() if ready else None
        if line:
            return json.loads(line)
        self.stop()
        return {"found": "hang"} if line is None else {"found": "death"}

    def __call__(self, name: str, folder: Path, size: int) -> dict:
        if self.process is None:
            self.start()
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.write(f"{name}\t{folder}\t{size}\n")
        self.process.stdin.flush()
        answer = self._answer(WAITS)
        assert answer is not None
        return answer

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


@pytest.fixture(scope="module")
def reader():
    found = Reader()
    yield found
    found.stop()


def damaged(level: str, file: Path, data: bytes, edit: Edit) -> bytes:
    """The bytes of a damaged file, by the level of its content or by bytes."""
    which, steps = edit
    if level == "bytes" or level == "hdf5" or which % 3 == 0:
        return edited_bytes(data, steps)
    if file.suffix == ".json":
        return edited_json(data, steps)
    if level == "dictionary":
        file.write_bytes(data)
        return edited_dictionary(file, steps)
    if level == "zip" and file.suffix != "":
        return edited_zip(data, which, steps)
    return edited_bytes(data, steps) if level != "json" else edited_json(data, steps)


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_one_line(name, reader, tmp_path, capsys):
    if name in ("hdf5",):
        pytest.importorskip("h5py")
    if name in ("extxyz", "md-state"):
        pytest.importorskip("ase")
    if name == "extxyz":
        pytest.importorskip("dpdata")
    form = FORMATS[name]
    files = [tmp_path / file for file in form.make(tmp_path)]
    whole = {file: file.read_bytes() for file in files}
    size = max(map(len, whole.values()))
    first = reader(name, tmp_path, size)
    assert first["found"] == "accepted", first
    counts: collections.Counter[str] = collections.Counter()
    slowest, base, most = 0.0, first["peak"], 0.0

    @settings(max_examples=COUNT, derandomize=COUNT == 300, database=None, deadline=None,
              phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
              print_blob=False)
    @given(EDIT)
    def check(edit: Edit) -> None:
        nonlocal slowest, most
        file = files[edit[0] // 3 % len(files)]
        changed = damaged(form.level, file, whole[file], edit)
        file.write_bytes(changed)
        try:
            answer = reader(name, tmp_path, max(size, len(changed)))
        finally:
            file.write_bytes(whole[file])
        found = answer["found"]
        if found == "accepted" and form.digest and answer["digest"] != first["digest"]:
            found = "accepted with other numbers"
        counts[found] += 1
        slowest = max(slowest, answer.get("seconds", 0.0))
        most = max(most, answer.get("peak", base) - base)
        # what a compiled library does with a damaged file is its own
        assert found in ("accepted", "refused") or (found == "death" and name == "hdf5"), answer

    check()
    with capsys.disabled():
        if COUNT != 300:
            told = ", ".join(f"{count} {found}" for found, count in sorted(counts.items()))
            print(f"\n{name:14s} {sum(counts.values())} files of {size} bytes: {told}; the slowest "
                  f"{slowest:.2f} s, {most / 2**20:.0f} MB more memory")
    assert counts["refused"] > COUNT // 10
