"""Neighbours of each atom in their slots, compiled: the bits and the order of `nvnmd.neighbors`."""

from __future__ import annotations

import numpy as np
from numba import njit

_INDEX_BITS = np.int64(20)
_LANES = 32
_LAST = np.int64((1 << 63) - 1)


@njit
def _sort(count, key, rank, order):
    """Order of the candidates by key, then rank; `key` gets `_LANES` entries behind its last.

    Each candidate's place is the number of smaller keys: for some dozens of them that takes less
    time than sorting step by step, as it becomes vector instructions. A key has the candidate's
    number in its low bits, which makes them differ; what is equal above them is sorted by rank.
    """
    padded = (count + _LANES - 1) // _LANES * _LANES
    for i in range(count, padded):
        key[i] = _LAST
    for i in range(count):
        mine = key[i]
        before = np.int64(0)
        for j in range(padded):
            before += np.int64(key[j] < mine)
        order[before] = i
    for i in range(1, count):
        who = order[i]
        j = i
        while j > 0 and key[order[j - 1]] >> _INDEX_BITS == key[who] >> _INDEX_BITS and (
                rank[order[j - 1]] > rank[who]):
            order[j] = order[j - 1]
            j -= 1
        order[j] = who


@njit(nogil=True, cache=True)
def fill(
    first, last, x, box, periodic, types, shared, rcut, bins, reach, bin_of, bin_start, bin_atoms,
    binned, grid, grid_cells, low, span, starts, index, rij, kinds, counts, wanted, clash,
):
    """Fill the slots of the atoms `first` to `last`.

    Parameters
    ----------
    x, types : (n, 3), (n,)
        Wrapped positions and types, sorted by type.
    bins, reach : (3,) int64
        Bins per axis, and how many bins away a neighbour may be.
    bin_of : (n, 3); bin_start, bin_atoms, binned : (bins + 1,), (n,), (n, 3)
        The bin of each atom, and the atoms of each bin with their positions.
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
    key, rank = np.empty(room + _LANES, np.int64), np.empty(room, np.int64)
    who, order = np.empty(room, np.int64), np.empty(room, np.int64)
    far = np.empty((room, 3))
    limit = rcut * rcut
    limit32 = np.float32(rcut) * np.float32(rcut)
    image_base = span[0] * span[1] * span[2] * n
    for i in range(first, last):
        x0, x1, x2 = x[i, 0], x[i, 1], x[i, 2]
        near0, near1, near2 = np.float32(x0), np.float32(x1), np.float32(x2)
        count = 0
        low_c, high_c = bin_of[i, 2] - reach[2], bin_of[i, 2] + reach[2]
        for a in range(bin_of[i, 0] - reach[0], bin_of[i, 0] + reach[0] + 1):
            s0 = a // bins[0]
            if not periodic and s0 != 0:
                continue
            for b in range(bin_of[i, 1] - reach[1], bin_of[i, 1] + reach[1] + 1):
                s1 = b // bins[1]
                if not periodic and s1 != 0:
                    continue
                row = ((a - s0 * bins[0]) * bins[1] + (b - s1 * bins[1])) * bins[2]
                for s2 in range(low_c // bins[2], high_c // bins[2] + 1):
                    if not periodic and s2 != 0:
                        continue
                    # bins of one image lie side by side
                    start = bin_start[row + max(low_c - s2 * bins[2], 0)]
                    end = bin_start[row + min(high_c - s2 * bins[2], bins[2] - 1) + 1]
                    f0, f1, f2 = np.float64(s0), np.float64(s1), np.float64(s2)
                    # sums from left to right, as everywhere
                    l0 = f0 * box[0, 0] + f1 * box[1, 0] + f2 * box[2, 0]
                    l1 = f0 * box[0, 1] + f1 * box[1, 1] + f2 * box[2, 1]
                    l2 = f0 * box[0, 2] + f1 * box[1, 2] + f2 * box[2, 2]
                    is_image = s0 != 0 or s1 != 0 or s2 != 0
                    for place in range(start, end):
                        y0, y1, y2 = binned[place, 0] + l0, binned[place, 1] + l1, (
                            binned[place, 2] + l2)
                        d0, d1, d2 = y0 - x0, y1 - x1, y2 - x2
                        square = d0 * d0 + d1 * d1 + d2 * d2
                        if not square < limit:
                            continue
                        j = bin_atoms[place]
                        if j == i and not is_image:
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
                            order = np.concatenate((order, order))
                            far = np.concatenate((far, far))
                            room *= 2
                        block = np.int64(0) if shared else types[j]
                        # binary32 numbers that are not negative compare as their bits do
                        bits = np.int64(np.float32(short).view(np.int32))
                        key[count] = (((block << 31) + bits) << _INDEX_BITS) + count
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
        _sort(count, key, rank, order)
        for p in range(count):
            at = order[p]
            j = who[at]
            block = np.int64(0) if shared else types[j]
            slot = starts[block] + wanted[i, block]
            wanted[i, block] += 1
            if slot >= starts[block + 1]:
                continue
            index[i, slot] = j
            kinds[i, slot] = types[j]
            counts[i, types[j]] += 1
            for axis in range(3):
                rij[i, slot, axis] = far[at, axis]
