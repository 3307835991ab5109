"""Progress: a bar with the time left on a terminal, lines on standard error where piped."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from support.report_runs import make_run

from nvnmd import progress
from nvnmd.cli.main import main
from nvnmd.progress import Progress, TrainingProgress, counted, elapsing, followed, spoken_time


def test_lines_come_only_after_a_while(capsys, monkeypatch):
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    with Progress("work", 10) as bar:
        for _ in range(10):
            bar.tick()
    captured = capsys.readouterr()
    # 4 s a step: a line after 12 s and after 24 s, and none for the end
    assert captured.out == "" and captured.err.splitlines() == [
        "work: 3 of 10, about 28 s left", "work: 6 of 10, about 16 s left",
        "work: 9 of 10, about 4 s left"]


def test_quick_work_says_nothing(capsys):
    with counted("work") as tell:
        for k in range(5):
            tell(k + 1, 5)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_a_bar_shows_what_is_left():
    # in a process of its own: rich looks at the terminal once
    code = ("import time\n"
            "from nvnmd.progress import Progress, TrainingProgress\n"
            "with Progress('work', 4, show=True) as bar:\n    bar.tick(); time.sleep(0.3)\n"
            "with TrainingProgress('train-cnn', 4, show=True) as bar:\n"
            "    time.sleep(0.3); bar.update(1); time.sleep(0.3)\n")
    done = subprocess.run([sys.executable, "-P", "-c", code], text=True, capture_output=True,
                          check=True, env={**os.environ, "FORCE_COLOR": "1", "TERM": "xterm"})
    first, second = done.stdout.split("train-cnn: compiling", 1)
    assert "work" in first and "1/4" in first
    assert "train-cnn " in second and "1/4" in second and done.stderr == ""


def test_a_training_prints_its_own_lines(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    with TrainingProgress("train-cnn", 10) as bar:
        bar.update(5)
    assert capsys.readouterr().err == ""


def test_work_without_a_known_end(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.02)
    with elapsing("simulating"):
        time.sleep(0.15)
    lines = capsys.readouterr().err.splitlines()
    assert lines and set(lines) == {"simulating: 0 s so far"}


def test_work_whose_parts_are_followed(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.02)
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0.005)
    steps = iter([(0, 0), (0, 8), (4, 8)])
    last = [(0, 0)]

    def measure():
        last[0] = next(steps, last[0])
        return last[0]

    with followed("alone", measure):
        pass
    assert last == [(0, 0)] and capsys.readouterr().err == ""

    def wait_for(start: str, end: str) -> None:
        # however slow this machine is
        limit, seen = time.monotonic() + 20, ""
        while not any(line.startswith(start) and line.endswith(end) for line in seen.splitlines()):
            assert time.monotonic() < limit, seen
            time.sleep(0.01)
            seen += capsys.readouterr().err

    with elapsing("simulating"):
        wait_for("simulating: ", " so far")
        with followed("compiling, kB", measure):
            wait_for("compiling, kB: 4 of 8, about ", " left")
        wait_for("simulating: ", " so far")


def test_time_left_of_a_part(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    clock = progress._Clock("simulating", False)
    now[0] += 7
    assert clock.line() == "simulating: 7 s so far"
    clock.tell("atoms", 0, 216)
    now[0] += 30
    assert clock.line() == "atoms: 30 s so far"
    clock.tell("atoms", 4, 216)
    assert clock.line() == "atoms: 4 of 216, 30 s so far"
    clock.tell("atoms", 54, 216)
    assert clock.line() == "atoms: 54 of 216, about 1 min 30 s left"
    clock.tell("simulating", 0, 0)
    assert clock.line() == "simulating: 0 s so far"


def test_a_followed_part_on_a_terminal():
    code = ("import time\n"
            "from nvnmd.progress import elapsing, followed\n"
            "with elapsing('simulating', show=True):\n"
            "    time.sleep(0.3)\n"
            "    with followed('atoms', lambda: (3, 9)):\n        time.sleep(0.5)\n")
    done = subprocess.run([sys.executable, "-P", "-c", code], text=True, capture_output=True,
                          check=True, env={**os.environ, "FORCE_COLOR": "1", "TERM": "xterm"})
    assert done.stderr == "" and "simulating" in done.stdout
    assert "3/9" in done.stdout.split("atoms", 1)[1]


def test_how_far_a_build_is(tmp_path):
    """Kilobytes of C++ that have an object; nothing before Verilator's makefile is there."""
    from nvnmd.sim.simulators import _compiled

    for name, size in (("Vtop.cpp", 3000), ("Vtop_1.cpp", 5000), ("verilated.cpp", 9000)):
        (tmp_path / name).write_bytes(bytes(size))
    for unit, name in (("fast_0", "Vtop.cpp"), ("fast_1", "Vtop_1.cpp")):
        (tmp_path / f"unit_{unit}.cpp").write_text(f'#include "{name}"\n')
    (tmp_path / "unit_fast_1.o").touch()
    assert _compiled(tmp_path) == (0, 0)
    (tmp_path / "Vtop.mk").touch()
    assert _compiled(tmp_path) == (5, 8)


@pytest.mark.parametrize(("seconds", "text"), [
    (0.2, "0 s"), (59.4, "59 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (7325, "2 h 2 min")])
def test_spoken_times(seconds, text):
    assert spoken_time(seconds) == text


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    make_run(folder)
    return folder


@pytest.mark.parametrize("argv", [
    ["neighbor-stat", "-s", "data", "-r", "4", "-t", "Cu", "Au"],
    ["test", "-m", "nvnmd_qnn", "-s", "data"],
    ["report", ".", "-o", "report.html"]])
def test_commands_tell_every_step(run, argv, monkeypatch, capsys):
    if argv[0] == "report":
        pytest.importorskip("matplotlib")
    monkeypatch.chdir(run)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    assert main(argv) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if " left" in line]
    counts = np.array([[int(word) for word in line.split(":")[1].replace(",", "").split()
                        if word.isdigit()][:2] for line in lines])
    assert len(lines) >= 2 and (np.diff(counts[:, 0]) == 1).all()
    assert (counts[:, 0] < counts[:, 1]).all()
