"""Which system and which of its frames make the next batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nvnmd.data.probability import BY_SIZE, system_probabilities


class BatchSampler:
    """Draws batches: a system by its probability, its frames in shuffled order.

    Parameters
    ----------
    nframes : sequence of int
        Frames of each system.
    batch_sizes : sequence of int
        Frames per batch, per system.
    seed : int or None
        Seed of the drawing; None takes one from the operating system.
    auto_prob, sys_probs
        How often each system is drawn; see `nvnmd.data.probability.system_probabilities`.
    copies : sequence of (n,) array or None, optional
        Of each system, how often each frame is drawn in one pass over it; None for once. As in
        DeePMD-kit a system's number of batches does not depend on it.

    Attributes
    ----------
    weight : float
        What the last batch counts beside those of other workers; see `nvnmd.training.workers`.
    """

    weight = 1.0

    def __init__(
        self,
        nframes: Sequence[int],
        batch_sizes: Sequence[int],
        seed: int | None,
        *,
        auto_prob: str = BY_SIZE,
        sys_probs: Sequence[float] | None = None,
        copies: Sequence[NDArray[np.int64] | None] | None = None,
    ) -> None:
        self._passes = [np.arange(n) if copied is None else np.repeat(np.arange(n), copied)
                        for n, copied in zip(nframes, copies or [None] * len(nframes), strict=True)]
        self.batch_sizes = [min(s, n, len(order)) for s, n, order
                            in zip(batch_sizes, nframes, self._passes, strict=True)]
        batches = [n // s for n, s in zip(nframes, self.batch_sizes, strict=True)]
        self.probability = system_probabilities(batches, auto_prob, sys_probs)
        self.rng = np.random.Generator(np.random.PCG64(seed))
        self.orders = [self._shuffled(system) for system in range(len(nframes))]
        self.used = [0] * len(nframes)

    def draw(self) -> tuple[int, NDArray[np.int64]]:
        """Return a system and the frames of its next batch."""
        system = 0
        if len(self.orders) > 1:
            system = int(self.rng.choice(len(self.orders), p=self.probability))
        size = self.batch_sizes[system]
        if self.used[system] + size > len(self.orders[system]):
            self.orders[system] = self._shuffled(system)
            self.used[system] = 0
        start = self.used[system]
        self.used[system] = start + size
        return system, self.orders[system][start : start + size]

    def _shuffled(self, system: int) -> NDArray[np.int64]:
        """Return the frames of one pass over a system in a new order."""
        frames = self._passes[system]
        return frames[self.rng.permutation(len(frames))]

    def state(self) -> dict:
        """Return what `restore` needs, as plain values that JSON can hold."""
        return {
            "rng": self.rng.bit_generator.state,
            "orders": [order.tolist() for order in self.orders],
            "used": list(self.used),
        }

    def restore(self, state: dict) -> None:
        """Continue from a state that `state` gave.

        Raises
        ------
        ValueError
            The state belongs to other data.
        """
        lengths = [len(order) for order in state["orders"]]
        if lengths != [len(order) for order in self.orders]:
            raise ValueError(
                f"it was written for systems of {lengths} frames, "
                f"these have {[len(order) for order in self.orders]}"
            )
        self.rng.bit_generator.state = state["rng"]
        self.orders = [np.array(order, dtype=np.int64) for order in state["orders"]]
        self.used = list(state["used"])
