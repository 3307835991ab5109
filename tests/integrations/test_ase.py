"""The ASE calculator against `evaluate`, and the facts about ASE that it rests on."""

from __future__ import annotations

import copy
import json
import os
import pickle
import threading

import numpy as np
import pytest
from support.golden_checks import assert_same_bits
from support.md_models import fixture_frame, fixture_potential, small_crystal, small_potential

import nvnmd
from nvnmd.errors import NvnmdError

ase = pytest.importorskip("ase")
from ase import Atoms  # noqa: E402
from ase.calculators.calculator import (  # noqa: E402
    CalculatorError,
    PropertyNotImplementedError,
)

from nvnmd.integrations.ase import NVNMD  # noqa: E402


@pytest.fixture
def atoms():
    coord, box, types = fixture_frame()
    potential = fixture_potential()
    found = Atoms([potential.type_map[t] for t in types], positions=coord, cell=box, pbc=True)
    found.calc = NVNMD(potential)
    return found


def test_it_is_evaluate(atoms):
    coord, box, types = fixture_frame()
    expected = fixture_potential().evaluate(coord, box, types)
    assert atoms.get_potential_energy() == float(expected.energy)
    assert atoms.get_potential_energy(force_consistent=True) == float(expected.energy)
    assert_same_bits(atoms.get_forces(), expected.force, "forces")
    assert_same_bits(atoms.get_stress(), expected.stress, "stress")
    np.testing.assert_allclose(atoms.get_stresses().sum(axis=0), atoms.get_stress(), rtol=1e-9,
                               atol=1e-12)
    assert_same_bits(atoms.get_potential_energies(), expected.atom_energy, "energies")
    assert nvnmd.NVNMD is NVNMD


def test_the_list_is_kept_and_changes_no_bit(atoms):
    other = atoms.copy()
    other.calc = NVNMD(fixture_potential(), skin=0)
    rng = np.random.default_rng(8)
    for step in range(6):
        move = rng.normal(scale=0.03, size=atoms.positions.shape)
        for one in (atoms, other):
            one.positions += move
            if step == 3:
                one.wrap()
        assert_same_bits(atoms.get_forces(), other.get_forces(), "forces")
        assert_same_bits(atoms.get_stress(), other.get_stress(), "stress")
    assert atoms.calc.searches < 6


def test_float_backend(atoms):
    atoms.calc = NVNMD(small_potential(), backend="float")
    crystal = small_crystal()
    crystal.calc = atoms.calc
    shown = small_potential().evaluate(crystal.positions, crystal.cell[:],
                                       crystal.get_chemical_symbols(), "float")
    assert_same_bits(crystal.get_forces(), shown.force, "forces")


def test_open_and_partly_periodic_systems():
    """A slab is a crystal with much room along one axis, whichever vector that axis has."""
    crystal = small_crystal()
    crystal.calc = NVNMD(small_potential())
    crystal.pbc = (True, True, False)
    wide = crystal.copy()
    wide.cell[2] = (0.0, 0.0, 40.0)
    wide.pbc = True
    wide.calc = NVNMD(small_potential())
    np.testing.assert_allclose(crystal.get_forces(), wide.get_forces(), rtol=0, atol=1e-5)
    for cell in (np.zeros(3), np.array([0.0, 0.0, -9.0]), np.array([1.0, 2.0, 3.0])):
        crystal.cell[2] = cell
        np.testing.assert_allclose(crystal.get_forces(), wide.get_forces(), rtol=0, atol=1e-5)
    with pytest.raises(PropertyNotImplementedError, match="not periodic in all directions"):
        crystal.get_stress()
    crystal.pbc = (False, False, True)
    crystal.cell[2] = (0.0, 0.0, 9.0)
    wide.cell[:] = np.diag([40.0, 40, 9])
    np.testing.assert_allclose(crystal.get_forces(), wide.get_forces(), rtol=0, atol=1e-5)
    crystal.pbc = False
    opened = small_potential().evaluate(crystal.positions, None, crystal.get_chemical_symbols())
    assert_same_bits(crystal.get_forces(), opened.force, "forces")
    crystal.pbc = (True, False, False)
    crystal.cell[0] = 0.0
    with pytest.raises(NvnmdError, match=r"^cell: vector 0 is zero"):
        crystal.get_forces()


def test_left_handed_skewed_and_small_cells():
    crystal = small_crystal(cells=2)
    crystal.calc = NVNMD(small_potential())
    crystal.cell[:] = [[6.0, 0, 0], [2.0, 6, 0], [0, 1, 6]]
    expected = crystal.get_forces()
    crystal.cell[:] = crystal.cell[[1, 0, 2]]
    np.testing.assert_allclose(crystal.get_forces(), expected, rtol=0, atol=1e-5)
    big = crystal.repeat(2)
    big.calc = NVNMD(small_potential())
    np.testing.assert_allclose(big.get_forces()[:8], crystal.get_forces(), rtol=0, atol=1e-5)


