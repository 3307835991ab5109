"""The meta word of a neighbour: what the backward stage needs besides its slots."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value, signed
from amaranth.lib import data

from nvnmd.hdl.arith.align import MaxExp
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.delay import Delay
from nvnmd.hdl.pipeline.pending import Pending


class MetaWord:
    """Largest exponents over a neighbour's slots, then its meta word; a part of `NeighborForward`.

    Latency: `latency` cycles from the neighbour's last slot to the word.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self._max_g = MaxExp(cfg, cfg.lanes)
        self._max_dg = MaxExp(cfg, cfg.lanes)
        self._max_r4 = MaxExp(cfg, 4)

    @property
    def latency(self) -> int:
        """Cycles from a neighbour's last slot to its meta word."""
        return max(self._max_g.latency, self._max_r4.latency) + 1

    def build(
        self, m: Module, slot: data.View, dg: data.View, wait: Pending, products: Pending,
        valid_o: Value, meta: data.View,
    ) -> None:
        """Add the search and the word to `m`.

        Parameters
        ----------
        m : Module
            The forward pipeline's.
        slot : View of `SlotLayout`
            Every beat's slots, masked ones too.
        dg : View
            dG/ds of the slot.
        wait, products : Pending
            What waits for the word: the neighbour's numbers, and its h*x, h*y, h*z.
        valid_o, meta : out
            The word of a real neighbour (see `store.meta_layout`), and when it is there.
        """
        cfg = self.cfg
        m.submodules.max_g = max_g = self._max_g
        m.submodules.max_dg = max_dg = self._max_dg
        m.submodules.max_r4 = max_r4 = self._max_r4
        slot_wait, r4_wait = max_g.latency, max_r4.latency
        last = Signal()
        m.submodules.max_valid = valid = Delay(1, slot_wait)
        m.submodules.max_last = max_last = Delay(1, slot_wait)
        m.d.comb += [
            last.eq(slot.slot == cfg.fold - 1),
            max_g.i.eq(slot.g),
            max_dg.i.eq(dg),
            max_r4.i.eq(slot.r4),
            valid.i.eq(slot.valid),
            max_last.i.eq(slot.valid & last),
        ]
        # over the slots, slot by slot; one cycle after the last they are complete
        tops = []
        fresh = Signal(init=1)
        with m.If(valid.o):
            m.d.sync += fresh.eq(max_last.o)
        for name, unit in (("g", max_g), ("dg", max_dg)):
            top = Signal(signed(cfg.exp_int), name=f"top_{name}")
            with m.If(valid.o & (fresh | (unit.o > top))):
                m.d.sync += top.eq(unit.o)
            tops.append(top)
        # all three to the same cycle
        longest = max(slot_wait, r4_wait)
        exponents = data.ArrayLayout(signed(cfg.exp_int), 2)
        m.submodules.tops = both = Delay(exponents, longest - slot_wait)
        m.submodules.top_r4 = top_r4 = Delay(signed(cfg.exp_int), longest + 1 - r4_wait)
        m.submodules.complete = complete = Delay(1, longest + 1 - slot_wait)
        m.d.comb += [
            both.i[0].eq(tops[0]),
            both.i[1].eq(tops[1]),
            top_r4.i.eq(max_r4.o),
            complete.i.eq(max_last.o),
            wait.pop.eq(complete.o),
            products.pop.eq(complete.o),
        ]
        m.d.comb += [
            valid_o.eq(complete.o & ~wait.o.masked),
            meta.r.eq(wait.o.r),
            meta.h.eq(wait.o.h),
            meta.r4.as_value().eq(Cat(wait.o.s, products.o)),
            meta.ds.eq(wait.o.ds),
            meta.dh.eq(wait.o.dh),
            meta.gmax.eq(both.o[0]),
            meta.dgmax.eq(both.o[1]),
            meta.r4max.eq(top_r4.o),
            meta.last.eq(wait.o.last),
        ]
        if cfg.version:
            m.d.comb += meta.ctype.eq(wait.o.ctype)
        if cfg.switched:
            m.d.comb += meta.dk.eq(wait.o.dk)
