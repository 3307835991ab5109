"""The floating-point format inside the pipelines, its words at the ports, and helpers for tests.

Inside, a flt is a structure of three fields::

    man   frac+1 bits, unsigned, the leading one explicit (0 in zero)
    exp   signed, exp_int bits, without bias
    sign  1 bit

    value = (-1)**sign * man * 2**(exp - frac)

Zero is canonical: ``man = 0``, ``sign = 0``, ``exp`` the most negative number; there is no -0.
A result whose exponent would be that low becomes zero; one that would be too high keeps the
largest exponent, so that the word made of it raises the overflow flag.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data

from nvnmd.hdl.params import AcceleratorConfig


def zero_exp(cfg: AcceleratorConfig) -> int:
    """The exponent of the canonical zero, the most negative one."""
    return -(1 << (cfg.exp_int - 1))


class FltLayout(data.StructLayout):
    """Layout of a flt inside the pipelines: man, exp, sign (see the module's text)."""

    def __init__(self, cfg: AcceleratorConfig) -> None:
        super().__init__({"man": cfg.man_bits, "exp": signed(cfg.exp_int), "sign": 1})


def zero(cfg: AcceleratorConfig) -> data.Const:
    """The canonical zero, as a constant of `FltLayout`."""
    return FltLayout(cfg).const({"man": 0, "exp": zero_exp(cfg), "sign": 0})


def settle(
    cfg: AcceleratorConfig, target: data.View, *, man: Any, exp: Value, sign: Any, is_zero: Any
) -> list:
    """Statements that give `target` a result, with the canonical zero and the range of exponents.

    `exp` is a signed value wider than the field; exponents at or below the zero's give zero,
    those above the largest give the largest.
    """
    low, high = zero_exp(cfg), -zero_exp(cfg) - 1
    under = is_zero | (exp <= low)
    return [
        target.man.eq(Mux(under, 0, man)),
        target.exp.eq(Mux(under, low, Mux(exp > high, high, exp))),
        target.sign.eq(sign & ~under),
    ]


def from_word(m: Module, cfg: AcceleratorConfig, word: Value) -> data.View:
    """The flt of a word (combinational); exponent field 0, whatever else is set, is zero."""
    word = Value.cast(word)
    field = word[cfg.frac : cfg.frac + cfg.exp_bits]
    out = Signal(FltLayout(cfg))
    normal = Signal()
    m.d.comb += [
        normal.eq(field.any()),
        out.man.eq(Mux(normal, Cat(word[: cfg.frac], Const(1, 1)), 0)),
        out.exp.eq(Mux(normal, field - cfg.exp_bias, zero_exp(cfg))),
        out.sign.eq(word[cfg.flt_bits - 1] & normal),
    ]
    return out


def to_word(m: Module, cfg: AcceleratorConfig, value: data.View) -> tuple[Signal, Signal]:
    """The word of a flt and its overflow flag (combinational).

    Magnitudes below ``2**(1-bias)`` give the word 0; the flag says that the exponent is above the
    word's range, and then the word means nothing.
    """
    word, overflow, tiny = Signal(cfg.flt_bits), Signal(), Signal()
    field = Signal(cfg.exp_bits)
    m.d.comb += [
        tiny.eq((value.exp <= -cfg.exp_bias) | ~value.man[cfg.frac]),
        overflow.eq((value.exp >= cfg.exp_bias) & ~tiny),
        field.eq(value.exp + cfg.exp_bias),
        word.eq(Mux(tiny, 0, Cat(value.man[: cfg.frac], field, value.sign))),
    ]
    return word, overflow


@dataclass(frozen=True)
class FltValue:
    """A flt as Python integers, for tests and testbenches.

    `fields()` is what a simulator takes for a signal of `FltLayout`.
    """

    man: int
    exp: int
    sign: int

    @classmethod
    def from_float(cls, cfg: AcceleratorConfig, x: float) -> FltValue:
        """The flt of a binary64 number, cut toward zero; out of the internal range as hardware."""
        if not math.isfinite(x):
            raise ValueError(f"{x} is no flt")
        fraction, exponent = math.frexp(abs(x))
        exp = exponent - 1
        if x == 0.0 or exp <= zero_exp(cfg):
            return cls(0, zero_exp(cfg), 0)
        man = int(math.ldexp(fraction, cfg.frac + 1))
        return cls(man, min(exp, -zero_exp(cfg) - 1), int(x < 0))

    @classmethod
    def from_fields(cls, fields: Any) -> FltValue:
        """From what a simulator returns for a signal of `FltLayout`, or from a mapping."""
        if isinstance(fields, Mapping):
            return cls(fields["man"], fields["exp"], fields["sign"])
        return cls(int(fields.man), int(fields.exp), int(fields.sign))

    @classmethod
    def from_word(cls, cfg: AcceleratorConfig, word: int) -> FltValue:
        """The flt of a word."""
        field = word >> cfg.frac & ((1 << cfg.exp_bits) - 1)
        if not field:
            return cls(0, zero_exp(cfg), 0)
        man = 1 << cfg.frac | word & ((1 << cfg.frac) - 1)
        return cls(man, field - cfg.exp_bias, word >> (cfg.flt_bits - 1) & 1)

    def to_word(self, cfg: AcceleratorConfig) -> int:
        """The word; magnitudes below its range give 0, above it are an OverflowError."""
        field = self.exp + cfg.exp_bias
        if self.man == 0 or field < 1:
            return 0
        if field >= 1 << cfg.exp_bits:
            raise OverflowError(f"exponent {self.exp} does not fit a word of {cfg.exp_bits} bits")
        return (
            self.sign << (cfg.flt_bits - 1)
            | field << cfg.frac
            | self.man & ((1 << cfg.frac) - 1)
        )

    def to_float(self, cfg: AcceleratorConfig) -> float:
        """The value as binary64, exact."""
        magnitude = math.ldexp(self.man, self.exp - cfg.frac)
        return -magnitude if self.sign else magnitude

    def fields(self) -> dict[str, int]:
        """The fields by name."""
        return {"man": self.man, "exp": self.exp, "sign": self.sign}
