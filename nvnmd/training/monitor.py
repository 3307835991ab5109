"""What watches a training beside its learning curve: nothing, or TensorFlow's log and profiler."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from nvnmd.inputs.config import TrainingConfig


class Monitor(Protocol):
    """Told of every step; a context, so that what it keeps open is closed."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *reason: object) -> None: ...

    def begin(self, step: int) -> None:
        """A step begins after `step` finished ones."""

    def end(self, step: int) -> None:
        """It is finished, as number `step`."""

    def due(self, step: int) -> bool:
        """Whether the errors after this step are wanted."""

    def write(self, part: str, step: int, names: Sequence[str],
              values: NDArray[np.float64]) -> None:
        """Keep the errors of a part, ``"train"`` or ``"test"``."""


class NoMonitor:
    """Watches nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        pass

    def begin(self, step: int) -> None:
        pass

    def end(self, step: int) -> None:
        pass

    def due(self, step: int) -> bool:
        return False

    def write(self, part: str, step: int, names: Sequence[str],
              values: NDArray[np.float64]) -> None:
        pass


def monitor_of(settings: TrainingConfig, folder: Path, begin: int, chief: bool) -> Monitor:
    """Return what the input document asks for; only the chief of several workers watches.

    Parameters
    ----------
    settings : TrainingConfig
        `tensorboard`, `profiling` and so on.
    folder : Path
        The command's output folder.
    begin : int
        Steps finished before.
    chief : bool
        Whether this process writes files.
    """
    asked = settings.tensorboard or settings.profiling or settings.enable_profiler
    if not asked or not chief or begin >= settings.numb_steps:
        return NoMonitor()
    from nvnmd.training.tf_monitor import TfMonitor

    return TfMonitor(settings, folder, begin)
