"""The quantized fitting nets in training: bits of the integer reference, surrogate derivatives.

Energies and dE/dD of the atoms of one net, and the gradient of a loss of both by the net: the
formulas and roundings of `nvnmd.quantize.fitting`, the derivatives of docs/surrogates.md. Matrix
products of whole numbers are exact in any order. Needs numba.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvnmd.quantize.compiled import fitting_training as kernels
from nvnmd.quantize.ops import FIX_FRAC, floor_bits, round_bits

Floats = NDArray[np.float64]
_NOTHING = np.empty((0, 0))


class QuantizedNet:
    """One net's matrices as the two passes quantize them.

    Parameters
    ----------
    weights, biases : sequences of (nin, nout), (nout,)
        Layers.
    """

    def __init__(self, weights: Sequence[Floats], biases: Sequence[Floats]) -> None:
        last = len(weights) - 1
        self.ahead = [_quantized(w, k == last) for k, w in enumerate(weights)]
        # transposed: (nout, nin)
        self.back = [_quantized(w.T, k == last) for k, w in enumerate(weights)]
        self.biases = [round_bits(b, FIX_FRAC) for b in biases]
        self.skips = [k > 0 and w.shape[0] == w.shape[1] for k, w in enumerate(weights[:-1])]


@dataclass
class QuantizedPass:
    """Intermediate values of one net for some atoms, layer by layer.

    Attributes
    ----------
    inputs : list of (a, nin)
        Input of every layer.
    slopes : list of (a, nout)
        Derivative of the activation.
    through, back_slopes, curves : lists of (a, nout)
        The gradient behind the activation, its derivatives by the gradient in front and by z.
    out : (a,)
        Last layer with its rounded bias.
    gradient : (a, nin)
        dE/dD.
    """

    inputs: list[Floats]
    slopes: list[Floats]
    through: list[Floats]
    back_slopes: list[Floats]
    curves: list[Floats]
    out: Floats
    gradient: Floats


def evaluate(net: QuantizedNet, d: Floats, term: Floats | None = None) -> QuantizedPass:
    """Evaluate a net.

    Parameters
    ----------
    net : QuantizedNet
        The net.
    d : (a, nin)
        Descriptors, 23 fraction bits.
    term : (a, nout), optional
        Version 1: what the atoms' types add to the first layer, on the same grid.
    """
    x = d
    inputs, z_list = [x], []
    slopes: list[Floats] = []
    for k, skip in enumerate(net.skips):
        z = x @ net.ahead[k]
        y, slope = np.empty_like(z), np.empty_like(z)
        extra = term if k == 0 and term is not None else _NOTHING
        kernels.activate(z, net.biases[k], extra, x if skip else y, skip, y, slope)
        inputs.append(y)
        slopes.append(slope)
        z_list.append(z)
        x = y
    out = floor_bits(x @ net.ahead[-1], FIX_FRAC) + net.biases[-1]
    g = np.repeat(floor_bits(net.back[-1], FIX_FRAC), len(x), axis=0)
    through: list[Floats] = []
    back_slopes: list[Floats] = []
    curves: list[Floats] = []
    for k in reversed(range(len(net.skips))):
        z = z_list[k]
        behind, slope, curve = np.empty_like(z), np.empty_like(z), np.empty_like(z)
        kernels.through_activation(z, g, behind, slope, curve)
        total = behind @ net.back[k]
        kernels.receive(total, g if net.skips[k] else total, net.skips[k])
        through.insert(0, behind)
        back_slopes.insert(0, slope)
        curves.insert(0, curve)
        g = total
    return QuantizedPass(inputs, slopes, through, back_slopes, curves, out[:, 0], g)


def backward(
    net: QuantizedNet, found: QuantizedPass, by_out: Floats, by_gradient: Floats
) -> tuple[list[Floats], list[Floats], Floats]:
    """Gradient of a loss by a net.

    Parameters
    ----------
    by_out, by_gradient : (a,), (a, nin)
        Gradients of the loss by the energies and by dE/dD.

    Returns
    -------
    weights, biases : lists of (nin, nout), (nout,)
        By the layers.
    term : (a, nout)
        By what is added to the first layer.
    """
    hidden = range(len(net.skips))
    bar, weights, bends = by_gradient, [], []
    for k in hidden:
        weights.append(bar.T @ found.through[k])
        inner = bar @ net.back[k].T
        bends.append(inner * found.curves[k])
        inner *= found.back_slopes[k]
        bar = bar + inner if net.skips[k] else inner
    # a skipped layer's input gradient also goes around it, so `bar` is now by the last layer's
    weights.append((bar.sum(axis=0) + by_out @ found.inputs[-1])[:, None])
    biases = [np.array([by_out.sum()])]
    back = by_out[:, None] * net.ahead[-1][:, 0]
    before = back
    for k in reversed(hidden):
        before = back * found.slopes[k]
        before += bends[k]
        weights[k] += found.inputs[k].T @ before
        biases.insert(0, before.sum(axis=0))
        if k > 0:
            inner = before @ net.ahead[k].T
            back = back + inner if net.skips[k] else inner
    return weights, biases, before


def _quantized(w: Floats, whole: bool) -> Floats:
    out = np.empty(w.shape)
    kernels.quantized(np.ascontiguousarray(w), whole, out)
    return out
