"""Facts of ASE 3.29.0 and of `fixed` that a user of the calculator meets: signs of pressure, cells,
steps of finite differences."""

from __future__ import annotations

import importlib.metadata

import numpy as np
import pytest
from support.md_models import small_crystal, small_potential

pytest.importorskip("ase")
from ase import units
from ase.calculators.fd import calculate_numerical_stress

from nvnmd.integrations.ase import NVNMD


def rattled(scale=0.0):
    crystal = small_crystal()
    rng = np.random.default_rng(21)
    crystal.positions += rng.normal(scale=scale, size=crystal.positions.shape)
    crystal.set_cell(crystal.cell[:] @ (np.eye(3) + 0.02 * rng.normal(size=(3, 3))),
                     scale_atoms=True)
    return crystal


def left_handed(crystal):
    """The same crystal with two vectors of the cell exchanged."""
    turned = crystal.copy()
    turned.cell[:] = crystal.cell[[1, 0, 2]]
    assert np.linalg.det(turned.cell[:]) < 0 < np.linalg.det(crystal.cell[:])
    return turned


@pytest.mark.parametrize("backend", ["float", "fixed"])
def test_left_handed_cells_have_the_same_results(backend):
    crystal = rattled()
    turned = left_handed(crystal)
    for one in (crystal, turned):
        one.calc = NVNMD(small_potential(), backend)
    limit = {"float": 1e-10, "fixed": 1e-5}[backend]
    assert abs(turned.get_potential_energy() - crystal.get_potential_energy()) < limit
    np.testing.assert_allclose(turned.get_forces(), crystal.get_forces(), rtol=0, atol=limit)
    np.testing.assert_allclose(turned.get_stress(), crystal.get_stress(), rtol=0, atol=limit)


@pytest.mark.parametrize("turn", [False, True])
def test_stress_is_the_slope_of_the_energy(turn):
    """Signs, order and all six components, of cells of both hands, by strains of 1e-5."""
    crystal = rattled(0.05)
    if turn:
        crystal = left_handed(crystal)
    crystal.calc = NVNMD(small_potential(), "float")
    found = crystal.get_stress()
    assert np.abs(found).min() > 1e-5
    np.testing.assert_allclose(calculate_numerical_stress(crystal, eps=1e-5), found, rtol=0,
                               atol=1e-6 * np.abs(found).max())


def slope_error(backend, step):
    """Largest difference of a force from the energy's slope, over some coordinates, in eV/Å."""
    crystal = rattled(0.05)
    crystal.calc = NVNMD(small_potential(), backend)
    force, worst = crystal.get_forces(), 0.0
    for atom in range(9):
        energies = []
        for sign in (1, -1):
            moved = crystal.copy()
            moved.calc = crystal.calc
            moved.positions[atom, atom % 3] += sign * step
            energies.append(moved.get_potential_energy())
        slope = -(energies[0] - energies[1]) / (2 * step)
        worst = max(worst, abs(slope - force[atom, atom % 3]))
    return worst


def test_finite_differences_of_fixed_want_long_steps():
    """Its energy is a staircase: steps of 1e-4 Å measure the stairs, of 1e-2 Å the slope."""
    short, long = slope_error("fixed", 1e-4), slope_error("fixed", 1e-2)
    print(f"fixed: {short:.2e} eV/Å with steps of 1e-4 Å, {long:.2e} with 1e-2")
    assert long < short / 3 and short > 1e-4
    assert slope_error("float", 1e-4) < 1e-6


def test_one_stress_compresses_with_one_class_and_expands_with_another():
    """ASE 3.29.0: an external stress of +3 GPa compresses with `MelchionnaNPT` and expands with
    `LangevinBAOAB`."""
    from ase.calculators.lj import LennardJones
    from ase.md.langevinbaoab import LangevinBAOAB
    from ase.md.melchionna import MelchionnaNPT

    assert importlib.metadata.version("ase") == "3.29.0"
    tau = 50 * units.fs

    def volume(kind, stress):
        crystal = small_crystal(3)
        crystal.calc = LennardJones(sigma=2.6, epsilon=0.1, rc=4.0)
        external = stress * units.GPa
        if kind == "melchionna":
            run = MelchionnaNPT(crystal, units.fs, temperature_K=10, externalstress=external,
                                ttime=None, pfactor=tau**2 * 0.5)
        else:
            run = LangevinBAOAB(crystal, units.fs, temperature_K=10, externalstress=external,
                                hydrostatic=True, T_tau=200 * units.fs, P_tau=tau,
                                P_mass=(tau / units.fs) ** 2, rng=np.random.default_rng(1))
        run.run(15)
        return crystal.get_volume()

    assert volume("melchionna", 3.0) < volume("melchionna", 0.0)
    assert volume("baoab", 3.0) > volume("baoab", 0.0)
