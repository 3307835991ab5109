"""Neighbourhoods from pairs that the caller has: of another program's list, with its ghost atoms.

What `evaluate` guarantees of bits rests on its own search: on positions wrapped as DeePMD-kit
wraps them and on its order of neighbours at equal distance. For given pairs the displacements are
the caller's and such neighbours come in the order of their numbers. With positions of originals,
cell shifts and the cell they are `evaluate`'s own displacements. Wherever displacements have
the same bits and no two neighbours of an atom that share slots are equally far (in binary32), the
neighbourhood is the same, and with it every word of the atoms' energies and pair derivatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvnmd.errors import InputError
from nvnmd.neighbors.cells import from_fractional, wrap
from nvnmd.neighbors.search import Slots
from nvnmd.neighbors.slots import (
    Neighborhood,
    Overflow,
    at_one_place,
    check_room,
    fill_slots_in_order,
    from_slots,
)
from nvnmd.threads import installed, share_out

_PIECE = 64
VECTORS, POSITIONS, IMAGES = 0, 1, 2
"""Forms of `nvnmd.neighbors.kernels.fill_pairs`."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Centre and neighbour of each pair, sorted by centre; both directions of a pair are listed.

    Attributes
    ----------
    begin : (atoms + 1,) int64
        Where the pairs of each centre begin; atoms beyond the centres have none.
    second : (pairs,) int32 or int64
        Neighbours.
    order : (pairs,) int64 or None
        Where each pair was in the arrays given; None if they were sorted.
    """

    begin: NDArray[np.int64]
    second: NDArray[np.integer]
    order: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, first: NDArray[np.integer], second: NDArray[np.integer], atoms: int,
           centers: int) -> Pairs:
        """Sort pairs by centre.

        Raises
        ------
        InputError
            Numbers that are not those of atoms, or a pair of an atom with itself in its place.
        """
        if first.shape != second.shape or first.ndim != 1:
            raise InputError(f"pairs: got {first.shape} and {second.shape} numbers, expected two "
                             "arrays of one length")
        for name, numbers, end in (("first", first, centers), ("second", second, atoms)):
            if numbers.dtype.kind not in "iu" and numbers.size:
                raise InputError(f"pairs: {name}: got {numbers.dtype}, expected integers")
            wrong = (numbers < 0) | (numbers >= end)
            if wrong.any():
                at = int(np.argmax(wrong))
                raise InputError(f"pairs: {name}: pair {at} has atom {numbers[at]}, expected 0 to "
                                 f"{end - 1}")
        first, second = first.astype(np.int64), second.astype(np.int64)
        order = None
        if (np.diff(first) < 0).any():
            order = np.argsort(first, kind="stable")
            first, second = first[order], second[order]
        begin = np.concatenate([[0], np.cumsum(np.bincount(first, minlength=atoms))])
        return cls(begin.astype(np.int64), second, order)


def neighborhood_of_pairs(
    types: NDArray[np.int64],
    centers: int,
    pairs: Pairs,
    sel: Sequence[int],
    rcut: float,
    *,
    coord: NDArray[np.float64] | None = None,
    vectors: NDArray[np.float64] | None = None,
    box: NDArray[np.float64] | None = None,
    shift: NDArray[np.int64] | None = None,
    owner: NDArray[np.int64] | None = None,
    overflow: Overflow = "error",
    type_names: Sequence[str] | None = None,
    ntypes: int | None = None,
    exclude: Sequence[tuple[int, int]] = (),
) -> Neighborhood:
    """Choose and sort the neighbours of the first `centers` atoms among given pairs.

    Parameters
    ----------
    types : (atoms,)
        Types; atoms from `centers` on are ghosts.
    centers : int
        Atoms whose neighbours are listed.
    pairs : Pairs
        All pairs within the cut-off, in both directions; more do no harm.
    coord, vectors : (atoms, 3) or (pairs, 3)
        Positions, used as they are, or displacements from centre to neighbour; one of them, in Å.
    box, shift : (3, 3) and (atoms, 3), optional
        The cell, and how many of its vectors each atom stands away from its `coord`. Displacements
        then are made as `build_neighborhood` makes them, of wrapped positions.
    owner : (atoms,), optional
        The atom that stands for each one in the result, as a centre does for its images.
    sel, rcut, overflow, type_names, ntypes, exclude
        See `build_neighborhood`.

    Returns
    -------
    Neighborhood
        Its rows are the centres, sorted by type, then the other atoms in their order.

    Raises
    ------
    InputError
        Two atoms at one place.
    NeighborOverflowError
        Too many neighbours of one type, with ``overflow="error"``.
    """
    order = np.argsort(types[:centers], kind="stable")
    atoms = len(types)
    row = np.arange(atoms)
    row[order] = np.arange(centers)
    row_types = np.concatenate([types[order], types[centers:]])
    if owner is not None:
        row = row[owner]
    if exclude:
        pairs, vectors = _without(pairs, vectors, types, exclude)
    shared = ntypes is not None
    moved = None
    if coord is not None and box is not None and shift is not None:
        inside = wrap(coord, box)
        moved = shift + np.rint(np.linalg.solve(box.T, (coord - inside).T).T).astype(np.int64)
        coord = inside
    if installed():
        form = VECTORS if coord is None else POSITIONS if moved is None else IMAGES
        extra: dict[str, NDArray] = {} if moved is None else {
            "moved": moved, "shift": np.zeros((len(pairs.second), 3), np.int32),
            "grid": np.zeros((atoms, 3), np.int64),
            "turns": 2 * np.abs(moved).max(axis=0, initial=0) + 1}
        slots = fill_given(
            form, order, row, types, row_types, pairs, sel, rcut,
            len(sel) if ntypes is None else ntypes, shared, x=coord, vectors=vectors, box=box,
            **extra)
        if slots.clash is not None:
            raise at_one_place(np.arange(atoms), *slots.clash)
        check_room(order, slots.wanted, sel, rcut, overflow, type_names, ntypes)
        return from_slots(order, types[order], sel, slots, ntypes, atoms - centers)
    first = np.repeat(np.arange(atoms), np.diff(pairs.begin))
    second = pairs.second
    if coord is not None:
        image = coord[second]
        if moved is not None and box is not None:
            image = image + from_fractional(moved[second] - moved[first], box)
        vectors = image - coord[first]
        near = image.astype(np.float32) - coord.astype(np.float32)[first]
    else:
        assert vectors is not None
        near = vectors.astype(np.float32)
    square = vectors[:, 0] ** 2 + vectors[:, 1] ** 2 + vectors[:, 2] ** 2
    if (square == 0.0).any():
        at = int(np.argmin(square))
        raise at_one_place(np.arange(atoms), int(first[at]), int(second[at]))
    short = near[:, 0] * near[:, 0] + near[:, 1] * near[:, 1] + near[:, 2] * near[:, 2]
    rcut32 = np.float32(rcut)
    keep = np.flatnonzero((square < rcut * rcut) & (short <= rcut32 * rcut32))
    keys = [second[keep], short[keep]]
    if not shared:
        keys.append(types[second[keep]])
    chosen = keep[np.lexsort([*keys, row[first[keep]]])]
    return fill_slots_in_order(
        order, types[order], row[first[chosen]], row[second[chosen]], vectors[chosen], tuple(sel),
        rcut, overflow, type_names, ntypes, row_types)


def fill_given(
    form: int,
    atom: NDArray[np.int64],
    row: NDArray[np.int64],
    types: NDArray[np.int64],
    row_types: NDArray[np.int64],
    pairs: Pairs,
    sel: Sequence[int],
    rcut: float,
    ntypes: int,
    shared: bool,
    *,
    x: NDArray[np.float64] | None = None,
    box: NDArray[np.float64] | None = None,
    vectors: NDArray[np.float64] | None = None,
    shift: NDArray[np.int32] | None = None,
    moved: NDArray[np.int64] | None = None,
    grid: NDArray[np.int64] | None = None,
    cells: NDArray[np.int64] | None = None,
    turns: NDArray[np.int64] | None = None,
) -> Slots:
    """Run the compiled choice over all rows; `turns` are the farthest images, for their order."""
    from nvnmd.neighbors.kernels import fill_pairs

    n, m = len(atom), sum(sel)
    none = np.empty((0, 3))
    no_integers = np.empty((0, 3), np.int64)
    x = np.empty((len(types), 3)) if x is None else np.ascontiguousarray(x)
    cells = np.ones(3, np.int64) if cells is None else cells
    turns = np.zeros(3, np.int64) if turns is None else turns
    low, span = -turns * cells, (2 * turns + 1) * cells
    starts = np.concatenate([[0], np.cumsum(sel)]).astype(np.int64)
    index = np.full((n, m), -1, dtype=np.int32)
    rij = np.zeros((n, m, 3))
    slot_types = np.full(m, -1) if shared else np.repeat(np.arange(len(sel)), sel)
    kinds = np.tile(slot_types.astype(np.int64), (n, 1))
    counts = np.zeros((n, ntypes), dtype=np.int64)
    wanted = np.zeros((n, len(sel)), dtype=np.int64)
    clashes = np.full((-(-n // _PIECE), 2), -1)
    box = np.zeros((3, 3)) if box is None else np.ascontiguousarray(box)
    vectors = none if vectors is None else np.ascontiguousarray(vectors)
    shift = np.empty((0, 3), np.int32) if shift is None else shift
    moved = no_integers if moved is None else moved
    grid = no_integers if grid is None else grid

    def compute(piece: int) -> None:
        first = piece * _PIECE
        fill_pairs(first, min(first + _PIECE, n), form, x, box, atom, row, types, row_types, shared,
                   float(rcut), pairs.begin, pairs.second, shift, moved, vectors, grid, cells, low,
                   span, starts, index, rij, kinds, counts, wanted, clashes[piece])

    share_out(range(len(clashes)), lambda: compute)
    found = np.flatnonzero(clashes[:, 0] >= 0)
    clash = (int(clashes[found[0], 0]), int(clashes[found[0], 1])) if found.size else None
    return Slots(index, rij, kinds, counts, wanted, clash)


def _without(pairs: Pairs, vectors: NDArray[np.float64] | None, types: NDArray[np.int64],
             exclude: Sequence[tuple[int, int]]) -> tuple[Pairs, NDArray[np.float64] | None]:
    """Leave out pairs of types that are no neighbours of each other."""
    atoms = len(pairs.begin) - 1
    first = np.repeat(np.arange(atoms), np.diff(pairs.begin))
    a, b = types[first], types[pairs.second]
    keep = np.ones(len(first), dtype=np.bool_)
    for one, other in exclude:
        keep &= ~(((a == one) & (b == other)) | ((a == other) & (b == one)))
    begin = np.concatenate([[0], np.cumsum(np.bincount(first[keep], minlength=atoms))])
    return (Pairs(begin.astype(np.int64), pairs.second[keep]),
            None if vectors is None else vectors[keep])
