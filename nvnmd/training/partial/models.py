"""Models of which only one half is quantized, for training.

Both halves are those of the whole models: the descriptor by tables with a float fitting net, or the
float descriptor with the fitting net in fixed point. What goes between them is the descriptor D and
dE/dD; the quantized half rounds on its side, as DeePMD-kit's operations do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nvnmd.network.nets import fit
from nvnmd.quantize.fitting import fitting_net
from nvnmd.quantize.ops import FIX_FRAC, round_bits
from nvnmd.quantize.tensorflow.ops import TENSORFLOW
from nvnmd.quantize.tensorflow.runtime import tf
from nvnmd.training.continuous.tf_math import TfMath
from nvnmd.training.continuous.tf_model import TfFloatModel
from nvnmd.training.quantized.model import TfQuantizedModel

Tensor = Any


class TableDescriptorModel(TfQuantizedModel):
    """Quantized descriptor, float fitting nets."""

    def _fitting(
        self, type_counts: tuple[int, ...]
    ) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """The float fitting nets, each atom by that of its type."""
        layers = list(zip(self._weights, self._biases, strict=True))
        nets = [[(w[t], b[t]) for w, b in layers] for t in range(layers[0][0].shape[0])]
        first = None
        if self._tweight is not None:
            kind = np.repeat(np.arange(len(type_counts)), type_counts)
            first = tf.gather(tf.matmul(tf.constant(self._model.t_ebd), self._tweight), kind)

        def evaluate(d: Tensor) -> tuple[Tensor, Tensor]:
            frames, atoms, width = d.shape
            if first is not None:
                rows = tf.reshape(d, (frames * atoms, width))
                found = [fit(TfMath(), nets[0], rows, tf.tile(first, (frames, 1)))]
                counts: tuple[int, ...] = (atoms,)
            else:
                blocks = [(net, block) for net, block, count in
                          zip(nets, tf.split(d, type_counts, axis=1), type_counts, strict=True)
                          if count]
                found = [fit(TfMath(), net, tf.reshape(block, (-1, width)))
                         for net, block in blocks]
                counts = tuple(count for count in type_counts if count)
            energies = [tf.reshape(e, (frames, n)) for (e, _), n in zip(found, counts, strict=True)]
            slopes = [tf.reshape(g, (frames, n, width))
                      for (_, g), n in zip(found, counts, strict=True)]
            return tf.concat(energies, 1), tf.concat(slopes, 1)

        return evaluate


class FixedFittingModel(TfFloatModel):
    """Float descriptor, quantized fitting nets."""

    @staticmethod
    def _fit_net(
        net: list[tuple[Tensor, Tensor]], d: Tensor, first: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Outputs (a,) and dE/dD (a, n) of one fitting net in fixed point."""
        weights = [tf.convert_to_tensor(w) for w, _ in net]
        biases = [tf.convert_to_tensor(b) for _, b in net]
        term = None if first is None else round_bits(first, FIX_FRAC, TENSORFLOW)
        trace = fitting_net(d, weights, biases, TENSORFLOW, type_term=term)
        return trace.out, trace.grad
