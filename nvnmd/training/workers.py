"""Training with several workers: who this process is, its share of each batch, what it agrees on.

Nothing here needs TensorFlow; `nvnmd.training.tf_workers` does the talking. A training with one
worker goes through the same code with `OneWorker`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nvnmd.data.probability import BY_SIZE
from nvnmd.data.sampler import BatchSampler
from nvnmd.errors import InputError, NvnmdError
from nvnmd.inputs.config import RunConfig
from nvnmd.network.weights import FloatWeights

VARIABLE = "TF_CONFIG"


class WorkerLostError(NvnmdError):
    """Another worker has ended with an error, or its connection broke."""


@dataclass(frozen=True)
class Place:
    """Which of how many workers this process is; number 0 is the chief, which writes the files."""

    index: int = 0
    count: int = 1

    @property
    def chief(self) -> bool:
        """Whether this process writes files and logs."""
        return self.index == 0


def place_of(environment: Mapping[str, str]) -> Place:
    """Read `TF_CONFIG`; without it there is one worker.

    Parameters
    ----------
    environment : mapping
        Such as `os.environ`.

    Returns
    -------
    Place
        A task of the job ``chief`` comes first, those of ``worker`` follow.

    Raises
    ------
    InputError
        The variable is not what `tf.distribute` defines.
    """
    text = environment.get(VARIABLE, "")
    if not text.strip():
        return Place()
    form = '{"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": 0}}'
    try:
        content = json.loads(text)
        cluster, task = content["cluster"], content["task"]
        jobs = {name: list(cluster.get(name, [])) for name in ("chief", "worker")}
        kind, index = task["type"], task["index"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{VARIABLE}: got {text!r}, expected {form}") from None
    unknown = sorted(set(cluster) - set(jobs))
    if unknown:
        raise InputError(f"{VARIABLE}: cluster: got the job {unknown[0]!r}, expected worker only")
    for name, hosts in jobs.items():
        for host in hosts:
            if not isinstance(host, str) or not host.rpartition(":")[2].isdecimal():
                raise InputError(f"{VARIABLE}: cluster/{name}: got {host!r}, expected HOST:PORT")
    if kind not in jobs:
        raise InputError(f"{VARIABLE}: task/type: got {kind!r}, expected worker")
    limit = len(jobs[kind])
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < limit:
        raise InputError(f"{VARIABLE}: task/index: got {index!r}, expected an integer from 0 to "
                         f"{limit - 1}, one of the {limit} in cluster/{kind}")
    first = len(jobs["chief"])
    return Place(index + (first if kind == "worker" else 0), first + len(jobs["worker"]))


def rate_factor(scale_by_worker: str, count: int) -> float:
    """Return the factor on the learning rate of `count` workers.

    Parameters
    ----------
    scale_by_worker : {"linear", "sqrt", "none"}
        In proportion to the workers, to the root of their number, or not at all.
    count : int
        Workers.
    """
    return {"linear": float(count), "sqrt": math.sqrt(count), "none": 1.0}[scale_by_worker]


class ShareSampler(BatchSampler):
    """Draws the same batches in every worker, and returns this worker's share of each.

    A batch of all workers together has `batch_sizes` frames for each of them, drawn as one worker
    draws a batch of that size. A system with fewer frames gives each worker as many as all can
    have; with fewer frames than workers, the others' share counts nothing.

    Parameters
    ----------
    nframes, batch_sizes, seed, auto_prob, sys_probs, copies
        See `BatchSampler`; the seed must be the same number in every worker.
    place : Place
        Which share.

    Attributes
    ----------
    weight : float
        What the last share's gradient counts in the sum over the workers.
    """

    def __init__(
        self,
        nframes: Sequence[int],
        batch_sizes: Sequence[int],
        seed: int | None,
        place: Place,
        *,
        auto_prob: str = BY_SIZE,
        sys_probs: Sequence[float] | None = None,
        copies: Sequence[NDArray[np.int64] | None] | None = None,
    ) -> None:
        self.place = place
        self._sizes = share_sizes(nframes, batch_sizes, place.count)
        whole = [s * min(place.count, n) for s, n in zip(self._sizes, nframes, strict=True)]
        super().__init__(nframes, whole, seed, auto_prob=auto_prob, sys_probs=sys_probs,
                         copies=copies)

    def draw(self) -> tuple[int, NDArray[np.int64]]:
        """Return a system and this worker's frames of its next batch; `weight` is theirs."""
        system, frames = super().draw()
        size = self._sizes[system]
        start = self.place.index * size
        if start < len(frames):
            self.weight = size / len(frames)
            return system, frames[start : start + size]
        self.weight = 0.0
        return system, frames[:size]


