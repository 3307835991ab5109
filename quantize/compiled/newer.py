"""The stages of `normalize` and `type_factor` on single neighbours, compiled."""

from __future__ import annotations

import numpy as np

from nvnmd.compiling import njit
from nvnmd.quantize.compiled.words import add, cut, largest, mul, pow2
from nvnmd.quantize.normalize import INVERSE, NOTHING, QUOTIENT
from nvnmd.quantize.type_factor import WIDE_FRAC

WIDE = np.int64(WIDE_FRAC)


@njit
def normalized(kind, numbers, s, h, w):
    """`normalize.normalize` of one neighbour; `numbers` are those of its centre's type."""
    if kind == NOTHING:
        return s, h
    if kind == INVERSE:
        return mul(numbers[0], s, w), mul(numbers[1], h, w)
    if kind == QUOTIENT:
        return cut((s - numbers[2]) / numbers[0], w), cut(h / numbers[1], w)
    return mul(numbers[0], add(s, numbers[2], w), w), mul(numbers[1], h, w)


@njit
def scaled_back(kind, numbers, ds, dh, w):
    """`normalize.scale_back` of one neighbour."""
    if kind == NOTHING:
        return ds, dh
    if kind == QUOTIENT:
        return cut(ds / numbers[0], w), cut(dh / numbers[1], w)
    return mul(numbers[0], ds, w), mul(numbers[1], dh, w)


@njit
def switch_on(g, gain, k, table_g, w):
    """`type_factor.apply_switched` in place; `table_g` takes what G was."""
    for j in range(len(table_g)):
        table_g[j] = g[j]
        g[j] = add(g[j], mul(g[j], mul(gain[j], k, w), w), w)


@njit
def wide_dot(products, gain, w):
    """`type_factor.wide_dot`."""
    e = largest(products) + largest(gain)
    scale = pow2(WIDE - e)
    total = np.int64(0)
    for j in range(len(products)):
        total += np.int64(np.trunc(products[j] * gain[j] * scale))
    size = abs(total)
    if size >> 53:
        size &= ~np.int64((1 << 12) - 1)
    return cut(np.sign(total) * np.float64(size) * pow2(e - WIDE), w)


@njit
def back_through_switched(dg, table_g, gain, k, words, w):
    """`type_factor.back_through_switched`: dE/dG in place, dE/dk returned.

    `words` has room for as many numbers in a machine's mode, else none.
    """
    if len(words) > 0:
        for j in range(len(table_g)):
            here = dg[j]
            words[j] = mul(table_g[j], here, w)
            dg[j] = cut(here + mul(mul(gain[j], k, w), here, w), w)
        return wide_dot(words, gain, w)
    total = 0.0
    for j in range(len(table_g)):
        here = dg[j]
        total += mul(np.float64(table_g[j]), here, w) * gain[j]
        dg[j] = cut(here + mul(mul(gain[j], k, w), here, w), w)
    return cut(total, w)
