"""The compiled search of neighbours gives the arrays of the plain one."""

from __future__ import annotations

import time

import numpy as np
import pytest
from neighbors.test_neighbors import SKEWED

from nvnmd.errors import InputError, NeighborOverflowError
from nvnmd.neighbors import search as neighbors_fast
from nvnmd.neighbors import slots as neighbors
from nvnmd.neighbors.slots import build_neighborhood

pytest.importorskip("numba", reason="numba (the extra `fast`) is not installed")

NAMES = ("order", "center_types", "index", "rij", "counts", "slot_types", "neighbor_types")


def check(monkeypatch, *arguments, **options) -> None:
    compiled = build_neighborhood(*arguments, **options)
    monkeypatch.setattr(neighbors, "installed", lambda: False)
    plain = build_neighborhood(*arguments, **options)
    monkeypatch.undo()
    assert compiled.dropped == plain.dropped
    assert plain.counts.sum() > 0
    for name in NAMES:
        found, expected = getattr(compiled, name), getattr(plain, name)
        assert found.dtype == expected.dtype, name
        np.testing.assert_array_equal(found, expected, name)


@pytest.mark.parametrize("shared", [None, 3])
@pytest.mark.parametrize("n", [1, 40, 700])
@pytest.mark.parametrize("cell", ["skewed", "cubic", "flat", "needle", "open"])
def test_same_arrays(monkeypatch, cell, n, shared):
    rng = np.random.default_rng(n)
    size = (n * 20.0) ** (1 / 3)
    box = {"skewed": SKEWED * size / 5, "cubic": np.eye(3) * size, "open": None,
           "flat": np.diag([1.2, size * 1.5, size * 1.5]),
           "needle": np.diag([size * 9, 2.5, 2.5])}[cell]
    coord = rng.uniform(-1.0, 2.0, (n, 3)) @ (np.eye(3) * size if box is None else box)
    if box is None and n == 1:
        pytest.skip("a single atom has no neighbours")
    types = rng.integers(0, 3, n)
    sel = (900,) if shared else (500, 500, 500)
    check(monkeypatch, coord, box, types, sel, 4.1, ntypes=shared)


def test_ties_of_a_crystal_and_truncation(monkeypatch):
    grid = np.stack(np.meshgrid(*[np.arange(5)] * 3, indexing="ij"), -1).reshape(-1, 3) * 2.0
    types = np.arange(125) % 2
    for shared, sel in ((None, (30, 9)), (2, (40,))):
        check(monkeypatch, grid, np.eye(3) * 10.0, types, sel, 5.0, overflow="truncate",
              ntypes=shared)
        with pytest.raises(NeighborOverflowError, match=r"atom 0 has \d+ neighbours"):
            build_neighborhood(grid, np.eye(3) * 10.0, types, sel, 5.0, ntypes=shared)


def test_far_apart(monkeypatch):
    """Few atoms in much space: the bins stay few."""
    rng = np.random.default_rng(1)
    coord = np.concatenate([rng.uniform(0, 3, (5, 3)), rng.uniform(0, 3, (5, 3)) + 1e6])
    types = np.arange(10) % 2
    check(monkeypatch, coord, None, types, (9, 9), 4.0)
    check(monkeypatch, coord, np.eye(3) * 2e6, types, (9, 9), 4.0)


def test_ties_across_the_faces_of_a_cell_that_is_mostly_empty(monkeypatch):
    """A crystal around the corner of the cell, whose grid is numbered by what is occupied."""
    grid = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3) * 2.0
    check(monkeypatch, grid, np.eye(3) * 2.0**22, np.arange(125) % 2, (30, 9), 5.0,
          overflow="truncate")


def test_a_grid_too_fine_for_the_integers_is_left_to_the_plain_search(monkeypatch):
    # each atom in a grid cell of its own along all axes
    coord = np.arange(18_000)[:, None] * np.full(3, 5e4)
    coord[-1] = coord[0] + [1.0, 0, 0]
    box = np.eye(3) * 1e9
    seen = []
    fill = neighbors_fast.fill_slots
    monkeypatch.setattr(neighbors_fast, "fill_slots", lambda *a: seen.append(fill(*a)) or seen[-1])
    near = build_neighborhood(coord, box, np.zeros(len(coord), int), (3,), 4.0)
    assert seen == [None] and near.counts.sum() == 2


def test_empty_space_costs_nothing():
    """The compiled search, by the time of the process: the median of pairs, cell after cell."""
    steps = np.arange(16) * 2.15
    coord = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    coord = coord + np.random.default_rng(5).uniform(0.0, 0.4, coord.shape)
    far = np.concatenate([coord, [[1e5, 1e5, 1e5]]])
    cases = [(coord, np.eye(3) * 34.4), (coord, np.eye(3) * 34.4e4), (far, np.eye(3) * 2e5)]
    times = []
    for _ in range(6):
        times.append([])
        for x, box in cases:
            begin = time.process_time()
            build_neighborhood(x, box, np.zeros(len(x), int), (128,), 6.0, overflow="truncate")
            times[-1].append(time.process_time() - begin)
    ratios = np.array(times)[1:] / np.array(times)[1:, :1]
    assert np.median(ratios, axis=0).max() < 3.0


def test_threads_give_the_same(monkeypatch):
    rng = np.random.default_rng(4)
    arguments = rng.uniform(0, 25, (900, 3)), np.eye(3) * 25.0, np.zeros(900, int), (90,), 5.0
    results = []
    for count in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", count)
        results.append(build_neighborhood(*arguments))
    for name in NAMES:
        np.testing.assert_array_equal(*[getattr(r, name) for r in results], name)


def test_atoms_at_one_place():
    coord = np.concatenate([np.random.default_rng(2).uniform(0, 9, (500, 3)), [[9.5, 0, 0]] * 2])
    with pytest.raises(InputError, match="atoms 500 and 501 are at one place"):
        build_neighborhood(coord, np.eye(3) * 10.0, np.zeros(502, int), (200,), 2.0)
