"""Several workers of one training, joined by `tf.distribute.MultiWorkerMirroredStrategy`.

The strategy connects the processes that `TF_CONFIG` names and adds up numbers over them
(`ReplicaContext.all_reduce`). The variables are not the strategy's: every worker has its own copy,
begins with the chief's weights and changes them by the same sum of gradients, so that the copies
stay the same.

Each exchange begins with a row of two flags that every worker fills: "stop" and "failed". So all
stop after the same step, and a worker with an error can end the others wherever they are.
"""

from __future__ import annotations

import contextlib
import functools
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.errors import InputError
from nvnmd.quantize.tensorflow.runtime import tf
from nvnmd.training.workers import (
    VARIABLE,
    Model,
    OneWorker,
    Place,
    WorkerLostError,
    Workers,
    place_of,
)

Tensor = Any
# What TensorFlow raises where a peer is gone
_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError,
         tf.errors.DeadlineExceededError, tf.errors.InternalError)


def workers_of_environment() -> Workers:
    """Return the workers that the environment variable `TF_CONFIG` names, connected.

    Raises
    ------
    InputError
        The variable is not valid, or TensorFlow has been used before in this process.
    """
    place = place_of(os.environ)
    return OneWorker() if place.count == 1 else _connected(os.environ[VARIABLE], place)


@functools.cache
def _connected(text: str, place: Place) -> SeveralWorkers:
    """The workers of one TF_CONFIG; a process connects once."""
    return SeveralWorkers(place)


class SeveralWorkers:
    """This process among the workers of a training; see `nvnmd.training.workers.Workers`.

    Parameters
    ----------
    place : Place
        Which one this is.

    Raises
    ------
    InputError
        TensorFlow has been used before in this process, or has more devices than one.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        try:
            self._strategy = tf.distribute.MultiWorkerMirroredStrategy()
        except RuntimeError as error:
            raise InputError(f"{VARIABLE}: the workers must be connected before anything else is "
                             f"done with TensorFlow ({_line(error)})") from None
        except _LOST as error:
            raise WorkerLostError(
                f"{VARIABLE}: the workers do not connect: {_line(error)}") from None
        found = self._strategy.num_replicas_in_sync
        if found != place.count:
            raise InputError(f"{VARIABLE}: {found} devices in {place.count} workers, expected one "
                             "each; start a worker per device")
        self._told = False
        self._run = tf.function(self._sum, autograph=False)
        self._flags(stop=False)

    def step(self, model: Model, batch: Any, weight: float, prefactors: NDArray[np.float64],
             lr: float, step: int, stop: bool) -> bool:
        """Do one step together; return whether any worker asks to stop after it."""
        gradient = model.gradient(batch, prefactors)
        stop = self._flags(stop)
        model.apply(self._total(tf.convert_to_tensor(gradient) * weight), lr, step)
        return stop

    def from_chief(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the chief's values, of the same shape in every worker."""
        self._flags(stop=False)
        mine = values if self.place.chief else np.zeros_like(values)
        return self._total(tf.constant(mine, tf.float64)).numpy()

    def tell_failure(self) -> None:
        """Let the others end."""
        if self._told:
            return
        self._told = True
        # where they have ended before, nobody is left to tell
        with contextlib.suppress(WorkerLostError):
            self._total(tf.constant([0.0, 1.0], tf.float64))

    def wait(self) -> None:
        """Return when every worker has come here."""
        self._flags(stop=False)

    def _flags(self, stop: bool) -> bool:
        """Exchange the flags; return whether any worker stops."""
        stopping, failed = self._total(tf.constant([float(stop), 0.0], tf.float64)).numpy()
        if failed:
            raise WorkerLostError("another worker ended with an error, which it reports; "
                                  f"worker {self.place.index} ends, too")
        return bool(stopping)

    def _total(self, values: Tensor) -> Tensor:
        """Add up over the workers."""
        try:
            return self._run(values)
        except _LOST as error:
            raise WorkerLostError(f"worker {self.place.index}: the connection to another worker "
                                  f"broke: {_line(error)}") from None

    def _sum(self, values: Tensor) -> Tensor:
        def on_replica(part: Tensor) -> Tensor:
            # the copy is on the replica's device, which the reduction asks for
            own = tf.identity(part)
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, own)

        return self._strategy.run(on_replica, args=(values,))


def _line(error: Exception) -> str:
    """The first telling line of TensorFlow's message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "aborted by" in line or "unhealthy" in line]
    return (telling or lines or [type(error).__name__])[0][:200]
