"""Neighbours of each atom in their slots, compiled: the bits and the order of `nvnmd.neighbors`."""

from __future__ import annotations

import numpy as np
from numba import njit

_GAPS = (301, 132, 57, 23, 10, 4, 1)


@njit
def _sort(count, key, rank, who, far):
    """Sort candidates by key, then rank (Shell's method: few and short lists)."""
    for gap in _GAPS:
        for i in range(gap, count):
            k, r, w = key[i], rank[i], who[i]
            x, y, z = far[i, 0], far[i, 1], far[i, 2]
            j = i
            while j >= gap and (key[j - gap] > k or (key[j - gap] == k and rank[j - gap] > r)):
                key[j], rank[j], who[j] = key[j - gap], rank[j - gap], who[j - gap]
                far[j, 0], far[j, 1], far[j, 2] = far[j - gap, 0], far[j - gap, 1], far[j - gap, 2]
                j -= gap
            key[j], rank[j], who[j] = k, r, w
            far[j, 0], far[j, 1], far[j, 2] = x, y, z


@njit(nogil=True, cache=True)
def fill(
    first, last, x, box, periodic, types, shared, rcut, bins, reach, bin_of, bin_start, bin_atoms,
    grid, grid_cells, low, span, starts, index, rij, kinds, counts, wanted, clash,
):
    """Fill the slots of the atoms `first` to `last`.

    Parameters
    ----------
    x, types : (n, 3), (n,)
        Wrapped positions and types, sorted by type.
    bins, reach : (3,) int64
        Bins per axis, and how many bins away a neighbour may be.
    bin_of : (n, 3); bin_start, bin_atoms : (bins + 1,), (n,)
        The bin of each atom, and the atoms of each bin.
    grid, grid_cells : (n, 3), (3,)
        DeePMD-kit's grid cell of each atom and their number, which order images at equal distance.
    low, span : (3,)
        Smallest grid index of an image per axis and number of indices.
    starts : (blocks + 1,)
        First slot of each block; blocks are types unless `shared`.
    index, rij, kinds, counts, wanted : arrays
        Out: see `Neighborhood`; `wanted` (n, blocks) are the neighbours found.
    clash : (2,) int64
        Out: a pair at one place, if its first entry is -1 before.
    """
    n = len(x)
    room = 256
    key, rank = np.empty(room, np.int64), np.empty(room, np.int64)
    who, far = np.empty(room, np.int64), np.empty((room, 3))
    limit = rcut * rcut
    limit32 = np.float32(rcut) * np.float32(rcut)
    image_base = span[0] * span[1] * span[2] * n
    for i in range(first, last):
        x0, x1, x2 = x[i, 0], x[i, 1], x[i, 2]
        near0, near1, near2 = np.float32(x0), np.float32(x1), np.float32(x2)
        count = 0
        for a in range(bin_of[i, 0] - reach[0], bin_of[i, 0] + reach[0] + 1):
            s0 = a // bins[0]
            if not periodic and s0 != 0:
                continue
            for b in range(bin_of[i, 1] - reach[1], bin_of[i, 1] + reach[1] + 1):
                s1 = b // bins[1]
                if not periodic and s1 != 0:
                    continue
                for c in range(bin_of[i, 2] - reach[2], bin_of[i, 2] + reach[2] + 1):
                    s2 = c // bins[2]
                    if not periodic and s2 != 0:
                        continue
                    home = ((a - s0 * bins[0]) * bins[1] + (b - s1 * bins[1])) * bins[2] + (
                        c - s2 * bins[2])
                    f0, f1, f2 = np.float64(s0), np.float64(s1), np.float64(s2)
                    # sums from left to right, as everywhere
                    l0 = f0 * box[0, 0] + f1 * box[1, 0] + f2 * box[2, 0]
                    l1 = f0 * box[0, 1] + f1 * box[1, 1] + f2 * box[2, 1]
                    l2 = f0 * box[0, 2] + f1 * box[1, 2] + f2 * box[2, 2]
                    is_image = s0 != 0 or s1 != 0 or s2 != 0
                    for place in range(bin_start[home], bin_start[home + 1]):
                        j = bin_atoms[place]
                        if j == i and not is_image:
                            continue
                        y0, y1, y2 = x[j, 0] + l0, x[j, 1] + l1, x[j, 2] + l2
                        d0, d1, d2 = y0 - x0, y1 - x1, y2 - x2
                        square = d0 * d0 + d1 * d1 + d2 * d2
                        if not square < limit:
                            continue
                        if square == 0.0 and clash[0] < 0:
                            clash[0], clash[1] = i, j
                        e0 = np.float32(y0) - near0
                        e1 = np.float32(y1) - near1
                        e2 = np.float32(y2) - near2
                        short = np.float32(np.float32(e0 * e0) + np.float32(e1 * e1))
                        short = np.float32(short + np.float32(e2 * e2))
                        if not short <= limit32:
                            continue
                        if count == room:
                            key = np.concatenate((key, key))
                            rank = np.concatenate((rank, rank))
                            who = np.concatenate((who, who))
                            far = np.concatenate((far, far))
                            room *= 2
                        block = 0 if shared else types[j]
                        # binary32 numbers that are not negative compare as their bits do
                        key[count] = (block << 32) + np.int64(np.float32(short).view(np.int32))
                        place_of = np.int64(0)
                        if is_image:
                            place_of = (
                                (grid[j, 0] + s0 * grid_cells[0] - low[0]) * span[1]
                                + (grid[j, 1] + s1 * grid_cells[1] - low[1])
                            ) * span[2] + (grid[j, 2] + s2 * grid_cells[2] - low[2])
                            place_of = image_base + place_of * n
                        rank[count] = place_of + j
                        who[count] = j
                        far[count, 0], far[count, 1], far[count, 2] = d0, d1, d2
                        count += 1
        _sort(count, key, rank, who, far)
        for p in range(count):
            j = who[p]
            block = 0 if shared else types[j]
            slot = starts[block] + wanted[i, block]
            wanted[i, block] += 1
            if slot >= starts[block + 1]:
                continue
            index[i, slot] = j
            kinds[i, slot] = types[j]
            counts[i, types[j]] += 1
            for axis in range(3):
                rij[i, slot, axis] = far[p, axis]
