"""What a training shows while it runs, and how it is stopped."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Log = Callable[[str], None]


class TrainingProgress:
    """A progress bar on a terminal; nothing where the output is piped.

    Parameters
    ----------
    title : str
        What is being done.
    total : int
        Steps of the whole training.
    done : int
        Steps finished before.
    show : bool or None
        None shows the bar if standard output is a terminal.
    """

    def __init__(self, title: str, total: int, done: int = 0, *, show: bool | None = None) -> None:
        show = sys.stdout.isatty() if show is None else show
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            transient=True,
            disable=not show,
        )
        self._task = self._bar.add_task(title, total=total, completed=done)

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(self, *args: Any) -> None:
        self._bar.stop()

    def update(self, done: int) -> None:
        """Tell how many steps are finished."""
        self._bar.update(self._task, completed=done)


class InterruptFlag:
    """Turns the first Ctrl-C inside a ``with`` block into a flag, so that a step ends cleanly.

    A second Ctrl-C interrupts at once. Outside the main thread, where no handler can be set,
    the flag stays down.
    """

    def __init__(self) -> None:
        self.raised = False
        self._previous: Any = None

    def __enter__(self) -> InterruptFlag:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.raised = True
        signal.signal(signal.SIGINT, self._previous)


@contextmanager
def after_last_step(checkpoint: Path) -> Iterator[None]:
    """Tell with an interrupt in this block, which comes after all steps, how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted after the last step; to continue: --restart {checkpoint}") from None


class StepTimer:
    """Wall time per step between two readings."""

    def __init__(self, step: int) -> None:
        self._step, self._time = step, time.monotonic()

    def read(self, step: int) -> float:
        """Return seconds per step since the last reading (0 if there was no step)."""
        now, steps = time.monotonic(), step - self._step
        seconds = (now - self._time) / steps if steps else 0.0
        self._step, self._time = step, now
        return seconds
