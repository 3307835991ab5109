"""The primitive operations for TensorFlow: values bit for bit, with surrogate derivatives.

The operations themselves are those of `nvnmd.quantize.ops`; here stands the array library they
are called with, whose roundings have slope 1 (straight through), and closed forms of the
derivative where following every step of an operation would cost more than the operation. See
docs/surrogates.md for each operation's derivative.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nvnmd.quantize import ops
from nvnmd.quantize.namespace import Array, Namespace
from nvnmd.quantize.tensorflow.runtime import tf


class PlainNamespace:
    """Binary64 tensors; see `nvnmd.quantize.namespace.Namespace`.

    Bit patterns, and so exponents, are constants to the derivative, and roundings have slope 0.
    """

    def bits(self, x: Array) -> Array:
        return tf.bitcast(tf.stop_gradient(x), tf.int64)

    def from_bits(self, i: Array) -> Array:
        return tf.bitcast(i, tf.float64)

    def asfloat(self, x: Array) -> Array:
        return tf.cast(x, tf.float64)

    def asint(self, x: Array) -> Array:
        return tf.cast(tf.stop_gradient(x), tf.int64)

    def where(self, c: Array, a: Array, b: Array) -> Array:
        return tf.where(c, a, b)

    def floor(self, x: Array) -> Array:
        return tf.floor(x)

    def abs(self, x: Array) -> Array:
        # not tf.abs, whose derivative at 0 is 0: odd functions made of it would lose their slope
        return tf.where(x < 0.0, -x, x)

    def sign(self, x: Array) -> Array:
        return tf.sign(tf.stop_gradient(x))

    def maximum(self, a: Array, b: Array) -> Array:
        return tf.maximum(a, b)

    def minimum(self, a: Array, b: Array) -> Array:
        return tf.minimum(a, b)

    def sum(self, x: Array, axis: int) -> Array:
        return tf.reduce_sum(x, axis=axis)

    def max(self, x: Array, axis: int | tuple[int, ...], keepdims: bool) -> Array:
        return tf.reduce_max(x, axis=axis, keepdims=keepdims)

    def matmul(self, a: Array, b: Array) -> Array:
        return tf.matmul(a, b)

    def transpose(self, a: Array) -> Array:
        return tf.linalg.matrix_transpose(a)

    def rounding(self, f: Callable[[Array, Namespace], Array], x: Array) -> Array:
        return f(x, self)

    def shift_right(self, i: Array, n: int) -> Array:
        return tf.bitwise.right_shift(i, tf.constant(n, tf.int64))

    def shift_left(self, i: Array, n: int) -> Array:
        return tf.bitwise.left_shift(i, tf.constant(n, tf.int64))

    def bit_and(self, i: Array, mask: int) -> Array:
        return tf.bitwise.bitwise_and(i, tf.constant(mask, tf.int64))


class StraightThroughNamespace(PlainNamespace):
    """The same with roundings of slope 1."""

    def floor(self, x: Array) -> Array:
        return self.rounding(lambda v, xp: xp.floor(v), x)

    def rounding(self, f: Callable[[Array, Namespace], Array], x: Array) -> Array:
        # The difference is +0, whose subtraction changes no bit, -0 included; its slope is 1.
        still = tf.stop_gradient(x)
        return tf.stop_gradient(f(still, PLAIN)) - (still - x)


PLAIN = PlainNamespace()
TENSORFLOW = StraightThroughNamespace()


@tf.custom_gradient
def mul(a: Array, b: Array) -> tuple[Array, Callable]:
    """`ops.mul`; derivatives b and a. Shapes may broadcast."""

    def grad(upstream: Array) -> tuple[Array, Array]:
        return _unbroadcast(upstream * b, a), _unbroadcast(upstream * a, b)

    return ops.mul(a, b, xp=PLAIN), grad


@tf.custom_gradient
def add(a: Array, b: Array) -> tuple[Array, Callable]:
    """`ops.add` of equal shapes; derivatives 1 and 1."""
    return ops.add(a, b, xp=PLAIN), lambda upstream: (upstream, upstream)


@tf.custom_gradient
def dot(x: Array, w: Array) -> tuple[Array, Callable]:
    """`ops.dot` of equal shapes; derivatives w and x."""

    def grad(upstream: Array) -> tuple[Array, Array]:
        return upstream[..., None] * w, upstream[..., None] * x

    return ops.dot(x, w, xp=PLAIN), grad


@tf.custom_gradient
def matmul_flt_rows(x: Array, w: Array) -> tuple[Array, Callable]:
    """`ops.matmul_flt` with one exponent per row of x and column of w, equal batch dimensions.

    Its derivatives are those of the matrix product: upstream w^T and x^T upstream.
    """

    def grad(upstream: Array) -> tuple[Array, Array]:
        return (
            tf.matmul(upstream, w, transpose_b=True),
            tf.matmul(x, upstream, transpose_a=True),
        )

    return ops.matmul_flt(x, w, norm=1, xp=PLAIN), grad


def _unbroadcast(gradient: Array, operand: Array) -> Array:
    """Sum a gradient over the axes along which its operand was broadcast (static shapes)."""
    shape = operand.shape.as_list()
    lead = len(gradient.shape) - len(shape)
    if lead:
        gradient = tf.reduce_sum(gradient, axis=list(range(lead)))
    full = gradient.shape.as_list()
    axes = [i for i, (n, k) in enumerate(zip(shape, full, strict=True)) if n == 1 and k != 1]
    return tf.reduce_sum(gradient, axis=axes, keepdims=True) if axes else gradient


def constant(x: np.ndarray) -> Array:
    """A binary64 tensor of the array."""
    return tf.constant(np.asarray(x), dtype=tf.float64)
