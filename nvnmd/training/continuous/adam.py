"""Adam, compiled, with its state in the form that checkpoints store; needs numba."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nvnmd.compiling import njit

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8

Floats = NDArray[np.float64]


class Adam:
    """First and second moments of the gradient by some numbers, and the change they make.

    Parameters
    ----------
    size : int
        How many numbers are trained.
    max_norm : float
        A longer gradient is cut to this length; 0 for none.

    Notes
    -----
    With 0.9, 0.999 and 1e-8, which is added to the root of the uncorrected second moment.
    """

    def __init__(self, size: int, max_norm: float = 0.0) -> None:
        self.max_norm = max_norm
        self._first, self._second = np.zeros(size), np.zeros(size)

    @property
    def moments(self) -> dict[str, Floats]:
        """First and second moments."""
        return {"first": self._first.copy(), "second": self._second.copy()}

    def set_moments(self, moments: dict[str, Floats]) -> None:
        """Put back what `moments` gave.

        Raises
        ------
        ValueError
            The sizes do not fit.
        KeyError
            One is missing.
        """
        for mine, name in ((self._first, "first"), (self._second, "second")):
            theirs = np.asarray(moments[name])
            if theirs.shape != mine.shape:
                raise ValueError(f"{theirs.shape} moments, expected {mine.shape}")
            mine[:] = theirs

    @staticmethod
    def corrected_rate(lr: float, step: int) -> float:
        """Return the learning rate with the bias correction of step number `step`, from 1."""
        return float(lr * np.sqrt(1.0 - BETA2**step) / (1.0 - BETA1**step))

    def change(self, gradient: Floats, lr: float, step: int) -> Floats:
        """Update the moments; return what is to be added to the numbers.

        Parameters
        ----------
        gradient : (size,)
            Of the loss by the numbers.
        lr : float
            Learning rate.
        step : int
            Number of this step, from 1.
        """
        if self.max_norm > 0.0:
            # a gradient of length 0 stays; one that is not finite stays so and is told of later
            gradient = gradient * (self.max_norm / np.maximum(np.linalg.norm(gradient),
                                                              self.max_norm))
        change = np.empty_like(gradient)
        _update(gradient, self._first, self._second, self.corrected_rate(lr, step), change)
        return change


@njit(cache=True, error_model="numpy")
def _update(gradient, first, second, rate, change):
    for k in range(len(gradient)):
        first[k] = BETA1 * first[k] + (1.0 - BETA1) * gradient[k]
        second[k] = BETA2 * second[k] + (1.0 - BETA2) * (gradient[k] * gradient[k])
        change[k] = -rate * (first[k] / (np.sqrt(second[k]) + EPSILON))
