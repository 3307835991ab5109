"""Adam, with its state in the form that checkpoints store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.quantize.tensorflow.runtime import tf

Tensor = Any

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class Adam:
    """First and second moments of the gradients of some variables, and their update.

    Parameters
    ----------
    variables : sequence of tf.Variable
        What is trained; moments are binary64, whatever the variables' format.
    max_norm : float
        A longer gradient, of all variables together, is cut to this length; 0 for none.

    Notes
    -----
    With 0.9, 0.999 and 1e-8, which is added to the root of the uncorrected second moment.
    """

    def __init__(self, variables: Sequence[Tensor], max_norm: float = 0.0) -> None:
        self.variables, self.max_norm = list(variables), max_norm
        size = sum(int(np.prod(v.shape)) for v in self.variables)
        self._first = tf.Variable(tf.zeros(size, tf.float64))
        self._second = tf.Variable(tf.zeros(size, tf.float64))

    @property
    def moments(self) -> dict[str, NDArray[np.float64]]:
        """First and second moments, flat, in the order of the variables."""
        return {"first": self._first.numpy(), "second": self._second.numpy()}

    def set_moments(self, moments: dict[str, NDArray[np.float64]]) -> None:
        """Put back what `moments` gave.

        Raises
        ------
        ValueError
            The sizes do not fit these variables.
        KeyError
            One is missing.
        """
        self._first.assign(moments["first"])
        self._second.assign(moments["second"])

    @staticmethod
    def corrected_rate(lr: float, step: int) -> float:
        """Return the learning rate with the bias correction of step number `step`, from 1."""
        return float(lr * np.sqrt(1.0 - BETA2**step) / (1.0 - BETA1**step))

    def apply(self, gradients: Sequence[Tensor], corrected: Tensor) -> None:
        """Update moments and variables.

        Parameters
        ----------
        gradients : sequence of tensors
            One per variable.
        corrected : scalar tensor
            See `corrected_rate`.
        """
        self.apply_flat(flatten(gradients), corrected)

    def apply_flat(self, flat: Tensor, corrected: Tensor) -> None:
        """Do the same with the gradients of all variables in one row, as `flatten` gives them."""
        if self.max_norm > 0.0:
            # a gradient of length 0 stays; one that is not finite stays so and is told of later
            flat *= self.max_norm / tf.maximum(tf.norm(flat), self.max_norm)
        first = BETA1 * self._first + (1.0 - BETA1) * flat
        second = BETA2 * self._second + (1.0 - BETA2) * flat * flat
        self._first.assign(first)
        self._second.assign(second)
        change = corrected * first / (tf.sqrt(second) + EPSILON)
        start = 0
        for variable in self.variables:
            stop = start + int(np.prod(variable.shape))
            part = tf.reshape(change[start:stop], variable.shape)
            variable.assign_sub(tf.cast(part, variable.dtype))
            start = stop


def flatten(gradients: Sequence[Tensor]) -> Tensor:
    """Return the gradients of all variables in one row, which is empty if none is trained."""
    none = [tf.zeros(0, tf.float64)]
    return tf.concat(none + [tf.cast(tf.reshape(g, [-1]), tf.float64) for g in gradients], 0)
