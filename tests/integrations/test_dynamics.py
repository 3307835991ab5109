"""`nvnmd md`, `relax` and `model-devi`: files, exact restart, columns, mistakes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from support.md_models import small_crystal, small_potential

pytest.importorskip("ase")
import ase.io

from nvnmd.cli.main import main
from nvnmd.evaluation.deviation import COLUMNS, deviation, table_text
from nvnmd.integrations.dynamics import drift_of
from nvnmd.quantize.model import Model
from nvnmd.quantize.seen import Seen


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("md")
    small_potential().network.save(folder / "model.nvnmd")
    crystal = small_crystal()
    crystal.calc = None
    ase.io.write(folder / "start.extxyz", crystal)
    return folder


def command(inputs, *words, steps=12):
    return ["md", str(inputs / "start.extxyz"), "-m", str(inputs / "model.nvnmd"),
            "--steps", str(steps), "--every", "4", "--log-every", "2", "--dt", "0.2", *words]


@pytest.mark.parametrize("ensemble", ["nve", "langevin", "npt"])
def test_a_restart_gives_the_files_of_one_run(inputs, tmp_path, ensemble):
    words = ("--ensemble", ensemble, "--temperature", "50", "-o")
    assert main(command(inputs, *words, str(tmp_path / "whole"))) == 0
    part = str(tmp_path / "part")
    assert main(command(inputs, *words, part, steps=8)) == 0
    # what a killed run may leave behind its state
    for name in (".log", ".extxyz"):
        with open(part + name, "a") as file:
            file.write("half a li")
    assert main(command(inputs, *words, part, "--restart")) == 0
    for name in (".log", ".extxyz"):
        assert (tmp_path / f"part{name}").read_bytes() == (tmp_path / f"whole{name}").read_bytes()
    frames = ase.io.read(tmp_path / "whole.extxyz", ":")
    assert [f.info["step"] for f in frames] == [0, 4, 8, 12]
    assert frames[-1].get_forces().shape == (27, 3)
    assert len(np.loadtxt(tmp_path / "whole.log")) == 7


def test_atoms_that_the_training_did_not_see_are_told(inputs, tmp_path, capsys):
    """One warning at the first, a count at the end; with --strict an error."""
    model = Model.load(inputs / "model.nvnmd")
    least = np.full((2, 2), 2.95)
    seen = Seen(distance=least, u=np.array([2.95**2, model.rcut**2]), s=np.zeros((2, 2)),
                d=np.zeros((2, model.m1 * model.m2, 2)))
    replace(model, seen=seen).save(tmp_path / "model.nvnmd")
    words = ["md", str(inputs / "start.extxyz"), "-m", str(tmp_path / "model.nvnmd"), "--steps",
             "3", "--dt", "0.2", "-o", str(tmp_path / "run")]
    assert main(words) == 0
    told = capsys.readouterr()
    assert told.err.count("nvnmd: warning: evaluation 1: ") == told.err.count("warning") == 1
    assert "of 27 atoms have a neighbour nearer than any in the training" in told.err
    assert "4 evaluations had atoms outside of what the training saw" in told.out
    assert main([*words[:-1], str(tmp_path / "other"), "--strict"]) == 1
    assert "nearer than any in the training" in capsys.readouterr().err


def test_a_killed_run_goes_on_exactly(inputs, tmp_path):
    """Ctrl-C writes a state at any step; the whole is that of an undisturbed run."""
    words = ("--ensemble", "langevin", "--temperature", "50", "-o", str(tmp_path / "part"))
    steps = 6000
    run = subprocess.Popen([sys.executable, "-P", "-m", "nvnmd", *command(
        inputs, *words, steps=steps)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"})
    state, end = tmp_path / "part.state", time.monotonic() + 60
    while not state.exists() and time.monotonic() < end:
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    said = run.communicate(timeout=60)
    assert run.returncode == 130 and "--restart" in said[1], said
    stopped = int(np.load(state)["step"])
    assert 0 < stopped < steps
    total = stopped + 10
    assert main(command(inputs, *words, "--restart", steps=total)) == 0
    assert main(command(inputs, *words[:-1], str(tmp_path / "whole"), steps=total)) == 0
    for name in (".log", ".extxyz"):
        assert (tmp_path / f"part{name}").read_bytes() == (tmp_path / f"whole{name}").read_bytes()


def test_a_run_that_was_killed_at_once_goes_on_exactly(inputs, tmp_path):
    """SIGKILL leaves the state of a frame, and a log that went on after it."""
    words = ("--ensemble", "npt", "--temperature", "50", "-o", str(tmp_path / "part"))
    run = subprocess.Popen([sys.executable, "-P", "-m", "nvnmd", *command(
        inputs, *words, steps=6000)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"})
    log, end = tmp_path / "part.log", time.monotonic() + 60
    # some frames, and lines of the log after the last of them
    while (not log.exists() or log.read_bytes().count(b"\n") < 9) and time.monotonic() < end:
        time.sleep(0.02)
    run.kill()
    assert run.wait(timeout=60) == -signal.SIGKILL
    stopped = int(np.load(tmp_path / "part.state")["step"])
    assert 0 < stopped < 6000 and stopped % 4 == 0
    total = stopped + 10
    assert main(command(inputs, *words, "--restart", steps=total)) == 0
    assert main(command(inputs, *words[:-1], str(tmp_path / "whole"), steps=total)) == 0
    for name in (".log", ".extxyz"):
        assert (tmp_path / f"part{name}").read_bytes() == (tmp_path / f"whole{name}").read_bytes()


def test_what_a_run_tells(inputs, tmp_path, capsys):
    assert main(command(inputs, "--temperature", "50", "-o", str(tmp_path / "a"))) == 0
    said = capsys.readouterr().out
    assert "ns/day" in said and "µs per atom and step" in said and "meV/atom/ns" in said
    again = str(tmp_path / "b")
    assert main(command(inputs, "--temperature", "50", "-o", again, "--backend", "float")) == 0


def test_drift_is_the_slope(tmp_path):
    t = np.arange(50) * 1e-3
    noise = np.random.default_rng(1).normal(scale=1e-4, size=50)
    table = np.zeros((50, 8))
    table[:, 1], table[:, 4] = t, -3.0 + 2e-3 * 8 * t + noise
    np.savetxt(tmp_path / "log", table, header="x")
    slope, error = drift_of(tmp_path / "log", 8)
    assert abs(slope - 2000.0) < 4 * error and 10 < error < 500


@pytest.mark.parametrize(("words", "match"), [
    (("--ensemble", "npt"), "temperature: the ensemble npt needs one above 0 K"),
    (("--temperature", "-3"), "temperature: got -3, expected 0 K or more"),
    (("--dt", "0"), "timestep: got 0, expected a number above 0"),
    (("--dt", "nan"), "timestep: got nan"),
    (("--skin", "-1"), "--skin: got -1.0, expected 0 Å or more"),
    (("--restart",), "no such file, expected the state of a run"),
])
def test_mistakes_are_one_line(inputs, tmp_path, capsys, words, match):
    assert main(command(inputs, "-o", str(tmp_path / "x"), *words)) == 2
    said = capsys.readouterr()
    assert match in said.err and len(said.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_files_are_not_overwritten_and_a_restart_must_fit(inputs, tmp_path, capsys):
    words = ("-o", str(tmp_path / "x"), "--temperature", "50")
    assert main(command(inputs, *words, steps=2)) == 0
    assert main(command(inputs, *words)) == 2
    assert "x.extxyz: exists" in capsys.readouterr().err
    assert main(command(inputs, *words, "--seed", "2", "--restart")) == 2
    assert "the run had another seed: got 2, expected 1" in capsys.readouterr().err
    assert main(command(inputs, *words, "--backend", "float", "--restart")) == 2
    assert "another backend" in capsys.readouterr().err
    assert main(command(inputs, *words, "--restart", steps=2)) == 2
    assert "is of step 2 already" in capsys.readouterr().err
    (tmp_path / "x.state").write_bytes(b"PK nothing")
    assert main(command(inputs, *words, "--restart")) == 1
    assert "no state of a run" in capsys.readouterr().err


def test_structures_that_cannot_be_read(inputs, tmp_path, capsys):
    (tmp_path / "bad.cif").write_text("data_\nloop_\n_x")
    for name in ("bad.cif", "none.xyz"):
        words = command(inputs, "-o", str(tmp_path / "x"))
        words[1] = str(tmp_path / name)
        assert main(words) == 2
        said = capsys.readouterr().err
        assert name in said and len(said.strip().splitlines()) == 1


@pytest.mark.parametrize("cell", [False, True])
def test_relax(inputs, tmp_path, capsys, cell):
    output = tmp_path / "out.extxyz"
    words = ["relax", str(inputs / "start.extxyz"), "-m", str(inputs / "model.nvnmd"), "--backend",
             "float", "--fmax", "0.002", "--steps", "15", "-o", str(output)]
    code = main(words + ["--cell"] * cell)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    energies = [float(line.split()[3]) for line in lines]
    assert energies[-1] < energies[0]
    relaxed = ase.io.read(output)
    assert (code == 0) == (float(lines[-1].split()[-2]) < 0.002)
    changed = np.abs(relaxed.cell[:] - small_crystal().cell[:]).max()
    assert (changed > 1e-4) == cell
    assert main([*words[:-1], str(tmp_path / "out.nothing")]) == 2
    assert "knows no format" in capsys.readouterr().err


def test_deviation_is_that_of_its_definition(inputs, tmp_path, capsys):
    potential = small_potential()
    rng = np.random.default_rng(1)
    crystal = small_crystal()
    coord = crystal.positions + rng.normal(scale=0.05, size=(3, 27, 3))
    box = np.broadcast_to(crystal.cell[:], (3, 3, 3))
    symbols = crystal.get_chemical_symbols()
    a, b = (potential.evaluate(coord, box, symbols, backend) for backend in ("fixed", "float"))
    table = deviation([a, b], frequency=10)
    assert table.shape == (3, len(COLUMNS)) and table[:, 0].tolist() == [0, 10, 20]
    half = np.abs(a.force - b.force) / 2
    np.testing.assert_allclose(table[:, 4], np.linalg.norm(half, axis=2).max(axis=1))
    np.testing.assert_allclose(table[:, 6], np.linalg.norm(half, axis=2).mean(axis=1))
    np.testing.assert_allclose(table[:, 7], np.abs(a.energy - b.energy) / 2 / 27, rtol=1e-6)
    v = np.abs(a.virial - b.virial).reshape(3, 9) / 2 / 27
    np.testing.assert_allclose(table[:, 3], np.linalg.norm(v, axis=1) / 3)
    lines = table_text("sys", table).splitlines()
    assert lines[0] == "# sys" and lines[1].split()[1:] == list(COLUMNS)
    assert lines[2][:12].strip() == "0" and len(lines[2]) == 12 + 7 * 19

    system = tmp_path / "sys"
    (system / "set.000").mkdir(parents=True)
    np.save(system / "set.000" / "coord.npy", coord.reshape(3, -1))
    np.save(system / "set.000" / "box.npy", box.reshape(3, 9))
    kinds = [potential.type_map.index(name) for name in symbols]
    (system / "type.raw").write_text("\n".join(map(str, kinds)))
    (system / "type_map.raw").write_text("\n".join(potential.type_map))
    model = str(inputs / "model.nvnmd")
    out = tmp_path / "devi.out"
    assert main(["model-devi", "-m", model, model, "-s", str(system), "-o", str(out),
                 "-f", "5"]) == 0
    read = np.loadtxt(out)
    assert read[:, 0].tolist() == [0, 5, 10] and not read[:, 1:].any()
    assert main(["model-devi", "-m", model, "-s", str(system), "-o", str(out)]) == 2
    assert "got 1, expected two or more" in capsys.readouterr().err
