"""The sum of two flt values as binary64 makes it, cut once to a flt."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.arith import flt
from nvnmd.hdl.arith.normalize import leading_zeros, shift_left
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.quantize import ops

# fraction bits of binary64
_DOUBLE = 52


class BinarySum(wiring.Component):
    """``o = trunc(a + b)``, the sum rounded to binary64 first, as no `FltAdd` computes it.

    Up to a distance of ``52 - frac`` between the exponents the sum is exact. Beyond, the smaller
    operand is below every bit that is kept: of equal signs it changes nothing; of opposite signs
    it takes the last bit away, unless binary64 rounds back to the larger operand, which it does
    from half a unit of its last place down (of the place below where the mantissa is 1). Latency
    5, one sum per cycle: swap, shift, sum, count, normalise.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        layout = flt.FltLayout(cfg)
        super().__init__({"a": In(layout), "b": In(layout), "o": Out(layout)})

    @property
    def latency(self) -> int:
        """Cycles from the operands to the sum."""
        return 5

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        layout = flt.FltLayout(cfg)
        low = flt.zero_exp(cfg)
        guard = _DOUBLE - cfg.frac
        width = cfg.man_bits + guard

        # 1. The larger magnitude first.
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

        # 2. The smaller mantissa at the larger exponent, and what is lost of it.
        bits = width.bit_length()
        whole = Signal(width)
        kept = Signal(width)
        beyond, lost, opposite, one, back = Signal(), Signal(), Signal(), Signal(), Signal()
        shifted, big2 = Signal(width), Signal(layout)
        borrow, subtract = Signal(), Signal()
        half = _DOUBLE + 1
        m.d.comb += [
            whole.eq(Cat(Const(0, guard), small.man)),
            beyond.eq(gap[bits:].any()),
            kept.eq(Mux(beyond, 0, whole >> gap[:bits])),
            lost.eq(small.man.any() & (beyond | ((kept << gap[:bits])[:width] != whole))),
            opposite.eq(big.sign ^ small.sign),
            one.eq(big.man == 1 << cfg.frac),
            # at most half of the place below the larger operand
            back.eq(
                (gap > half + one) | ((gap == half + one) & (small.man == 1 << cfg.frac))
            ),
        ]
        m.d.sync += [
            shifted.eq(kept),
            big2.eq(big),
            subtract.eq(opposite),
            borrow.eq(opposite & lost & ~back),
        ]

        # 3. The sum, one bit wider.
        total = Signal(width + 1)
        exp3, sign3 = Signal(signed(cfg.exp_int)), Signal()
        large = Cat(Const(0, guard), big2.man)
        m.d.sync += [
            total.eq(Mux(subtract, large - shifted - borrow, large + shifted)),
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
        m.d.comb += exp.eq(exp4 + 1 - zeros4)
        m.d.sync += flt.settle(
            cfg, self.o, man=moved[width + 1 - cfg.man_bits :], exp=exp, sign=sign4,
            is_zero=empty4,
        )
        return m

    def compute(self, a: float, b: float) -> float:
        """The sum, by `nvnmd.quantize.ops`."""
        import numpy as np

        frac = self.cfg.frac
        a, b = (ops.trunc_flt(np.float64(x), frac) for x in (a, b))
        return float(ops.trunc_flt(a + b, frac)) + 0.0
