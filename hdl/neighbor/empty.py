"""The contribution of unoccupied neighbour slots to GR."""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from nvnmd.errors import InputError
from nvnmd.hdl.arith.whole import ProductToFix
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.loadbus import LoadBus, Section
from nvnmd.hdl.pipeline.memories import make_memory
from nvnmd.hdl.pipeline.owners import answer, asked


class EmptySlot(wiring.Component):
    """What one empty slot adds to row 0 of GR: the constants K0 of (centre, neighbour) types, in
    SUB_VERSION 2 of centre types.

    ``K0 = trunc(s(0)*G(s(0)) * 2**fix_frac)`` per channel, loaded (`Section.EMPTY`). Latency: one
    cycle from `ctype`, `ntype` and `slot` to `words`. Throughput: one slot per cycle.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        if cfg.m1 < 4:
            raise InputError(f"accelerator: m1 is {cfg.m1}, expected at least 4")
        self.cfg = cfg
        self.banks = max(1, cfg.lanes // 4)
        super().__init__(
            {
                "load": In(LoadBus()),
                "ctype": In(cfg.type_bits),
                "ntype": In(cfg.type_bits),
                "slot": In(range(max(2, cfg.fold))),
                "words": Out(data.ArrayLayout(signed(32), cfg.lanes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        beats = cfg.m1 // 4
        depth = cfg.empty_kinds * beats // self.banks
        pair = self.ctype * cfg.ntypes + self.ntype if cfg.version == 0 else self.ctype
        first = Signal(range(max(2, cfg.m1)))  # the slot's first channel
        m.d.comb += first.eq(self.slot * cfg.lanes)
        row = Signal(range(max(2, depth)))
        m.d.comb += row.eq(pair * (beats // self.banks) + first // (4 * self.banks))
        words: list[Value] = []
        checking = asked(self.load, Section.EMPTY)
        bank_asked = Signal(range(max(2, self.banks)))
        m.d.sync += bank_asked.eq(self.load.index % self.banks)
        for bank in range(self.banks):
            m.submodules[f"bank{bank}"] = mem = make_memory(128, depth)
            write, read = mem.write_port(), mem.read_port()
            m.d.comb += [
                write.addr.eq(self.load.index // self.banks),
                write.data.eq(self.load.data),
                write.en.eq(
                    self.load.valid
                    & (self.load.section == Section.EMPTY)
                    & (self.load.index % self.banks == bank)
                ),
                read.addr.eq(Mux(checking, self.load.index // self.banks, row)),
                read.en.eq(1),
            ]
            words += [read.data.word_select(n, 32) for n in range(4)]
        beat = Array(Cat(words[4 * bank : 4 * bank + 4]) for bank in range(self.banks))[bank_asked]
        back = Signal(128)
        m.d.comb += [
            back.eq(beat),
            self.load.back.eq(answer(m, self.load, Section.EMPTY,
                                     [back.word_select(n, 32) for n in range(4)], since=1)),
        ]
        if cfg.lanes >= 4:
            m.d.comb += [self.words[n].eq(word) for n, word in enumerate(words)]
        else:
            part = Signal(2)
            m.d.sync += part.eq(first)
            m.d.comb += [
                self.words[n].eq(Cat(words).word_select(part | n, 32)) for n in range(cfg.lanes)
            ]
        return m

    @staticmethod
    def compute(cfg: AcceleratorConfig, s0: NDArray, g0: NDArray) -> NDArray[np.int64]:
        """K0 of the flt values s(0), shape (), and G(s(0)), shape (m1,)."""
        return ProductToFix.compute(cfg, s0, g0)
