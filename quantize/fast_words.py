"""The primitive operations on single numbers, compiled: the same definitions as in `ops`.

Every function here is a scalar form of one of `nvnmd.quantize.ops`, written so that a loop over it
becomes vector instructions. Products of aligned mantissas and their sums are whole numbers below
2^53, exact in binary64 in any order; that alone permits `reassoc` where it stands. No operation may
be contracted or reordered otherwise: never give these functions other `fastmath` flags.

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
_BIG = np.int64(32 << 52)
_UNIT = np.int64(20 << 52)
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
    """`ops.add` of flt values, up to the sign of zero; of magnitudes from 2**-900 on.

    Adding and taking away 2**(e + 32) rounds the smaller operand to a multiple of 2**(e - 20),
    the last bit of the larger; where that rounded up, one unit is taken back.
    """
    magnitude_a, magnitude_b = abs(a), abs(b)
    large = a if magnitude_a >= magnitude_b else b
    small = b if magnitude_a >= magnitude_b else a
    e = bits(large) & EXPONENT_MASK
    magnitude = abs(small)
    shifter = value(e + _BIG)
    kept = (magnitude + shifter) - shifter
    kept = kept - value(e - _UNIT) if kept > magnitude else kept
    return cut(large + np.copysign(kept, small))


@njit
def cubic(a, b, c, d, x):
    """Horner's scheme of `nvnmd.mapping.lookup.evaluate`."""
    return add(mul(add(mul(add(mul(a, x), b), x), c), x), d)


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


@njit(fastmath={"reassoc"})
def whole_dot(x, w):
    """Sum of products of whole numbers, in any order."""
    total = 0.0
    for i in range(len(x)):
        total += x[i] * w[i]
    return total


@njit
def locate(x, starts, ends, steps, rows, firsts):
    """`nvnmd.mapping.lookup.locate`: row and offset."""
    last = len(starts) - 1
    for i in range(last + 1):
        if i == last or (x >= starts[i] and x <= ends[i]):
            distance = x - starts[i]
            k = np.floor(distance / steps[i])
            if k < 0.0:
                return firsts[i], 0.0
            if k >= rows[i]:
                return firsts[i] + rows[i] - 1, cut_offset(steps[i])
            return firsts[i] + np.int64(k), cut_offset(distance - k * steps[i])
    return np.int64(0), 0.0
