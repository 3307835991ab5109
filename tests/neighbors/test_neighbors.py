"""Neighbour lists: against brute force, against DeePMD-kit's bits, and against bad input."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nvnmd.errors import InputError, NeighborOverflowError
from nvnmd.neighbors.cells import wrap
from nvnmd.neighbors.slots import build_neighborhood

SKEWED = np.array([[5.0, 0.0, 0.0], [2.1, 4.5, 0.0], [-1.7, 1.3, 5.5]])


def extended_list(x, box, rcut):
    """DeePMD-kit's extended atoms as (position, atom), written with plain loops."""
    atoms = [(x[i], i) for i in range(len(x))]
    if box is None:
        return atoms
    volume = np.linalg.det(box)
    cells = []
    for k in range(3):
        face = volume / np.linalg.norm(np.cross(box[(k + 1) % 3], box[(k + 2) % 3]))
        cells.append(max(int(face / rcut), 1))
    fractional = x @ np.linalg.inv(box)
    cell = np.clip(np.floor(fractional * cells + 1e-9).astype(int), 0, np.array(cells) - 1)
    layers = [
        int(np.ceil(rcut / (volume / np.linalg.norm(np.cross(box[(k + 1) % 3], box[(k + 2) % 3])))))
        for k in range(3)
    ]
    ranges = [range(-layers[k] * cells[k], (1 + layers[k]) * cells[k]) for k in range(3)]
    for place in itertools.product(*ranges):
        image = [p // c for p, c in zip(place, cells, strict=True)]
        if image == [0, 0, 0]:
            continue
        home = [p % c for p, c in zip(place, cells, strict=True)]
        for i in range(len(x)):
            if (cell[i] == home).all():
                shift = image[0] * box[0] + image[1] * box[1] + image[2] * box[2]
                atoms.append((x[i] + shift, i))
    return atoms


def brute_force(coord, box, types, sel, rcut):
    """Return index and rij of all slots with plain loops."""
    order = np.argsort(types, kind="stable")
    x, types = coord[order], types[order]
    if box is not None:
        x = wrap(x, box)
    atoms = extended_list(x, box, rcut)
    n, m = len(x), sum(sel)
    index, rij = np.full((n, m), -1), np.zeros((n, m, 3))
    first = np.cumsum(sel) - sel
    for i in range(n):
        for t in range(len(sel)):
            found = []
            for place, (position, j) in enumerate(atoms):
                if types[j] == t and place != i and np.linalg.norm(position - x[i]) < rcut:
                    near = position.astype(np.float32) - x[i].astype(np.float32)
                    square = near[0] * near[0] + near[1] * near[1] + near[2] * near[2]
                    found.append((square, place, j, position - x[i]))
            found.sort(key=lambda entry: entry[:2])
            for k, (_, _, j, d) in enumerate(found[: sel[t]]):
                index[i, first[t] + k], rij[i, first[t] + k] = j, d
    return order, index, rij


@pytest.mark.parametrize("rcut", [2.4, 4.0, 6.1])
@pytest.mark.parametrize("cell", ["skewed", "orthogonal", "thin", "open"])
def test_brute_force(cell, rcut):
    rng = np.random.default_rng(3)
    box = {
        "skewed": SKEWED,
        "orthogonal": np.diag([9.0, 7.0, 13.0]),
        "thin": np.diag([2.3, 14.0, 3.1]),
        "open": None,
    }[cell]
    # Atoms well outside the cell must be wrapped.
    coord = rng.uniform(-1.0, 2.0, (7, 3)) @ (np.eye(3) * 6.0 if box is None else box)
    types = rng.integers(0, 2, 7)
    sel = (220, 220)
    near = build_neighborhood(coord, box, types, sel, rcut)
    order, index, rij = brute_force(coord, box, types, np.array(sel), rcut)
    np.testing.assert_array_equal(near.order, order)
    np.testing.assert_array_equal(near.index, index)
    np.testing.assert_allclose(near.rij, rij, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(near.center_types, types[order])
    assert near.counts.sum() == (index >= 0).sum()
    if cell == "thin" and rcut > 4.0:
        assert (near.index == np.arange(7)[:, None]).any(), "an atom must see its own images"


def test_order_of_ties_in_a_crystal():
    # In a perfect crystal whole shells tie; the extended list decides.
    cubic = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    corner = np.array(list(itertools.product(range(2), repeat=3)))
    coord = ((corner[:, None] + cubic[None]).reshape(-1, 3)) * 4.0
    types = np.arange(len(coord)) % 2
    box = np.eye(3) * 8.0
    near = build_neighborhood(coord, box, types, (60, 60), 4.5)
    _, index, rij = brute_force(coord, box, types, np.array((60, 60)), 4.5)
    np.testing.assert_array_equal(near.index, index)
    np.testing.assert_array_equal(near.rij, rij)


def test_primitive_cell_shells():
    box = 1.8 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])
    near = build_neighborhood([[0.3, 0.2, 0.1]], box, [0], (60,), 1.8 * 2.5)
    r = np.linalg.norm(near.rij[0, : near.counts[0, 0]], axis=1) / 1.8
    shells, members = np.unique(np.round(r**2), return_counts=True)
    assert dict(zip(shells, members, strict=True)) == {2.0: 12, 4.0: 6, 6.0: 24}


def test_isolated_atoms_have_no_neighbors():
    near = build_neighborhood([[0.0, 0, 0], [50, 0, 0]], None, [0, 1], (3, 3), 6.0)
    assert not near.mask.any() and near.counts.sum() == 0


