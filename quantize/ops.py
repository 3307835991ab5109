"""The primitive operations of the NVNMD arithmetic, each defined once.

All work on binary64 arrays, which hold every intermediate exactly: a flt has a 21-bit mantissa, a
product of two 42 bits, and a sum of up to 2048 aligned products stays below 2^53. `frac` is the
number of fraction bits of a flt (20 on the vendor's machine). `xp` is the array library,
see `nvnmd.quantize.namespace`.
"""

from __future__ import annotations

from nvnmd.quantize.namespace import NUMPY, Array, Namespace

FRAC = 20
EXPONENT_FLOOR = -100
FIX_FRAC = 23
SHORT_FRAC = 19
GRAD_FRAC = 21
WEIGHT_FRAC = 19
# binary64 exponents beyond this are scaled in vain: nothing in the arithmetic comes near
_EXPONENT_GUARD = -900


def pow2(e: Array, xp: Namespace = NUMPY) -> Array:
    """2**e for int64 e in the normal range of binary64, exactly."""
    return xp.from_bits(xp.shift_left(e + 1023, 52))


def exponent(x: Array, xp: Namespace = NUMPY) -> Array:
    """The unbiased binary64 exponent as int64; -1023 for zeros and subnormals."""
    return xp.bit_and(xp.shift_right(xp.bits(x), 52), 0x7FF) - 1023


def trunc_flt(x: Array, frac: int = FRAC, xp: Namespace = NUMPY) -> Array:
    """Cut a number to `frac` fraction bits of its mantissa, toward zero; subnormals become 0."""

    def cut(v: Array, xp: Namespace) -> Array:
        kept = xp.from_bits(xp.bit_and(xp.bits(v), ~((1 << (52 - frac)) - 1)))
        return xp.where(exponent(v, xp) == -1023, kept * 0.0, kept)

    return xp.rounding(cut, x)


def trunc_whole(x: Array, xp: Namespace = NUMPY) -> Array:
    """Drop the fraction, toward zero; a result of zero is +0."""

    def cut(v: Array, xp: Namespace) -> Array:
        return xp.where(v < 0, -xp.floor(-v), xp.floor(v)) + 0.0

    return xp.rounding(cut, x)


def align(x: Array, e: Array, frac: int = FRAC, xp: Namespace = NUMPY) -> Array:
    """The mantissa of x shifted right to exponent e, dropping bits: a signed whole number.

    `e` (int64) is at least x's own exponent, and broadcasts.
    """
    return trunc_whole(trunc_flt(x, frac, xp) * pow2(frac - e, xp), xp)


def mul(a: Array, b: Array, frac: int = FRAC, xp: Namespace = NUMPY) -> Array:
    """Product of two flt values, cut toward zero."""
    return trunc_flt(trunc_flt(a, frac, xp) * trunc_flt(b, frac, xp), frac, xp)


def add(a: Array, b: Array, frac: int = FRAC, xp: Namespace = NUMPY) -> Array:
    """Sum of two flt values.

    The operand of smaller exponent is shifted right to the larger exponent, dropping bits; the
    sum of the mantissas is cut toward zero. ``add(x, -x)`` is +0.
    """
    a = trunc_flt(a, frac, xp)
    b = trunc_flt(b, frac, xp)
    e = xp.maximum(exponent(a, xp), exponent(b, xp))
    e = xp.maximum(e, e * 0 + _EXPONENT_GUARD)
    total = align(a, e, frac, xp) + align(b, e, frac, xp)
    both_negative_zero = (xp.bits(a) < 0) & (a == 0) & (xp.bits(b) < 0) & (b == 0)
    return xp.where(both_negative_zero, a, trunc_flt(total * pow2(e - frac, xp), frac, xp))


def largest_exponent(x: Array, axis: int | tuple[int, ...], xp: Namespace = NUMPY) -> Array:
    """Largest exponent over `axis` (kept with length 1), but at least `EXPONENT_FLOOR`."""
    e = xp.max(exponent(x, xp), axis=axis, keepdims=True)
    return xp.maximum(e, e * 0 + EXPONENT_FLOOR)


def dot(x: Array, w: Array, frac: int = FRAC, xp: Namespace = NUMPY) -> Array:
    """Inner product over the last axis, each operand aligned to its own largest exponent."""
    ex = largest_exponent(x, -1, xp)
    ew = largest_exponent(w, -1, xp)
    total = xp.sum(align(x, ex, frac, xp) * align(w, ew, frac, xp), axis=-1)
    return trunc_flt(total * pow2((ex + ew)[..., 0] - 2 * frac, xp), frac, xp) + 0.0


