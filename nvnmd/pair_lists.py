"""The filled slots of a batch as lists of pairs, which the compiled passes of training take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvnmd.batches import Batch


@dataclass(frozen=True)
class PairLists:
    """The `a` rows and `p` neighbour pairs of a batch.

    Attributes
    ----------
    kinds, frames : (a,) int64
        Type of each row, ascending; its frame, one too many in rows without an atom.
    blocks : (blocks + 1,) int64
        First pair of each block of slots, and the end: a block per type in version 0, one in 1.
    begin, counts : (a, blocks) int64
        First pair of each row in each block, and how many there are.
    centers, neighbors : (p,) int64
        The rows of each pair.
    rij : (p, 3) float64
        Displacements in Å.
    """

    kinds: NDArray[np.int64]
    frames: NDArray[np.int64]
    blocks: NDArray[np.int64]
    begin: NDArray[np.int64]
    counts: NDArray[np.int64]
    centers: NDArray[np.int64]
    neighbors: NDArray[np.int64]
    rij: NDArray[np.float64]


def pair_lists(batch: Batch) -> PairLists:
    """Take the filled slots of a batch, block by block and in it row by row."""
    layout = batch.layout
    rows = sum(layout.atoms)
    filled = batch.index < rows
    stops = np.cumsum(layout.slots)
    parts = [slice(stop - width, stop) for stop, width in zip(stops, layout.slots, strict=True)]
    counts = np.stack([filled[:, part].sum(axis=1) for part in parts], axis=1)
    blocks = np.concatenate([[0], np.cumsum(counts.sum(axis=0))])
    # masks pick row by row, so each block's pairs come in the order of their centres
    neighbors = np.concatenate([batch.index[:, part][filled[:, part]] for part in parts])
    return PairLists(
        kinds=np.repeat(np.arange(len(layout.atoms)), layout.atoms),
        frames=batch.frame.astype(np.int64),
        blocks=blocks,
        begin=blocks[:-1] + np.cumsum(counts, axis=0) - counts,
        counts=counts,
        centers=np.concatenate([np.repeat(np.arange(rows), counts[:, t])
                                for t in range(len(parts))]),
        neighbors=neighbors.astype(np.int64),
        rij=np.concatenate([batch.rij[:, part][filled[:, part]] for part in parts]),
    )
