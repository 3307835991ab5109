"""TensorBoard's log and TensorFlow's profiler in a training.

Nothing here deletes: a log gets a new file of its own beside what its folder holds.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nvnmd.atomic_file import atomic_write
from nvnmd.errors import InputError, NvnmdError
from nvnmd.inputs.config import TrainingConfig
from nvnmd.quantize.tensorflow.runtime import tf

# Steps that a profile shows, after the first, which compiles
PROFILED = 20


class TfMonitor:
    """Writes what `nvnmd.training.monitor.Monitor` is told, as `settings` say.

    Parameters
    ----------
    settings : TrainingConfig
        `tensorboard`, `tensorboard_log_dir`, `tensorboard_freq`; `profiling`, `profiling_file`;
        `enable_profiler`.
    folder : Path
        The command's output folder.
    begin : int
        Steps finished before; fewer than there will be.

    Raises
    ------
    InputError
        `tensorboard_log_dir` cannot be written to.
    """

    def __init__(self, settings: TrainingConfig, folder: Path, begin: int) -> None:
        self.settings, self.folder = settings, folder
        self.log = folder / settings.tensorboard_log_dir
        if settings.tensorboard or settings.enable_profiler:
            _check_writable(self.log)
        last = settings.numb_steps
        self._first = min(begin + 1, last - 1)
        self._last = min(self._first + PROFILED, last)
        self._profiles = settings.profiling or settings.enable_profiler
        self._writers: dict[str, Any] = {}
        self._profile: Path | None = None
        self._step: Any = None
        self._calls: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        self._stop()
        for writer in self._writers.values():
            writer.close()

    def begin(self, step: int) -> None:
        """Start the profiler where its steps begin."""
        if self._profiles and step == self._first:
            keep = self.settings.enable_profiler
            self._profile = self.log if keep else Path(tempfile.mkdtemp(prefix="nvnmd-profile-"))
            tf.profiler.experimental.start(str(self._profile))
            self._calls = Calls()
        if self._profile is not None:
            self._step = tf.profiler.experimental.Trace("train", step_num=step + 1, _r=1)
            self._step.__enter__()

    def end(self, step: int) -> None:
        """Stop it where they end."""
        if self._step is not None:
            self._step.__exit__(None, None, None)
            self._step = None
        if step == self._last:
            self._stop()

    def due(self, step: int) -> bool:
        """Whether the log takes the errors after this step."""
        return self.settings.tensorboard and step % self.settings.tensorboard_freq == 0

    def write(self, part: str, step: int, names: Sequence[str],
              values: NDArray[np.float64]) -> None:
        """Write one point of each curve."""
        if not self.settings.tensorboard:
            return
        if part not in self._writers:
            self._writers[part] = tf.summary.create_file_writer(str(self.log / part))
        with self._writers[part].as_default():
            for name, value in zip(names, values, strict=True):
                tf.summary.write(name, tf.constant(value, tf.float32), step, _scalar())
        self._writers[part].flush()

    def _stop(self) -> None:
        if self._profile is None:
            return
        folder, self._profile = self._profile, None
        calls, self._calls = self._calls, None
        calls.stop()
        tf.profiler.experimental.stop()
        if self.settings.profiling:
            name = Path(self.settings.profiling_file).name
            with atomic_write(self.folder / name) as file:
                trace = chrome_trace(newest_profile(folder), calls.events)
                file.write(json.dumps(trace).encode())
        if not self.settings.enable_profiler:
            shutil.rmtree(folder)


def _check_writable(folder: Path) -> None:
    """Make a folder; raise InputError where that is not possible or it takes no files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"training/tensorboard_log_dir: {folder} cannot be written to "
                         f"({error.strerror}), expected a folder") from None


def _scalar() -> Any:
    """What tells TensorBoard that a value is a point of a curve."""
    metadata = tf.compat.v1.SummaryMetadata()
    metadata.plugin_data.plugin_name = "scalars"
    metadata.data_class = 1
    return metadata


def newest_profile(folder: Path) -> Path:
    """Return the newest profile below a log folder.

    Raises
    ------
    NvnmdError
        There is none.
    """
    found = sorted(folder.glob("plugins/profile/*/*.xplane.pb"), key=lambda p: p.stat().st_mtime_ns)
    if not found:
        raise NvnmdError(f"{folder}: TensorFlow's profiler wrote nothing")
    return found[-1]


class Calls:
    """Records this thread's calls of this package's functions, from now on.

    Compiled passes are no operations of TensorFlow, whose profiler does not see them.

    Attributes
    ----------
    events : list of (name, start, length)
        Finished calls, in microseconds of the system's clock.
    """

    def __init__(self) -> None:
        self.events: list[tuple[str, float, float]] = []
        self._open: list[tuple[Any, int]] = []
        self._before = sys.getprofile()
        sys.setprofile(self._told)

    def stop(self) -> None:
        """Record no more."""
        sys.setprofile(self._before)

    def _told(self, frame: Any, event: str, _: object) -> None:
        if not frame.f_globals.get("__name__", "").startswith("nvnmd."):
            return
        if event == "call":
            self._open.append((frame, time.time_ns()))
        elif event == "return" and self._open and self._open[-1][0] is frame:
            start = self._open.pop()[1]
            name = f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}"
            self.events.append((name, start / 1e3, (time.time_ns() - start) / 1e3))


def chrome_trace(
    profile: Path, calls: Sequence[tuple[str, float, float]] = ()
) -> dict[str, Any]:
    """Return a profile as a Chrome trace: one bar per operation, one line per thread.

    Parameters
    ----------
    profile : Path
        TensorFlow's.
    calls : sequence of (name, start, length)
        Bars of one more line, in microseconds.
    """
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    space.ParseFromString(profile.read_bytes())
    events: list[dict[str, Any]] = []
    for process, plane in enumerate(space.planes):
        events.append({"ph": "M", "pid": process, "name": "process_name",
                       "args": {"name": plane.name}})
        for thread, line in enumerate(plane.lines):
            events.append({"ph": "M", "pid": process, "tid": thread, "name": "thread_name",
                           "args": {"name": line.name}})
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                # microseconds
                start = line.timestamp_ns / 1e3 + event.offset_ps / 1e6
                events.append({"ph": "X", "pid": process, "tid": thread, "name": name,
                               "ts": start, "dur": event.duration_ps / 1e6})
    if calls:
        process = len(space.planes)
        events.append({"ph": "M", "pid": process, "name": "process_name",
                       "args": {"name": "functions of nvnmd"}})
        # TensorFlow counts from where its profile began
        zero = _profile_start(space) / 1e3
        events += [{"ph": "X", "pid": process, "tid": 0, "name": name, "ts": start - zero,
                    "dur": length} for name, start, length in calls]
    return {"displayTimeUnit": "ns", "traceEvents": events}


def _profile_start(space: Any) -> int:
    """The system's clock at the start of a profile, in nanoseconds; 0 if it does not say."""
    for plane in space.planes:
        for stat in plane.stats:
            if plane.stat_metadata[stat.metadata_id].name == "profile_start_time":
                return int(stat.uint64_value or stat.int64_value)
    return 0
