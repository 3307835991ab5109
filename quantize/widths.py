"""The widths of a model's number formats: the vendor's, or narrower.

Narrower ones only: the vendor's are as wide as the exact products of binary64 allow. The range of
every format stays what it is but for the accumulators': fewer bits mean fewer fraction bits.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

from nvnmd.quantize import ops
from nvnmd.quantize.formats import DATA, FIX, FLT, SUM, FixFormat, FloatFormat
from nvnmd.quantize.table_lookup import OFFSET_FRAC

# integer bits with the sign, of fit data and of fitting weights
_DATA_INTEGER, _WEIGHT_INTEGER = DATA.bits - DATA.frac_bits, 2


@dataclass(frozen=True)
class Widths:
    """Bits of the formats that may be narrower than the vendor's.

    Attributes
    ----------
    flt_frac : int
        Fraction bits of a flt word, 8 to 20.
    data_bits : int
        Bits of a word of fit data, 16 to 27, of which 4 are the sign and the integer part. The
        others are the fraction bits of every fixed-point word: energies, dE/dD, accumulators.
    weight_bits : int
        Bits of a weight of the fitting nets below the exponent of its column, 8 to 21.
    acc_bits : int
        Bits of a GR accumulator, 24 to 36, `fix_frac` of them fraction.

    Raises
    ------
    ValueError
        A width is outside of its range; the message says which, and what was expected.
    """

    flt_frac: int = FLT.frac_bits
    data_bits: int = DATA.bits
    weight_bits: int = ops.WEIGHT_FRAC + _WEIGHT_INTEGER
    acc_bits: int = SUM.bits

    def __post_init__(self) -> None:
        for field in fields(self):
            value, (low, high) = getattr(self, field.name), LIMITS[field.name]
            if type(value) is not int or not low <= value <= high:
                raise ValueError(f"{field.name} is {value!r}, expected {low} to {high}")

    @cached_property
    def fix_frac(self) -> int:
        """Fraction bits of fixed-point words."""
        return self.data_bits - _DATA_INTEGER

    @cached_property
    def weight_frac(self) -> int:
        """Fraction bits of a fitting weight below the shared exponent."""
        return self.weight_bits - _WEIGHT_INTEGER

    @cached_property
    def short_frac(self) -> int:
        """Fraction bits of the coarser operand of tanh4."""
        return min(ops.SHORT_FRAC, self.fix_frac)

    @cached_property
    def grad_frac(self) -> int:
        """Fraction bits of a gradient before it meets the weights."""
        return min(ops.GRAD_FRAC, self.fix_frac)

    @cached_property
    def offset_frac(self) -> int:
        """Fraction bits of a row's offset."""
        return min(OFFSET_FRAC, self.flt_frac)

    @cached_property
    def flt(self) -> FloatFormat:
        """Words of displacements, tables and derivatives."""
        return FloatFormat(FLT.exp_bits, self.flt_frac)

    @cached_property
    def data(self) -> FixFormat:
        """Words of the descriptor and inside the fitting nets."""
        return FixFormat(self.data_bits, self.fix_frac)

    @cached_property
    def fix(self) -> FixFormat:
        """Words of energies and of dE/dD."""
        return FixFormat(FIX.bits, self.fix_frac)

    @cached_property
    def sum(self) -> FixFormat:
        """GR accumulators."""
        return FixFormat(self.acc_bits, self.fix_frac)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)


LIMITS = {"flt_frac": (8, FLT.frac_bits), "data_bits": (16, DATA.bits),
          "weight_bits": (8, ops.WEIGHT_FRAC + _WEIGHT_INTEGER), "acc_bits": (24, SUM.bits)}
VENDOR_WIDTHS = Widths()
