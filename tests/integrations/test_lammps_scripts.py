"""Scripts of the hosted machine and of DeePMD-kit in LAMMPS: the models that they name, types in
another order, a rank without atoms, the simulated hardware."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.md_models import fixture_potential, small_frame, small_potential, write_lammps

import nvnmd
from nvnmd.cli.main import main
from nvnmd.deepmd.modelpb import write_modelpb

# found, not imported: ASE asks MPI for its ranks once mpi4py is imported
for _module in ("lammps", "mpi4py", "mpich"):
    try:
        importlib.metadata.version(_module)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{_module} is not installed", allow_module_level=True)

SCRIPT = """\
units metal
atom_style atomic
atom_modify map yes
read_data data
pair_style {style}
pair_coeff * * {elements}
dump 1 all custom 1 dump id type x y z fx fy fz
dump_modify 1 sort id format float %.17g
fix 1 all nve
timestep 0.0005
run {steps}
print "$(pe:%.17g) $(pxx:%.17g)" file thermo
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_potential().network.save("model.nvnmd")
    return tmp_path


def write(style, elements="Cu Au", order=("Cu", "Au"), steps=0):
    """Script and data in the working folder; positions, cell and elements."""
    coord, box, symbols = small_frame(4)
    coord = coord % box[0, 0]
    write_lammps(Path("data"), coord, box, [order.index(s) for s in symbols], order)
    Path("in").write_text(SCRIPT.format(style=style, elements=elements, steps=steps))
    return coord, box, symbols


def last(folder):
    """Positions and forces of the last frame, and energy and pressure."""
    rows = np.array([[float(word) for word in line.split()]
                     for line in (folder / "dump").read_text().splitlines()[-64:]])
    return rows[:, 2:5], rows[:, 5:], [float(w) for w in (folder / "thermo").read_text().split()]


def check(folder, potential, coord, box, symbols, backend="fixed"):
    x, force, (energy, _) = last(folder)
    assert np.array_equal(x, coord)
    expected = potential.evaluate(coord, box, symbols, backend)
    assert np.abs(force - expected.force).max() < 1e-10 * max(np.abs(expected.force).max(), 1)
    assert abs(energy - expected.energy) < 1e-10 * abs(expected.energy)


def test_a_model_pb_that_the_script_names(folder):
    """A model.pb has no names of elements: those of pair_coeff count."""
    write_modelpb("model.pb", fixture_potential().network)
    frame = write("nvnmd model.pb")
    assert main(["lammps", "in", "--log", "none"]) == 0
    check(folder, nvnmd.load_model("model.pb", type_map=["Cu", "Au"]), *frame)


@pytest.mark.parametrize("backend", ["fixed", "float"])
def test_a_script_of_deepmd_kit(folder, capfd, backend):
    """Its graph stands for the model of --model; without one the message says so."""
    (folder / "graph.pb").write_bytes(b"\n\x10" + b"graph" * 1000)
    frame = write("deepmd graph.pb")
    words = ["lammps", "in", "--log", "none", "--backend", backend]
    assert main([*words, "-m", "model.nvnmd"]) == 0
    check(folder, small_potential(), *frame, backend)
    capfd.readouterr()
    assert main(words) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert "graph.pb: not a model.pb" in line and "--model names another" in line


def test_types_in_another_order(folder):
    """pair_coeff says which element each of LAMMPS's types is."""
    frame = write("nvnmd model.nvnmd", "Au Cu", ("Au", "Cu"))
    assert main(["lammps", "in", "--log", "none"]) == 0
    check(folder, small_potential(), *frame)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("backend", ["fixed", "float"])
def test_skewed_cells(folder, backend, ranks):
    """A restricted cell of LAMMPS, all three tilts, atoms anywhere in it."""
    coord, box, symbols = write("nvnmd model.nvnmd")
    tilt = np.array([[0, 0, 0], [1.5, 0, 0], [-0.75, 2.0, 0]])
    cell = box + tilt
    coord = (coord @ np.linalg.inv(box) % 1.0) @ cell
    write_lammps(Path("data"), coord, box, [("Cu", "Au").index(s) for s in symbols],
                 ("Cu", "Au"))
    text = (folder / "data").read_text()
    (folder / "data").write_text(text.replace("zlo zhi", "zlo zhi\n1.5 -0.75 2.0 xy xz yz"))
    if ranks == 2:
        on_two_ranks("--backend", backend)
    else:
        assert main(["lammps", "in", "--log", "none", "--backend", backend]) == 0
    x, force, (energy, pressure) = last(folder)
    # some atoms on a face are wrapped, which changes their last bits
    moved = (x - coord) @ np.linalg.inv(cell)
    assert np.abs(moved - np.rint(moved)).max() < 1e-12
    expected = small_potential().evaluate(x, cell, symbols, backend)
    assert np.abs(force - expected.force).max() < 1e-10 * max(np.abs(expected.force).max(), 1)
    assert abs(energy - expected.energy) < 1e-10 * abs(expected.energy)
    assert abs(pressure + expected.stress[0] * 1.6021765e6) < 1e-9 * abs(pressure)


def on_two_ranks(*words):
    done = subprocess.run(
        [sys.executable, "-P", "-m", "nvnmd", "lammps", "in", "--log", "none", "-np", "2", *words],
        capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.mark.parametrize("backend", ["fixed", "float"])
def test_a_rank_without_atoms(folder, backend):
    """All atoms lie in the lower half of a box that is cut in two."""
    write("nvnmd model.nvnmd", steps=3)
    text = (folder / "data").read_text()
    assert text.count("zlo zhi") == 1
    (folder / "data").write_text("\n".join(
        "-0.5 24.5 zlo zhi" if "zlo zhi" in line else line for line in text.splitlines()) + "\n")
    said = on_two_ranks("--backend", backend)
    assert "1 by 1 by 2 MPI processor grid" in said and "Nlocal:             32" in said
    assert "Histogram: 1 0 0 0 0 0 0 0 0 1" in said
    two = last(folder)
    assert main(["lammps", "in", "--log", "none", "--backend", backend]) == 0
    one = last(folder)
    np.testing.assert_allclose(two[1], one[1], rtol=0, atol=1e-6)
    np.testing.assert_allclose(two[2], one[2], rtol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_the_simulated_hardware(folder, ranks):
    """Its bits are those of `fixed`; on two ranks each has a simulator of its own."""
    pytest.importorskip("cocotb")
    frame = write("nvnmd model.nvnmd", steps=1)
    if ranks == 2:
        on_two_ranks("--backend", "sim")
    else:
        assert main(["lammps", "in", "--log", "none", "--backend", "sim"]) == 0
    found = last(folder)
    assert main(["lammps", "in", "--log", "none"]) == 0
    expected = last(folder)
    if ranks == 1:
        assert np.array_equal(found[1], expected[1]) and found[2] == expected[2]
    np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=1e-6)
    assert len(frame[2]) == 64
