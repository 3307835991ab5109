"""The neighbour pipeline, forward: displacement -> u -> (s, h) -> R4 and G."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Cat, Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from nvnmd.hdl.arith.dot import FltDot
from nvnmd.hdl.arith.flt import FltLayout, from_word, to_word
from nvnmd.hdl.arith.mul_bank import FltMulBank
from nvnmd.hdl.layouts import GroupLayout, SlotLayout
from nvnmd.hdl.neighbor.front import BeatLayout
from nvnmd.hdl.neighbor.meta_word import MetaWord
from nvnmd.hdl.neighbor.row_select import X0_BITS
from nvnmd.hdl.neighbor.store import meta_layout, slot_layout
from nvnmd.hdl.neighbor.switched_gain import Standardize, SwitchedGain
from nvnmd.hdl.neighbor.table import TableUnit
from nvnmd.hdl.neighbor.type_scale import InverseStd, TypeGain
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.delay import Delay
from nvnmd.hdl.pipeline.loadbus import LoadBus, Section
from nvnmd.hdl.pipeline.owners import share
from nvnmd.hdl.pipeline.pending import Pending
from nvnmd.quantize import ops


@dataclass(frozen=True)
class NeighborValues:
    """Result of `NeighborForward.compute` for one neighbour, flt values as binary64."""

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
    before they are used, and G by the gain of both types; in SUB_VERSION 2 s loses its mean first,
    and the gain fades with k, the u table's third function. A rigid pipeline without
    back-pressure: what a neighbour has to keep waits in small queues (`Pending`), not in a register
    per cycle.

    Latency: `latency` cycles from a beat to its slot 0 on `slot`; the neighbour's meta word comes
    `meta_latency` cycles after its last slot. Throughput: one beat per `fold` cycles.

    Attributes
    ----------
    load : `LoadBus`, in
        Sections U_VALUE, U_GRAD, G_VALUE, G_GRAD (octave tables: U_VALUE, G_VALUE); version 1:
        INV_STD and TYPE_GAIN.
    s_x0 : in
        Origin of the G table in units of 1/256, of the loaded model.
    near_shift : in
        e, of the loaded model: `too_near` tells neighbours with u below 2^-e; 0 for none.
    too_near : out
        A real neighbour is that near (pulse).
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
            cfg, n_out=cfg.radial, segments=cfg.u_segments, ntab=tables, fold=cfg.fold,
            sections=(Section.U_VALUE, None if cfg.octave else Section.U_GRAD),
            octaves=cfg.octave,
        )
        self._g_table = TableUnit(
            cfg, n_out=cfg.m1, segments=cfg.s_segments, ntab=tables, fold=cfg.fold,
            sections=(Section.G_VALUE, None if cfg.octave else Section.G_GRAD),
        )
        self._bank = FltMulBank(cfg, 3)
        self._inverse: InverseStd | Standardize | None = None
        self._gain: TypeGain | SwitchedGain | None = None
        if cfg.switched:
            self._inverse, self._gain = Standardize(cfg), SwitchedGain(cfg)
        elif cfg.version:
            self._inverse, self._gain = InverseStd(cfg), TypeGain(cfg)
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
                "near_shift": In(8),
                "too_near": Out(1),
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

    def _watch(self, m: Module, dot: FltDot) -> None:
        """Tell real neighbours nearer than where the tables begin, by the exponent of u alone."""
        m.submodules.unreal = unreal = Delay(1, dot.latency)
        limit = Signal(signed(9))
        m.d.comb += [unreal.i.eq(self.beat.masked), limit.eq(-self.near_shift)]
        m.d.sync += self.too_near.eq(
            dot.valid_o & ~unreal.o & (self.near_shift != 0) & (dot.o.exp < limit))

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
        more = [part for part in (self._inverse, self._gain) if part is not None]
        share(m, self.load, u_table.load, g_table.load, *(part.load for part in more))
        m.submodules.ctype = ctype = Delay(cfg.type_bits, dot.latency)
        m.d.comb += [
            ctype.i.eq(self.beat.ctype),
            u_table.x0.eq(0),
            u_table.x.eq(self._tapped_u(m, dot)),
            u_table.valid_i.eq(dot.valid_o),
            u_table.tab.eq(ctype.o if by_type else 0),
        ]
        self._watch(m, dot)
        ready, values, slopes = self._scaled(m, *self._collect(m, u_table))
        (s, h, *k), (ds, dh, *dk) = values, slopes

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
             "masked": 1, "last": 1, **({"ctype": cfg.type_bits} if cfg.version else {}),
             **({"dk": flt} if cfg.switched else {})}
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
        for slope in dk:
            m.d.comb += meta_wait.i.dk.eq(slope)
        for queue in (slots_r4, meta_r4):
            m.d.comb += [queue.push.eq(bank.valid_o), queue.i.eq(bank.o)]

        # the slots
        ends = Signal()
        masked = slots_wait.o.group.masked
        valid, slot, g, dg = self._gained(m, ready, here.group, k)
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
    ) -> tuple[Value, list[data.View], list[data.View]]:
        """When the functions of u are side by side, they, and their slopes."""
        count = self.cfg.radial
        if table.slots == 1:
            return (
                table.valid_o,
                [table.value[k] for k in range(count)],
                [table.grad[k] for k in range(count)],
            )
        pair = data.StructLayout({"value": FltLayout(self.cfg), "grad": FltLayout(self.cfg)})
        items = [Signal(pair, name=name) for name in ("s", "h", "k")[:count]]
        ready = Signal()
        for k, item in enumerate(items):
            place, lane = divmod(k, table.places)
            with m.If(table.valid_o & (table.slot == place)):
                m.d.sync += [item.value.eq(table.value[lane]), item.grad.eq(table.grad[lane])]
        m.d.sync += ready.eq(table.valid_o & (table.slot == table.slots - 1))
        return ready, [item.value for item in items], [item.grad for item in items]

    def _scaled(
        self, m: Module, ready: Value, values: list[data.View], slopes: list[data.View]
    ) -> tuple[Value, list[data.View], list[data.View]]:
        """The same with s and h as the network has them: in version 1 they are scaled."""
        inverse = self._inverse
        if inverse is None:
            return ready, values, slopes
        m.submodules.inverse = inverse
        m.submodules.inverse_type = kind = self._pending(
            self.cfg.type_bits, self._sh_latency - inverse.latency)
        waiting = [*slopes, *values[2:]]
        m.submodules.slopes = later = Delay(
            data.ArrayLayout(FltLayout(self.cfg), len(waiting)), inverse.latency)
        m.d.comb += [
            kind.push.eq(self.beat.valid),
            kind.i.eq(self.beat.ctype),
            kind.pop.eq(ready),
            inverse.valid_i.eq(ready),
            inverse.ctype.eq(kind.o),
            inverse.a[0].eq(values[0]),
            inverse.a[1].eq(values[1]),
            *(later.i[n].eq(item) for n, item in enumerate(waiting)),
        ]
        after = [later.o[n] for n in range(len(waiting))]
        return (
            inverse.valid_o, [inverse.o[0], inverse.o[1], *after[len(slopes):]],
            after[: len(slopes)],
        )

    def _gained(
        self, m: Module, ready: Value, group: data.View, k: list[data.View]
    ) -> tuple[Value, Value, data.View, data.View]:
        """Valid, slot, G and dG/ds of the G table; in version 1 G has its gain."""
        table, gain = self._g_table, self._gain
        if gain is None:
            return table.valid_o, table.slot, table.value, table.grad
        m.submodules.gain = gain
        pair = data.StructLayout({"ctype": self.cfg.type_bits, "ntype": self.cfg.type_bits,
                                  **({"k": FltLayout(self.cfg)} if k else {})})
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
        if isinstance(gain, SwitchedGain):
            m.d.comb += [types.i.k.eq(k[0]), gain.k.eq(types.o.k)]
            m.d.sync += [
                self.store_slot.factor.eq(gain.factor),
                self.store_slot.plain.eq(gain.plain),
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
            shape (ntypes, 2), and TYPE_GAIN, shape (ntypes, ntypes, m1); in SUB_VERSION 2 a third
            column of INV_STD holds minus the means.
        s_x0 : int
            Origin of the G table in units of 1/256.
        r : ndarray, shape (3,)
            Displacement, flt values (0 in a masked beat).
        ctype, ntype : int
            Types of the centre and the neighbour.
        """
        u_set, g_set = (ctype, ntype) if self.cfg.version == 0 else (0, 0)
        u = self._dot.compute(list(r), list(r))
        (s, h, *k), (ds, dh, *_) = self._u_table.compute(
            tables[Section.U_VALUE], u, 0, u_set, tables.get(Section.U_GRAD))
        if self._inverse is not None:
            s, h = self._inverse.compute(list(tables[Section.INV_STD][ctype]), [s, h])
        g, dg = self._g_table.compute(
            tables[Section.G_VALUE], s, s_x0, g_set, tables.get(Section.G_GRAD))
        if self._gain is not None:
            g = self._gain.compute(g, list(tables[Section.TYPE_GAIN][ctype, ntype]), *k)
        products = ops.mul(h, np.asarray(r), self.cfg.frac) + 0.0
        return NeighborValues(
            u=u, s=s, h=h, ds=ds, dh=dh,
            r4=np.array([s, *products]),
            g=np.array(g),
            dg=np.array(dg),
        )