def test_copy_pickle_and_todict(atoms, tmp_path):
    forces = atoms.get_forces()
    for other in (copy.deepcopy(atoms), pickle.loads(pickle.dumps(atoms))):
        other.calc.reset()
        assert_same_bits(other.get_forces(), forces, "forces")
    path = tmp_path / "model.nvnmd"
    fixture_potential().network.save(path)
    calc = NVNMD(path, skin=0.5)
    shown = json.loads(json.dumps(calc.todict()))
    assert shown == {"model": str(path), "skin": 0.5}
    again = NVNMD(**shown)
    assert again.parameters == calc.parameters and "rcut" in repr(again)
    assert "model" not in NVNMD(fixture_potential()).todict()
    from ase.io import Trajectory

    atoms.calc = calc
    atoms.get_forces()
    with Trajectory(tmp_path / "one.traj", "w", atoms) as file:
        file.write()
    with Trajectory(tmp_path / "one.traj") as file:
        assert file[0].calc.name == "nvnmd"
        assert_same_bits(file[0].get_forces(), atoms.get_forces(), "forces")


def test_errors_are_one_clear_exception(atoms):
    atoms.symbols[3] = "Xe"
    with pytest.raises(CalculatorError, match=r"^types: atom 3 is Xe, expected one of") as caught:
        atoms.get_forces()
    assert isinstance(caught.value, NvnmdError)
    dense = Atoms("Cu60", positions=np.random.default_rng(1).uniform(0, 3, (60, 3)))
    dense.calc = NVNMD(small_potential())
    with pytest.raises(CalculatorError, match=r"^atom 0 has \d+ neighbours of Cu within 4 Å"):
        dense.get_forces()
    with pytest.raises(CalculatorError, match="unknown parameter spin"):
        NVNMD(small_potential(), spin=2)


def test_a_new_parameter_is_used(atoms):
    crystal = small_crystal()
    crystal.calc = NVNMD(small_potential())
    fixed = crystal.get_forces()
    crystal.calc.set(backend="float")
    expected = small_potential().evaluate(crystal.positions, crystal.cell[:],
                                          crystal.get_chemical_symbols(), "float")
    assert_same_bits(crystal.get_forces(), expected.force, "forces")
    assert np.abs(crystal.get_forces() - fixed).max() > 0


def test_frechet_filter_lives_in_filters_alone():
    """ASE 3.29.0: `FrechetCellFilter` is not where the older filters are."""
    import ase.constraints
    import ase.filters

    assert ase.__version__ == "3.29.0"
    assert hasattr(ase.filters, "FrechetCellFilter")
    assert not hasattr(ase.constraints, "FrechetCellFilter")


@pytest.mark.parametrize("use_stress", [True, False])
def test_as_a_client_of_a_socket(atoms, use_stress):
    """ASE 3.29.0: a client sends the stress only where it is told to, else zeros."""
    from ase.calculators.socketio import SocketClient, SocketIOCalculator

    assert ase.__version__ == "3.29.0"
    name = f"nvnmd_{os.getpid()}_{use_stress}"
    client_atoms = atoms.copy()
    client_atoms.calc = atoms.calc
    with SocketIOCalculator(unixsocket=name) as server:
        client = threading.Thread(target=lambda: SocketClient(unixsocket=name).run(
            client_atoms, use_stress=use_stress))
        client.start()
        driven = atoms.copy()
        driven.calc = server
        forces, stress = driven.get_forces(), driven.get_stress()
    client.join(30)
    assert not client.is_alive()
    # the socket's units are bohr and hartree, as ASE has them
    np.testing.assert_allclose(forces, atoms.get_forces(), rtol=1e-3, atol=1e-4)
    if use_stress:
        np.testing.assert_allclose(stress, atoms.get_stress(), rtol=1e-3, atol=1e-6)
    else:
        assert not stress.any()


def test_sign_of_the_external_stress():
    """ASE 3.29.0: `LangevinBAOAB` takes a stress, negative where it compresses; `nvnmd md` turns
    the sign of its pressure."""
    from ase import units
    from ase.calculators.lj import LennardJones
    from ase.md.langevinbaoab import LangevinBAOAB

    from nvnmd.integrations.dynamics import Settings, _integrator

    volumes = {}
    for name, pressure in (("none", 0.0), ("pressed", 3e4)):
        cluster = small_crystal(3)
        cluster.calc = LennardJones(sigma=2.6, epsilon=0.1, rc=4.0)
        settings = Settings(ensemble="npt", temperature=10.0, pressure=pressure, timestep=1.0,
                            barostat_time=0.05)
        dynamics = _integrator(cluster, settings, np.random.default_rng(1))
        assert isinstance(dynamics, LangevinBAOAB)
        assert dynamics.externalstress == -pressure * 1e-4 * units.GPa
        for _ in range(15):
            dynamics.step()
        volumes[name] = cluster.get_volume()
    assert volumes["pressed"] < volumes["none"]
