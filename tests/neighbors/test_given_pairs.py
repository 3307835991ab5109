"""Pairs that are given, and the list with a skin: the neighbourhoods of the plain search."""

from __future__ import annotations

import numpy as np
import pytest
from support.golden_checks import assert_same_bits

from nvnmd.errors import InputError, NeighborOverflowError
from nvnmd.neighbors import pairs as pairs_module
from nvnmd.neighbors import skin as skin_module
from nvnmd.neighbors import slots
from nvnmd.neighbors.pairs import Pairs, neighborhood_of_pairs
from nvnmd.neighbors.skin import SkinList
from nvnmd.neighbors.slots import build_neighborhood, candidates

SKEWED = np.array([[9.0, 0.3, -0.2], [2.1, 8.5, 0.4], [-1.3, 0.8, 9.7]])
SMALL = np.array([[3.1, 0.0, 0.2], [1.0, 3.3, 0.0], [0.3, -0.4, 4.0]])


@pytest.fixture(params=[True, False], ids=["compiled", "plain"])
def numba(request, monkeypatch):
    if request.param:
        pytest.importorskip("numba")
    for module in (pairs_module, skin_module, slots):
        monkeypatch.setattr(module, "installed", lambda: request.param)


def same(a, b):
    for name in ("order", "center_types", "index", "rij", "counts", "slot_types",
                 "neighbor_types"):
        assert_same_bits(getattr(a, name), getattr(b, name), name)
    assert a.dropped == b.dropped


@pytest.mark.parametrize(("box", "n"), [(SKEWED, 60), (SMALL, 3), (None, 50)])
@pytest.mark.parametrize("shared", [None, 2])
def test_skin_list_gives_the_plain_search_s_bits(numba, box, n, shared):
    rng = np.random.default_rng(5)
    cell = np.eye(3) * 9.0 if box is None else box
    x = rng.uniform(-1.5, 2.5, (n, 3)) @ cell if box is not None else rng.uniform(0, 9, (n, 3))
    types = rng.integers(0, 2, n)
    sel = (90, 80) if shared is None else (150,)
    listed = SkinList(sel, 4.0, skin=1.0, ntypes=shared)
    for step in range(25):
        strain = np.eye(3) + 2e-3 * rng.normal(size=(3, 3)) * (step > 15)
        h = None if box is None else box @ strain
        same(listed.neighborhood(x, h, types), build_neighborhood(x, h, types, sel, 4.0,
                                                                  ntypes=shared))
        x = x @ strain + rng.normal(scale=0.03 if n > 3 else 0.09, size=x.shape)
    assert 1 < listed.searches < 25


def test_skin_list_of_equal_distances_and_borders(numba):
    """A crystal on its cell's borders: ties are ordered as without the list."""
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3) * 3.0
    types = np.arange(27) % 2
    box = np.eye(3) * 9.0
    listed = SkinList((60, 60), 4.5)
    for shift in (0.0, 0.0625, -0.0625, 0.0, -0.125, -1e-17):
        x = grid + shift
        same(listed.neighborhood(x, box, types), build_neighborhood(x, box, types, (60, 60), 4.5))
    assert listed.searches == 1


def test_an_atom_wrapped_by_its_caller_is_searched_anew():
    x, box = np.array([[0.1, 1, 1], [1.9, 1, 1.0]]), np.eye(3) * 9
    listed = SkinList((4,), 3.0)
    for move in (0.0, -0.2, 8.8):
        y = x + np.array([[move, 0, 0], [0, 0, 0]])
        same(listed.neighborhood(y, box, np.zeros(2, int)),
             build_neighborhood(y, box, np.zeros(2, int), (4,), 3.0))
    assert listed.searches == 2


def test_excluded_types_and_overflow(numba):
    rng = np.random.default_rng(6)
    x, types = rng.uniform(0, 9, (50, 3)), rng.integers(0, 2, 50)
    listed = SkinList((60, 60), 4.0, exclude=[(0, 1)])
    same(listed.neighborhood(x, SKEWED, types),
         build_neighborhood(x, SKEWED, types, (60, 60), 4.0, exclude=[(0, 1)]))
    few = SkinList((3, 60), 4.0, type_names=("Ge", "Te"))
    with pytest.raises(NeighborOverflowError, match=r"neighbours of Ge within 4 Å"):
        few.neighborhood(x, SKEWED, types)
    same(few.neighborhood(x, SKEWED, types, "truncate"),
         build_neighborhood(x, SKEWED, types, (3, 60), 4.0, overflow="truncate"))


@pytest.mark.parametrize("exclude", [(), [(0, 1)]])
@pytest.mark.parametrize("shared", [None, 2])
def test_given_pairs_are_the_search_s(numba, shared, exclude):
    rng = np.random.default_rng(7)
    n, sel = 60, (60, 50) if shared is None else (100,)
    x, types = rng.uniform(0, 9, (n, 3)), rng.integers(0, 2, n)
    expected = build_neighborhood(x, None, types, sel, 4.0, ntypes=shared, exclude=exclude)
    first, second, _ = candidates(x, None, 5.0)
    mixed = rng.permutation(len(first))
    pairs = Pairs.of(first[mixed], second[mixed], n, n)
    same(neighborhood_of_pairs(types, n, pairs, sel, 4.0, coord=x, ntypes=shared,
                               exclude=exclude), expected)
    vectors = (x[second] - x[first])[mixed][pairs.order]
    same(neighborhood_of_pairs(types, n, pairs, sel, 4.0, vectors=vectors, ntypes=shared,
                               exclude=exclude), expected)


def test_ghosts_come_last_and_no_centre_is_fine(numba):
    types = np.array([1, 0, 0, 1, 0])
    x = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.5], [0, 0.5, 3]])
    pairs = Pairs.of(np.array([0, 0, 1, 1]), np.array([1, 3, 2, 0]), 5, 2)
    hood = neighborhood_of_pairs(types, 2, pairs, (2, 2), 3.0, coord=x)
    assert hood.ghosts == 3 and hood.order.tolist() == [1, 0]
    # rows: atom 1, atom 0, then the ghosts 2, 3, 4
    assert hood.index.tolist() == [[2, -1, 1, -1], [0, -1, 3, -1]]
    assert hood.counts.tolist() == [[1, 1], [1, 1]]
    none = neighborhood_of_pairs(types, 0, Pairs.of(types[:0], types[:0], 5, 0), (2, 2), 3.0,
                                 coord=x)
    assert none.index.shape == (0, 4) and none.ghosts == 5


def test_pairs_that_are_none():
    with pytest.raises(InputError, match=r"^pairs: first: pair 1 has atom 2, expected 0 to 1$"):
        Pairs.of(np.array([0, 2]), np.array([1, 1]), 4, 2)
    with pytest.raises(InputError, match=r"^pairs: second: pair 0 has atom -1"):
        Pairs.of(np.array([0]), np.array([-1]), 4, 2)
    with pytest.raises(InputError, match="expected two arrays of one length"):
        Pairs.of(np.array([0]), np.array([1, 2]), 4, 2)
    x = np.array([[0.0, 0, 0], [0, 0, 0]])
    with pytest.raises(InputError, match="atoms 1 and 0 are at one place"):
        neighborhood_of_pairs(np.zeros(2, int), 2, Pairs.of(np.array([1]), np.array([0]), 2, 2),
                              (2,), 3.0, coord=x)
