# amaranth: UnusedElaboratable=no
"""The inner product of two short flt vectors."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.arith import flt
from nvnmd.hdl.arith.align import Align, MaxExp
from nvnmd.hdl.arith.multiplier import Multiplier, Serializer
from nvnmd.hdl.arith.normalize import Normalize
from nvnmd.hdl.arith.sumtree import SumTree
from nvnmd.hdl.params import AcceleratorConfig, ceil_div
from nvnmd.hdl.pipeline.delay import Delay
from nvnmd.quantize import ops


class FltDot(wiring.Component):
    """``o = dot(a, b)``: both vectors aligned to their own largest exponent, summed as integers.

    Operands are taken in the cycle of `valid_i`, at most once per `fold` cycles; the product comes
    with `valid_o`, `latency` cycles later. ``ceil(n/fold)`` multipliers.

    Parameters
    ----------
    cfg : AcceleratorConfig
        Formats.
    n : int
        Length of the vectors.
    fold : int
        Cycles over which one product may be spread.
    """

    def __init__(self, cfg: AcceleratorConfig, n: int, fold: int = 1) -> None:
        if n < 1 or fold < 1:
            raise ValueError(f"a product of vectors of {n} over {fold} cycles cannot be built")
        self.cfg = cfg
        self.n = n
        self.lanes = ceil_div(n, fold)
        self.slots = ceil_div(n, self.lanes)
        self._max = MaxExp(cfg, n)
        self._tree = SumTree(self.lanes, 2 * cfg.man_bits + 2)
        # The exact sum: n products of man_bits by man_bits bits, and a sign.
        self._total_bits = 2 * cfg.man_bits + n.bit_length() + 1
        self._norm = Normalize(cfg, self._total_bits)
        vector = data.ArrayLayout(flt.FltLayout(cfg), n)
        super().__init__(
            {
                "valid_i": In(1),
                "a": In(vector),
                "b": In(vector),
                "valid_o": Out(1),
                "o": Out(flt.FltLayout(cfg)),
            }
        )

    @property
    def _sum_latency(self) -> int:
        """Cycles from a slot's operands to the accumulator's input."""
        return 2 + self.cfg.mult_latency + self._tree.latency

    @property
    def latency(self) -> int:
        """Cycles from `valid_i` to `valid_o`."""
        serial = 1 + self.slots - 1
        return self._max.latency + serial + self._sum_latency + 1 + self._norm.latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        pair = data.StructLayout({"a": flt.FltLayout(cfg), "b": flt.FltLayout(cfg)})

        # The vectors wait for their largest exponents.
        m.submodules.max_a = max_a = self._max
        m.submodules.max_b = max_b = MaxExp(cfg, self.n)
        m.submodules.wait_valid = wait_valid = Delay(1, max_a.latency)
        m.submodules.wait = wait = Delay(data.ArrayLayout(pair, self.n), max_a.latency)
        m.submodules.serial = serial = Serializer(pair, self.n, self.slots)
        top_a, top_b = Signal.like(max_a.o), Signal.like(max_b.o)
        m.d.comb += [
            max_a.i.eq(self.a),
            max_b.i.eq(self.b),
            wait_valid.i.eq(self.valid_i),
            serial.valid_i.eq(wait_valid.o),
            serial.i.eq(wait.o),
        ]
        for k in range(self.n):
            m.d.comb += [wait.i[k].a.eq(self.a[k]), wait.i[k].b.eq(self.b[k])]
        with m.If(wait_valid.o):
            m.d.sync += [top_a.eq(max_a.o), top_b.eq(max_b.o)]

        # One slot: align, multiply, sum.
        m.submodules.tree = tree = self._tree
        for k in range(self.lanes):
            m.submodules[f"align_a{k}"] = align_a = Align(cfg)
            m.submodules[f"align_b{k}"] = align_b = Align(cfg)
            m.submodules[f"mult{k}"] = mult = Multiplier(
                cfg.man_bits + 1, cfg.man_bits + 1, cfg.mult_latency, cfg.family
            )
            m.d.comb += [
                align_a.i.eq(serial.o[k].a),
                align_a.emax.eq(top_a),
                align_b.i.eq(serial.o[k].b),
                align_b.emax.eq(top_b),
                mult.a.eq(align_a.o),
                mult.b.eq(align_b.o),
                tree.i[k].eq(mult.p),
            ]

        # Over the slots.
        m.submodules.mark_first = mark_first = Delay(1, self._sum_latency)
        m.submodules.mark_last = mark_last = Delay(1, self._sum_latency)
        m.submodules.mark_end = mark_end = Delay(1, 1 + self._norm.latency)
        total = Signal(signed(self._total_bits))
        m.d.comb += [
            mark_first.i.eq(serial.valid_o & (serial.slot == 0)),
            mark_last.i.eq(serial.last),
            mark_end.i.eq(mark_last.o),
            self.valid_o.eq(mark_end.o),
        ]
        m.d.sync += total.eq(Mux(mark_first.o, 0, total) + tree.o)

        # The exponent travels beside the last slot.
        m.submodules.norm = norm = self._norm
        m.submodules.exponent = exponent = Delay(signed(cfg.exp_int + 2), self._sum_latency + 1)
        m.d.comb += [
            exponent.i.eq(top_a + top_b - 2 * cfg.frac),
            norm.i.eq(total),
            norm.e.eq(exponent.o),
            self.o.eq(norm.o),
        ]
        return m

    def compute(self, a: list[float], b: list[float]) -> float:
        """The inner product, by `nvnmd.quantize.ops.dot`."""
        import numpy as np

        return float(ops.dot(np.asarray(a, dtype=np.float64), np.asarray(b), self.cfg.frac))
