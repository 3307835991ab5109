"""Learning rate and loss prefactors over the steps of a training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvnmd.inputs.config import LearningRateConfig, LossConfig
from nvnmd.inputs.loss_terms import limits, starts
from nvnmd.inputs.stairs import settled_stair


@dataclass(frozen=True)
class LearningRate:
    """Exponential decay in stairs: ``start * rate**(step // decay_steps)``, not below `stop`.

    Parameters
    ----------
    config : LearningRateConfig
        `start_lr`, `stop_lr`, `decay_steps`, `decay_rate`.
    numb_steps : int
        Steps of the whole training; without a `decay_rate` the rate is chosen so that it ends at
        `stop_lr`.
    warmup_steps : int
        Steps in which the rate rises from 0 to `start_lr`, before the stairs begin.

    Notes
    -----
    As in DeePMD-kit a stair as long as the training or longer is shortened where no `decay_rate`
    is given, so that the rate gets to `stop_lr`: see `nvnmd.inputs.stairs`.
    """

    config: LearningRateConfig
    numb_steps: int
    warmup_steps: int = 0

    @property
    def stair_steps(self) -> int:
        """Steps of all stairs."""
        return self.numb_steps - self.warmup_steps

    @property
    def decay_steps(self) -> int:
        """Steps of one stair."""
        return settled_stair(self.config, self.stair_steps)

    @property
    def rate(self) -> float:
        """Factor from one stair to the next."""
        if self.config.decay_rate is not None:
            return self.config.decay_rate
        if self.stair_steps == 0 or self.config.start_lr == 0.0:
            return 1.0
        ratio = max(self.config.stop_lr, 1e-10) / self.config.start_lr
        return float(ratio ** (self.decay_steps / self.stair_steps))

    def __call__(self, step: int) -> float:
        """Return the learning rate of the step after `step` finished ones."""
        if step < self.warmup_steps:
            start, factor = self.config.start_lr, self.config.warmup_start_factor
            return start * factor + (1.0 - factor) * start * step / self.warmup_steps
        return self.on_stairs(step)

    def on_stairs(self, step: int) -> float:
        """Return the learning rate without the warm-up; the loss's prefactors follow it."""
        stairs = max(step - self.warmup_steps, 0) // self.decay_steps
        value = self.config.start_lr * self.rate**stairs
        return max(value, min(self.config.stop_lr, self.config.start_lr))


def prefactors(loss: LossConfig, lr: float, start_lr: float) -> NDArray[np.float64]:
    """Return the prefactors of the loss's terms, (6,) in the order of `loss_terms.TERMS`.

    Each goes from its start to its limit in proportion to the learning rate:
    ``limit + (start - limit) * lr / start_lr``.

    Parameters
    ----------
    loss : LossConfig
        Starts and limits.
    lr, start_lr : float
        Learning rate now and at the start.
    """
    share = lr / start_lr if start_lr else 1.0
    start, limit = starts(loss), limits(loss)
    return limit + (start - limit) * share


@dataclass(frozen=True)
class LossSchedule:
    """`prefactors` by step: they follow the learning rate without its warm-up."""

    loss: LossConfig
    rate: LearningRate

    def __call__(self, step: int) -> NDArray[np.float64]:
        """Return the prefactors (6,) of the step after `step` finished ones."""
        return prefactors(self.loss, self.rate.on_stairs(step), self.rate.config.start_lr)
