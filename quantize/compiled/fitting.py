"""The integer fitting net, compiled: forward and backward pass of a few atoms of one type."""

from __future__ import annotations

import numpy as np

from nvnmd.compiling import njit
from nvnmd.quantize.compiled.product import product


@njit(nogil=True, cache=True)
def fit(
    atoms, d, widths, skips, ahead, scale, bias, back, back_scale, last, last_scale, last_bias,
    seed, z, x, total, g, energy, suspect, w,
):
    """Descriptors to energies and dE/dD, all on the grid of 23 fraction bits.

    Parameters
    ----------
    atoms : (a,) int64
        Rows of `energy` and `suspect` (n,).
    d : (a, k)
        Descriptors in the first columns; dE/dD afterwards.
    widths, skips : (layers + 1,), (layers,)
        Inputs of each layer and, last, outputs of the last hidden one; which add their input.
    ahead, scale, bias : (layers, k, k), (layers, k), (layers, k)
        Whole numbers, their unit by column, rounded biases.
    back, back_scale : (layers, k, k), (layers, k)
        The same of the transposed matrices.
    last, last_scale, last_bias, seed : (k,), float, float, (k,)
        Last layer, and its gradient.
    z, x, total, g : (layers, a, k), (a, k), (a, k), (a, k)
        Room, for a multiple of four atoms.
    w : Cuts
        Of the model's widths.
    """
    count, layers = len(atoms), len(skips)
    # whole groups of four rows; what is left in the last ones is not used
    rows = (count + 3) // 4 * 4
    for p in range(count):
        for j in range(widths[0]):
            x[p, j] = d[p, j]
    for layer in range(layers):
        nin, nout = widths[layer], widths[layer + 1]
        product(x, ahead[layer], total, rows, nin, nout)
        for p in range(count):
            if _activate(total[p], scale[layer], bias[layer], skips[layer], nout, z[layer, p],
                         x[p], w):
                suspect[atoms[p]] = True
    width = widths[layers]
    for p in range(count):
        whole = 0.0
        for j in range(width):
            whole += x[p, j] * last[j]
        energy[atoms[p]] = np.floor(whole * last_scale * w.fix) * w.unit + last_bias
        if not abs(energy[atoms[p]]) < w.fix_limit:
            suspect[atoms[p]] = True
        for j in range(width):
            g[p, j] = seed[j]
    for layer in range(layers - 1, -1, -1):
        nin, nout = widths[layer], widths[layer + 1]
        for p in range(count):
            if _slope(z[layer, p], g[p], nout, x[p], w):
                suspect[atoms[p]] = True
        product(x, back[layer], total, rows, nout, nin)
        limit = w.fix_limit if layer == 0 else w.data_limit
        for p in range(count):
            if _receive(total[p], back_scale[layer], skips[layer], nin, limit, g[p], w):
                suspect[atoms[p]] = True
    for p in range(count):
        for j in range(widths[0]):
            d[p, j] = g[p, j]


@njit
def _activate(total, scale, bias, skip, width, z, x, w):
    """Hidden layer: z and its activation from the matrix product, plus the input where it skips.

    True if a word is too large.
    """
    bad = 0
    for j in range(width):
        v = np.floor(total[j] * scale[j] * w.fix) * w.unit + bias[j]
        a = abs(v)
        lo = np.floor(a * w.short) * w.short_unit
        q = np.floor(a * lo * w.fix) * w.unit
        y = np.floor((q * (q / 16.0 - a / 4.0) + a) * w.fix) * w.unit
        y = y if a < 2.0 else 1.0
        y = -y if v < 0.0 else y
        z[j] = v
        y = y + x[j] if skip else y
        x[j] = y
        bad += 0 if (a < w.data_limit and abs(y) < w.data_limit) else 1
    return bad > 0


@njit
def _slope(z, g, width, through, w):
    """Gradient behind the activation, 21 fraction bits; whether a word is too large."""
    bad = 0
    for j in range(width):
        a = abs(z[j])
        a = a if a < 2.0 else 2.0
        lo = np.floor(a * w.short) * w.short_unit
        square = np.floor(a * lo * w.short) * w.short_unit
        factor = np.floor(square * (a / 4.0 - 0.75) * w.short) * w.short_unit + 1.0
        v = np.floor(factor * g[j] * w.fix) * w.unit
        scaled = v * w.grad
        half = -0.5 if scaled < 0.0 else 0.5
        v = np.trunc(scaled + half) * w.grad_unit
        through[j] = v
        bad += 0 if (abs(v) < w.data_limit and abs(g[j]) < w.data_limit) else 1
    return bad > 0


@njit
def _receive(total, scale, skip, width, limit, g, w):
    """Gradient in front of a layer from the matrix product, plus the one that skips it.

    True if a word is too large.
    """
    bad = 0
    for j in range(width):
        v = np.floor(total[j] * scale[j] * w.fix) * w.unit
        v = v + g[j] if skip else v
        g[j] = v
        bad += 0 if abs(v) < limit else 1
    return bad > 0
