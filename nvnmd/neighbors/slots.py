"""Neighbour lists whose order and bits are those of DeePMD-kit.

Candidates come from vesin's cell list, which treats skewed cells, cells smaller than the cut-off
and open boundaries alike; where numba is installed, a compiled search does the same in one pass.
The order of the neighbours, the choice made when there are too many, and every bit of the
displacements are then fixed here: the quantized network sums forces in binary64 in slot order, and
a displacement off by 4e-15 Å changes truncated words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import vesin
from numpy.typing import ArrayLike, NDArray

from nvnmd.errors import InputError, NeighborOverflowError
from nvnmd.neighbors.cells import (
    FARTHEST,
    cell_problem,
    face_distances,
    from_fractional,
    to_fractional,
    wrap,
)
from nvnmd.neighbors.crowd import crowd_problem
from nvnmd.threads import installed

if TYPE_CHECKING:
    from nvnmd.neighbors.search import Slots

Overflow = Literal["error", "truncate"]

MOST_IMAGES = 100_000
"""Images of a cell within reach of an atom; of a crystal so dense nobody has a model."""


@dataclass(frozen=True, kw_only=True)
class Neighborhood:
    """Neighbours of every atom of one frame, in fixed slots.

    Atoms are sorted by type, stably; `n` atoms, `m = sum(sel)` slots. In version 0 the slots are
    in blocks by neighbour type; in version 1 all types share them.

    Attributes
    ----------
    order : (n,) int64
        Input index of each sorted atom: ``sorted = input[order]``.
    center_types : (n,) int64
        Types of the sorted atoms, ascending.
    index : (n, m) int32
        Neighbour in each slot as an index into the sorted atoms; -1 where the slot is empty.
    rij : (n, m, 3) float64
        Displacement from centre to neighbour in Å, untruncated; 0 in empty slots.
    counts : (n, ntypes) int64
        Neighbours of each type held in the slots.
    slot_types : (m,) int64
        Neighbour type that each slot is for; -1 (any) in version 1.
    neighbor_types : (n, m) int64
        Neighbour type of each slot; where the slot is empty, that of `slot_types`.
    dropped : int
        Neighbours left out by ``overflow="truncate"``; 0 otherwise.
    ghosts : int
        Atoms that are neighbours and no centres; `index` numbers them from `n` on. 0 unless the
        pairs were given (`nvnmd.neighbors.pairs`).
    """

    order: NDArray[np.int64]
    center_types: NDArray[np.int64]
    index: NDArray[np.int32]
    rij: NDArray[np.float64]
    counts: NDArray[np.int64]
    slot_types: NDArray[np.int64]
    neighbor_types: NDArray[np.int64]
    dropped: int = 0
    ghosts: int = 0

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Whether each slot is filled, (n, m)."""
        return self.index >= 0


