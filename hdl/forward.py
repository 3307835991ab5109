"""The neighbour pipeline, forward: displacement -> u -> (s, h) -> R4 and G."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Cat, Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from nvnmd.hdl.delay import Delay
from nvnmd.hdl.dot import FltDot
from nvnmd.hdl.flt import FltLayout, from_word, to_word
from nvnmd.hdl.fltbank import FltMulBank
from nvnmd.hdl.front import BeatLayout
from nvnmd.hdl.layouts import GroupLayout, SlotLayout
from nvnmd.hdl.load import LoadBus, Section
from nvnmd.hdl.metaword import MetaWord
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pending import Pending
from nvnmd.hdl.rowselect import X0_BITS
from nvnmd.hdl.store import meta_layout, slot_layout
from nvnmd.hdl.table import TableUnit
from nvnmd.hdl.typescale import InverseStd, TypeGain
from nvnmd.quantize import ops


@dataclass(frozen=True)
class NeighborValues:
    """What `NeighborForward.compute` gives for one neighbour, flt values as binary64."""

    u: float
    s: float
    h: float
    ds: float
    dh: float
    r4: NDArray[np.float64]
    g: NDArray[np.float64]
    dg: NDArray[np.float64]


class NeighborForward(wiring.Component):
    """One neighbour per `fold` cycles from its displacement to R4, G and their table slopes.

    ``u = dot(r,r)``; ``(s,h)`` and ``(ds/du, dh/du)`` from the u table of the centre's type;
    ``r4 = [s, h*x, h*y, h*z]``; ``G`` and ``dG/ds`` at s from the G table of the neighbour's type.
    Version 1 has one table of each: s and h are multiplied by the centre type's inverse deviations
    before they are used, and G by the gain of both types. A rigid pipeline without
    back-pressure: what a neighbour has to keep waits in small queues (`Pending`), not in a register
    per cycle.

    Latency: `latency` cycles from a beat to its slot 0 on `slot`; the neighbour's meta word comes
    `meta_latency` cycles after its last slot. Throughput: one beat per `fold` cycles.

    Attributes
    ----------
    load : `LoadBus`, in
        Sections U_VALUE, U_GRAD, G_VALUE, G_GRAD; version 1: INV_STD and TYPE_GAIN.
    s_x0 : in
        Origin of the G table in units of 1/256, of the loaded model.
    beat : `BeatLayout`, in
    slot : `SlotLayout`, out
        Every beat's slots, masked ones too, for `GrAccumulate`.
    store_slot_valid, store_slot : out
        The same slots of real neighbours with dG/ds, for `NeighborStore`.
    store_meta_valid, store_meta : out
        Once per real neighbour, after its last slot.
    fault, tap_u : only with `cfg.trace`
        Flips the last bit of u; u of each real neighbour.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self._dot = FltDot(cfg, 3, cfg.fold)
        tables = cfg.nets
        self._u_table = TableUnit(
            cfg, n_out=2, segments=cfg.u_segments, ntab=tables, fold=cfg.fold,
            sections=(Section.U_VALUE, Section.U_GRAD),
        )
        self._g_table = TableUnit(
            cfg, n_out=cfg.m1, segments=cfg.s_segments, ntab=tables, fold=cfg.fold,
            sections=(Section.G_VALUE, Section.G_GRAD),
        )
        self._bank = FltMulBank(cfg, 3)
        self._inverse = InverseStd(cfg) if cfg.version else None
        self._gain = TypeGain(cfg) if cfg.version else None
        self._meta_word = MetaWord(cfg)
        taps: dict = {}
        if cfg.trace:
            word = data.StructLayout({"valid": 1, "word": cfg.flt_bits})
            taps = {"fault": In(1), "tap_u": Out(word)}
        super().__init__(
            {
                **taps,
                "load": In(LoadBus()),
                "s_x0": In(signed(X0_BITS)),
                "beat": In(BeatLayout(cfg)),
                "slot": Out(SlotLayout(cfg)),
                "store_slot_valid": Out(1),
                "store_slot": Out(slot_layout(cfg)),
                "store_meta_valid": Out(1),
                "store_meta": Out(meta_layout(cfg)),
            }
        )

    @property
    def _sh_latency(self) -> int:
        """Cycles from a beat to its complete (s, h)."""
        collect = self._u_table.slots if self._u_table.slots > 1 else 0
        scale = self._inverse.latency if self._inverse is not None else 0
        return self._dot.latency + self._u_table.latency + collect + scale

    @property
    def _g_latency(self) -> int:
        """Cycles from (s, h) to slot 0 of G."""
        return self._g_table.latency + (self._gain.latency if self._gain is not None else 0)

    @property
    def latency(self) -> int:
        """Cycles from a beat to slot 0."""
        return self._sh_latency + self._g_latency + 1

    @property
    def meta_latency(self) -> int:
        """Cycles from a neighbour's last slot to its meta word."""
        return self._meta_word.latency

    def _tapped_u(self, m: Module, dot: FltDot) -> Value:
        """u on its way to the table; with `cfg.trace` shown (real neighbours) and falsified."""
        if not self.cfg.trace:
            return dot.o
        m.submodules.masked = masked = Delay(1, dot.latency)
        u = Signal(FltLayout(self.cfg))
        word, _ = to_word(m, self.cfg, u)
        m.d.comb += [
            masked.i.eq(self.beat.masked),
            u.eq(dot.o),
            u.man.eq(dot.o.man ^ (self.fault & dot.o.man.any())),
            self.tap_u.valid.eq(dot.valid_o & ~masked.o),
            self.tap_u.word.eq(word),
        ]
        return u

    def _pending(self, shape: object, cycles: int) -> Pending:
        """A queue for words that wait `cycles` cycles, one per `fold` cycles at most."""
        return Pending(shape, cycles // self.cfg.fold + 2)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        flt = FltLayout(cfg)
        by_type = cfg.version == 0
        slots_time = self._g_latency + cfg.fold
        meta_time = slots_time + self.meta_latency

        # r, and u = dot(r, r)
        r = [from_word(m, cfg, word) for word in (self.beat.x, self.beat.y, self.beat.z)]
        group = GroupLayout(cfg)
        origin = data.StructLayout(
            {"r": data.ArrayLayout(flt, 3), "group": group, "last": 1}
        )
        m.submodules.dot = dot = self._dot
        m.submodules.origin = of_beat = self._pending(origin, self._sh_latency)
        m.d.comb += [dot.valid_i.eq(self.beat.valid), of_beat.push.eq(self.beat.valid)]
        for c in range(3):
            m.d.comb += [dot.a[c].eq(r[c]), dot.b[c].eq(r[c]), of_beat.i.r[c].eq(r[c])]
        for name in group.members:
            m.d.comb += of_beat.i.group[name].eq(self.beat[name])
        m.d.comb += of_beat.i.last.eq(self.beat.last)

        # (s, h) and their slopes
        m.submodules.u_table = u_table = self._u_table
        m.submodules.g_table = g_table = self._g_table
        wiring.connect(m, wiring.flipped(self.load), u_table.load)
        wiring.connect(m, wiring.flipped(self.load), g_table.load)
        m.submodules.ctype = ctype = Delay(cfg.type_bits, dot.latency)
        m.d.comb += [
            ctype.i.eq(self.beat.ctype),
            u_table.x0.eq(0),
            u_table.x.eq(self._tapped_u(m, dot)),
            u_table.valid_i.eq(dot.valid_o),
            u_table.tab.eq(ctype.o if by_type else 0),
        ]
        ready, s, h, ds, dh = self._scaled(m, *self._collect(m, u_table))

        # R4's products, and G
        m.submodules.bank = bank = self._bank
        here = of_beat.o
        m.d.comb += [
            of_beat.pop.eq(ready),
            bank.valid_i.eq(ready),
            g_table.valid_i.eq(ready),
            g_table.x0.eq(self.s_x0),
            g_table.x.eq(s),
            g_table.tab.eq(here.group.ntype if by_type else 0),
        ]
        for c in range(3):
            m.d.comb += [bank.a[c].eq(h), bank.b[c].eq(here.r[c])]

        # what waits for the slots, and for the meta word after them
        for_slots = data.StructLayout({"s": flt, "group": group})
        for_meta = data.StructLayout(
            {"r": data.ArrayLayout(flt, 3), "h": flt, "s": flt, "ds": flt, "dh": flt,
             "masked": 1, "last": 1, **({"ctype": cfg.type_bits} if cfg.version else {})}
        )
        products = data.ArrayLayout(flt, 3)
        m.submodules.for_slots = slots_wait = self._pending(for_slots, slots_time)
        m.submodules.for_meta = meta_wait = self._pending(for_meta, meta_time)
        m.submodules.products_slots = slots_r4 = self._pending(products, slots_time)
        m.submodules.products_meta = meta_r4 = self._pending(products, meta_time)
        m.d.comb += [
            slots_wait.push.eq(ready),
            slots_wait.i.s.eq(s),
            slots_wait.i.group.eq(here.group),
            meta_wait.push.eq(ready),
            meta_wait.i.r.eq(here.r),
            meta_wait.i.h.eq(h),
            meta_wait.i.s.eq(s),
            meta_wait.i.ds.eq(ds),
            meta_wait.i.dh.eq(dh),
            meta_wait.i.masked.eq(here.group.masked),
            meta_wait.i.last.eq(here.last),
        ]
        if cfg.version:
            m.d.comb += meta_wait.i.ctype.eq(here.group.ctype)
        for queue in (slots_r4, meta_r4):
            m.d.comb += [queue.push.eq(bank.valid_o), queue.i.eq(bank.o)]

        # the slots
        ends = Signal()
        masked = slots_wait.o.group.masked
        valid, slot, g, dg = self._gained(m, ready, here.group)
        m.d.comb += [
            ends.eq(valid & (slot == g_table.slots - 1)),
            slots_wait.pop.eq(ends),
            slots_r4.pop.eq(ends),
        ]
        m.d.sync += [
            self.slot.valid.eq(valid),
            self.slot.slot.eq(slot),
            self.slot.g.eq(g),
            self.slot.r4.as_value().eq(Cat(slots_wait.o.s, slots_r4.o)),
            self.slot.group.eq(slots_wait.o.group),
            self.store_slot_valid.eq(valid & ~masked),
            self.store_slot.g.eq(g),
            self.store_slot.dg.eq(dg),
        ]
        self._meta_word.build(
            m, self.slot, self.store_slot.dg, meta_wait, meta_r4,
            self.store_meta_valid, self.store_meta,
        )
        return m

    def _collect(
        self, m: Module, table: TableUnit
    ) -> tuple[Signal, tuple[data.View, data.View], tuple[data.View, data.View]]:
        """(s, ds) and (h, dh) side by side, and when."""
        if table.slots == 1:
            return (
                table.valid_o,
                (table.value[0], table.grad[0]),
                (table.value[1], table.grad[1]),
            )
        pair = data.StructLayout({"value": FltLayout(self.cfg), "grad": FltLayout(self.cfg)})
        items = [Signal(pair, name=name) for name in ("s", "h")]
        ready = Signal()
        for k, item in enumerate(items):
            with m.If(table.valid_o & (table.slot == k)):
                m.d.sync += [item.value.eq(table.value[0]), item.grad.eq(table.grad[0])]
        m.d.sync += ready.eq(table.valid_o & (table.slot == 1))
        return ready, (items[0].value, items[0].grad), (items[1].value, items[1].grad)

    def _scaled(
        self, m: Module, ready: Value, radial: tuple[data.View, data.View],
        angular: tuple[data.View, data.View],
    ) -> tuple[Value, data.View, data.View, data.View, data.View]:
        """Whether (s, h) is there, s, h, ds/du, dh/du; in version 1 s and h are scaled."""
        (s, ds), (h, dh) = radial, angular
        inverse = self._inverse
        if inverse is None:
            return ready, s, h, ds, dh
        m.submodules.inverse = inverse
        wiring.connect(m, wiring.flipped(self.load), inverse.load)
        m.submodules.inverse_type = kind = self._pending(
            self.cfg.type_bits, self._sh_latency - inverse.latency)
        m.submodules.slopes = slopes = Delay(
            data.ArrayLayout(FltLayout(self.cfg), 2), inverse.latency)
        m.d.comb += [
            kind.push.eq(self.beat.valid),
            kind.i.eq(self.beat.ctype),
            kind.pop.eq(ready),
            inverse.valid_i.eq(ready),
            inverse.ctype.eq(kind.o),
            inverse.a[0].eq(s),
            inverse.a[1].eq(h),
            slopes.i[0].eq(ds),
            slopes.i[1].eq(dh),
        ]
        return inverse.valid_o, inverse.o[0], inverse.o[1], slopes.o[0], slopes.o[1]

    def _gained(
        self, m: Module, ready: Value, group: data.View
    ) -> tuple[Value, Value, data.View, data.View]:
        """Valid, slot, G and dG/ds of the G table; in version 1 G is multiplied by its gain."""
        table, gain = self._g_table, self._gain
        if gain is None:
            return table.valid_o, table.slot, table.value, table.grad
        m.submodules.gain = gain
        wiring.connect(m, wiring.flipped(self.load), gain.load)
        pair = data.StructLayout({"ctype": self.cfg.type_bits, "ntype": self.cfg.type_bits})
        m.submodules.gain_types = types = self._pending(pair, table.latency + self.cfg.fold)
        m.submodules.slope = slope = Delay(table.grad.shape(), gain.latency)
        m.d.comb += [
            types.push.eq(ready),
            types.i.ctype.eq(group.ctype),
            types.i.ntype.eq(group.ntype),
            types.pop.eq(table.valid_o & (table.slot == table.slots - 1)),
            gain.valid_i.eq(table.valid_o),
            gain.slot_i.eq(table.slot),
            gain.ctype.eq(types.o.ctype),
            gain.ntype.eq(types.o.ntype),
            gain.g.eq(table.value),
            slope.i.eq(table.grad),
        ]
        m.d.sync += self.store_slot.gain.eq(gain.gain)
        return gain.valid_o, gain.slot_o, gain.o, slope.o

    def compute(
        self,
        tables: dict[Section, NDArray[np.float64]],
        s_x0: int,
        r: NDArray[np.float64],
        ctype: int,
        ntype: int,
    ) -> NeighborValues:
        """All values of one neighbour.

        Parameters
        ----------
        tables : dict
            By section: coefficients, shape (ntab, rows, n_out, 4); in version 1 also INV_STD,
            shape (ntypes, 2), and TYPE_GAIN, shape (ntypes, ntypes, m1).
        s_x0 : int
            Origin of the G table in units of 1/256.
        r : ndarray, shape (3,)
            Displacement, flt values (0 in a masked beat).
        ctype, ntype : int
            Types of the centre and the neighbour.
        """
        u_set, g_set = (ctype, ntype) if self.cfg.version == 0 else (0, 0)
        u = self._dot.compute(list(r), list(r))
        s, h = self._u_table.compute(tables[Section.U_VALUE], u, 0, u_set)
        ds, dh = self._u_table.compute(tables[Section.U_GRAD], u, 0, u_set)
        if self._inverse is not None:
            s, h = self._inverse.compute(list(tables[Section.INV_STD][ctype]), [s, h])
        g = self._g_table.compute(tables[Section.G_VALUE], s, s_x0, g_set)
        if self._gain is not None:
            g = self._gain.compute(g, list(tables[Section.TYPE_GAIN][ctype, ntype]))
        products = ops.mul(h, np.asarray(r), self.cfg.frac) + 0.0
        return NeighborValues(
            u=u, s=s, h=h, ds=ds, dh=dh,
            r4=np.array([s, *products]),
            g=np.array(g),
            dg=np.array(self._g_table.compute(tables[Section.G_GRAD], s, s_x0, g_set)),
        )
