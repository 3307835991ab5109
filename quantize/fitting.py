"""The quantized fitting net: weight quantization, forward and backward pass.

Weights share one exponent per column (forward) or per row (backward, that is per column of the
transpose); the last layer shares one exponent in both. A quantized weight is a whole number of
units of ``2**(e - 19)``, found by floor, so that it is a 21-bit signed word. All that for the
vendor's widths; narrower ones (`nvnmd.quantize.widths`) have fewer bits in the place of 19 and 21,
and of the 23 fraction bits of everything else but the weights before they are quantized.
"""

from __future__ import annotations

from dataclasses import dataclass

from nvnmd.quantize.namespace import NUMPY, Array, Namespace
from nvnmd.quantize.ops import (
    FIX_FRAC,
    WEIGHT_FRAC,
    floor_bits,
    largest_exponent,
    pow2,
    round_bits,
    tanh4,
    tanh4_grad,
)
from nvnmd.quantize.widths import VENDOR_WIDTHS, Widths


def quantize_weight(
    w: Array, *, whole: bool = False, xp: Namespace = NUMPY, frac: int = WEIGHT_FRAC
) -> tuple[Array, Array]:
    """Mantissas and exponents of a weight matrix.

    Parameters
    ----------
    w : array, shape (..., nin, nout)
        Weights; first rounded at 23 fraction bits.
    whole : bool
        One exponent for the whole matrix instead of one per column.
    frac : int
        Fraction bits of a mantissa.

    Returns
    -------
    mantissa : array, shape (..., nin, nout)
        Whole numbers of ``frac + 2`` bits: ``floor(w * 2**(frac - e))``.
    e : int64 array, shape (..., 1, nout) or (..., 1, 1)
        Exponents; may be negative.
    """
    w = round_bits(w, FIX_FRAC, xp)
    e = largest_exponent(w, (-2, -1) if whole else -2, xp=xp)
    return xp.floor(w * pow2(frac - e, xp)), e


def matmul_fitnet(
    x: Array, w: Array, *, whole: bool = False, xp: Namespace = NUMPY,
    widths: Widths = VENDOR_WIDTHS,
) -> Array:
    """``floor_23(round_23(x) @ w_q)``, exact while the sum of ``abs(x*w/2^e)`` is below 2048."""
    fix, frac = widths.fix_frac, widths.weight_frac
    mantissa, e = quantize_weight(w, whole=whole, xp=xp, frac=frac)
    total = xp.matmul(round_bits(x, fix, xp), mantissa)
    return floor_bits(total * pow2(e - frac, xp), fix, xp)


@dataclass(frozen=True)
class FittingTrace:
    """What one fitting net computed for `n` atoms, all on the grid of 23 fraction bits.

    Attributes
    ----------
    z : list of (n, width) arrays
        Hidden layers before the activation.
    out : (n,) array
        Last layer's output with its rounded bias.
    grad : (n, nin) array
        Derivative of the output by the input.
    activations, received, gradients : list of arrays
        Inputs of each layer; the gradient at each hidden layer's output, and behind its activation.
    """

    z: list
    out: Array
    grad: Array
    activations: list
    received: list
    gradients: list


def fitting_net(
    d: Array, weights: list, biases: list, xp: Namespace = NUMPY, *,
    type_term: Array | None = None, widths: Widths = VENDOR_WIDTHS,
) -> FittingTrace:
    """Value and gradient of one fitting net.

    Parameters
    ----------
    d : array, shape (n, nin)
        Descriptor.
    weights, biases : lists of arrays (nin, nout) and (nout,)
        Hidden layers, then the last layer; hidden layers of equal width add their input.
    type_term : array, shape (n, width), optional
        Version 1: what each atom's type adds to its first layer, on the grid of 23 fraction bits.
    widths : Widths
        Of data and weights.
    """
    fix = widths.fix_frac
    x = d
    hidden = len(weights) - 1
    z_list: list[Array] = []
    activations: list[Array] = []
    received: list[Array] = []
    gradients: list[Array] = []
    for layer in range(hidden):
        x = round_bits(x, fix, xp)
        activations.append(x)
        z = matmul_fitnet(x, weights[layer], xp=xp, widths=widths)
        if layer == 0 and type_term is not None:
            z = z + type_term
        z = z + round_bits(biases[layer], fix, xp)
        z_list.append(z)
        y = tanh4(z, xp, fix, widths.short_frac)
        x = x + y if _skips(weights, layer) else y
    x = round_bits(x, fix, xp)
    activations.append(x)
    out = matmul_fitnet(x, weights[-1], whole=True, xp=xp, widths=widths)
    out = out + round_bits(biases[-1], fix, xp)

    g = matmul_fitnet(out * 0.0 + 1.0, _transpose(weights[-1], xp), whole=True, xp=xp,
                      widths=widths)
    for layer in reversed(range(hidden)):
        g = round_bits(g, fix, xp)
        received.insert(0, g)
        through = tanh4_grad(z_list[layer], g, xp, fix, widths.short_frac)
        through = round_bits(round_bits(through, fix, xp), widths.grad_frac, xp)
        gradients.insert(0, through)
        back = matmul_fitnet(through, _transpose(weights[layer], xp), xp=xp, widths=widths)
        back = round_bits(back, fix, xp)
        g = back + g if _skips(weights, layer) else back
    return FittingTrace(z_list, out[..., 0], g, activations, received, gradients)


def _skips(weights: list, layer: int) -> bool:
    """The second and later hidden layers add their input where the widths are equal."""
    return layer > 0 and weights[layer].shape[-2] == weights[layer].shape[-1]


def _transpose(w: Array, xp: Namespace) -> Array:
    return xp.transpose(w)
