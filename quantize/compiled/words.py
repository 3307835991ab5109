"""The primitive operations on single numbers, compiled: the same definitions as in `ops`.

Every function here is a scalar form of one of `nvnmd.quantize.ops`, written so that a loop over it
becomes vector instructions. Products of aligned mantissas and their sums are whole numbers below
2^53, exact in binary64 in any order and fused or not; that alone permits `reassoc` and `contract`
where they stand. No other operation may be contracted or reordered: never give these functions
other `fastmath` flags.

`w` is the `Cuts` of a model's widths.

Subnormal numbers, which `ops` flushes, do not occur: displacements below 2**-127 are zero, table
coefficients and fitting words are words, and arguments of tables below 2**-60 go to the reference.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nvnmd.compiling import njit
from nvnmd.quantize.widths import Widths

EXPONENT_MASK = np.int64(0x7FF << 52)
MAGNITUDE_MASK = np.int64((1 << 63) - 1)
_BIAS = np.int64(1023)
_WIDTH = np.int64(52)
_FLOOR = np.int64(-100)
_NOTHING = np.int64(0)
SMALLEST_WORD = 2.0**-127


class Cuts(NamedTuple):
    """What the loops need of a model's widths (`nvnmd.quantize.widths`), as plain numbers.

    Masks of the kept bits of binary64, fraction bits and twice as many, exponent fields, powers of
    two with their inverses, magnitudes from which the reference has to look.
    """

    mask: np.int64
    offset_mask: np.int64
    frac: np.int64
    frac2: np.int64
    frac_field: np.int64
    from_exponent: np.int64
    fix: float
    unit: float
    short: float
    short_unit: float
    grad: float
    grad_unit: float
    data_limit: float
    fix_limit: float
    sum_limit: float


def cuts(widths: Widths) -> Cuts:
    """The `Cuts` of some widths."""
    frac = widths.flt_frac
    return Cuts(
        np.int64(~((1 << (52 - frac)) - 1)), np.int64(~((1 << (52 - widths.offset_frac)) - 1)),
        np.int64(frac), np.int64(2 * frac), np.int64(frac << 52),
        # what an exponent field is taken from for that of 2**(frac - e); its overflow is meant
        np.int64((2 * 1023 + frac << 52) - (1 << 64)),
        2.0**widths.fix_frac, 2.0**-widths.fix_frac, 2.0**widths.short_frac,
        2.0**-widths.short_frac, 2.0**widths.grad_frac, 2.0**-widths.grad_frac,
        widths.data.limit, widths.fix.limit, widths.sum.limit)


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
def cut(x, w):
    """`ops.trunc_flt` of zero and of magnitudes from 2**-1022 on."""
    return value(bits(x) & w.mask)


@njit
def cut_offset(x, w):
    """The same with the 16 fraction bits of a row's offset."""
    return value(bits(x) & w.offset_mask)


@njit
def flushed(x):
    """Zero below the smallest magnitude that a word holds."""
    return x if abs(x) >= SMALLEST_WORD else 0.0


@njit
def mul(a, b, w):
    """`ops.mul` of flt values."""
    return cut(a * b, w)


@njit
def add(a, b, w):
    """`ops.add` of magnitudes from 2**-900 on, up to the sign of zero.

    Both operands become whole numbers of units of the larger one's last bit. They need not be cut:
    what an exact product has beyond its 21 bits goes with that, as `mul` would have it.
    """
    e = max(bits(a) & EXPONENT_MASK, bits(b) & EXPONENT_MASK)
    scale = value(w.from_exponent - e)
    return cut((np.trunc(a * scale) + np.trunc(b * scale)) * value(e - w.frac_field), w)


@njit
def cubic(a, b, c, d, x, w):
    """Horner's scheme of `nvnmd.quantize.table_lookup.evaluate`."""
    return add(add(add(a * x, b, w) * x, c, w) * x, d, w)


@njit
def cubic_and_slope(a, b, c, d, x, w):
    """The cubic and its own slope, of `nvnmd.quantize.table_lookup.evaluate_both`."""
    first = a * x
    linear = add(first, b, w)
    quadratic = add(linear * x, c, w)
    return add(quadratic * x, d, w), add(add(first, linear, w) * x, quadratic, w)


@njit
def aligned(x, scale):
    """`ops.align` with ``scale = 2**(20 - e)``."""
    return np.trunc(x * scale)


@njit
def align_scale(e, w):
    """What `aligned` wants for the exponent e."""
    return pow2(w.frac - e)


@njit
def magnitude(x):
    """Bits of the magnitude: they compare as the magnitudes do."""
    return bits(x) & MAGNITUDE_MASK


@njit
def dot2(x0, x1, w0, w1, w):
    """`ops.dot` of two components."""
    ex = exponent_floor(max(magnitude(x0), magnitude(x1)))
    ew = exponent_floor(max(magnitude(w0), magnitude(w1)))
    sx, sw = align_scale(ex, w), align_scale(ew, w)
    total = aligned(x0, sx) * aligned(w0, sw) + aligned(x1, sx) * aligned(w1, sw)
    return cut(total * pow2(ex + ew - w.frac2), w)


@njit
def dot3(x0, x1, x2, w0, w1, w2, w):
    """`ops.dot` of three components."""
    ex = exponent_floor(max(magnitude(x0), magnitude(x1), magnitude(x2)))
    ew = exponent_floor(max(magnitude(w0), magnitude(w1), magnitude(w2)))
    sx, sw = align_scale(ex, w), align_scale(ew, w)
    total = (
        aligned(x0, sx) * aligned(w0, sw)
        + aligned(x1, sx) * aligned(w1, sw)
        + aligned(x2, sx) * aligned(w2, sw)
    )
    return cut(total * pow2(ex + ew - w.frac2), w)


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
def locate(count, x, bounds, row, offset, w):
    """`nvnmd.quantize.table_lookup.locate` of the first `count` of x: `row` and `offset`.

    The last segment takes what no segment holds, so it goes first and the others overwrite.
    """
    starts, ends, steps, rows, firsts, half_open = bounds
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
            before = x[p] < end or (x[p] == end and not half_open)
            here = i == last or (x[p] >= start and before)
            row[p] = first + np.int64(k) if here else row[p]
            offset[p] = cut_offset(rest, w) if here else offset[p]
