"""Whose an output folder is: locks, what an earlier training left, and how a run is ended."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from support.cnn_runs import data, make_config, train  # noqa: F401

from nvnmd.errors import InputError
from nvnmd.folder_lock import check_unlocked, locked

HOLD = """
import sys, time
from pathlib import Path
from nvnmd.folder_lock import locked
with locked(Path(sys.argv[1]), print):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that has the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "train.lock"],
                               stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline().strip() == "held"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_second_training_is_refused_by_the_name_of_the_first(holder, data, tmp_path):
    config = make_config(data[:1], batch_size=(1,), numb_steps=1)
    before = files(tmp_path)
    for options in ({}, {"force": True}):
        with pytest.raises(InputError) as caught:
            train(config, tmp_path, **options)
        assert f"process {holder.pid} on {socket.gethostname()} has worked here since" in str(
            caught.value)
    assert files(tmp_path) == before


def test_a_lock_whose_process_was_killed_is_told_and_taken_over(holder, data, tmp_path):
    holder.kill()
    holder.wait()
    assert (tmp_path / "train.lock").exists()
    config = make_config(data[:1], batch_size=(1,), numb_steps=1)
    _, lines = train(config, tmp_path)
    assert any(f"left behind by process {holder.pid} on" in line for line in lines)
    assert not (tmp_path / "train.lock").exists()


def test_without_locks_the_names_decide(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(95, "not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    file = tmp_path / "train.lock"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = socket.gethostname()
    for host, pid, free in (("elsewhere", 1, False), (here, os.getppid(), False),
                            (here, ended.pid, True)):
        file.write_text(json.dumps({"host": host, "pid": pid, "since": "today"}))
        if free:
            check_unlocked(file)
        else:
            with pytest.raises(InputError, match=f"process {pid} on {host} has worked here"):
                check_unlocked(file)
    lines = []
    with locked(file, lines.append):
        assert json.loads(file.read_text())["pid"] == os.getpid()
    assert len(lines) == 1 and not file.exists()


def test_a_finished_training_is_not_overwritten(data, tmp_path):
    config = make_config(data[:1], batch_size=(1,), numb_steps=4, save_freq=2)
    train(config, tmp_path)
    before = files(tmp_path)
    with pytest.raises(InputError, match=r"model\.ckpt-4\.npz\); continue it with --restart .*model"
                                         r"\.ckpt, replace it with --force, or choose"):
        train(config, tmp_path)
    assert files(tmp_path) == before
    shorter = make_config(data[:1], batch_size=(1,), numb_steps=3, save_freq=3)
    train(shorter, tmp_path, force=True)
    assert sorted(path.name for path in tmp_path.glob("model.ckpt-*")) == ["model.ckpt-3.npz"]
    # a run that is continued may not land on another one either
    other = tmp_path / "other"
    train(config, other)
    with pytest.raises(InputError, match="holds a training"):
        train(config, tmp_path, restart=other / "model.ckpt-2.npz")


def test_a_training_that_wrote_no_checkpoint(data, tmp_path):
    (tmp_path / "lcurve.out").write_text("#  step\n")
    config = make_config(data[:1], batch_size=(1,), numb_steps=1)
    with pytest.raises(InputError, match="without a checkpoint; replace it with --force"):
        train(config, tmp_path)


def test_sigterm_ends_as_ctrl_c_does(data, tmp_path):
    document = {
        "nvnmd": {"version": 0, "max_nnei": 128, "net_size": 128, "sel": [60, 60], "rcut": 4.6,
                  "rcut_smth": 1.0, "type_map": ["Cu", "Au"]},
        "training": {"numb_steps": 100000, "disp_freq": 1, "save_freq": 100000, "seed": 1,
                     "training_data": {"systems": list(data[:1]), "batch_size": 1}}}
    (tmp_path / "in.json").write_text(json.dumps(document))
    run = subprocess.Popen(
        [sys.executable, "-m", "nvnmd", "train-cnn", "in.json", "-o", "out"], cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout is not None
    for line in run.stdout:
        if line.startswith("step "):
            break
    run.send_signal(signal.SIGTERM)
    _, errors = run.communicate(timeout=120)
    assert run.returncode == 143, errors
    assert "interrupted at step" in errors and "--restart out/model.ckpt-" in errors
    assert "Traceback" not in errors and list((tmp_path / "out").glob("model.ckpt-*.npz"))
    assert not (tmp_path / "out" / "train.lock").exists()


def test_sigterm_before_the_first_step(tmp_path):
    fifo_free = "import os, signal, nvnmd.cli.main as m\n" \
        "m.build_parser = lambda: os.kill(os.getpid(), signal.SIGTERM)\n" \
        "import sys, time\nsys.exit(m.main([]))"
    begin = time.monotonic()
    run = subprocess.run([sys.executable, "-c", fifo_free], capture_output=True, text=True,
                         check=False, cwd=tmp_path)
    assert run.returncode == 143 and run.stderr.strip() == "nvnmd: terminated"
    assert time.monotonic() - begin < 60
