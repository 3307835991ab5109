"""What the float model's training does atom by atom, compiled: descriptor and activation."""

from __future__ import annotations

import numpy as np
from numba import njit

_ANY_ORDER = {"reassoc", "contract", "nsz"}


@njit(cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def describe(gr, change, m2, d, turn):
    """Descriptor (a, M1*M2) of GR (a, 4, M1), and the change `turn` that `change` of GR makes."""
    m1 = gr.shape[2]
    for p in range(len(gr)):
        for j in range(m1):
            for k in range(m2):
                other = (j + k) % m1
                value, slope = 0.0, 0.0
                for i in range(4):
                    value += gr[p, i, j] * gr[p, i, other]
                    slope += change[p, i, j] * gr[p, i, other] + gr[p, i, j] * change[p, i, other]
                d[p, j * m2 + k] = value
                turn[p, j * m2 + k] = slope


@njit(cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def describe_backward(gr, by_d, m2, scale, out):
    """Add the gradient by GR that a gradient by D makes, times `scale`, to `out` (a, 4, M1)."""
    m1 = gr.shape[2]
    column = np.empty(m1)
    for p in range(len(gr)):
        for k in range(m2):
            for j in range(m1):
                column[j] = by_d[p, j * m2 + k] * scale
            for i in range(4):
                row, to = gr[p, i], out[p, i]
                for j in range(m1 - k):
                    to[j] += column[j] * row[j + k]
                    to[j + k] += column[j] * row[j]
                for j in range(m1 - k, m1):
                    to[j] += column[j] * row[j + k - m1]
                    to[j + k - m1] += column[j] * row[j]


@njit(cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def activate(z, bias, term, previous, skip, x, slope, curve):
    """Hidden layer of a fitting net: its output and the activation's derivatives, twice.

    `term` (a, width) is added to z, or has no rows.
    """
    for p in range(z.shape[0]):
        for j in range(z.shape[1]):
            v = z[p, j] + bias[j]
            if len(term) > 0:
                v += term[p, j]
            a = min(abs(v), 2.0)
            square = a * a
            y = np.copysign(square * (square * 0.0625 - a * 0.25) + a, v)
            x[p, j] = y + previous[p, j] if skip else y
            slope[p, j] = square * (a * 0.25 - 0.75) + 1.0
            curve[p, j] = np.copysign(a * (0.75 * a - 1.5), -v)
