"""From integers to flt: leading zeros, left shift, and the unit that normalises."""

from __future__ import annotations

import math
from fractions import Fraction

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.arith import flt
from nvnmd.hdl.params import AcceleratorConfig

_GROUP_LOG2 = 3
_GROUP = 1 << _GROUP_LOG2


def leading_zeros(m: Module, value: Value) -> Signal:
    """Number of zeros above the leading one of `value` (combinational, a tree of halves).

    For zero the count is the largest its width holds, not the width of `value`.
    """
    width = 1 << (len(value) - 1).bit_length()
    rest: Value = Cat(Const(0, width - len(value)), value) if width > len(value) else value
    count = Signal(max(1, width.bit_length() - 1))
    level = width.bit_length() - 1
    while width > 1:
        level -= 1
        width //= 2
        chosen = Signal(width, name=f"half{width}")
        m.d.comb += count[level].eq(~rest[width:].any())
        m.d.comb += chosen.eq(Mux(count[level], rest[:width], rest[width:]))
        rest = chosen
    return count


def shift_left(m: Module, value: Value, amount: Value) -> Signal:
    """`value` shifted left inside its own width (combinational, one stage per bit of `amount`)."""
    width = len(value)
    for k in reversed(range(len(amount))):
        moved = Signal(width, name=f"moved{1 << k}")
        step = min(1 << k, width)
        m.d.comb += moved.eq(
            Mux(amount[k], Cat(Const(0, step), value[: width - step]), value)
        )
        value = moved
    return value


class Normalize(wiring.Component):
    """``o = trunc(i * 2**e)``: a signed integer with an exponent becomes a flt, cut toward zero.

    Latency 5, one value per cycle: magnitude, count in groups, shift, shift inside, range.

    Parameters
    ----------
    cfg : AcceleratorConfig
        Formats; `e` is signed, two bits wider than an exponent.
    bits : int
        Width of the signed integer `i`.
    """

    def __init__(self, cfg: AcceleratorConfig, bits: int) -> None:
        if bits < 2:
            raise ValueError(f"an integer of {bits} bits cannot be normalised")
        self.cfg = cfg
        self.bits = bits
        super().__init__(
            {
                "i": In(signed(bits)),
                "e": In(signed(cfg.exp_int + 2)),
                "o": Out(flt.FltLayout(cfg)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the integer to its flt."""
        return 5

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        width = max(self.bits, cfg.man_bits)

        magnitude = Signal(width)
        exp1, sign1 = Signal.like(self.e), Signal()
        m.d.sync += [
            magnitude.eq(Mux(self.i[-1], -self.i, self.i)),
            exp1.eq(self.e),
            sign1.eq(self.i[-1]),
        ]

        # by whole groups of bits first, then inside the first group that is not all zeros
        groups = -(-width // _GROUP)
        padded = Cat(Const(0, groups * _GROUP - width), magnitude)
        some = Cat(padded.word_select(k, _GROUP).any() for k in range(groups))
        coarse = leading_zeros(m, some) if groups > 1 else Const(0, 1)
        magnitude2, coarse2 = Signal(groups * _GROUP), Signal(len(coarse))
        exp2, sign2, empty2 = Signal.like(self.e), Signal(), Signal()
        m.d.sync += [
            magnitude2.eq(padded),
            coarse2.eq(coarse),
            exp2.eq(exp1),
            sign2.eq(sign1),
            empty2.eq(~some.any()),
        ]

        lifted = shift_left(m, magnitude2, Cat(Const(0, _GROUP_LOG2), coarse2))
        fine = leading_zeros(m, lifted[-_GROUP:])
        magnitude3, fine3 = Signal.like(magnitude2), Signal.like(fine)
        exp3, sign3, empty3 = Signal(signed(cfg.exp_int + 3)), Signal(), Signal()
        m.d.sync += [
            magnitude3.eq(lifted),
            fine3.eq(fine),
            exp3.eq(exp2 + (width - 1) - (coarse2 << _GROUP_LOG2)),
            sign3.eq(sign2),
            empty3.eq(empty2),
        ]

        moved = shift_left(m, magnitude3, fine3)
        man4 = Signal(cfg.man_bits)
        exp4, sign4, empty4 = Signal.like(exp3), Signal(), Signal()
        m.d.sync += [
            man4.eq(moved[-cfg.man_bits:]),
            exp4.eq(exp3 - fine3),
            sign4.eq(sign3),
            empty4.eq(empty3),
        ]

        m.d.sync += flt.settle(
            cfg, self.o, man=man4, exp=exp4, sign=sign4, is_zero=empty4
        )
        return m

    def compute(self, i: int, e: int) -> float:
        """The flt value, exact for integers of any width."""
        if i == 0:
            return 0.0
        cut = max(abs(i).bit_length() - self.cfg.man_bits, 0)
        man = abs(i) >> cut
        value = float(Fraction(man) * Fraction(2) ** (e + cut))
        return math.copysign(value, i)
