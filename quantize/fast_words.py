"""The primitive operations on single numbers, compiled: the same definitions as in `ops`.

Every function here is a scalar form of one of `nvnmd.quantize.ops`, written so that a loop over it
becomes vector instructions. Products of aligned mantissas and their sums are whole numbers below
2^53, exact in binary64 in any order and fused or not; that alone permits `reassoc` and `contract`
where they stand. No other operation may be contracted or reordered: never give these functions
other `fastmath` flags.

Subnormal numbers, which `ops` flushes, do not occur: displacements below 2**-127 are zero, table
coefficients and fitting words are words, and arguments of tables below 2**-60 go to the reference.
"""

from __future__ import annotations

import numpy as np
from numba import njit

FLT_MASK = np.int64(~((1 << 32) - 1))
OFFSET_MASK = np.int64(~((1 << 36) - 1))
EXPONENT_MASK = np.int64(0x7FF << 52)
MAGNITUDE_MASK = np.int64((1 << 63) - 1)
_FRAC = np.int64(20)
_UNIT = np.int64(20 << 52)
# what an exponent field is taken from for that of 2**(20 - e); its own overflow is meant
_FROM_EXPONENT = np.int64((2 * 1023 + 20 << 52) - (1 << 64))
_BIAS = np.int64(1023)
_WIDTH = np.int64(52)
_FLOOR = np.int64(-100)
_NOTHING = np.int64(0)
SMALLEST_WORD = 2.0**-127


@njit
def bits(x):
    """The bit pattern of a binary64 number."""
    return np.float64(x).view(np.int64)


@njit
def value(i):
    """The binary64 number of a bit pattern."""
    return np.int64(i).view(np.float64)


@njit
def pow2(e):
    """2**e of an int64."""
    return value((e + _BIAS) << _WIDTH)


@njit
def exponent_floor(magnitude_bits):
    """Exponent of the largest magnitude's bits, at least -100."""
    e = (magnitude_bits >> _WIDTH) - _BIAS
    return e if e > _FLOOR else _FLOOR


@njit
def cut(x):
    """`ops.trunc_flt` of zero and of magnitudes from 2**-1022 on."""
    return value(bits(x) & FLT_MASK)


@njit
def cut_offset(x):
    """The same with the 16 fraction bits of a row's offset."""
    return value(bits(x) & OFFSET_MASK)


@njit
def flushed(x):
    """Zero below the smallest magnitude that a word holds."""
    return x if abs(x) >= SMALLEST_WORD else 0.0


@njit
def mul(a, b):
    """`ops.mul` of flt values."""
    return cut(a * b)


@njit
def add(a, b):
    """`ops.add` of magnitudes from 2**-900 on, up to the sign of zero.

    Both operands become whole numbers of units of the larger one's last bit. They need not be cut:
    what an exact product has beyond its 21 bits goes with that, as `mul` would have it.
    """
    e = max(bits(a) & EXPONENT_MASK, bits(b) & EXPONENT_MASK)
    scale = value(_FROM_EXPONENT - e)
    return cut((np.trunc(a * scale) + np.trunc(b * scale)) * value(e - _UNIT))


@njit
def cubic(a, b, c, d, x):
    """Horner's scheme of `nvnmd.mapping.lookup.evaluate`."""
    return add(add(add(a * x, b) * x, c) * x, d)


@njit
def aligned(x, scale):
    """`ops.align` with ``scale = 2**(20 - e)``."""
    return np.trunc(x * scale)


@njit
def align_scale(e):
    """What `aligned` wants for the exponent e."""
    return pow2(_FRAC - e)


@njit
def magnitude(x):
    """Bits of the magnitude: they compare as the magnitudes do."""
    return bits(x) & MAGNITUDE_MASK


@njit
def dot2(x0, x1, w0, w1):
    """`ops.dot` of two components."""
    ex = exponent_floor(max(magnitude(x0), magnitude(x1)))
    ew = exponent_floor(max(magnitude(w0), magnitude(w1)))
    sx, sw = align_scale(ex), align_scale(ew)
    total = aligned(x0, sx) * aligned(w0, sw) + aligned(x1, sx) * aligned(w1, sw)
    return cut(total * pow2(ex + ew - 2 * _FRAC))


@njit
def dot3(x0, x1, x2, w0, w1, w2):
    """`ops.dot` of three components."""
    ex = exponent_floor(max(magnitude(x0), magnitude(x1), magnitude(x2)))
    ew = exponent_floor(max(magnitude(w0), magnitude(w1), magnitude(w2)))
    sx, sw = align_scale(ex), align_scale(ew)
    total = (
        aligned(x0, sx) * aligned(w0, sw)
        + aligned(x1, sx) * aligned(w1, sw)
        + aligned(x2, sx) * aligned(w2, sw)
    )
    return cut(total * pow2(ex + ew - 2 * _FRAC))


@njit
def largest(x):
    """Largest exponent of a vector, at least -100."""
    top = _NOTHING
    for i in range(len(x)):
        top = max(top, magnitude(x[i]))
    return exponent_floor(top)


@njit(fastmath={"reassoc", "contract"})
def whole_dot(x, x_scale, w, w_scale):
    """Sum of products of aligned numbers, in any order."""
    total = 0.0
    for i in range(len(x)):
        total += np.trunc(x[i] * x_scale) * np.trunc(w[i] * w_scale)
    return total


@njit(fastmath={"reassoc", "contract"})
def whole_dots(x, scale, w0, w1, w2, w3):
    """The same of one vector with four that are whole numbers already."""
    t0, t1, t2, t3 = 0.0, 0.0, 0.0, 0.0
    for i in range(len(x)):
        a = np.trunc(x[i] * scale)
        t0 += a * w0[i]
        t1 += a * w1[i]
        t2 += a * w2[i]
        t3 += a * w3[i]
    return t0, t1, t2, t3


@njit
def locate(count, x, bounds, row, offset):
    """`nvnmd.mapping.lookup.locate` of the first `count` of x: `row` and `offset`.

    The last segment takes what no segment holds, so it goes first and the others overwrite.
    """
    starts, ends, steps, rows, firsts = bounds
    last = len(starts) - 1
    for i in range(last, -1, -1):
        start, end, step, first = starts[i], ends[i], steps[i], firsts[i]
        # steps are powers of two
        inverse, top = pow2(-(bits(step) >> _WIDTH) + _BIAS), np.float64(rows[i])
        for p in range(count):
            distance = x[p] - start
            k = np.floor(distance * inverse)
            rest = distance - k * step
            # also of what is no number
            below, beyond = not k >= 0.0, k >= top
            rest = 0.0 if below else (step if beyond else rest)
            k = 0.0 if below else (top - 1.0 if beyond else k)
            here = i == last or (x[p] >= start and x[p] <= end)
            row[p] = first + np.int64(k) if here else row[p]
            offset[p] = cut_offset(rest) if here else offset[p]
