"""Learning rate and loss prefactors over the steps of a training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvnmd.config import LearningRateConfig, LossConfig


@dataclass(frozen=True)
class LearningRate:
    """Exponential decay in stairs: ``start * rate**(step // decay_steps)``, not below `stop`.

    Parameters
    ----------
    config : LearningRateConfig
        `start_lr`, `stop_lr`, `decay_steps`.
    numb_steps : int
        Steps of the whole training; the rate is chosen so that it ends at `stop_lr`.

    Notes
    -----
    As in DeePMD-kit a stair as long as the training or longer is shortened: to 100 steps in
    trainings above 1000 steps, else to a hundredth of the training and one.
    """

    config: LearningRateConfig
    numb_steps: int

    @property
    def decay_steps(self) -> int:
        """Steps of one stair."""
        if self.config.decay_steps < self.numb_steps:
            return self.config.decay_steps
        return 100 if self.numb_steps // 10 > 100 else self.numb_steps // 100 + 1

    @property
    def rate(self) -> float:
        """Factor from one stair to the next."""
        if self.numb_steps == 0 or self.config.start_lr == 0.0:
            return 1.0
        ratio = max(self.config.stop_lr, 1e-10) / self.config.start_lr
        return float(ratio ** (self.decay_steps / self.numb_steps))

    def __call__(self, step: int) -> float:
        """Return the learning rate of the step after `step` finished ones."""
        value = self.config.start_lr * self.rate ** (step // self.decay_steps)
        return max(value, min(self.config.stop_lr, self.config.start_lr))


def prefactors(loss: LossConfig, lr: float, start_lr: float) -> NDArray[np.float64]:
    """Return the prefactors of energy, force and virial, (3,).

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
    start = np.array([loss.start_pref_e, loss.start_pref_f, loss.start_pref_v])
    limit = np.array([loss.limit_pref_e, loss.limit_pref_f, loss.limit_pref_v])
    return limit + (start - limit) * share
