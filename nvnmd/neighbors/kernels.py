"""Neighbours of each atom in their slots, compiled: the bits and the order of `neighbors.slots`."""

from __future__ import annotations

import numpy as np

from nvnmd.compiling import njit

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


@njit
def put(i, count, key, rank, who, far, order, types, shared, starts, index, rij, kinds, counts,
        wanted):
    """Put an atom's neighbours into its slots in their order; what does not fit is counted."""
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


@njit(nogil=True, cache=True)
def fill_pairs(
    first, last, form, x, box, atom, row, types, row_types, shared, rcut, begin, second, shift,
    moved, vectors, grid, grid_cells, low, span, starts, index, rij, kinds, counts, wanted, clash,
):
    """Fill the slots of the rows `first` to `last` from pairs that are given.

    Parameters
    ----------
    form : int
        0: `vectors` are the displacements; 1: positions alone; 2: positions and cell shifts, with
        the bits and the order of `fill`.
    x : (atoms, 3)
        Positions, in the numbering of the pairs; wrapped in form 2.
    atom, row : (n,), (atoms,)
        The atom of each row, and the row that stands for each atom.
    types, row_types : (atoms,), (rows,)
        Types by atom and by row.
    begin, second : (atoms + 1,), (pairs,)
        Where the pairs of each atom begin, and their neighbours.
    shift, moved : (pairs, 3), (atoms, 3)
        Form 2: cell shift of each pair where it was listed, and cells that each atom's wrapping
        has moved it since.
    vectors : (pairs, 3)
        Form 0: displacements in Å.
    grid, grid_cells, low, span, starts, index, rij, kinds, counts, wanted, clash
        See `fill`.
    """
    n = len(x)
    room = 256
    key, rank = np.empty(room + _LANES, np.int64), np.empty(room, np.int64)
    who, order = np.empty(room, np.int64), np.empty(room, np.int64)
    far = np.empty((room, 3))
    limit = rcut * rcut
    limit32 = np.float32(rcut) * np.float32(rcut)
    image_base = span[0] * span[1] * span[2] * n
    for r in range(first, last):
        i = atom[r]
        count = 0
        for p in range(begin[i], begin[i + 1]):
            j = np.int64(second[p])
            place_of = j
            if form == 0:
                d0, d1, d2 = vectors[p, 0], vectors[p, 1], vectors[p, 2]
                e0, e1, e2 = np.float32(d0), np.float32(d1), np.float32(d2)
            else:
                y0, y1, y2 = x[j, 0], x[j, 1], x[j, 2]
                if form == 2:
                    s0 = shift[p, 0] + moved[j, 0] - moved[i, 0]
                    s1 = shift[p, 1] + moved[j, 1] - moved[i, 1]
                    s2 = shift[p, 2] + moved[j, 2] - moved[i, 2]
                    f0, f1, f2 = np.float64(s0), np.float64(s1), np.float64(s2)
                    # sums from left to right, as everywhere
                    l0 = f0 * box[0, 0] + f1 * box[1, 0] + f2 * box[2, 0]
                    l1 = f0 * box[0, 1] + f1 * box[1, 1] + f2 * box[2, 1]
                    l2 = f0 * box[0, 2] + f1 * box[1, 2] + f2 * box[2, 2]
                    y0, y1, y2 = y0 + l0, y1 + l1, y2 + l2
                    if s0 != 0 or s1 != 0 or s2 != 0:
                        cell = (
                            (grid[j, 0] + s0 * grid_cells[0] - low[0]) * span[1]
                            + (grid[j, 1] + s1 * grid_cells[1] - low[1])
                        ) * span[2] + (grid[j, 2] + s2 * grid_cells[2] - low[2])
                        place_of = image_base + cell * n + j
                d0, d1, d2 = y0 - x[i, 0], y1 - x[i, 1], y2 - x[i, 2]
                e0 = np.float32(y0) - np.float32(x[i, 0])
                e1 = np.float32(y1) - np.float32(x[i, 1])
                e2 = np.float32(y2) - np.float32(x[i, 2])
            square = d0 * d0 + d1 * d1 + d2 * d2
            if not square < limit:
                continue
            if square == 0.0 and clash[0] < 0:
                clash[0], clash[1] = i, j
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
            bits = np.int64(np.float32(short).view(np.int32))
            key[count] = (((block << 31) + bits) << _INDEX_BITS) + count
            rank[count], who[count] = place_of, row[j]
            far[count, 0], far[count, 1], far[count, 2] = d0, d1, d2
            count += 1
        put(r, count, key, rank, who, far, order, row_types, shared, starts, index, rij, kinds,
            counts, wanted)


@njit
def _place(keys, key):
    """How many of the ascending keys are smaller; without branches that cannot be foreseen."""
    place, length = np.int64(0), len(keys)
    while length > 1:
        half = length // 2
        place += half * np.int64(keys[place + half - 1] < key)
        length -= half
    return place + np.int64(keys[place] < key)


@njit(nogil=True, cache=True)
def fill(
    first, last, x, box, periodic, types, shared, rcut, bins, reach, bin_of, bin_start, keys,
    bin_atoms, binned, grid, grid_cells, low, span, starts, index, rij, kinds, counts, wanted,
    clash,
):
    """Fill the slots of the atoms `first` to `last`.

    Parameters
    ----------
    x, types : (n, 3), (n,)
        Wrapped positions and types, sorted by type.
    bins, reach : (3,) int64
        Bins per axis, and how many bins away a neighbour may be.
    bin_of : (n, 3); bin_atoms, binned : (n,), (n, 3)
        The bin of each atom, and the atoms in the order of their bins, with their positions.
    bin_start, keys : (bins + 1,), (n,)
        Where the atoms of each bin begin, or, if that is empty, the number of each atom's bin.
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
    sparse = len(bin_start) == 0
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
                    start = row + max(low_c - s2 * bins[2], 0)
                    end = row + min(high_c - s2 * bins[2], bins[2] - 1) + 1
                    if sparse:
                        start = _place(keys, start)
                        past = start
                        while past < n and keys[past] < end:
                            past += 1
                        end = past
                    else:
                        start, end = bin_start[start], bin_start[end]
                    if start == end:
                        continue
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
        put(i, count, key, rank, who, far, order, types, shared, starts, index, rij, kinds, counts,
            wanted)
