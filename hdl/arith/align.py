"""Aligning flt values to a common exponent: the search for it, and the shift."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.arith import flt
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.quantize import ops


class MaxExp(wiring.Component):
    """``o = max(exp_floor, exponents of i[0..n-1])``; zeros do not count.

    Latency ``1 + ceil(log2 n)``: zeros and exponents below the floor first, then pairs. One vector
    per cycle.
    """

    def __init__(self, cfg: AcceleratorConfig, n: int) -> None:
        if n < 1:
            raise ValueError(f"a vector of {n} has no largest exponent")
        self.cfg = cfg
        self.n = n
        super().__init__(
            {
                "i": In(data.ArrayLayout(flt.FltLayout(cfg), n)),
                "o": Out(signed(cfg.exp_int)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the vector to its largest exponent."""
        return 1 + (self.n - 1).bit_length()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg

        items = []
        for k in range(self.n):
            item = Signal(signed(cfg.exp_int), name=f"exp{k}")
            man, exp = self.i[k].man, self.i[k].exp
            m.d.sync += item.eq(Mux(man[cfg.frac] & (exp > cfg.exp_floor), exp, cfg.exp_floor))
            items.append(item)
        for level in range(self.latency - 1):
            pairs = []
            for g in range(0, len(items), 2):
                stage = Signal(signed(cfg.exp_int), name=f"level{level}_{g}")
                larger = (items[g] if g + 1 == len(items)
                          else Mux(items[g + 1] > items[g], items[g + 1], items[g]))
                m.d.sync += stage.eq(larger)
                pairs.append(stage)
            items = pairs
        m.d.comb += self.o.eq(items[0])
        return m

    def compute(self, values: list[float]) -> int:
        """The largest exponent, by `nvnmd.quantize.ops.largest_exponent`."""
        import numpy as np

        top = ops.largest_exponent(np.asarray(values, dtype=np.float64), -1)
        return max(int(top[0]), self.cfg.exp_floor)


class Align(wiring.Component):
    """``o = (-1)**sign * (man >> (emax - exp))``: the mantissa at exponent `emax`, signed.

    Bits that fall off are dropped from the magnitude; a shift beyond the mantissa gives 0.
    `emax` is at least the operand's exponent. Latency 2, one value per cycle.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        super().__init__(
            {
                "i": In(flt.FltLayout(cfg)),
                "emax": In(signed(cfg.exp_int)),
                "o": Out(signed(cfg.man_bits + 1)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the operand to the whole number."""
        return 2

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        bits = cfg.man_bits.bit_length()
        gap = Signal(cfg.exp_int)
        man, sign = Signal(cfg.man_bits), Signal()
        shifted = Signal(cfg.man_bits)
        m.d.sync += [
            gap.eq(self.emax - self.i.exp),
            man.eq(self.i.man),
            sign.eq(self.i.sign),
            self.o.eq(Mux(sign, -shifted, shifted)),
        ]
        m.d.comb += shifted.eq(Mux(gap[bits:].any(), 0, man >> gap[:bits]))
        return m

    def compute(self, value: float, emax: int) -> int:
        """The whole number, by `nvnmd.quantize.ops.align`."""
        import numpy as np

        return int(ops.align(np.float64(value), np.int64(emax), self.cfg.frac))
