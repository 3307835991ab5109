"""How long a stair of the learning rate is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from nvnmd.inputs.config import LearningRateConfig, TrainingConfig


def settled_stair(rate: LearningRateConfig, steps: int) -> int:
    """Return the steps of one stair in a training of `steps` steps after its warm-up.

    They are `decay_steps` where that is shorter than the training, or where a `decay_rate` says
    how much a stair of that length takes off. Else they are 100 in a training above 1000 steps,
    and a hundredth of a shorter one and one more.
    """
    if rate.decay_rate is not None or rate.decay_steps < steps:
        return rate.decay_steps
    return 100 if steps // 10 > 100 else steps // 100 + 1


def settle_stair(rate: LearningRateConfig, given: dict[str, Any], training: TrainingConfig,
                 source: str, warn: Callable[[str], None]) -> LearningRateConfig:
    """Return the learning rate with the stair that is used.

    Parameters
    ----------
    rate : LearningRateConfig
        As the document has it.
    given : dict
        The document's section, without defaults.
    training : TrainingConfig
        With the steps of the run.
    source : str
        The document's name.
    warn : callable
        Takes a line that names the stair used, where another is given.
    """
    steps = training.numb_steps - training.warmup_steps
    stair = settled_stair(rate, steps)
    if "decay_steps" in given and stair != rate.decay_steps and steps:
        warn(f"{source}: learning_rate/decay_steps: {rate.decay_steps} is not below the {steps} "
             f"steps of the decay, so {stair} is used, as by DeePMD-kit; a decay_rate would keep "
             "it")
    return replace(rate, decay_steps=stair)
