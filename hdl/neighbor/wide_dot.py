"""The inner product over a neighbour's channels whose products are cut late."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.arith.align import MaxExp
from nvnmd.hdl.arith.flt import FltLayout
from nvnmd.hdl.arith.multiplier import Multiplier
from nvnmd.hdl.arith.normalize import Normalize
from nvnmd.hdl.arith.sumtree import SumTree
from nvnmd.hdl.neighbor.slot_gradient import SLOT_MARK, MarkDelay
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.delay import Delay
from nvnmd.quantize.type_factor import WIDE_FRAC


class WideDot(wiring.Component):
    """``o = wide_dot(a, b)`` over all channels of a neighbour (`nvnmd.quantize.type_factor`).

    Products of whole mantissas are shifted right to the sum of both largest exponents, keep
    `WIDE_FRAC` bits below it, and are added as integers. Both operands wait until these exponents
    are known, `wait` cycles, while the search runs over the next neighbour.

    Latency: `latency` cycles from the last slot to `valid_o`. Throughput: one slot per cycle, L
    multipliers.
    """

    def __init__(self, cfg: AcceleratorConfig, slots: int) -> None:
        self.cfg = cfg
        self._max = MaxExp(cfg, cfg.lanes)
        self.wait = slots + self._max.latency
        # bits below those of a product
        self._guard = WIDE_FRAC - 2 * cfg.frac
        self._bits = 2 * cfg.man_bits + self._guard
        self._tree = SumTree(cfg.lanes, self._bits + 1)
        self._total_bits = self._bits + 1 + cfg.m1.bit_length()
        self._unit = Normalize(cfg, self._total_bits)
        vector = data.ArrayLayout(FltLayout(cfg), cfg.lanes)
        super().__init__(
            {
                "mark": In(SLOT_MARK),
                "a": In(vector),
                "b": In(vector),
                "valid_o": Out(1),
                "o": Out(FltLayout(cfg)),
            }
        )

    @property
    def _term_latency(self) -> int:
        """Cycles from waiting operands to the sum's addends."""
        return self.cfg.mult_latency + 2

    @property
    def latency(self) -> int:
        """Cycles from the last slot to `valid_o`."""
        return self.wait + self._term_latency + self._tree.latency + 1 + self._unit.latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.mark_wait = mark_wait = MarkDelay(self.wait)
        m.submodules.mark_max = mark_max = MarkDelay(self._max.latency)
        m.d.comb += [mark_wait.i.eq(self.mark), mark_max.i.eq(self.mark)]
        tops, waiting = [], []
        for name, operand in (("a", self.a), ("b", self.b)):
            search = self._max if name == "a" else MaxExp(cfg, cfg.lanes)
            m.submodules[f"max_{name}"] = search
            m.submodules[f"wait_{name}"] = wait = Delay(operand.shape(), self.wait)
            so_far, largest, top = (
                Signal(signed(cfg.exp_int), name=f"{what}_{name}")
                for what in ("so_far", "largest", "top")
            )
            m.d.comb += [
                search.i.eq(operand),
                wait.i.eq(operand),
                largest.eq(Mux(~mark_max.o.first & (so_far > search.o), so_far, search.o)),
            ]
            with m.If(mark_max.o.valid):
                m.d.sync += so_far.eq(largest)
                with m.If(mark_max.o.last):
                    m.d.sync += top.eq(largest)
            tops.append(top)
            waiting.append(wait)
        both = Signal(signed(cfg.exp_int + 1))
        m.d.comb += both.eq(tops[0] + tops[1])

        m.submodules.tree = tree = self._tree
        gap_bits = self._bits.bit_length()
        for lane in range(cfg.lanes):
            x, y = (wait.o[lane] for wait in waiting)
            mult = Multiplier(cfg.man_bits + 1, cfg.man_bits + 1, cfg.mult_latency, cfg.family)
            m.submodules[f"mult_{lane}"] = mult
            side = data.StructLayout({"gap": cfg.exp_int + 3, "sign": 1})
            m.submodules[f"side_{lane}"] = aside = Delay(side, cfg.mult_latency, ring=False)
            m.d.comb += [
                mult.a.eq(x.man),
                mult.b.eq(y.man),
                # not negative, but for zeros, whose product is 0 at any place
                aside.i.gap.eq(both - x.exp - y.exp),
                aside.i.sign.eq(x.sign ^ y.sign),
            ]
            magnitude, sign = Signal(self._bits, name=f"magnitude_{lane}"), Signal()
            term = Signal(signed(self._bits + 1), name=f"term_{lane}")
            product = Cat(Const(0, self._guard), mult.p[: 2 * cfg.man_bits])
            gap = aside.o.gap
            m.d.sync += [
                magnitude.eq(Mux(gap[gap_bits:].any(), 0, product >> gap[:gap_bits])),
                sign.eq(aside.o.sign),
                term.eq(Mux(sign, -magnitude, magnitude)),
            ]
            m.d.comb += tree.i[lane].eq(term)

        before = self._term_latency + tree.latency
        m.submodules.mark_sum = mark_sum = MarkDelay(before)
        m.submodules.exponent = exponent = Delay(signed(cfg.exp_int + 2), before + 1)
        m.submodules.unit = unit = self._unit
        m.submodules.valid = valid = Delay(1, unit.latency)
        total, complete = Signal(signed(self._total_bits)), Signal()
        m.d.sync += [
            total.eq(Mux(mark_sum.o.first, 0, total) + tree.o),
            complete.eq(mark_sum.o.valid & mark_sum.o.last),
        ]
        m.d.comb += [
            mark_sum.i.eq(mark_wait.o),
            # the exponents belong to this neighbour up to its last waiting slot
            exponent.i.eq(both - WIDE_FRAC),
            unit.i.eq(total),
            unit.e.eq(exponent.o),
            valid.i.eq(complete),
            self.valid_o.eq(valid.o),
            self.o.eq(unit.o),
        ]
        return m

    @staticmethod
    def compute(a: list[float], b: list[float]) -> float:
        """The inner product, by `nvnmd.quantize.type_factor.wide_dot`."""
        import numpy as np

        from nvnmd.quantize.type_factor import wide_dot

        return float(wide_dot(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)))
