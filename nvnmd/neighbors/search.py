"""Compiled search of neighbours: bins, threads, and the slots filled in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvnmd.threads import share_out

_PIECE = 64
_MOST_BINS = 1 << 20
"""Bins per axis; their numbers along three axes stay below 2**60."""


@dataclass(frozen=True)
class Slots:
    """Filled slots (see `Neighborhood`), and how many neighbours each block would have taken."""

    index: NDArray[np.int32]
    rij: NDArray[np.float64]
    neighbor_types: NDArray[np.int64]
    counts: NDArray[np.int64]
    wanted: NDArray[np.int64]
    clash: tuple[int, int] | None


def fill_slots(
    x: NDArray[np.float64],
    box: NDArray[np.float64] | None,
    types: NDArray[np.int64],
    ntypes: int,
    sel: Sequence[int],
    shared: bool,
    rcut: float,
    fractional: NDArray[np.float64],
    faces: NDArray[np.float64],
    grid: NDArray[np.int64],
    cells: NDArray[np.int64],
) -> Slots | None:
    """Search and sort the neighbours of all atoms.

    Parameters
    ----------
    x : (n, 3)
        Positions, wrapped where there is a cell, sorted by type.
    box : (3, 3) or None
        Cell.
    fractional, faces : (n, 3), (3,)
        Positions in units of the cell (or of the box that holds an open system) and the distances
        between opposite faces in Å.
    grid, cells : (n, 3), (3,)
        DeePMD-kit's grid.

    Returns
    -------
    Slots, or None where so much of so fine a grid is occupied that the place of an image needs more
    than 62 bits.
    """
    from nvnmd.neighbors.kernels import fill

    n, m = len(x), sum(sel)
    # the margin keeps the rounding of the bins from deciding
    wide = rcut * (1.0 + 1e-6) + 1e-6
    # bins of half the cut-off: fewer candidates beyond it than with whole ones
    bins = np.clip((2.0 * faces / wide).astype(np.int64), 1, _MOST_BINS)
    reach = np.ceil(wide / (faces / bins)).astype(np.int64)
    bin_of = np.clip((fractional * bins).astype(np.int64), 0, bins - 1)
    flat = (bin_of[:, 0] * bins[1] + bin_of[:, 1]) * bins[2] + bin_of[:, 2]
    bin_atoms = np.argsort(flat, kind="stable")
    bin_start = keys = np.zeros(0, np.int64)
    if bins.prod() > 8 * n + 8:
        # most are empty: those with atoms are found by halving
        keys = flat[bin_atoms]
    else:
        bin_start = np.concatenate([[0], np.cumsum(np.bincount(flat, minlength=int(bins.prod())))])
    binned = x[bin_atoms]
    turns = -(-(reach + bins) // bins)
    if not _fits(turns, cells, n):
        # only the order of the places counts, and empty grid cells have none
        grid, cells = _occupied(grid)
        if not _fits(turns, cells, n):
            return None
    low = -turns * cells
    span = (2 * turns + 1) * cells
    starts = np.concatenate([[0], np.cumsum(sel)]).astype(np.int64)
    index = np.full((n, m), -1, dtype=np.int32)
    rij = np.zeros((n, m, 3))
    slot_types = np.full(m, -1) if shared else np.repeat(np.arange(len(sel)), sel)
    kinds = np.tile(slot_types.astype(np.int64), (n, 1))
    counts = np.zeros((n, ntypes), dtype=np.int64)
    wanted = np.zeros((n, len(sel)), dtype=np.int64)
    pieces = range(0, n, _PIECE)
    clashes = np.full((len(pieces), 2), -1)
    h = np.zeros((3, 3)) if box is None else np.ascontiguousarray(box)

    def compute(piece: int) -> None:
        first = piece * _PIECE
        fill(first, min(first + _PIECE, n), x, h, box is not None, types, shared, float(rcut),
             bins, reach, bin_of, bin_start, keys, bin_atoms, binned, grid, cells, low, span,
             starts, index, rij, kinds, counts, wanted, clashes[piece])

    share_out(range(len(pieces)), lambda: compute)
    found = np.flatnonzero(clashes[:, 0] >= 0)
    clash = (int(clashes[found[0], 0]), int(clashes[found[0], 1])) if found.size else None
    return Slots(index, rij, kinds, counts, wanted, clash)


def _fits(turns: NDArray[np.int64], cells: NDArray[np.int64], n: int) -> bool:
    """Whether the place of any image among all is an integer of 62 bits."""
    return float(np.prod((2.0 * turns + 1.0) * cells)) * n * 2 < 2.0**62


def _occupied(grid: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the grid cells of each axis that hold atoms, in their order."""
    numbered = [np.unique(column, return_inverse=True) for column in grid.T]
    return (np.ascontiguousarray(np.stack([where for _, where in numbered], axis=1)),
            np.array([len(values) for values, _ in numbered]))
