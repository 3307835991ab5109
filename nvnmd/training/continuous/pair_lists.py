"""Batches for the compiled passes of training: frames as lists of pairs, a few frames at a time.

Two atoms of one type see each other at the same s, and so with the same G: the pair is listed
once and serves both. Listed pairs stand in whole tiles
(`nvnmd.training.continuous.embedding_kernels`), each of one net. Needs numba.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvnmd.compiling import njit
from nvnmd.data.frame_pairs import FramePairs, NeighborCache
from nvnmd.training.continuous.batches import Labels, labelled_rows
from nvnmd.training.continuous.embedding_kernels import TILE

# Frames go through the passes together until they have this many atoms. Every part costs some
# milliseconds that do not depend on its size, and memory grows with it.
PART_ATOMS = 1024


@dataclass(frozen=True, kw_only=True)
class PairLists:
    """The `a` atoms of some frames, their `n` neighbours and `p` listed pairs.

    Attributes
    ----------
    kinds, frames : (a,) int64
        Type of each atom, ascending; its frame.
    blocks : (blocks + 1,) int64
        First pair of each embedding net, and the end, multiples of `TILE`: one block per neighbour
        type in version 0, one in 1.
    begin, counts : (a, blocks) int64
        Where the neighbours of each atom begin in `slots`, and how many there are, per block.
    slots : (n,) int64
        The pair of each neighbour; ``~pair`` for the second atom of a shared pair.
    centers, neighbors : (p,) int64
        The atoms of each pair; -1 where there is none.
    shared : (p,) bool
        Whether the pair serves both atoms.
    rij : (p, 3) float64
        Displacements in Å.
    gain_of : (p,) int64
        Types of both atoms, ``centre * ntypes + neighbour``.
    """

    kinds: NDArray[np.int64]
    frames: NDArray[np.int64]
    blocks: NDArray[np.int64]
    begin: NDArray[np.int64]
    counts: NDArray[np.int64]
    slots: NDArray[np.int64]
    centers: NDArray[np.int64]
    neighbors: NDArray[np.int64]
    shared: NDArray[np.bool_]
    rij: NDArray[np.float64]
    gain_of: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class PairPart(Labels):
    """Some frames of a batch with their labels.

    Attributes
    ----------
    share : float
        How much of the batch's frames they are.
    pairs : PairLists
        Atoms and neighbours.
    """

    share: float
    pairs: PairLists


@dataclass(frozen=True)
class PairBatch:
    """A batch in parts.

    Attributes
    ----------
    natoms : float
        Atoms of one frame, in the mean.
    known : (6,) float64
        See `nvnmd.training.continuous.batches.Labels`.
    parts : list of PairPart
        Its frames.
    """

    natoms: float
    known: NDArray[np.float64]
    parts: list[PairPart]


def pack_pairs(
    cache: NeighborCache,
    system: int | Sequence[int] | NDArray[np.int64],
    frames: Sequence[int] | NDArray[np.int64],
) -> PairBatch:
    """Pack frames into a batch for the compiled passes.

    Parameters
    ----------
    cache : NeighborCache
        Data and neighbours.
    system : int or (f,) sequence of int
        Which system, or which one for each frame.
    frames : (f,) sequence of int
        Which frames.
    """
    which = np.broadcast_to(np.asarray(system), len(frames)).tolist()
    natoms = [cache.systems[one].natoms for one in which]
    parts, begin = [], 0
    for end in range(1, len(which) + 1):
        if end == len(which) or sum(natoms[begin:end]) >= PART_ATOMS:
            parts.append(_part(cache, which[begin:end], frames[begin:end], len(which)))
            begin = end
    known = np.min([part.known for part in parts], axis=0)
    return PairBatch(sum(natoms) / len(natoms), known, parts)


def _part(
    cache: NeighborCache, which: list[int], frames: Sequence[int] | NDArray[np.int64], of: int
) -> PairPart:
    """Some frames of a batch of `of`."""
    counts = np.sum([np.bincount(cache.systems[one].types, minlength=cache.ntypes)
                     for one in which], axis=0)
    labels, rows = labelled_rows(cache, which, frames, counts, len(which))
    near = [cache.pairs(one, int(frame)) for one, frame in zip(which, frames, strict=True)]
    kinds = np.repeat(np.arange(cache.ntypes), counts)
    return PairPart(**labels, share=len(which) / of,
                    pairs=pair_lists(near, rows, kinds, labels["frame"], cache.ntypes))


def pair_lists(
    near: Sequence[FramePairs],
    rows: Sequence[NDArray[np.int64]],
    kinds: NDArray[np.int64],
    frame: NDArray[np.int32],
    ntypes: int,
) -> PairLists:
    """List the pairs of some frames.

    Parameters
    ----------
    near : sequence of FramePairs
        Neighbours of each frame.
    rows : sequence of (n,) int64
        Row of each atom of each frame.
    kinds, frame : (a,)
        Type and frame of each row.
    ntypes : int
        Number of types.
    """
    width = near[0].counts.shape[1]
    mates = [one.mates for one in near]
    listed = np.zeros(width, dtype=np.int64)
    for one, mate in zip(near, mates, strict=True):
        _count(one.kind, mate, listed)
    blocks = np.concatenate([[0], np.cumsum(-(-listed // TILE) * TILE)])
    size, free = int(blocks[-1]), blocks[:-1].copy()
    begin, counts = np.zeros((2, len(kinds), width), dtype=np.int64)
    slots = np.empty(sum(len(one.kind) for one in near), dtype=np.int64)
    centers, neighbors = np.full((2, size), -1)
    shared, rij = np.zeros(size, dtype=np.bool_), np.zeros((size, 3))
    gain_of = np.zeros(size, dtype=np.int64)
    start = 0
    for one, mate, row in zip(near, mates, rows, strict=True):
        counts[row] = one.counts
        ends = np.cumsum(one.counts).reshape(one.counts.shape)
        begin[row] = start + ends - one.counts
        _list(start, row, one.center, one.neighbor, one.kind, mate, one.rij, kinds, ntypes, free,
              slots, centers, neighbors, shared, rij, gain_of)
        start += len(one.kind)
    return PairLists(kinds=kinds, frames=frame.astype(np.int64), blocks=blocks, begin=begin,
                     counts=counts, slots=slots, centers=centers, neighbors=neighbors,
                     shared=shared, rij=rij, gain_of=gain_of)


@njit(cache=True)
def _count(kind, mate, listed):
    """Count the pairs to be listed of each block."""
    for p in range(len(kind)):
        if mate[p] < 0 or p < mate[p]:
            listed[kind[p]] += 1


@njit(cache=True)
def _list(start, row, center, neighbor, kind, mate, near, kinds, ntypes, free, slots, centers,
          neighbors, shared, rij, gain_of):
    """List the pairs of one frame; `free` is the next place of each block."""
    for p in range(len(kind)):
        if 0 <= mate[p] < p:
            slots[start + p] = ~slots[start + mate[p]]
            continue
        at = free[kind[p]]
        free[kind[p]] += 1
        one, other = row[center[p]], row[neighbor[p]]
        slots[start + p], centers[at], neighbors[at] = at, one, other
        shared[at] = mate[p] >= 0
        gain_of[at] = kinds[one] * ntypes + kinds[other]
        for a in range(3):
            rij[at, a] = near[p, a]
