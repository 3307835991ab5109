"""The few array functions that the primitive operations are written with.

One definition of each operation serves NumPy and TensorFlow: `nvnmd.quantize.ops` calls only
what stands here, and `nvnmd.quantize.tensorflow.ops` offers the same functions for tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

Array = Any


class Namespace(Protocol):
    """What an array library must offer (binary64 unless said otherwise)."""

    def bits(self, x: Array) -> Array:
        """The bit pattern as int64."""

    def from_bits(self, i: Array) -> Array:
        """The binary64 number of an int64 bit pattern."""

    def asfloat(self, x: Array) -> Array:
        """Cast to binary64."""

    def asint(self, x: Array) -> Array:
        """Cast to int64 (of a value that is a whole number)."""

    def where(self, c: Array, a: Array, b: Array) -> Array:
        """Elementwise choice."""

    def floor(self, x: Array) -> Array:
        """Largest whole number not above x."""

    def abs(self, x: Array) -> Array:
        """Magnitude."""

    def sign(self, x: Array) -> Array:
        """-1, 0 or 1."""

    def maximum(self, a: Array, b: Array) -> Array:
        """Elementwise larger."""

    def minimum(self, a: Array, b: Array) -> Array:
        """Elementwise smaller."""

    def sum(self, x: Array, axis: int) -> Array:
        """Sum over one axis."""

    def max(self, x: Array, axis: int | tuple[int, ...], keepdims: bool) -> Array:
        """Largest over axes."""

    def matmul(self, a: Array, b: Array) -> Array:
        """Matrix product over the last two axes."""

    def transpose(self, a: Array) -> Array:
        """Swap the last two axes."""

    def rounding(self, f: Callable[[Array, Namespace], Array], x: Array) -> Array:
        """f(x, namespace), where f only drops bits of x.

        To a differentiable library its slope is 1, and it hands f a namespace without slopes.
        """

    def shift_right(self, i: Array, n: int) -> Array:
        """Arithmetic shift of int64."""

    def shift_left(self, i: Array, n: int) -> Array:
        """Shift of int64."""

    def bit_and(self, i: Array, mask: int) -> Array:
        """Bitwise and of int64 with a constant."""


class NumpyNamespace:
    """The NumPy form."""

    def bits(self, x: Array) -> Array:
        x = np.ascontiguousarray(x, dtype=np.float64).reshape(np.shape(x))
        return x.view(np.int64)

    def from_bits(self, i: Array) -> Array:
        i = np.ascontiguousarray(i, dtype=np.int64).reshape(np.shape(i))
        return i.view(np.float64)

    def asfloat(self, x: Array) -> Array:
        return np.asarray(x, dtype=np.float64)

    def asint(self, x: Array) -> Array:
        return np.asarray(x).astype(np.int64)

    def where(self, c: Array, a: Array, b: Array) -> Array:
        return np.where(c, a, b)

    def floor(self, x: Array) -> Array:
        return np.floor(x)

    def abs(self, x: Array) -> Array:
        return np.abs(x)

    def sign(self, x: Array) -> Array:
        return np.sign(x)

    def maximum(self, a: Array, b: Array) -> Array:
        return np.maximum(a, b)

    def minimum(self, a: Array, b: Array) -> Array:
        return np.minimum(a, b)

    def sum(self, x: Array, axis: int) -> Array:
        return np.sum(x, axis=axis)

    def max(self, x: Array, axis: int | tuple[int, ...], keepdims: bool) -> Array:
        return np.max(x, axis=axis, keepdims=keepdims)

    def matmul(self, a: Array, b: Array) -> Array:
        return np.matmul(a, b)

    def transpose(self, a: Array) -> Array:
        return np.swapaxes(a, -1, -2)

    def rounding(self, f: Callable[[Array, Namespace], Array], x: Array) -> Array:
        return f(x, self)

    def shift_right(self, i: Array, n: int) -> Array:
        return i >> n

    def shift_left(self, i: Array, n: int) -> Array:
        return i << n

    def bit_and(self, i: Array, mask: int) -> Array:
        return i & mask


NUMPY = NumpyNamespace()