def build_neighborhood(
    coord: ArrayLike,
    box: ArrayLike | None,
    types: ArrayLike,
    sel: Sequence[int],
    rcut: float,
    *,
    overflow: Overflow = "error",
    type_names: Sequence[str] | None = None,
    ntypes: int | None = None,
    exclude: Sequence[tuple[int, int]] = (),
) -> Neighborhood:
    """List the neighbours of every atom.

    Parameters
    ----------
    coord : (n, 3) array_like of float
        Positions in Å.
    box : (3, 3) array_like of float or None
        Cell vectors in rows, in Å; None for an open (non-periodic) system, whose positions
        are then used as they are.
    types : (n,) array_like of int
        Type of each atom, 0 to the number of types less one.
    sel : sequence of int
        Slots per neighbour type (version 0), or one number for all types together (version 1).
    rcut : float
        Cut-off radius in Å.
    overflow : {"error", "truncate"}
        What happens if an atom has more neighbours of a type than slots: an error, or the
        farthest are dropped as DeePMD-kit does.
    type_names : sequence of str, optional
        Element names, only for messages.
    ntypes : int, optional
        Number of types that share one `sel` (version 1); as many as `sel` has if left out.
    exclude : sequence of pairs of int
        Types whose atoms are no neighbours of each other, whichever of the two is the centre.

    Returns
    -------
    Neighborhood

    Raises
    ------
    InputError
        No atoms, a wrong shape, a coordinate that is not finite, an unusable cell, or more atoms
        near each other than a search would come to an end with.
    NeighborOverflowError
        Too many neighbours of one type (version 1: in all), with ``overflow="error"``.

    Notes
    -----
    A pair counts if its squared distance is below ``rcut**2`` in binary64 and, from positions
    rounded to binary32, at most ``rcut**2`` in binary32. Within a type (version 1: over all types)
    neighbours are sorted by that binary32 square, ties by the place in DeePMD-kit's extended atom
    list: the atoms of the cell first, then their images, cell by cell in lexicographic order of
    the grid.
    """
    if ntypes is not None and len(sel) != 1:
        raise ValueError(f"types that share their slots have one sel, not {len(sel)}")
    x, h, types = _checked(coord, box, types, len(sel) if ntypes is None else ntypes)
    if h is not None and np.prod(2.0 * rcut / face_distances(h) + 1.0) > MOST_IMAGES:
        raise InputError(f"cell: more than {MOST_IMAGES} of its images lie within {rcut:g} Å of "
                         "an atom, expected a larger one")
    if overflow not in ("error", "truncate"):
        raise ValueError(f"overflow must be 'error' or 'truncate', not {overflow!r}")
    order = np.argsort(types, kind="stable")
    x, types = x[order], types[order]
    if h is not None:
        x = wrap(x, h)
    crowd = crowd_problem(x, h, rcut)
    if crowd:
        raise InputError(f"coordinates: {crowd}")
    if installed() and not exclude:
        slots = _compiled(x, h, types, tuple(sel), rcut, ntypes)
        if slots is not None:
            if slots.clash is not None:
                raise at_one_place(order, *slots.clash)
            check_room(order, slots.wanted, sel, rcut, overflow, type_names, ntypes)
            return from_slots(order, types, sel, slots, ntypes)
    found = candidates(x, h, rcut)
    return from_candidates(
        order, types, x, h, found, sel, rcut, overflow, type_names, ntypes, exclude
    )


def from_candidates(
    order: NDArray[np.int64],
    types: NDArray[np.int64],
    x: NDArray[np.float64],
    h: NDArray[np.float64] | None,
    pairs: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    sel: Sequence[int],
    rcut: float,
    overflow: Overflow = "error",
    type_names: Sequence[str] | None = None,
    ntypes: int | None = None,
    exclude: Sequence[tuple[int, int]] = (),
) -> Neighborhood:
    """Choose and sort neighbours among pairs (first, second, cell shift of second).

    Positions are wrapped; positions, types and pairs are in the order of the sorted atoms. The
    pairs may be more than those within the cut-off, and must not be fewer.
    """
    first, second, shift = pairs
    image = x[second] if h is None else x[second] + from_fractional(shift, h)
    rij = image - x[first]
    square = rij[:, 0] ** 2 + rij[:, 1] ** 2 + rij[:, 2] ** 2
    if (square == 0.0).any():
        pair = int(np.argmin(square))
        raise at_one_place(order, int(first[pair]), int(second[pair]))
    # The sort key is binary32 arithmetic on binary32 positions, as the graph does it.
    near = image.astype(np.float32) - x[first].astype(np.float32)
    near_square = near[:, 0] * near[:, 0] + near[:, 1] * near[:, 1] + near[:, 2] * near[:, 2]
    rcut32 = np.float32(rcut)
    keep = (square < rcut * rcut) & (near_square <= rcut32 * rcut32)
    for a, b in exclude:
        kinds = types[first], types[second]
        keep &= ~(((kinds[0] == a) & (kinds[1] == b)) | ((kinds[0] == b) & (kinds[1] == a)))
    first, second, shift = first[keep], second[keep], shift[keep]
    rij, near_square = rij[keep], near_square[keep]

    keys = [second, *_image_rank(x, h, rcut, second, shift), near_square]
    if ntypes is None:
        keys.append(types[second])
    rank = np.lexsort([*keys, first])
    return fill_slots_in_order(
        order, types, first[rank], second[rank], rij[rank], tuple(sel), rcut, overflow, type_names,
        ntypes,
    )


