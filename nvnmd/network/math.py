"""The array functions that the float model is written with, for NumPy; TensorFlow has its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

Array = Any


class Math(Protocol):
    """What an array library must offer to the formulas."""

    def tanh(self, x: Array) -> Array: ...
    def sqrt(self, x: Array) -> Array: ...
    def sign(self, x: Array) -> Array: ...
    def abs(self, x: Array) -> Array: ...
    def minimum(self, a: Array, b: Array) -> Array: ...
    def maximum(self, a: Array, b: Array) -> Array: ...
    def where(self, c: Array, a: Array, b: Array) -> Array: ...
    def sum(self, x: Array, axis: int) -> Array: ...
    def stack(self, parts: Sequence[Array], axis: int) -> Array: ...
    def concat(self, parts: Sequence[Array], axis: int) -> Array: ...
    def reshape(self, x: Array, shape: Sequence[int]) -> Array: ...
    def transpose(self, x: Array) -> Array: ...
    def take(self, x: Array, rows: Array) -> Array: ...


class NumpyMath:
    """The NumPy form of `Math`."""

    def tanh(self, x: Array) -> Array:
        return np.tanh(x)

    def sqrt(self, x: Array) -> Array:
        return np.sqrt(x)

    def sign(self, x: Array) -> Array:
        return np.sign(x)

    def abs(self, x: Array) -> Array:
        return np.abs(x)

    def minimum(self, a: Array, b: Array) -> Array:
        return np.minimum(a, b)

    def maximum(self, a: Array, b: Array) -> Array:
        return np.maximum(a, b)

    def where(self, c: Array, a: Array, b: Array) -> Array:
        return np.where(c, a, b)

    def sum(self, x: Array, axis: int) -> Array:
        return np.sum(x, axis=axis)

    def stack(self, parts: Sequence[Array], axis: int) -> Array:
        return np.stack(parts, axis=axis)

    def concat(self, parts: Sequence[Array], axis: int) -> Array:
        return np.concatenate(parts, axis=axis)

    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        return np.reshape(x, shape)

    def transpose(self, x: Array) -> Array:
        return np.swapaxes(x, -1, -2)

    def take(self, x: Array, rows: Array) -> Array:
        return np.take(x, rows, axis=0)
