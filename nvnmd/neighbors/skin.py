"""A list of pairs somewhat beyond the cut-off, kept while atoms move little; the bits of none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nvnmd.neighbors.cells import cell_problem, wrap
from nvnmd.neighbors.crowd import crowd_problem
from nvnmd.neighbors.pairs import IMAGES, Pairs, fill_given
from nvnmd.neighbors.slots import (
    Neighborhood,
    Overflow,
    at_one_place,
    build_neighborhood,
    candidates,
    check_room,
    deepmd_grid,
    from_candidates,
    from_slots,
)
from nvnmd.threads import installed

SKIN = 1.0
"""Å beyond the cut-off, by default."""


class SkinList:
    """Neighbourhoods of the same atoms, step after step.

    Pairs are searched with a larger cut-off, and anew when an atom may have come nearer than the
    list allows for, a cell that was strained counted in. Every step's neighbourhood is that of
    `build_neighborhood`, bit by bit: positions are wrapped each time, and cell shifts of the listed
    pairs follow.

    Parameters
    ----------
    sel, rcut, ntypes, type_names, exclude
        See `build_neighborhood`.
    skin : float
        Å beyond the cut-off; 0 searches at every step.
    """

    def __init__(self, sel: Sequence[int], rcut: float, *, skin: float = SKIN,
                 ntypes: int | None = None, type_names: Sequence[str] | None = None,
                 exclude: Sequence[tuple[int, int]] = ()) -> None:
        self.sel, self.rcut, self.skin, self.ntypes = tuple(sel), rcut, skin, ntypes
        self.type_names, self.exclude = type_names, tuple(exclude)
        self.searches = 0
        self._types: NDArray[np.int64] | None = None

    def neighborhood(self, coord: NDArray[np.float64], box: NDArray[np.float64] | None,
                     types: NDArray[np.int64], overflow: Overflow = "error") -> Neighborhood:
        """Return the neighbours of every atom; see `build_neighborhood`."""
        x, h = np.asarray(coord, dtype=np.float64), box
        ready = self._holds(x, h, types) or self._search(x, h, types)
        moved = self._cells_moved(x, h) if ready else None
        if moved is None:
            self._types = None
            return build_neighborhood(
                x, h, types, self.sel, self.rcut, overflow=overflow, type_names=self.type_names,
                ntypes=self.ntypes, exclude=self.exclude)
        order, sorted_types = self._order, self._sorted_types
        x = self._wrapped
        if installed() and not self.exclude:
            grid = (None, None) if h is None else deepmd_grid(x, h, self.rcut)[2:]
            most = np.abs(self._shift).max(axis=0, initial=0) + 2 * np.abs(moved).max(axis=0) + 1
            everyone = np.arange(len(x))
            slots = fill_given(
                IMAGES, everyone, everyone, sorted_types, sorted_types, self._pairs, self.sel,
                self.rcut, len(self.sel) if self.ntypes is None else self.ntypes,
                self.ntypes is not None, x=x, box=h, shift=self._shift, moved=moved,
                grid=np.zeros((len(x), 3), np.int64) if grid[0] is None else grid[0],
                cells=grid[1], turns=most.astype(np.int64))
            if slots.clash is not None:
                raise at_one_place(order, *slots.clash)
            check_room(order, slots.wanted, self.sel, self.rcut, overflow, self.type_names,
                       self.ntypes)
            return from_slots(order, sorted_types, self.sel, slots, self.ntypes)
        first = np.repeat(np.arange(len(x)), np.diff(self._pairs.begin))
        second = self._pairs.second.astype(np.int64)
        shift = self._shift + moved[second] - moved[first]
        return from_candidates(
            order, sorted_types, x, h, (first, second, shift), self.sel, self.rcut, overflow,
            self.type_names, self.ntypes, self.exclude)

    def _holds(self, x: NDArray[np.float64], h: NDArray[np.float64] | None,
               types: NDArray[np.int64]) -> bool:
        """Whether no pair that is not listed can be within the cut-off."""
        if self.skin <= 0 or self._types is None or x.shape != self._coord.shape or (
                not np.array_equal(types, self._types)) or (h is None) != (self._box is None):
            return False
        if not np.isfinite(x).all():
            return False
        before, least = self._coord, 1.0
        if h is not None and self._box is not None and not np.array_equal(h, self._box):
            if cell_problem(h):
                return False
            # d -> d F: no distance shrinks by more than the smallest singular value
            strain = np.linalg.solve(self._box, h)
            before = before @ strain
            least = float(np.linalg.svd(strain, compute_uv=False)[-1])
        far = float(np.sqrt(np.square(x - before).sum(axis=1).max()))
        return (self.rcut + 2.0 * far) * (1.0 + 1e-6) + 2e-6 < (self.rcut + self.skin) * least

    def _search(self, x: NDArray[np.float64], h: NDArray[np.float64] | None,
                types: NDArray[np.int64]) -> bool:
        """List the pairs anew; False where a plain search has to judge the input."""
        self._types = None
        if self.skin <= 0 or x.ndim != 2 or len(x) == 0 or not np.isfinite(x).all() or (
                np.abs(x).max() > 1e6 or types.shape != (len(x),)):
            return False
        if h is not None and (cell_problem(h) or _thin(h, self.rcut + self.skin)):
            return False
        self._order = np.argsort(types, kind="stable")
        self._sorted_types = np.asarray(types, dtype=np.int64)[self._order]
        inside = x[self._order]
        wrapped = inside if h is None else wrap(inside, h)
        if crowd_problem(wrapped, h, self.rcut + self.skin):
            return False
        first, second, shift = candidates(wrapped, h, self.rcut + self.skin)
        order = np.argsort(first, kind="stable")
        begin = np.concatenate([[0], np.cumsum(np.bincount(first, minlength=len(x)))])
        self._pairs = Pairs(begin.astype(np.int64), second[order].astype(np.int32))
        self._shift = np.ascontiguousarray(shift[order], dtype=np.int32)
        self._base = np.zeros((len(x), 3), np.int64)
        self._coord, self._box = x.copy(), None if h is None else h.copy()
        self._types = np.array(types)
        base = self._cells_moved(x, h)
        if base is None:
            self._types = None
            return False
        self._base = base
        self.searches += 1
        return True

    def _cells_moved(self, x: NDArray[np.float64],
                     h: NDArray[np.float64] | None) -> NDArray[np.int64] | None:
        """Wrap, and count the cells that each atom has moved by it since the list was made."""
        inside = x[self._order]
        if h is None:
            self._wrapped = np.ascontiguousarray(inside)
            return np.zeros((len(x), 3), np.int64)
        self._wrapped = wrap(inside, h)
        exact = np.linalg.solve(h.T, (inside - self._wrapped).T).T
        whole = np.rint(exact)
        if np.abs(exact - whole).max() > 0.01:
            return None
        return np.ascontiguousarray(whole.astype(np.int64) - self._base)


def _thin(h: NDArray[np.float64], reach: float) -> bool:
    """Whether so many images are within reach that the plain search should judge the cell."""
    from nvnmd.neighbors.cells import face_distances
    from nvnmd.neighbors.slots import MOST_IMAGES

    return bool(np.prod(2.0 * reach / face_distances(h) + 1.0) > MOST_IMAGES)