def _checked(
    coord: ArrayLike, box: ArrayLike | None, types: ArrayLike, ntypes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, NDArray[np.int64]]:
    """Return coordinates, cell and types as arrays, or raise InputError."""
    x = np.asarray(coord, dtype=np.float64)
    t = np.asarray(types)
    if x.ndim != 2 or x.shape[1] != 3:
        raise InputError(f"coordinates: expected an array (n, 3), found {x.shape}")
    if len(x) == 0:
        raise InputError("coordinates: the system has no atoms")
    if t.shape != (len(x),):
        raise InputError(f"types: expected {len(x)} of them, one per atom, found {t.shape}")
    bad = ~np.isfinite(x).all(axis=1)
    if bad.any():
        raise InputError(f"coordinates: atom {int(np.argmax(bad))} has a value that is not finite")
    far = (np.abs(x) > FARTHEST).any(axis=1)
    if far.any():
        raise InputError(f"coordinates: atom {int(np.argmax(far))} is farther than {FARTHEST:.0e} "
                         "Å from the origin, where positions have no digits after the point")
    if t.min() < 0 or t.max() >= ntypes:
        atom = int(np.argmax((t < 0) | (t >= ntypes)))
        raise InputError(f"types: atom {atom} has type {t[atom]}, expected 0 to {ntypes - 1}")
    if box is None:
        return x, None, t.astype(np.int64)
    h = np.asarray(box, dtype=np.float64)
    if h.shape == (9,):
        h = h.reshape(3, 3)
    problem = cell_problem(h)
    if problem:
        raise InputError(f"cell: {problem}")
    return x, h, t.astype(np.int64)


def at_one_place(order: NDArray[np.int64], i: int, j: int) -> InputError:
    return InputError(f"coordinates: atoms {order[i]} and {order[j]} are at one place")


def _compiled(
    x: NDArray[np.float64],
    h: NDArray[np.float64] | None,
    types: NDArray[np.int64],
    sel: tuple[int, ...],
    rcut: float,
    shared: int | None,
) -> Slots | None:
    """The same search, compiled; None where its integers would not do."""
    from nvnmd.neighbors.search import fill_slots

    if h is None:
        low = x.min(axis=0)
        # no face below the cut-off, so that no atom is its own neighbour's image
        faces = np.maximum(x.max(axis=0) - low, 2.0 * rcut)
        fractional, grid, cells = (x - low) / faces, np.zeros(x.shape, np.int64), np.ones(3, int)
    else:
        fractional, faces, grid, cells = deepmd_grid(x, h, rcut)
    ntypes = len(sel) if shared is None else shared
    return fill_slots(
        x, h, types, ntypes, sel, shared is not None, rcut, fractional, faces, grid, cells
    )


def from_slots(
    order: NDArray[np.int64],
    types: NDArray[np.int64],
    sel: Sequence[int],
    slots: Slots,
    shared: int | None,
    ghosts: int = 0,
) -> Neighborhood:
    """What the compiled loops have filled, as a `Neighborhood`."""
    blocks = np.arange(len(sel)) if shared is None else np.full(1, -1)
    return Neighborhood(
        order=order,
        center_types=types,
        index=slots.index,
        rij=slots.rij,
        counts=slots.counts,
        slot_types=np.repeat(blocks, sel),
        neighbor_types=slots.neighbor_types,
        dropped=int(slots.wanted.sum() - slots.counts.sum()),
        ghosts=ghosts,
    )