def test_pair_just_inside_and_at_the_cutoff():
    for distance, count in ((3.0, 0), (np.nextafter(3.0, 0.0), 1), (3.0000001, 0)):
        near = build_neighborhood([[0.0, 0, 0], [distance, 0, 0]], None, [0, 0], (3,), 3.0)
        assert near.counts[0, 0] == count, distance


@pytest.fixture
def cluster():
    x = np.array([[0.0, 0, 0], [1.0, 0, 0], [0, 1.1, 0], [0, 0, 1.2], [1.3, 0, 0]])
    return x, np.array([1, 0, 0, 0, 1])


def test_overflow_names_atom_type_and_counts(cluster):
    x, types = cluster
    with pytest.raises(NeighborOverflowError) as error:
        build_neighborhood(x, None, types, (2, 5), 6.0, type_names=("Cu", "Au"))
    message = str(error.value)
    assert message.startswith("atom 0 has 3 neighbours of Cu within 6 Å, but sel[0] admits 2")
    assert "\n" not in message


def test_truncate_keeps_the_nearest(cluster):
    x, types = cluster
    full = build_neighborhood(x, None, types, (4, 4), 6.0)
    cut = build_neighborhood(x, None, types, (2, 4), 6.0, overflow="truncate")
    np.testing.assert_array_equal(cut.index[:, :2], full.index[:, :2])
    np.testing.assert_array_equal(cut.index[:, 2:], full.index[:, 4:])
    assert cut.dropped == (full.counts[:, 0] - 2).clip(0).sum() > 0
    assert cut.counts[:, 0].max() == 2


def test_types_that_share_their_slots(cluster):
    """Version 1: one list by distance; the nearest of all types are kept."""
    x, types = cluster
    near = build_neighborhood(x, None, types, (6,), 6.0, ntypes=3)
    # sorted by type: atoms 1, 2, 3, 0, 4
    np.testing.assert_array_equal(near.index[3], [0, 1, 2, 4, -1, -1])
    np.testing.assert_array_equal(near.neighbor_types[3], [0, 0, 0, 1, -1, -1])
    np.testing.assert_array_equal(near.index[0], [4, 3, 1, 2, -1, -1])
    np.testing.assert_array_equal(near.neighbor_types[0], [1, 1, 0, 0, -1, -1])
    np.testing.assert_array_equal(near.counts[[3, 0]], [[3, 1, 0], [2, 2, 0]])
    assert (near.slot_types == -1).all()
    cut = build_neighborhood(x, None, types, (3,), 6.0, ntypes=3, overflow="truncate")
    np.testing.assert_array_equal(cut.index, near.index[:, :3])
    np.testing.assert_array_equal(cut.counts[0], [1, 2, 0])
    assert cut.dropped == 5
    with pytest.raises(NeighborOverflowError, match=(
        r"atom 0 has 4 neighbours within 6 Å, but sel admits 3 \(largest count 4\)"
    )):
        build_neighborhood(x, None, types, (3,), 6.0, ntypes=3)
    with pytest.raises(InputError, match="atom 4 has type 1, expected 0 to 0"):
        build_neighborhood(x, None, [0, 0, 0, 0, 1], (6,), 6.0, ntypes=1)
    with pytest.raises(ValueError, match="one sel"):
        build_neighborhood(x, None, types, (6, 6), 6.0, ntypes=2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"coord": [[0.0, 0, 0], [np.nan, 0, 0]]}, "atom 1"),
        ({"coord": [[0.0, 0, np.inf], [1.0, 0, 0]]}, "atom 0"),
        ({"coord": np.zeros((0, 3)), "types": []}, "no atoms"),
        ({"coord": np.zeros((2, 2))}, r"\(n, 3\)"),
        ({"types": [0]}, "one per atom"),
        ({"types": [0, 2]}, "atom 1 has type 2"),
        ({"types": [-1, 0]}, "atom 0 has type -1"),
        ({"coord": [[0.0, 0, 0], [9.0, 0, 0]], "box": np.eye(3) * 9}, "atoms 0 and 1"),
        ({"box": np.zeros((3, 3))}, "no volume"),
        ({"box": np.diag([9.0, 9, -9])}, "left-handed"),
        ({"box": np.full((3, 3), np.nan)}, "not finite"),
        ({"box": np.eye(3) * 1e-100}, "no volume"),
        ({"box": np.eye(3) * 1e-3}, "cell: more than 100000 of its images lie within"),
        ({"box": np.eye(3) * 1e100}, r"a vector is longer than 1e\+15 Å"),
        ({"coord": [[0.0, 0, 0], [0, -1e300, 0]]}, r"atom 1 is farther than 1e\+15 Å"),
        ({"box": np.eye(2)}, "3 x 3"),
    ],
)
def test_bad_input(change, words):
    arguments = {"coord": [[0.0, 0, 0], [1.0, 0, 0]], "box": np.eye(3) * 9, "types": [0, 1]}
    with pytest.raises(InputError, match=words) as error:
        build_neighborhood(**(arguments | change), sel=(5, 5), rcut=4.0)
    assert "\n" not in str(error.value)


@pytest.mark.shared
def test_reference_bits(shared):
    golden = np.load(shared / "golden/v0_ni128_gete/expected.npz")
    near = build_neighborhood(
        golden["coord"][0].reshape(-1, 3),
        golden["box"][0].reshape(3, 3),
        golden["type"],
        (60, 60),
        6.0,
    )
    np.testing.assert_array_equal(near.order, golden["order"])
    np.testing.assert_array_equal(near.index, golden["frame0_nlist"])
    assert near.rij.tobytes() == golden["frame0_rij"].tobytes()
