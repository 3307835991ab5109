"""The quantized fitting net for training, compiled: element by element, values and surrogates."""

from __future__ import annotations

import numpy as np

from nvnmd.compiling import njit
from nvnmd.quantize.compiled.words import exponent_floor, magnitude, pow2

_FIX = 2.0**23
_UNIT = 2.0**-23
_SHORT = 2.0**19
_SHORT_UNIT = 2.0**-19
_GRAD = 2.0**21
_GRAD_UNIT = 2.0**-21
_WEIGHT_FRAC = np.int64(19)


@njit
def _rounded(x):
    """`ops.round_bits` at 23 bits."""
    scaled = x * _FIX
    return np.trunc(scaled - 0.5 if scaled < 0.0 else scaled + 0.5) * _UNIT


@njit(nogil=True, cache=True, error_model="numpy")
def quantized(w, whole, out):
    """Value of `fitting.quantize_weight`, one exponent per column or in all."""
    nin, nout = w.shape
    tops = np.zeros(nout, dtype=np.int64)
    for i in range(nin):
        for j in range(nout):
            x = _rounded(w[i, j])
            out[i, j] = x
            tops[j] = max(tops[j], magnitude(x))
    if whole:
        tops[:] = tops.max()
    for j in range(nout):
        tops[j] = exponent_floor(tops[j])
    for i in range(nin):
        for j in range(nout):
            scale = pow2(_WEIGHT_FRAC - tops[j])
            out[i, j] = np.floor(out[i, j] * scale) * pow2(tops[j] - _WEIGHT_FRAC)


@njit(nogil=True, cache=True, error_model="numpy")
def activate(z, bias, term, previous, skip, x, slope):
    """Hidden layer from the matrix product in z: rounds it, adds bias and, where it has rows,
    `term`; the output goes to x, the derivative of `ops.tanh4` to `slope`."""
    for p in range(z.shape[0]):
        for j in range(z.shape[1]):
            v = np.floor(z[p, j] * _FIX) * _UNIT
            if len(term) > 0:
                v += term[p, j]
            v += bias[j]
            a = abs(v)
            lo = np.floor(a * _SHORT) * _SHORT_UNIT
            q = np.floor(a * lo * _FIX) * _UNIT
            inner = q / 16.0 - a / 4.0
            y = np.floor((q * inner + a) * _FIX) * _UNIT
            dq = lo + a
            dy = dq * inner + q * (dq / 16.0 - 0.25) + 1.0
            y = y if a < 2.0 else 1.0
            slope[p, j] = dy if a < 2.0 else 0.0
            y = -y if v < 0.0 else y
            z[p, j] = v
            x[p, j] = y + previous[p, j] if skip else y


@njit(nogil=True, cache=True, error_model="numpy")
def through_activation(z, g, through, slope, curve):
    """`ops.tanh4_grad` with the roundings that follow; its derivatives by g and by z."""
    for p in range(z.shape[0]):
        for j in range(z.shape[1]):
            size = abs(z[p, j])
            a = size if size < 2.0 else 2.0
            lo = np.floor(a * _SHORT) * _SHORT_UNIT
            square = np.floor(a * lo * _SHORT) * _SHORT_UNIT
            inner = a / 4.0 - 0.75
            factor = np.floor(square * inner * _SHORT) * _SHORT_UNIT + 1.0
            bend = (lo + a) * inner + square * 0.25
            bend = bend if size <= 2.0 else 0.0
            v = np.floor(factor * g[p, j] * _FIX) * _UNIT
            scaled = v * _GRAD
            through[p, j] = np.trunc(scaled - 0.5 if scaled < 0.0 else scaled + 0.5) * _GRAD_UNIT
            slope[p, j] = factor
            curve[p, j] = (-bend if z[p, j] < 0.0 else bend) * g[p, j]


@njit(nogil=True, cache=True, error_model="numpy")
def receive(total, g, skip):
    """Gradient in front of a layer, into `total`, plus the one that skips the layer."""
    for p in range(total.shape[0]):
        for j in range(total.shape[1]):
            v = np.floor(total[p, j] * _FIX) * _UNIT
            total[p, j] = v + g[p, j] if skip else v
