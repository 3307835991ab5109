"""The product of two flt values."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.arith import flt
from nvnmd.hdl.arith.multiplier import Multiplier
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.quantize import ops


class FltMul(wiring.Component):
    """``o = mul(a, b)``: the product cut toward zero to a flt mantissa.

    Latency ``mult_latency + 2``, one product per cycle. A result below the internal range of
    exponents is zero, one above it keeps the largest exponent (see `nvnmd.hdl.arith.flt`).

    Parameters
    ----------
    cfg : AcceleratorConfig
        Formats.
    b_frac : int, optional
        `b` has only this many fraction bits in its mantissa (the rest is ignored), which makes
        the multiplier narrower.
    """

    def __init__(self, cfg: AcceleratorConfig, *, b_frac: int | None = None) -> None:
        self.cfg = cfg
        self.b_frac = cfg.frac if b_frac is None else b_frac
        if not 1 <= self.b_frac <= cfg.frac:
            raise ValueError(f"b_frac is {b_frac}, expected 1 to {cfg.frac}")
        layout = flt.FltLayout(cfg)
        super().__init__({"a": In(layout), "b": In(layout), "o": Out(layout)})

    @property
    def latency(self) -> int:
        """Cycles from the operands to the product."""
        return self.cfg.mult_latency + 2

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        # One bit more than the mantissas: the multiplier is signed.
        m.submodules.mult = mult = Multiplier(
            cfg.man_bits + 1, self.b_frac + 2, cfg.mult_latency, cfg.family
        )
        side_layout = data.StructLayout(
            {"exp": signed(cfg.exp_int + 1), "sign": 1, "zero": 1}
        )
        side = Signal(side_layout)
        m.d.comb += [
            mult.a.eq(self.a.man),
            mult.b.eq(self.b.man[cfg.frac - self.b_frac :]),
            side.exp.eq(self.a.exp + self.b.exp),
            side.sign.eq(self.a.sign ^ self.b.sign),
            side.zero.eq(~(self.a.man[cfg.frac] & self.b.man[cfg.frac])),
        ]
        for k in range(cfg.mult_latency):
            stage = Signal(side_layout, name=f"side{k}")
            m.d.sync += stage.eq(side)
            side = stage
        # The product of two numbers in [1, 2) lies in [1, 4).
        carry = Signal()
        man = Signal(cfg.man_bits)
        exp = Signal(signed(cfg.exp_int + 2))
        low = self.b_frac
        sign, is_zero = Signal(), Signal()
        m.d.comb += carry.eq(mult.p[cfg.frac + low + 1])
        m.d.sync += [
            man.eq(
                Mux(
                    carry,
                    mult.p[low + 1 : low + 1 + cfg.man_bits],
                    mult.p[low : low + cfg.man_bits],
                )
            ),
            exp.eq(side.exp + carry),
            sign.eq(side.sign),
            is_zero.eq(side.zero),
        ]
        m.d.sync += flt.settle(
            cfg, self.o, man=man, exp=exp, sign=sign, is_zero=is_zero
        )
        return m

    def compute(self, a: float, b: float) -> float:
        """The product, by `nvnmd.quantize.ops.mul` (which has no bound on the exponent)."""
        frac = self.cfg.frac
        return float(ops.mul(ops.trunc_flt(a, frac), ops.trunc_flt(b, self.b_frac), frac)) + 0.0