def candidates(
    x: NDArray[np.float64], h: NDArray[np.float64] | None, rcut: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs (first, second, cell shift of second) up to slightly beyond rcut."""
    # The margin keeps vesin's own rounding from deciding; the exact test follows.
    lister = vesin.NeighborList(cutoff=rcut * (1.0 + 1e-6) + 1e-6, full_list=True, n_threads=1)
    cell = np.zeros((3, 3)) if h is None else h
    i, j, s = lister.compute(points=x, box=cell, periodic=h is not None, quantities="ijS")
    return i.astype(np.int64), j.astype(np.int64), s.astype(np.int64)


def deepmd_grid(
    x: NDArray[np.float64], h: NDArray[np.float64], rcut: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Return fractional positions, face distances, grid cell of each atom, cells per axis."""
    face = face_distances(h)
    cells = np.maximum((face / rcut).astype(np.int64), 1)
    # Truncation toward zero, then one less where negative: an atom at -1e-17 is in cell -1,
    # which the local grid then clamps to 0.
    f = to_fractional(x, h)
    cell = (f / (1.0 / cells)).astype(np.int64) - (f < 0.0)
    cell = np.clip(cell, 0, cells - 1)
    return f, face, cell, cells


def _image_rank(
    x: NDArray[np.float64],
    h: NDArray[np.float64] | None,
    rcut: float,
    second: NDArray[np.int64],
    shift: NDArray[np.int64],
) -> list[NDArray[np.int64]]:
    """Return the keys (least significant first) of the place in the extended list.

    The atoms of the cell itself come first in their own order; images follow by the index of
    their grid cell, in which atoms keep their order.
    """
    if h is None:
        return []
    _, _, cell, cells = deepmd_grid(x, h, rcut)
    extended = cell[second] + shift * cells
    is_image = (shift != 0).any(axis=1)
    extended[~is_image] = 0
    return [extended[:, 2], extended[:, 1], extended[:, 0], is_image.astype(np.int64)]


def check_room(
    order: NDArray[np.int64],
    wanted: NDArray[np.int64],
    sel: Sequence[int],
    rcut: float,
    overflow: Overflow,
    type_names: Sequence[str] | None,
    shared: int | None,
) -> None:
    """Raise if an atom has more neighbours (n, blocks) than slots, unless they may be dropped."""
    capacity = np.array(sel, dtype=np.int64)
    excess = wanted > capacity
    if excess.any() and overflow == "error":
        atom, kind = np.argwhere(excess)[np.argmin(order[np.argwhere(excess)[:, 0]])]
        if shared is not None:
            name, limit = "", "sel"
        else:
            name = f" of {type_names[kind] if type_names is not None else f'type {kind}'}"
            limit = f"sel[{kind}]"
        raise NeighborOverflowError(
            f"atom {order[atom]} has {wanted[atom, kind]} neighbours{name} within {rcut:g} Å, "
            f"but {limit} admits {capacity[kind]} (largest count {wanted[:, kind].max()})"
        )


def fill_slots_in_order(
    order: NDArray[np.int64],
    types: NDArray[np.int64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    rij: NDArray[np.float64],
    sel: tuple[int, ...],
    rcut: float,
    overflow: Overflow,
    type_names: Sequence[str] | None,
    shared: int | None,
    row_types: NDArray[np.int64] | None = None,
) -> Neighborhood:
    """Put sorted pairs into their slots.

    `shared` is the number of types that share them; `row_types` are the types of the atoms that
    the pairs number, where those are more than the centres.
    """
    n, blocks, m = len(types), len(sel), sum(sel)
    ghosts = 0 if row_types is None else len(row_types) - n
    centers, types = types, types if row_types is None else row_types
    capacity = np.array(sel, dtype=np.int64)
    block = types[second] if shared is None else np.zeros_like(second)
    group = first * blocks + block
    found = np.bincount(group, minlength=n * blocks)
    starts = np.cumsum(found) - found
    place = np.arange(len(first)) - starts[group]
    wanted = found.reshape(n, blocks)
    check_room(order, wanted, sel, rcut, overflow, type_names, shared)
    fits = place < capacity[block]
    center, slot = first[fits], ((np.cumsum(capacity) - capacity)[block] + place)[fits]
    kind_of = types[second[fits]]
    index = np.full((n, m), -1, dtype=np.int32)
    filled = np.zeros((n, m, 3))
    index[center, slot] = second[fits]
    filled[center, slot] = rij[fits]
    if shared is None:
        ntypes, slot_types = blocks, np.repeat(np.arange(blocks), capacity)
    else:
        ntypes, slot_types = shared, np.full(m, -1, dtype=np.int64)
    neighbor_types = np.tile(slot_types, (n, 1))
    neighbor_types[center, slot] = kind_of
    return Neighborhood(
        order=order,
        center_types=centers,
        index=index,
        rij=filled,
        counts=np.bincount(center * ntypes + kind_of, minlength=n * ntypes).reshape(n, ntypes),
        slot_types=slot_types,
        neighbor_types=neighbor_types,
        dropped=int((~fits).sum()),
        ghosts=ghosts,
    )
