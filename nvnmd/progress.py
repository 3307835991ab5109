"""What long work shows while it runs, and how a training is stopped."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from nvnmd.errors import Terminated

Log = Callable[[str], None]
LINE_SECONDS = 10.0
"""Time between two lines of progress where there is no terminal."""
LOOK_SECONDS = 0.5
"""Time between two looks at how far a program of others is."""


class Progress:
    """A bar with the time left on a terminal; where the output is piped, a line now and then.

    Lines go to standard error, so that what is piped stays what it is, and none comes before
    `LINE_SECONDS`.

    Parameters
    ----------
    title : str
        What is being done.
    total : int
        Steps in all.
    done : int
        Steps finished before.
    show : bool or None
        None shows the bar if standard output is a terminal.
    """

    lines = True

    def __init__(self, title: str, total: int, done: int = 0, *, show: bool | None = None) -> None:
        show = sys.stdout.isatty() if show is None else show
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            transient=True,
            disable=not show,
        )
        self._task = self._bar.add_task(title, total=total, completed=done)
        self._title, self._total, self._done, self._told = title, total, done, done
        self._piped = self.lines and not show
        self._said = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *args: Any) -> None:
        self._bar.stop()

    def update(self, done: int) -> None:
        """Tell how many steps are finished."""
        self._done = done
        self._bar.update(self._task, completed=done)
        now = time.monotonic()
        if self._piped and now - self._said >= LINE_SECONDS and done < self._total:
            # from the last lines' pace: the first steps may have compiled something
            left = (now - self._said) * (self._total - done) / max(done - self._told, 1)
            self._said, self._told = now, done
            print(f"{self._title}: {done} of {self._total}, about {spoken_time(left)} left",
                  file=sys.stderr, flush=True)

    def restart(self, total: int) -> Callable[[], None]:
        """Begin anew with another number of steps; returns `tick`."""
        self._total, self._done, self._told = total, 0, 0
        self._said = time.monotonic()
        self._bar.reset(self._task, total=total)
        return self.tick

    def tick(self) -> None:
        """Tell that one more step is finished."""
        self.update(self._done + 1)


    def tell(self, done: int, total: int) -> None:
        """Tell how many steps of how many are finished, where that was not known before."""
        if total != self._total:
            self._total = total
            self._bar.update(self._task, total=total)
        self.update(done)


class TrainingProgress(Progress):
    """That of a training, which prints lines of its own where the output is piped.

    Until the first step is finished it says that something is compiled.
    """

    lines = False

    def __init__(self, title: str, total: int, done: int = 0, *, show: bool | None = None) -> None:
        super().__init__(f"{title}: compiling", total, done, show=show)
        self._name = title

    def update(self, done: int) -> None:
        if self._name:
            self._bar.update(self._task, description=self._name)
            self._name = ""
        super().update(done)


@contextmanager
def counted(title: str) -> Iterator[Callable[[int, int], None]]:
    """A `Progress` whose number of steps the work tells; what is called takes done and total."""
    with Progress(title, 1) as bar:
        yield bar.tell


class _Clock:
    """What `elapsing` shows: how long work takes, or, once its numbers are told, the time left."""

    def __init__(self, title: str, show: bool) -> None:
        self._bar = Bar(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(), TimeRemainingColumn(), transient=True, disable=not show)
        self._task = self._bar.add_task(title, total=None, count="")
        self._lock = threading.Lock()
        self.title = self._title = title
        self._done = self._total = 0
        self._begin = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *args: Any) -> None:
        self._bar.stop()

    def tell(self, title: str, done: int, total: int) -> None:
        """Take the numbers of a part of the work; one without a `total` has a clock alone."""
        with self._lock:
            if title != self._title:
                self._title, self._begin = title, time.monotonic()
                self._bar.reset(self._task, description=title)
            self._done, self._total = done, total
        self._bar.update(self._task, completed=done, total=total or None,
                         count=f"{done}/{total}" if total else "")

    def line(self) -> str:
        """The line for an output that is piped."""
        with self._lock:
            title, done, total = self._title, self._done, self._total
            spent = time.monotonic() - self._begin
        if not 0 < done <= total:
            return f"{title}: {spoken_time(spent)} so far"
        if 50 * done < total:
            # the first of many parts says little of the others
            return f"{title}: {done} of {total}, {spoken_time(spent)} so far"
        left = spoken_time(spent * (total - done) / done)
        return f"{title}: {done} of {total}, about {left} left"


_CLOCKS: list[_Clock] = []


@contextmanager
def elapsing(title: str, *, show: bool | None = None) -> Iterator[None]:
    """Show how long work takes, or the time left while a part of it is `followed`.

    On a terminal a bar; where the output is piped, a line to standard error now and then.
    """
    show = sys.stdout.isatty() if show is None else show
    finished, clock = threading.Event(), _Clock(title, show)

    def say() -> None:
        while not finished.wait(LINE_SECONDS):
            print(clock.line(), file=sys.stderr, flush=True)

    speaker = None if show else threading.Thread(target=say, daemon=True)
    with clock:
        _CLOCKS.append(clock)
        if speaker is not None:
            speaker.start()
        try:
            yield
        finally:
            _CLOCKS.remove(clock)
            finished.set()
            if speaker is not None:
                speaker.join()


@contextmanager
def followed(title: str, measure: Callable[[], tuple[int, int]]) -> Iterator[None]:
    """Measure now and then how far a part of `elapsing` work is, as a program of others.

    Outside of any such work nothing is measured.

    Parameters
    ----------
    title : str
        Of the part, with the unit of its numbers.
    measure : callable
        Gives what is done and how much there is, 0 where that is not known; called in a thread.
    """
    if not _CLOCKS:
        yield
        return
    clock, finished = _CLOCKS[-1], threading.Event()

    def look() -> None:
        while True:
            clock.tell(title, *measure())
            if finished.wait(LOOK_SECONDS):
                return

    looker = threading.Thread(target=look, daemon=True)
    looker.start()
    try:
        yield
    finally:
        finished.set()
        looker.join()
        clock.tell(clock.title, 0, 0)


def spoken_time(seconds: float) -> str:
    """A duration in the two largest units that it has."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    minutes, seconds_left = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {seconds_left} s"
    return f"{minutes // 60} h {minutes % 60} min"


class InterruptFlag:
    """Turns the first Ctrl-C or SIGTERM inside a ``with`` block into a flag: a step ends cleanly.

    A second one interrupts at once. Outside the main thread, where no handler can be set, the flag
    stays down.

    Attributes
    ----------
    raised : bool
        Whether there was one.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.raised = False
        self._terminated = False
        self._previous: dict[int, Any] = {}

    def interrupt(self, message: str) -> KeyboardInterrupt:
        """Return what is to be raised for it."""
        return Terminated(message) if self._terminated else KeyboardInterrupt(message)

    def __enter__(self) -> InterruptFlag:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle)
                              for number in self.SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._put_back()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.raised = True
        self._terminated = number == signal.SIGTERM
        self._put_back()

    def _put_back(self) -> None:
        """Let the handlers of before have the signals again."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}


@contextmanager
def after_last_step(checkpoint: Path) -> Iterator[None]:
    """Tell with an interrupt in this block, which comes after all steps, how to continue."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise type(interrupt)(
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
