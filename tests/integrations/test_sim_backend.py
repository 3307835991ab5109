"""The simulated hardware behind ASE, given pairs, and i-PI's driver: the bits of `fixed`."""

from __future__ import annotations

import numpy as np
import pytest
from support.golden_checks import assert_same_bits
from support.md_models import fixture_frame, fixture_potential

from nvnmd.evaluation.potential import Potential
from nvnmd.integrations.ipi import BOHR, Driver
from nvnmd.neighbors.slots import candidates

pytest.importorskip("ase")
pytest.importorskip("cocotb")


@pytest.mark.slow
def test_hardware_moves_atoms(tmp_path):
    from ase import Atoms

    from nvnmd.integrations.ase import NVNMD

    potential = Potential(fixture_potential().network, work_dir=tmp_path)
    coord, box, types = fixture_frame()
    symbols = [potential.type_map[t] for t in types]
    fixed, hardware = (Atoms(symbols, positions=coord, cell=box, pbc=True) for _ in range(2))
    fixed.calc, hardware.calc = NVNMD(fixture_potential()), NVNMD(potential, backend="sim")
    for _ in range(2):
        assert_same_bits(hardware.get_forces(), fixed.get_forces(), "forces")
        assert_same_bits(hardware.get_stress(), fixed.get_stress(), "stress")
        for one in (fixed, hardware):
            one.positions += 1e-3 * np.sin(np.arange(3 * len(types))).reshape(-1, 3)
    first, second, _ = candidates(coord, None, potential.rcut)
    half = first < len(types) // 2
    one, two = (potential.evaluate_pairs(symbols, (first[half], second[half]),
                                         centers=len(types) // 2, coord=coord, backend=backend)
                for backend in ("sim", "fixed"))
    assert_same_bits(one.force, two.force, "forces of ghosts")
    one, two = (Driver(potential, symbols, backend)(box.T / BOHR, coord / BOHR)
                for backend in ("sim", "fixed"))
    assert_same_bits(one[1], two[1], "forces in atomic units")


@pytest.mark.slow
def test_the_command_moves_atoms_with_hardware(tmp_path):
    """`nvnmd md` and `nvnmd relax` write the files of `fixed`."""
    from ase.io import write
    from support.md_models import small_crystal, small_potential

    from nvnmd.cli.main import main

    small_potential().network.save(tmp_path / "model.nvnmd")
    write(tmp_path / "start.extxyz", small_crystal())
    words = [str(tmp_path / "start.extxyz"), "-m", str(tmp_path / "model.nvnmd"), "--steps", "2"]
    for backend in ("fixed", "sim"):
        assert main(["md", *words, "--temperature", "50", "-o", str(tmp_path / backend),
                     "--backend", backend]) == 0
        assert main(["relax", *words, "-o", str(tmp_path / f"{backend}.xyz"), "--backend",
                     backend]) in (0, 1)
    for name in (".log", ".extxyz", ".xyz"):
        assert (tmp_path / f"sim{name}").read_bytes() == (tmp_path / f"fixed{name}").read_bytes()
