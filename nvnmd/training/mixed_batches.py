"""Batches whose frames differ in composition: which frames may meet, and how they are drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nvnmd.data.mixed import pools
from nvnmd.data.probability import BY_SIZE
from nvnmd.data.systems import System
from nvnmd.training.workers import Place, sampler_of, share_sizes

# With single frames per batch, up to this many compositions are packed each to its own measure.
_DISTINCT = 4


def batch_mates(
    systems: Sequence[System], batch_sizes: Sequence[int], merged: bool = False
) -> tuple[list[list[int]], list[int]]:
    """Say what the batches that hold frames of a system are like.

    Parameters
    ----------
    systems : sequence of System
        The data.
    batch_sizes : sequence of int
        Frames per batch, for each system that was read (see `nvnmd.data.mixed.pools`).
    merged : bool
        Whether every frame of a batch may be from any system.

    Returns
    -------
    mates : list of lists of int
        For every system those whose frames may be in one batch with its own.
    sizes : list of int
        For every system the frames of such a batch.
    """
    mates: list[list[int]] = []
    sizes: list[int] = []
    for pool, size in zip(pools(systems), batch_sizes, strict=True):
        frames = size if merged else min(size, sum(systems[part].nframes for part in pool))
        sizes += [frames] * len(pool)
        if merged:
            mates += [list(range(len(systems)))] * len(pool)
        else:
            alone = frames == 1 and len(pool) <= _DISTINCT
            mates += [[part] if alone else pool for part in pool]
    return mates, sizes


class FrameDraws:
    """Draws the frames of a batch as pairs of a system and a frame of it.

    Parameters
    ----------
    systems : sequence of System
        The data.
    batch_sizes : sequence of int
        Frames per batch of each worker, for each system that was read.
    seed : int or None
        See `BatchSampler`.
    place : Place
        Which worker's share to draw.
    merged : bool
        Whether every frame of a batch is drawn from any system.
    auto_prob, sys_probs
        See `BatchSampler`.

    Attributes
    ----------
    sampler : BatchSampler
        Draws from the systems that were read.
    mates, sizes
        See `batch_mates`.
    """

    def __init__(
        self,
        systems: Sequence[System],
        batch_sizes: Sequence[int],
        seed: int | None,
        place: Place,
        *,
        merged: bool = False,
        auto_prob: str = BY_SIZE,
        sys_probs: Sequence[float] | None = None,
    ) -> None:
        self._frames: list[NDArray[np.int64]] = []
        copies: list[NDArray[np.int64] | None] = []
        for pool in pools(systems):
            pairs = [
                (systems[part].number(k), part, k)
                for part in pool
                for k in range(systems[part].nframes)
            ]
            # in the order of the files
            self._frames.append(np.array(sorted(pairs), dtype=np.int64)[:, 1:])
            copies.append(_copies(systems, self._frames[-1]))
        nframes = [len(pairs) for pairs in self._frames]
        # frames that are drawn never make no batch
        if not merged:
            batch_sizes = [size if copied is None else min(size, int(copied.sum()))
                           for size, copied in zip(batch_sizes, copies, strict=True)]
        # of merged batches every frame is a draw of its own
        self._draws, self._share = (batch_sizes[0] if merged else 1), 1.0 / place.count
        drawn = [1] * len(nframes) if merged else batch_sizes
        self.sampler = sampler_of(
            nframes, drawn, seed, place, auto_prob=auto_prob, sys_probs=sys_probs, copies=copies
        )
        sizes = batch_sizes if merged else share_sizes(nframes, batch_sizes, place.count)
        self.mates, self.sizes = batch_mates(systems, sizes, merged)

    def __call__(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the systems (f,) and frames (f,) of the next batch."""
        drawn = [self.sampler.draw() for _ in range(self._draws)]
        if self._draws > 1:
            self.sampler.weight = self._share
        pairs = np.concatenate([self._frames[pool][chosen] for pool, chosen in drawn])
        return pairs[:, 0], pairs[:, 1]


def _copies(systems: Sequence[System], pairs: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return how often each pair of a system and a frame is drawn; None for once each."""
    if systems[pairs[0, 0]].copies is None:
        return None
    found = []
    for part, frame in pairs.tolist():
        copies = systems[part].copies
        found.append(1 if copies is None else copies[frame])
    return np.array(found, dtype=np.int64)
