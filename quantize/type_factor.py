"""Version 1: how the types of a pair change G, and the gradient back.

SUB_VERSION 1 multiplies G by a gain. SUB_VERSION 2 switches the types' part off with distance,
``G + G*(gain*k)``, where k is the third function of u that is tabulated: 1 inside `rcut_smth`, 0
from `rcut` on and in an empty slot.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nvnmd.quantize.normalize import Mode
from nvnmd.quantize.ops import FRAC, add, largest_exponent, mul, pow2, trunc_flt

Floats = NDArray[np.float64]

WIDE_FRAC = 52
"""Bits that a machine keeps below the largest product: up to 256 channels then fit 62 bits."""


def switched_gain(gain: Floats, k: Floats, frac: int = FRAC) -> Floats:
    """The gain (..., M1) at the pair's distance, of k (...)."""
    return np.asarray(mul(gain, k[..., None], frac) + 0.0)


def apply_switched(g: Floats, factor: Floats, frac: int = FRAC) -> Floats:
    """``add(G, mul(G, factor))``."""
    return np.asarray(add(g, mul(g, factor, frac), frac) + 0.0)


def wide_dot(a: Floats, b: Floats, frac: int = FRAC) -> Floats:
    """A machine's sum of products over the last axis: each cut to 52 bits below the largest.

    The largest is ``2**(ea + eb)``, of the largest exponents of both operands (at least -100 each).
    The sum, of whole numbers, is exact, and cut once.
    """
    ea, eb = (largest_exponent(x, -1) for x in (a, b))
    terms = np.trunc(a * b * pow2(WIDE_FRAC - ea - eb)).astype(np.int64)
    total = terms.sum(axis=-1)
    size = np.abs(total)
    # what binary64 has no room for lies below the bits that are kept
    size = np.where(size >> 53, size & ~np.int64((1 << 12) - 1), size)
    value = np.sign(total) * size.astype(np.float64) * pow2((ea + eb)[..., 0] - WIDE_FRAC)
    return np.asarray(trunc_flt(value, frac) + 0.0)


def back_through_switched(
    dg: Floats, g: Floats, gain: Floats, factor: Floats, mode: Mode = "graph", frac: int = FRAC
) -> tuple[Floats, Floats]:
    """From dE/dG to the gradients by the table's G and by k.

    The sum of the first is one of binary64, cut once: no `add`, which would drop bits before it,
    and no product with ``1 + factor``. The second is a sum of exact products, cut once, and no
    `dot`: the graph adds in binary64, channel by channel, a machine whole numbers (`wide_dot`),
    which hardly ever shows.

    Parameters
    ----------
    dg : (..., M1)
        dE/dG.
    g : (..., M1)
        The table's G.
    gain, factor : (..., M1)
        The gain, and what `switched_gain` made of it.
    mode : {"graph", "machine"}
        Whose sum the second is.
    frac : int
        Fraction bits of flt.

    Returns
    -------
    of_table : (..., M1)
    of_k : (...)
    """
    of_table = trunc_flt(dg + mul(factor, dg, frac), frac) + 0.0
    if mode == "machine":
        return np.asarray(of_table), wide_dot(mul(g, dg, frac), gain, frac)
    products = mul(g, dg, frac) * gain
    total = np.zeros(products.shape[:-1])
    for channel in range(products.shape[-1]):
        total = total + products[..., channel]
    return np.asarray(of_table), np.asarray(trunc_flt(total, frac) + 0.0)
