"""How many neighbours the atoms of some data have, and their smallest distance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvnmd.data.systems import System
from nvnmd.errors import InputError
from nvnmd.neighbors.slots import Neighborhood, build_neighborhood

# Slots per type to begin with; doubled for a frame that needs more
_SLOTS = 256


@dataclass(frozen=True, kw_only=True)
class NeighborStat:
    """Neighbour counts of some data.

    Attributes
    ----------
    most : (ntypes,) int64
        Most neighbours of each type that an atom has.
    most_in_all : int
        Most neighbours of any type that an atom has.
    nearest : float
        Smallest distance of two atoms in Å; infinity where no two are within the cut-off.
    """

    most: NDArray[np.int64]
    most_in_all: int
    nearest: float


def neighbor_stat(systems: Sequence[System], ntypes: int, rcut: float,
                  progress: Callable[[int, int], None] | None = None) -> NeighborStat:
    """Go through all frames, with the neighbour lists of the training.

    Parameters
    ----------
    systems : sequence of System
        The data.
    ntypes : int
        Number of atom types.
    rcut : float
        Cut-off in Å.
    progress : callable, optional
        Called with the frames done and the frames in all.

    Raises
    ------
    InputError
        A frame is not usable; system and frame are named.
    """
    most, in_all, nearest = np.zeros(ntypes, dtype=np.int64), 0, np.inf
    done, total = 0, sum(system.nframes for system in systems)
    for system in systems:
        for frame in range(system.nframes):
            near = all_neighbors(system, frame, ntypes, rcut)
            most = np.maximum(most, near.counts.max(axis=0))
            in_all = max(in_all, int(near.counts.sum(axis=1).max()))
            filled = near.rij[near.mask]
            if len(filled):
                nearest = min(nearest, float(np.sqrt((filled**2).sum(axis=1).min())))
            done += 1
            if progress is not None:
                progress(done, total)
    return NeighborStat(most=most, most_in_all=in_all, nearest=nearest)


def all_neighbors(system: System, frame: int, ntypes: int, rcut: float) -> Neighborhood:
    """List every neighbour of a frame, however many there are.

    Raises
    ------
    InputError
        The frame is not usable; system and frame are named.
    """
    slots = _SLOTS
    while True:
        try:
            near = build_neighborhood(system.coord[frame], system.cell(frame), system.types,
                                      [slots] * ntypes, rcut, overflow="truncate")
        except InputError as error:
            raise InputError(f"{system.path}: frame {system.number(frame)}: {error}") from None
        if not near.dropped:
            return near
        slots *= 2


def auto_sel(found: NeighborStat, factor: float, version: int) -> tuple[int, ...]:
    """Return slots for the neighbours found, `factor` times as many, in multiples of 4.

    One number per type in version 0; in version 1 one for all types.
    """
    counts = found.most.tolist() if version == 0 else [found.most_in_all]
    # a product like 20 * 1.1 is meant as 22, not as the 22.000000000000004 that binary64 makes
    return tuple(max(4, 4 * math.ceil(math.ceil(round(n * factor, 9)) / 4)) for n in counts)
