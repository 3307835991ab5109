"""Statistics of the data: against plain sums, and close to DeePMD-kit's own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.float_cases import RCUT, RCUT_SMTH, SEL
from support.float_systems import make_system

from nvnmd.data.frame_pairs import NeighborCache
from nvnmd.data.systems import System, load_systems
from nvnmd.deepmd.files import read_dict
from nvnmd.deepmd.weights import from_deepmd
from nvnmd.errors import InputError
from nvnmd.neighbors.slots import build_neighborhood
from nvnmd.network.math import NumpyMath
from nvnmd.network.nets import switch
from nvnmd.network.statistics import collect_statistics, energy_bias
from nvnmd.training.continuous.batches import make_layouts


def test_against_plain_sums():
    systems = [make_system(), make_system(3, (2, 1, 1))]
    found = collect_statistics(NeighborCache(systems, SEL, RCUT, ("A", "B")), RCUT_SMTH)
    columns = {0: [], 1: []}
    nearest, largest = np.inf, np.zeros(2, int)
    for system in systems:
        for frame in range(system.nframes):
            near = build_neighborhood(
                system.coord[frame], system.box[frame], system.types, SEL, RCUT
            )
            largest = np.maximum(largest, near.counts.max(axis=0))
            for atom, kind in enumerate(near.center_types):
                for d, filled in zip(near.rij[atom], near.mask[atom], strict=True):
                    row = np.zeros(4)
                    if filled:
                        r = np.linalg.norm(d)
                        nearest = min(nearest, r)
                        sw, _ = switch(NumpyMath(), r, RCUT_SMTH, RCUT)
                        row = np.array([sw / r, *(sw / r**2 * d)])
                    columns[int(kind)].append(row)
    for kind in (0, 1):
        table = np.array(columns[kind])
        np.testing.assert_allclose(found.davg[kind], [table[:, 0].mean(), 0.0], rtol=1e-12)
        np.testing.assert_allclose(found.dstd[kind, 0], table[:, 0].std(), rtol=1e-9)
        np.testing.assert_allclose(found.dstd[kind, 1], table[:, 1:].std(), rtol=1e-6)
    np.testing.assert_allclose(found.min_nbor_dist, nearest, rtol=1e-14)
    np.testing.assert_array_equal(found.largest_counts, largest)


def test_deviation_is_protected_and_absent_types_get_one_over_rcut():
    pair = System(
        path="pair", types=np.array([0, 0]), box=None, energy=np.zeros(1), force=None, virial=None,
        coord=np.array([[[0.0, 0, 0], [3.9, 0, 0]]]),
    )  # fmt: skip
    found = collect_statistics(NeighborCache([pair], (9, 9), 4.0, ("A", "B")), 1.0)
    np.testing.assert_array_equal(found.dstd, [[0.01, 0.01], [0.25, 0.25]])
    np.testing.assert_array_equal(found.davg[1], 0.0)
    assert found.davg[0, 0] > 0.0 and found.t_bias_atom_e[1] == 0.0


def test_energy_bias_solves_compositions():
    each = np.array([-2.0, -5.0])
    systems = [
        make_system(3, energy=[-31.0, -30.0, -29.0], types=np.array([0] * 4 + [1] * 4)),
        make_system(2, energy=[-34.0, -34.0], types=np.array([0] * 2 + [1] * 6)),
    ]
    # Means: 4 a + 4 b = -30, 2 a + 6 b = -34.
    found = energy_bias(systems, 2)
    np.testing.assert_allclose([[4, 4], [2, 6]] @ found, [-30.0, -34.0], rtol=1e-12)
    counts = np.array([np.bincount(s.types, minlength=2) for s in systems])
    exact = [
        make_system(2, energy=[c @ each] * 2, types=s.types)
        for s, c in zip(systems, counts, strict=True)
    ]
    np.testing.assert_allclose(energy_bias(exact, 2), each, rtol=1e-12)


def test_small_singular_values_count_as_nothing():
    # nearly one composition: with rcond the solution of smallest norm for the mean composition
    systems = [
        make_system(1, energy=[-8.0], types=np.array([0] * 4 + [1] * 4)),
        make_system(1, energy=[-9.0], types=np.array([0] * 3 + [1] * 5)),
    ]
    exact, rough = energy_bias(systems, 2), energy_bias(systems, 2, rcond=0.5)
    np.testing.assert_allclose(exact, [-0.5, -1.5], rtol=1e-12)
    rows, energies = np.array([[4.0, 4.0], [3.0, 5.0]]), np.array([-8.0, -9.0])
    u, s, v = np.linalg.svd(rows)
    np.testing.assert_allclose(rough, v[0] * (u[:, 0] @ energies) / s[0], rtol=1e-12)


def test_energy_bias_equals_least_squares_over_frames():
    rng = np.random.default_rng(0)
    systems, rows, energies = [], [], []
    for frames, ones in ((4, 2), (1, 5), (2, 7)):
        types = np.array([0] * (8 - ones) + [1] * ones)
        energy = rng.normal(size=frames)
        systems.append(make_system(frames, energy=energy, types=types))
        rows += [[8 - ones, ones]] * frames
        energies += energy.tolist()
    wanted, *_ = np.linalg.lstsq(np.array(rows, float), np.array(energies), rcond=None)
    np.testing.assert_allclose(energy_bias(systems, 2), wanted, rtol=1e-12)


def test_one_composition_shares_the_energy():
    system = make_system(1, energy=[-24.0])
    np.testing.assert_allclose(energy_bias([system], 2), [-3.0, -3.0], rtol=1e-12)


def test_errors():
    lonely = System(
        path="lonely", types=np.array([0]), coord=np.zeros((1, 1, 3)), box=None,
        energy=np.zeros(1), force=None, virial=None,
    )  # fmt: skip
    with pytest.raises(InputError, match="no two atoms are within rcut"):
        collect_statistics(NeighborCache([lonely], (3,), 4.0, ("A",)), 1.0)


def test_energy_bias_without_energies_and_with_coefficients():
    plain = make_system(2, energy=[-24.0, -24.0])
    unlabelled = replace(plain, energy=None)
    np.testing.assert_array_equal(energy_bias([unlabelled], 2), [0.0, 0.0])
    np.testing.assert_array_equal(energy_bias([unlabelled, plain], 2), energy_bias([plain], 2))
    # E = sum of coefficient times -3 or 5
    rng = np.random.default_rng(4)
    weights = rng.normal(size=(2, plain.natoms))
    energy = weights @ np.array([-3.0, 5.0])[plain.types]
    weighted = replace(plain, energy=energy, atom_labels={"atom_ener_coeff": weights})
    np.testing.assert_allclose(energy_bias([weighted], 2), [-3.0, 5.0], rtol=1e-10)


def test_layouts():
    many = [make_system(2, types=np.array([0] * k + [1] * (8 - k))) for k in range(1, 7)]
    exact = make_layouts(many[:3], [2, 1, 9], (5, 6))
    assert [one.frames for one in exact] == [2, 1, 2]
    assert exact[0].atoms == (2, 14) and exact[1].atoms == (2, 6)
    large = [
        make_system(1, (4, 2, 2), types=np.array([0] * k + [1] * (32 - k))) for k in range(9, 15)
    ]
    rounded = make_layouts(large, [1] * 6, (5, 6))
    for one, system in zip(rounded, large, strict=True):
        counts = np.bincount(system.types)
        assert (np.array(one.atoms) >= counts).all()
        assert (np.array(one.atoms) <= 1.5 * counts).all()
    assert len(set(rounded)) == 2


@pytest.mark.shared
def test_close_to_deepmd_kit(shared):
    systems = load_systems([shared / "data/gete"], ("Ge", "Te"))
    found = collect_statistics(NeighborCache(systems, (60, 60), 6.0, ("Ge", "Te")), 0.5)
    file = shared / "golden/v0_ni128_gete/nvnmd_cnn/weight.npy"
    golden = from_deepmd(read_dict(file))
    # DeePMD-kit takes ten random frames for its statistics, and all for the distance.
    np.testing.assert_allclose(found.davg, golden.davg, rtol=0.01)
    np.testing.assert_allclose(found.dstd, golden.dstd, rtol=0.01)
    np.testing.assert_allclose(found.t_bias_atom_e, golden.t_bias_atom_e, rtol=3e-4)
    np.testing.assert_allclose(found.min_nbor_dist, golden.min_nbor_dist, rtol=1e-14)