def sampler_of(
    nframes: Sequence[int],
    batch_sizes: Sequence[int],
    seed: int | None,
    place: Place,
    *,
    auto_prob: str = BY_SIZE,
    sys_probs: Sequence[float] | None = None,
    copies: Sequence[NDArray[np.int64] | None] | None = None,
) -> BatchSampler:
    """Return a sampler of whole batches for one worker, of shares for several."""
    if place.count == 1:
        return BatchSampler(nframes, batch_sizes, seed, auto_prob=auto_prob, sys_probs=sys_probs,
                            copies=copies)
    return ShareSampler(nframes, batch_sizes, seed, place, auto_prob=auto_prob,
                        sys_probs=sys_probs, copies=copies)


def share_sizes(nframes: Sequence[int], batch_sizes: Sequence[int], count: int) -> list[int]:
    """Return the frames that each of `count` workers has of a batch, per system."""
    if count == 1:
        return list(batch_sizes)
    return [min(s, max(n // count, 1)) for s, n in zip(batch_sizes, nframes, strict=True)]


class Model(Protocol):
    """What a model must offer to a step of several workers."""

    def gradient(self, batch: Any, prefactors: NDArray[np.float64]) -> Any:
        """Gradient of a batch's loss by all variables in one row."""

    def apply(self, gradient: Any, lr: float, step: int) -> None:
        """Update the variables."""

    def step(self, batch: Any, prefactors: NDArray[np.float64], lr: float, step: int) -> None:
        """Both at once."""


class Workers(Protocol):
    """What workers must offer to a training."""

    @property
    def place(self) -> Place:
        """Which one this is."""

    def step(self, model: Model, batch: Any, weight: float, prefactors: NDArray[np.float64],
             lr: float, step: int, stop: bool) -> bool:
        """Do one step together; return whether any worker asks to stop after it."""

    def from_chief(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the chief's values, of the same shape in every worker."""

    def tell_failure(self) -> None:
        """Let the others end."""

    def wait(self) -> None:
        """Return when every worker has come here."""


class OneWorker:
    """The whole of a training that is not shared."""

    place = Place()

    def step(self, model: Model, batch: Any, weight: float, prefactors: NDArray[np.float64],
             lr: float, step: int, stop: bool) -> bool:
        """Do one step."""
        model.step(batch, prefactors, lr, step)
        return stop

    def from_chief(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values."""
        return values

    def tell_failure(self) -> None:
        """Nobody to tell."""

    def wait(self) -> None:
        """Nobody to wait for."""


@contextmanager
def guarded(workers: Workers) -> Iterator[None]:
    """Tell the other workers if this one fails, so that each of them ends with one line."""
    try:
        yield
    except WorkerLostError:
        raise
    except Exception:
        workers.tell_failure()
        raise


@contextmanager
def joined(
    workers: Workers | None, log: Callable[[str], None]
) -> Iterator[tuple[Workers, Callable[[str], None]]]:
    """Give a training its workers, one by default, and a log that only the chief's lines reach.

    An error ends the others; see `guarded`.
    """
    workers = OneWorker() if workers is None else workers
    with guarded(workers):
        yield workers, log if workers.place.chief else _quiet


def _quiet(line: str) -> None:
    """Take the lines of workers that are not the chief."""


def with_shared_seeds(config: RunConfig, workers: Workers) -> RunConfig:
    """Return the run with numbers for the seeds that it leaves to chance, the chief's."""
    if workers.place.count == 1:
        return config
    given = [config.training.seed, config.descriptor.seed, config.fitting.seed]
    drawn = np.random.default_rng().integers(2**32, size=3).astype(np.float64)
    seeds = [int(new) if old is None else old
             for old, new in zip(given, workers.from_chief(drawn), strict=True)]
    return replace(
        config,
        training=replace(config.training, seed=seeds[0]),
        descriptor=replace(config.descriptor, seed=seeds[1]),
        fitting=replace(config.fitting, seed=seeds[2]),
    )


def with_shared_weights(weights: FloatWeights, workers: Workers) -> FloatWeights:
    """Return the chief's weights; the workers' own may differ in a last bit of the statistics."""
    if workers.place.count == 1:
        return weights
    arrays = weights.arrays()
    row = workers.from_chief(np.concatenate([np.ravel(a) for a in arrays.values()]))
    parts = np.split(row, np.cumsum([a.size for a in arrays.values()])[:-1])
    shaped = {name: part.reshape(a.shape)
              for (name, a), part in zip(arrays.items(), parts, strict=True)}
    return FloatWeights.from_arrays(shaped)


def check_same(workers: Workers, **facts: Any) -> None:
    """Raise InputError in a worker whose facts, such as ``steps=100``, are not the chief's."""
    if workers.place.count == 1:
        return
    digests = np.array([_number(fact) for fact in facts.values()], dtype=np.float64)
    differ = np.flatnonzero(workers.from_chief(digests) != digests)
    if len(differ):
        name = list(facts)[differ[0]].replace("_", " ")
        raise InputError(f"worker {workers.place.index}: its {name} is not that of worker 0")


def _number(fact: Any) -> int:
    """A whole number below 2**48 that stands for a fact JSON can hold."""
    import hashlib

    text = json.dumps(fact, sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
