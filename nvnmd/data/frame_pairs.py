"""Neighbour pairs of the frames of several systems, found once and kept while they fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nvnmd.data.systems import System
from nvnmd.errors import InputError, NeighborOverflowError
from nvnmd.neighbors.slots import Neighborhood, Overflow, build_neighborhood

# Neighbour pairs kept in memory; beyond this they are found again when a frame is drawn.
_CACHE_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class FramePairs:
    """The filled slots of one frame, as lists of pairs.

    Attributes
    ----------
    order, types : (n,) int64
        Input index of each atom sorted by type; these types.
    counts : (n, blocks) int64
        Neighbours per sorted atom and block of slots: per type in version 0, one block in 1.
    center, neighbor : (p,) int32
        Sorted atoms of each pair.
    kind, place : (p,) int32
        Block of slots, and place in it.
    rij : (p, 3) float64
        Displacements in Å.
    """

    order: NDArray[np.int64]
    types: NDArray[np.int64]
    counts: NDArray[np.int64]
    center: NDArray[np.int32]
    neighbor: NDArray[np.int32]
    kind: NDArray[np.int32]
    place: NDArray[np.int32]
    rij: NDArray[np.float64]

    @classmethod
    def of(cls, near: Neighborhood) -> FramePairs:
        """Take the filled slots of a neighbourhood."""
        center, slot = np.nonzero(near.mask)
        block, counts = near.slot_types, near.counts
        if (block < 0).all():
            # All types share the slots.
            block, counts = np.zeros_like(block), counts.sum(axis=1, keepdims=True)
        kind = block[slot]
        first = np.searchsorted(block, np.arange(counts.shape[1]))
        return cls(
            order=near.order,
            types=near.center_types,
            counts=counts,
            center=center.astype(np.int32),
            neighbor=near.index[center, slot],
            kind=kind.astype(np.int32),
            place=(slot - first[kind]).astype(np.int32),
            rij=near.rij[center, slot],
        )

    @property
    def nbytes(self) -> int:
        """Memory taken, in bytes, with `mates`."""
        return (self.rij.nbytes + 20 * len(self.rij) + self.counts.nbytes + self.order.nbytes
                + self.types.nbytes)

    @cached_property
    def mates(self) -> NDArray[np.int32]:
        """The other side of each pair; see `nvnmd.data.pair_mates`, which needs numba."""
        from nvnmd.data.pair_mates import pair_mates

        return pair_mates(self.types, self.counts, self.center, self.neighbor, self.kind, self.rij)


class NeighborCache:
    """Neighbour pairs of the frames of several systems, found once and kept while they fit.

    Parameters
    ----------
    systems : sequence of System
        The data.
    sel : sequence of int
        Slots per neighbour type; one number if all types share them.
    rcut : float
        Cut-off in Å.
    type_map : sequence of str
        Element names.
    overflow : {"error", "truncate"}
        See `build_neighborhood`.
    shared : bool
        Whether all types share the slots (version 1).
    exclude : sequence of pairs of int
        Types that are no neighbours of each other.
    """

    def __init__(
        self,
        systems: Sequence[System],
        sel: Sequence[int],
        rcut: float,
        type_map: Sequence[str],
        *,
        overflow: Overflow = "error",
        shared: bool = False,
        exclude: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.shared, self.exclude = shared, tuple(exclude)
        self.systems, self.sel, self.rcut = systems, tuple(sel), rcut
        self.type_map, self.overflow = tuple(type_map), overflow
        self.dropped: dict[tuple[int, int], int] = {}
        self._kept: dict[tuple[int, int], FramePairs] = {}
        self._bytes = 0

    @property
    def ntypes(self) -> int:
        """Number of atom types."""
        return len(self.type_map)

    def pairs(self, system: int, frame: int) -> FramePairs:
        """Return the pairs of one frame.

        Raises
        ------
        InputError, NeighborOverflowError
            As `build_neighborhood` does, with the system and the frame named.
        """
        key = (system, frame)
        if key in self._kept:
            return self._kept[key]
        data = self.systems[system]
        try:
            near = build_neighborhood(
                data.coord[frame],
                data.cell(frame),
                data.types,
                self.sel,
                self.rcut,
                overflow=self.overflow,
                type_names=self.type_map,
                ntypes=self.ntypes if self.shared else None,
                exclude=self.exclude,
            )
        except (InputError, NeighborOverflowError) as error:
            raise type(error)(f"{data.path}: frame {data.number(frame)}: {error}") from None
        if near.dropped:
            self.dropped[key] = near.dropped
        found = FramePairs.of(near)
        if self._bytes + found.nbytes <= _CACHE_BYTES:
            self._kept[key] = found
            self._bytes += found.nbytes
        return found


def largest_counts(
    cache: NeighborCache, progress: Callable[[int, int], None] | None = None
) -> NDArray[np.int64]:
    """Return the most neighbours of each block of slots that any atom of any frame has."""
    largest = np.zeros(len(cache.sel), dtype=np.int64)
    total = sum(system.nframes for system in cache.systems)
    done = 0
    for k, system in enumerate(cache.systems):
        for frame in range(system.nframes):
            largest = np.maximum(largest, cache.pairs(k, frame).counts.max(axis=0))
            done += 1
            if progress is not None:
                progress(done, total)
    return largest
