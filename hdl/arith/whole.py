"""Whole numbers of 2**-fix_frac: from products of flt values, and their significant bits."""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from nvnmd.hdl.arith.flt import FltLayout
from nvnmd.hdl.arith.multiplier import Multiplier
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.delay import Delay
from nvnmd.quantize import ops


class ProductToFix(wiring.Component):
    """A product of two flt values as a whole number of 2**-fix_frac, cut toward zero.

    ``o = trunc(a * b * 2**fix_frac)``, signed of `acc_bits`; `overflow` with it when it does not
    fit. Latency: mult_latency + 2 cycles. Throughput: one per cycle.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        flt = FltLayout(cfg)
        super().__init__(
            {"a": In(flt), "b": In(flt), "o": Out(signed(cfg.acc_bits)), "overflow": Out(1)}
        )

    @property
    def latency(self) -> int:
        """Cycles from the operands to `o`."""
        return self.cfg.mult_latency + 2

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        bits = 2 * cfg.man_bits
        # Normalised mantissas multiply to 2**(2 frac) or more: a larger shift to the left than
        # `lift` leaves acc_bits for certain, so that a constant lift and a right shift do.
        lift = max(0, cfg.acc_bits - 2 - 2 * cfg.frac)
        wide = bits + lift
        shift_bits = wide.bit_length()

        m.submodules.mult = mult = Multiplier(
            cfg.man_bits + 1, cfg.man_bits + 1, cfg.mult_latency, cfg.family
        )
        m.d.comb += [mult.a.eq(self.a.man), mult.b.eq(self.b.man)]

        # value = product * 2**(ea + eb - 2 frac): right by the distance to 2**-fix_frac
        right = Signal(signed(cfg.exp_int + 3))
        shift = Signal(shift_bits)
        m.d.comb += right.eq(2 * cfg.frac - cfg.fix_frac + lift - self.a.exp - self.b.exp)
        with m.If(right > wide):
            m.d.comb += shift.eq(wide)
        with m.Elif(right > 0):
            m.d.comb += shift.eq(right)
        m.submodules.side = side = Delay(
            data.StructLayout({"shift": shift_bits, "negative": 1, "beyond": 1}),
            cfg.mult_latency,
        )
        m.d.comb += [
            side.i.shift.eq(shift),
            side.i.negative.eq(self.a.sign ^ self.b.sign),
            side.i.beyond.eq(right < 0),
        ]
        product = Signal(bits)
        shifted = Signal(wide)
        negative, beyond = Signal(), Signal()
        m.d.comb += product.eq(mult.p)
        m.d.sync += [
            shifted.eq((product << lift) >> side.o.shift),
            negative.eq(side.o.negative),
            beyond.eq(side.o.beyond & (product != 0)),
            self.o.eq(Mux(negative, -shifted, shifted)),
            self.overflow.eq(beyond | shifted[cfg.acc_bits - 1 :].any()),
        ]
        return m

    @staticmethod
    def compute(cfg: AcceleratorConfig, a: NDArray, b: NDArray) -> NDArray[np.int64]:
        """Whole numbers of 2**-fix_frac of flt values, elementwise."""
        return np.asarray(ops.product_to_fix(a, b, cfg.frac, cfg.fix_frac)).astype(np.int64)


class TruncateWhole(wiring.Component):
    """A whole number cut toward zero to `man_bits` significant bits.

    A bit is dropped if any bit `man_bits` or more places above it is set; nothing is shifted.
    Latency 3 cycles, one value per cycle: magnitude, cut, sign.
    """

    latency = 3

    def __init__(self, bits: int, man_bits: int) -> None:
        self.bits = bits
        self.man_bits = man_bits
        super().__init__({"i": In(signed(bits)), "o": Out(signed(bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        magnitude = Signal(self.bits)
        kept = Signal(self.bits)
        negative, negative2 = Signal(), Signal()
        m.d.sync += [
            magnitude.eq(Mux(self.i[-1], -self.i, self.i)),
            negative.eq(self.i[-1]),
            negative2.eq(negative),
        ]
        bits = [magnitude[n] for n in range(self.bits)]
        dropped = Const(0)
        for n in reversed(range(self.bits - self.man_bits)):
            dropped = dropped | magnitude[n + self.man_bits]
            bits[n] = bits[n] & ~dropped
        m.d.sync += kept.eq(Cat(bits))
        m.d.sync += self.o.eq(Mux(negative2, -kept, kept))
        return m

    @staticmethod
    def compute(value: int, man_bits: int) -> int:
        """The same in integers."""
        drop = max(0, abs(value).bit_length() - man_bits)
        kept = abs(value) >> drop << drop
        return -kept if value < 0 else kept


def fits(total: Value, bits: int) -> Value:
    """Whether a signed value one or more bits wider than `bits` fits in `bits`."""
    top = total[bits - 1 :]
    return ~top.any() | top.all()
