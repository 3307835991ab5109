"""The fitting net's activation and its slope, in one pipeline."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from nvnmd.errors import InputError
from nvnmd.hdl.arith.fixed import delayed
from nvnmd.hdl.arith.multiplier import Multiplier
from nvnmd.hdl.params import AcceleratorConfig


def tanh4_latency(cfg: AcceleratorConfig) -> int:
    """Cycles from z to y and slope."""
    return 2 * cfg.mult_latency + 4


class Tanh4(wiring.Component):
    """``y = tanh4(z)`` and the slope by which its gradient is multiplied.

    With F = fix_frac, s = short_frac, ``a = |z|`` and ``l = a >> (F-s)``, for a below 2:

    - ``q = (a*l) >> s``, ``y = a + ((q*(q - 4a)) >> (F+4))`` with z's sign: F fraction bits, the
      same integers as ``floor_F(q*(q/16 - hi/4) + hi)``, since ``a`` is whole;
    - ``r = (a*l) >> F``, ``slope = 2^s + ((r*(a - 3*2^F)) >> (F+2))``: s fraction bits, in
      0..2^s.

    From 2 on, y is +-1 and the slope 0. Three multipliers.
    Latency: ``2*mult_latency + 4`` cycles. Throughput: one z per cycle.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        if not cfg.short_frac <= cfg.fix_frac <= cfg.data_bits - 3:
            raise InputError(
                f"accelerator: fix_frac is {cfg.fix_frac}, expected short_frac = {cfg.short_frac} "
                f"to data_bits - 3 = {cfg.data_bits - 3}"
            )
        super().__init__(
            {
                "z": In(signed(cfg.data_bits)),
                "y": Out(signed(cfg.fix_frac + 2)),
                "slope": Out(cfg.short_frac + 1),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from z to y and slope."""
        return tanh4_latency(self.cfg)

    @staticmethod
    def compute(z: int, cfg: AcceleratorConfig) -> tuple[int, int]:
        """y and slope of one z, all in units of their last bit."""
        f, s = cfg.fix_frac, cfg.short_frac
        a = abs(z)
        if a >= 2 << f:
            return (-1 if z < 0 else 1) << f, 0
        square = a * (a >> (f - s))
        q, r = square >> s, square >> f
        y = a + ((q * (q - 4 * a)) >> (f + 4))
        slope = (1 << s) + ((r * (a - (3 << f))) >> (f + 2))
        return (-y if z < 0 else y), slope

    def elaborate(self, platform: object) -> Module:
        m = Module()
        f, s, cycles = self.cfg.fix_frac, self.cfg.short_frac, self.cfg.mult_latency
        m.submodules.square = square = Multiplier(f + 2, s + 2, cycles, self.cfg.family)
        m.submodules.quartic = quartic = Multiplier(f + 3, f + 4, cycles, self.cfg.family)
        m.submodules.cubic = cubic = Multiplier(s + 3, f + 3, cycles, self.cfg.family)

        # a below 2 in f+1 bits; z at or beyond 2 takes the other branch at the end
        magnitude = Signal(self.cfg.data_bits, reset_less=True)
        negative = Signal(reset_less=True)
        m.d.sync += [
            magnitude.eq(abs(self.z)),
            negative.eq(self.z < 0),
        ]
        beyond = magnitude[f + 1:].any()
        a = Signal(f + 1)
        m.d.comb += [
            a.eq(magnitude[:f + 1]),
            square.a.eq(a),
            square.b.eq(a >> (f - s)),
        ]

        a_square = Signal(f + 1, reset_less=True)
        m.d.comb += a_square.eq(delayed(m, a, cycles))
        q = Signal(signed(f + 3), reset_less=True)
        r = Signal(signed(s + 3), reset_less=True)
        q_less = Signal(signed(f + 4), reset_less=True)
        a_less = Signal(signed(f + 3), reset_less=True)
        q_next = Signal(f + 2)
        m.d.comb += q_next.eq(square.p >> s)
        m.d.sync += [
            q.eq(q_next),
            q_less.eq(q_next - (a_square << 2)),
            r.eq(square.p >> f),
            a_less.eq(a_square - (3 << f)),
        ]
        m.d.comb += [
            quartic.a.eq(q),
            quartic.b.eq(q_less),
            cubic.a.eq(r),
            cubic.b.eq(a_less),
        ]

        a_end = delayed(m, a_square, 1 + cycles)
        beyond_end = delayed(m, beyond, 2 * cycles + 1)
        y_abs = Signal(f + 1, reset_less=True)
        slope = Signal.like(self.slope, reset_less=True)
        with m.If(beyond_end):
            m.d.sync += [y_abs.eq(1 << f), slope.eq(0)]
        with m.Else():
            m.d.sync += [
                y_abs.eq(a_end + (quartic.p >> (f + 4))),
                slope.eq((1 << s) + (cubic.p >> (f + 2))),
            ]
        minus = delayed(m, negative, 2 * cycles + 2)
        y = Signal.like(self.y, reset_less=True)
        slope_out = Signal.like(self.slope, reset_less=True)
        with m.If(minus):
            m.d.sync += y.eq(-y_abs)
        with m.Else():
            m.d.sync += y.eq(y_abs)
        m.d.sync += slope_out.eq(slope)
        m.d.comb += [self.y.eq(y), self.slope.eq(slope_out)]
        return m
