"""The TensorFlow form of the few functions that the float model needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nvnmd.quantize.tensorflow.runtime import tf

Tensor = Any


class TfMath:
    """The TensorFlow form of `nvnmd.network.math.Math`."""

    def tanh(self, x: Tensor) -> Tensor:
        return tf.tanh(x)

    def sqrt(self, x: Tensor) -> Tensor:
        return tf.sqrt(x)

    def sign(self, x: Tensor) -> Tensor:
        return tf.sign(x)

    def abs(self, x: Tensor) -> Tensor:
        return tf.abs(x)

    def minimum(self, a: Tensor, b: Tensor) -> Tensor:
        return tf.minimum(a, b)

    def maximum(self, a: Tensor, b: Tensor) -> Tensor:
        return tf.maximum(a, b)

    def where(self, c: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return tf.where(c, tf.cast(a, tf.float64), tf.cast(b, tf.float64))

    def sum(self, x: Tensor, axis: int) -> Tensor:
        return tf.reduce_sum(x, axis)

    def stack(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        return tf.stack(parts, axis)

    def concat(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        return tf.concat(parts, axis)

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        return tf.reshape(x, shape)

    def transpose(self, x: Tensor) -> Tensor:
        return tf.linalg.matrix_transpose(x)

    def take(self, x: Tensor, rows: Tensor) -> Tensor:
        return tf.gather(x, rows)
