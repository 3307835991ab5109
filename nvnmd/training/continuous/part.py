"""A part of the data, training or validation, as batches of the continuous stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nvnmd.data.frame_pairs import NeighborCache
from nvnmd.data.system import System
from nvnmd.training.continuous.batches import Batch, make_layouts, pack
from nvnmd.training.mixed_batches import FrameDraws
from nvnmd.training.workers import Place

if TYPE_CHECKING:
    from nvnmd.training.continuous.pair_lists import PairBatch


class Part:
    """A part of the data with its sampler and layouts.

    Parameters
    ----------
    systems : sequence of System
        The data.
    batch_sizes : sequence of int
        Frames per batch of each system.
    cache : NeighborCache
        The neighbours of their frames.
    slots : (types,) array of int
        Slots per neighbour type in the layouts.
    seed, auto_prob, sys_probs, place, merged
        See `FrameDraws`.
    listed : bool
        Whether batches are those of the compiled passes.
    """

    def __init__(
        self,
        systems: Sequence[System],
        batch_sizes: Sequence[int],
        cache: NeighborCache,
        slots: NDArray[np.int64],
        seed: int | None,
        auto_prob: str,
        sys_probs: Sequence[float] | None,
        place: Place = Place(),  # noqa: B008
        merged: bool = False,
        *,
        listed: bool,
    ) -> None:
        self.cache, self.listed = cache, listed
        self.frames = FrameDraws(systems, batch_sizes, seed, place, merged=merged,
                                 auto_prob=auto_prob, sys_probs=sys_probs)
        self.layouts = make_layouts(systems, self.frames.sizes, slots.tolist(),
                                    ntypes=cache.ntypes, mates=self.frames.mates)
        self.sampler = self.frames.sampler

    def draw(self) -> Batch | PairBatch:
        """Return the next batch."""
        which, frames = self.frames()
        if self.listed:
            from nvnmd.training.continuous.pair_lists import pack_pairs

            return pack_pairs(self.cache, which, frames)
        return pack(self.cache, which, frames, self.layouts[which[0]])
