"""What the float model's training does atom by atom, compiled: descriptor and activation."""

from __future__ import annotations

import numpy as np

from nvnmd.compiling import njit

_ANY_ORDER = {"reassoc", "contract", "nsz"}


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def describe(low, high, gr, change, m2, d, turn):
    """Descriptor (a, M1*M2) of GR (a, 4, M1), and the change `turn` that `change` of GR makes, of
    the atoms `low` to `high`."""
    m1 = gr.shape[2]
    for p in range(low, high):
        for j in range(m1):
            for k in range(m2):
                other = (j + k) % m1
                value, slope = 0.0, 0.0
                for i in range(4):
                    value += gr[p, i, j] * gr[p, i, other]
                    slope += change[p, i, j] * gr[p, i, other] + gr[p, i, j] * change[p, i, other]
                d[p, j * m2 + k] = value
                turn[p, j * m2 + k] = slope


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def describe_backward(low, high, gr, by_d, m2, scale, out):
    """Add the gradient by GR that a gradient by D makes, times `scale`, to `out` (a, 4, M1), of the
    atoms `low` to `high`."""
    m1 = gr.shape[2]
    column = np.empty(m1)
    for p in range(low, high):
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


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def activate(z, bias, term, previous, skip, x, slope):
    """Hidden layer of a fitting net: its output x and the activation's derivative `slope`; the
    second derivative takes the place of z.

    `term` (a, width) is added to z, or has no rows; `previous` to x if `skip` says so.
    """
    width = z.shape[1]
    for p in range(len(z)):
        for j in range(width):
            z[p, j] += bias[j]
        if len(term) > 0:
            for j in range(width):
                z[p, j] += term[p, j]
        # beyond 2 the polynomial stays what it is there; what is not a number stays so, too
        for j in range(width):
            v = z[p, j]
            v = 2.0 if v > 2.0 else v
            z[p, j] = -2.0 if v < -2.0 else v
        for j in range(width):
            v = z[p, j]
            x[p, j] = v + v * v * v * (abs(v) * 0.0625 - 0.25)
        if skip:
            for j in range(width):
                x[p, j] += previous[p, j]
        for j in range(width):
            v = z[p, j]
            slope[p, j] = v * v * (abs(v) * 0.25 - 0.75) + 1.0
        for j in range(width):
            v = z[p, j]
            z[p, j] = v * (abs(v) * 0.75 - 1.5)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def reverse(bar, slope, outer, curve, inner, before, to_bias):
    """Gradient `before` an activation from that behind it, `bar`, and its sum over the atoms.

    `inner` is the change of what goes in, `outer` the energy's gradient behind.
    """
    to_bias[:] = 0.0
    for p in range(len(bar)):
        for j in range(len(to_bias)):
            before[p, j] = bar[p, j] * slope[p, j] + outer[p, j] * curve[p, j] * inner[p, j]
        for j in range(len(to_bias)):
            to_bias[j] += before[p, j]