def matmul_flt(x: Array, w: Array, norm: int, frac: int = FRAC, xp: Namespace = NUMPY) -> Array:
    """Matrix product of flt matrices over the last two axes.

    Parameters
    ----------
    x, w : array, shapes (..., n, k) and (..., k, m)
        Operands.
    norm : {0, 1}
        1: one exponent per row of x and per column of w; 0: one for each whole matrix.

    Returns
    -------
    array, shape (..., n, m)
        flt values.
    """
    ex = largest_exponent(x, -1 if norm else (-2, -1), xp)
    ew = largest_exponent(w, -2 if norm else (-2, -1), xp)
    total = xp.matmul(align(x, ex, frac, xp), align(w, ew, frac, xp))
    return trunc_flt(total * pow2(ex + ew - 2 * frac, xp), frac, xp) + 0.0


def product_to_fix(
    a: Array, b: Array, frac: int = FRAC, fix_frac: int = FIX_FRAC, xp: Namespace = NUMPY
) -> Array:
    """Elementwise product cut toward zero to `fix_frac` fraction bits, as a whole number."""
    scaled = trunc_flt(a, frac, xp) * trunc_flt(b, frac, xp) * float(1 << fix_frac)
    return trunc_whole(scaled, xp)


def fix_to_flt(
    total: Array, frac: int = FRAC, fix_frac: int = FIX_FRAC, xp: Namespace = NUMPY
) -> Array:
    """The flt of a whole number of units of 2**-fix_frac, cut toward zero."""
    return trunc_flt(total * 2.0**-fix_frac, frac, xp) + 0.0


def matmul_flt2fix(
    x: Array, w: Array, frac: int = FRAC, fix_frac: int = FIX_FRAC, xp: Namespace = NUMPY
) -> Array:
    """Matrix product whose products are cut one by one to `fix_frac` fraction bits, then summed.

    Shapes as in `matmul_flt`; the result is cut to flt. No GEMM can do this.
    """
    products = product_to_fix(x[..., :, :, None], w[..., None, :, :], frac, fix_frac, xp)
    return fix_to_flt(xp.sum(products, axis=-2), frac, fix_frac, xp)


def floor_bits(x: Array, bits: int, xp: Namespace = NUMPY) -> Array:
    """Largest multiple of 2**-bits that is not above x."""

    def cut(v: Array, xp: Namespace) -> Array:
        return xp.floor(v * float(1 << bits)) * 2.0**-bits

    return xp.rounding(cut, x)


def round_bits(x: Array, bits: int, xp: Namespace = NUMPY) -> Array:
    """Nearest multiple of 2**-bits, halves away from zero."""

    def nearest(v: Array, xp: Namespace) -> Array:
        scaled = v * float(1 << bits)
        half = xp.where(scaled < 0, scaled * 0 - 0.5, scaled * 0 + 0.5)
        return trunc_whole(scaled + half, xp) * 2.0**-bits

    return xp.rounding(nearest, x)


def tanh4(
    z: Array, xp: Namespace = NUMPY, fix_frac: int = FIX_FRAC, short_frac: int = SHORT_FRAC
) -> Array:
    """The activation: odd, ``a - a^3/4 + a^4/16`` for a = abs(z) below 2, 1 from there on.

    `z` lies on the grid of `fix_frac` fraction bits, so does the result.
    """
    a = xp.abs(z)
    hi = floor_bits(a, fix_frac, xp)
    q = floor_bits(hi * floor_bits(a, short_frac, xp), fix_frac, xp)
    y = floor_bits(q * (q / 16.0 - hi / 4.0) + hi, fix_frac, xp)
    y = xp.where(a < 2.0, y, y * 0 + 1.0)
    return xp.where(z < 0, -y, y)


def tanh4_grad(
    z: Array,
    g: Array,
    xp: Namespace = NUMPY,
    fix_frac: int = FIX_FRAC,
    short_frac: int = SHORT_FRAC,
) -> Array:
    """Gradient through `tanh4`: g times its quantized slope at z (23 + 19 fraction bits in,
    `fix_frac` out)."""
    a = xp.minimum(xp.abs(z), xp.abs(z) * 0 + 2.0)
    hi = floor_bits(a, fix_frac, xp)
    square = floor_bits(hi * floor_bits(a, short_frac, xp), short_frac, xp)
    slope = floor_bits(square * (hi / 4.0 - 0.75), short_frac, xp) + 1.0
    return floor_bits(slope * floor_bits(g, fix_frac, xp), fix_frac, xp)
