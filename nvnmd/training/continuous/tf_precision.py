"""Nets in other number formats than binary64, for the training of the float model.

A net's parameters have the format that the input document names, and the net computes in it;
inputs and results are converted, everything else stays binary64. With mixed precision parameters
and results of layers are binary32, and the layers compute in 16 bits, but for the last of a fitting
net. What a training ends with is binary64 numbers that hold these parameters exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nvnmd.inputs.config import PrecisionConfig
from nvnmd.network.nets import embed, tanh4
from nvnmd.quantize.tensorflow.runtime import tf
from nvnmd.training.continuous.tf_math import TfMath

Tensor = Any
Net = Sequence[tuple[Tensor, Tensor]]


class PreciseNets:
    """The two kinds of nets, in given formats.

    Parameters
    ----------
    precision : PrecisionConfig
        Formats.
    """

    def __init__(self, precision: PrecisionConfig) -> None:
        self.descriptor = tf.as_dtype(precision.descriptor)
        self.fitting = tf.as_dtype(precision.fitting)
        self._embed_in = tf.as_dtype(precision.compute or precision.descriptor)
        self._fit_in = tf.as_dtype(precision.compute or precision.fitting)

    def embed(self, net: Net, s: Tensor) -> tuple[Tensor, Tensor]:
        """`nvnmd.network.nets.embed`; parameters and s of any format, results binary64."""
        layers = [(_cast(w, self._embed_in), _cast(b, self._embed_in)) for w, b in net]
        g, dg = embed(TfMath(), layers, _cast(s, self._embed_in))
        # parameters' format first: what it does not hold is lost
        return tuple(_cast(_cast(x, self.descriptor), tf.float64) for x in (g, dg))

    def fit(self, net: Net, d: Tensor, first: Tensor | None) -> tuple[Tensor, Tensor]:
        """`nvnmd.network.nets.fit`; parameters, d and first of any format, results binary64."""
        inside, outside = self._fit_in, self.fitting
        x, slopes, weights = _cast(d, outside), [], []
        for layer, (weight, bias) in enumerate(net[:-1]):
            weight = _cast(weight, inside)
            z = _cast(x, inside) @ weight + _cast(bias, inside)
            if layer == 0 and first is not None:
                z = z + _cast(first, inside)
            y, slope = tanh4(TfMath(), z)
            slopes.append(slope)
            weights.append(weight)
            skips = layer > 0 and weight.shape[0] == weight.shape[1]
            x = x + _cast(y, outside) if skips else _cast(y, outside)
        last, bias = _cast(net[-1][0], outside), _cast(net[-1][1], outside)
        energy = (x @ last + bias)[:, 0]
        gradient = last[:, 0] + 0.0 * x
        for layer in reversed(range(len(weights))):
            weight = weights[layer]
            back = _cast((_cast(gradient, inside) * slopes[layer]) @ tf.transpose(weight), outside)
            skips = layer > 0 and weight.shape[0] == weight.shape[1]
            gradient = gradient + back if skips else back
        return _cast(energy, tf.float64), _cast(gradient, tf.float64)


def _cast(x: Tensor, dtype: Any) -> Tensor:
    return x if x.dtype == dtype else tf.cast(x, dtype)
