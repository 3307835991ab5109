"""Coordinates in a wrong unit end with one line before their neighbours are searched."""

from __future__ import annotations

import time

import numpy as np
import pytest

from nvnmd.errors import InputError
from nvnmd.neighbors.crowd import MOST_NEAR, crowd_problem
from nvnmd.neighbors.skin import SkinList
from nvnmd.neighbors.slots import build_neighborhood


def crystal(repeats: int, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Atoms of a slightly shaken simple cubic crystal, and its cell."""
    steps = np.arange(repeats) * spacing
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    shaken = grid + np.random.default_rng(3).uniform(0.0, 0.02 * spacing, grid.shape)
    return shaken, np.eye(3) * repeats * spacing


def test_a_dense_solid_is_searched():
    coord, box = crystal(6, 1.78)
    near = build_neighborhood(coord, box, np.zeros(len(coord), int), [256], 6.0)
    assert near.counts.max() > 140


@pytest.mark.parametrize("periodic", [True, False])
def test_nanometres_are_told_at_once(periodic):
    coord, box = crystal(20, 0.2)
    begin = time.process_time()
    with pytest.raises(InputError, match=r"coordinates: about \d+ neighbours within 8 Å of an "
                                         r"atom, [\d.]+ atoms per cubic Å, .* in nm"):
        build_neighborhood(coord, box if periodic else None, np.zeros(len(coord), int), [64], 8.0,
                           overflow="truncate")
    assert time.process_time() - begin < 5.0


def test_the_density_is_that_of_the_cell():
    coord, box = crystal(10, 0.2)
    told = crowd_problem(coord, box, 6.0)
    assert "125 atoms per cubic Å" in told
    assert crowd_problem(coord, None, 6.0) == "" and len(coord) < MOST_NEAR


def test_a_crowd_in_a_large_cell_and_in_a_list_that_is_kept():
    coord, _ = crystal(16, 0.1)
    coord = coord - 1202.0  # outside of the cell, and in several of the cubes counted
    box, types = np.eye(3) * 400.0, np.zeros(len(coord), int)
    for search in (lambda: build_neighborhood(coord, box, types, [64], 8.0),
                   lambda: SkinList([64], 8.0).neighborhood(coord, box, types)):
        with pytest.raises(InputError, match="coordinates: about 4096 neighbours"):
            search()
