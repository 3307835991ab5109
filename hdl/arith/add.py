"""The sum of two flt values."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.arith import flt
from nvnmd.hdl.arith.normalize import leading_zeros, shift_left
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.quantize import ops


class FltAdd(wiring.Component):
    """``o = add(a, b)``: both mantissas at the larger exponent, summed, cut toward zero.

    The smaller operand's mantissa is shifted right and loses the bits that fall off (of the
    magnitude); the signed sum is normalised, a carry drops its lowest bit. Latency 6, one sum per
    cycle: swap, shift, sum, count, normalise, range.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        layout = flt.FltLayout(cfg)
        super().__init__({"a": In(layout), "b": In(layout), "o": Out(layout)})

    @property
    def latency(self) -> int:
        """Cycles from the operands to the sum."""
        return 6

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        layout = flt.FltLayout(cfg)
        low = flt.zero_exp(cfg)

        # 1. The larger magnitude first: its sign is the sum's, and the difference is not negative.
        swap = Signal()
        a_minus_b, b_minus_a = Signal(cfg.exp_int + 1), Signal(cfg.exp_int + 1)
        big, small = Signal(layout), Signal(layout)
        gap = Signal(cfg.exp_int)
        m.d.comb += [
            swap.eq(
                Cat(self.a.man, (self.a.exp - low)[: cfg.exp_int])
                < Cat(self.b.man, (self.b.exp - low)[: cfg.exp_int])
            ),
            a_minus_b.eq(self.a.exp - self.b.exp),
            b_minus_a.eq(self.b.exp - self.a.exp),
        ]
        m.d.sync += [
            big.eq(Mux(swap, self.b.as_value(), self.a.as_value())),
            small.eq(Mux(swap, self.a.as_value(), self.b.as_value())),
            gap.eq(Mux(swap, b_minus_a, a_minus_b)),
        ]

        # 2. The smaller mantissa at the larger exponent.
        bits = cfg.man_bits.bit_length()
        shifted = Signal(cfg.man_bits)
        big2, subtract = Signal(layout), Signal()
        m.d.sync += [
            shifted.eq(Mux(gap[bits:].any(), 0, small.man >> gap[:bits])),
            big2.eq(big),
            subtract.eq(big.sign ^ small.sign),
        ]

        # 3. The sum, one bit wider.
        total = Signal(cfg.man_bits + 1)
        exp3, sign3 = Signal(signed(cfg.exp_int)), Signal()
        m.d.sync += [
            total.eq(Mux(subtract, big2.man - shifted, big2.man + shifted)),
            exp3.eq(big2.exp),
            sign3.eq(big2.sign),
        ]

        # 4. Its leading zeros.
        zeros = leading_zeros(m, total)
        total4, zeros4 = Signal.like(total), Signal.like(zeros)
        exp4, sign4, empty4 = Signal.like(exp3), Signal(), Signal()
        m.d.sync += [
            total4.eq(total),
            zeros4.eq(zeros),
            exp4.eq(exp3),
            sign4.eq(sign3),
            empty4.eq(~total.any()),
        ]

        # 5. Normalise.
        moved = shift_left(m, total4, zeros4)
        exp = Signal(signed(cfg.exp_int + 2))
        man5, sign5, empty5 = Signal(cfg.man_bits), Signal(), Signal()
        m.d.sync += [
            exp.eq(exp4 + 1 - zeros4), man5.eq(moved[1:]), sign5.eq(sign4), empty5.eq(empty4)]

        # 6. The range of exponents.
        m.d.sync += flt.settle(
            cfg, self.o, man=man5, exp=exp, sign=sign5, is_zero=empty5
        )
        return m

    def compute(self, a: float, b: float) -> float:
        """The sum, by `nvnmd.quantize.ops.add` (which has no bound on the exponent)."""
        return float(ops.add(a, b, self.cfg.frac)) + 0.0
