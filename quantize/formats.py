"""The number formats of the NVNMD arithmetic and their words.

======== ======================= =====================================================
name     width                   meaning
======== ======================= =====================================================
flt      1 + 8 + 20 bits         sign, exponent (bias 128), fraction; hidden one
fix      32 bits                 23 fraction bits, two's complement (energy, empty slots, dE/dD)
sum      36 bits                 23 fraction bits: GR accumulators, running sums included
data     27 bits                 23 fraction bits (activations, biases, gradients)
weight   21 bits                 19 fraction bits below an exponent shared by a column
======== ======================= =====================================================

In Python a value of any of them is a binary64 number, which holds each exactly; a *word* is the
bit pattern that the hardware and the files hold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nvnmd.errors import RangeError


@dataclass(frozen=True)
class FloatFormat:
    """A flt format: one sign bit, `exp_bits` exponent bits, `frac_bits` fraction bits.

    The exponent field is the exponent plus ``2**(exp_bits-1)``; field 0 only occurs in the word
    of zero, which is all zero, so that the smallest magnitude is ``2**(1 - bias)``.
    """

    exp_bits: int = 8
    frac_bits: int = 20

    @property
    def bits(self) -> int:
        """Width of a word."""
        return 1 + self.exp_bits + self.frac_bits

    @property
    def bias(self) -> int:
        """What is added to the exponent to give its field."""
        return 1 << (self.exp_bits - 1)

    @property
    def smallest(self) -> float:
        """Smallest magnitude that is not zero."""
        return float(np.ldexp(1.0, 1 - self.bias))


@dataclass(frozen=True)
class FixFormat:
    """A two's complement fixed-point format of `bits` bits, `frac_bits` of them fraction."""

    bits: int
    frac_bits: int

    @property
    def limit(self) -> float:
        """Magnitudes from here on do not fit (save the negative limit itself)."""
        return float(np.ldexp(1.0, self.bits - 1 - self.frac_bits))


FLT = FloatFormat()
FIX = FixFormat(32, 23)
# copper at 8 Å has running sums up to 301 (32 bits end at 256): near neighbours come first, and the
# far ones' negative s takes most of them back
SUM = FixFormat(36, 23)
DATA = FixFormat(27, 23)


def encode_flt(x: ArrayLike, fmt: FloatFormat = FLT, *, what: str = "value") -> NDArray[np.uint32]:
    """The words of flt values.

    Parameters
    ----------
    x : array_like of float
        Values; bits below the format's fraction are dropped (toward zero).
    fmt : FloatFormat
        The format.
    what : str
        Name of the quantity, for the error message.

    Returns
    -------
    ndarray of uint32
        Words. Both zeros, and magnitudes below `fmt.smallest`, give 0.

    Raises
    ------
    RangeError
        If a value is not finite or its exponent is above the format's.
    """
    values = np.asarray(x, dtype=np.float64)
    if not np.all(np.isfinite(values)):
        raise RangeError(f"{what} is not finite, expected a number of {fmt.bits} bits")
    bits = values.view(np.int64) if values.flags.c_contiguous else values.copy().view(np.int64)
    exponent = ((bits >> 52) & 0x7FF) - 1023
    field = exponent + fmt.bias
    if np.any(field >= 1 << fmt.exp_bits):
        worst = float(values.flat[int(np.argmax(np.abs(values)))])
        raise RangeError(
            f"{what} {worst:.6g} leaves the flt format, expected magnitudes below 2**{fmt.bias}"
        )
    sign = (bits >> 63) & 1
    fraction = (bits >> (52 - fmt.frac_bits)) & ((1 << fmt.frac_bits) - 1)
    word = (sign << (fmt.exp_bits + fmt.frac_bits)) | (field << fmt.frac_bits) | fraction
    return np.where(field < 1, 0, word).astype(np.uint32)


def decode_flt(words: ArrayLike, fmt: FloatFormat = FLT) -> NDArray[np.float64]:
    """The values of flt words, the reverse of `encode_flt`."""
    word = np.asarray(words).astype(np.int64)
    fraction = word & ((1 << fmt.frac_bits) - 1)
    field = (word >> fmt.frac_bits) & ((1 << fmt.exp_bits) - 1)
    sign = np.where((word >> (fmt.exp_bits + fmt.frac_bits)) & 1, -1.0, 1.0)
    magnitude = np.ldexp(
        (fraction + (1 << fmt.frac_bits)).astype(np.float64), field - fmt.bias - fmt.frac_bits
    )
    return np.where(field == 0, 0.0, sign * magnitude)


def flush(x: ArrayLike, fmt: FloatFormat = FLT) -> NDArray[np.float64]:
    """Values as words hold them: magnitudes below `fmt.smallest` become zero."""
    values = np.asarray(x, dtype=np.float64)
    return np.where(np.abs(values) < fmt.smallest, 0.0, values)


def to_fix(x: ArrayLike, fmt: FixFormat, *, what: str = "value") -> NDArray[np.int64]:
    """The integers of fixed-point values that already lie on the format's grid.

    Raises
    ------
    RangeError
        If a value leaves the format: the reference never wraps.
    ValueError
        If a value is off the grid, which is a mistake in the program.
    """
    scaled = np.asarray(x, dtype=np.float64) * 2.0**fmt.frac_bits
    if not np.all(np.isfinite(scaled)):
        raise RangeError(f"{what} is not finite, expected {fmt.bits} bits")
    whole = np.floor(scaled)
    if np.any(whole != scaled):
        raise ValueError(f"{what} is off the grid of {fmt.frac_bits} fraction bits")
    limit = 2.0 ** (fmt.bits - 1)
    if np.any((whole >= limit) | (whole < -limit)):
        worst = float(whole.flat[int(np.argmax(np.abs(whole)))]) / 2.0**fmt.frac_bits
        raise RangeError(
            f"{what} {worst:.6g} leaves its format of {fmt.bits} bits with {fmt.frac_bits} "
            f"fraction bits, expected magnitudes below {fmt.limit:g}"
        )
    return whole.astype(np.int64)
