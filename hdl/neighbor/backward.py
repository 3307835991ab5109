"""The backward pass of one neighbour: from dE/dGR to dE/du and dE/d(x, y, z)."""

from __future__ import annotations

from amaranth import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.arith.add import FltAdd
from nvnmd.hdl.arith.align import Align
from nvnmd.hdl.arith.binary_sum import BinarySum
from nvnmd.hdl.arith.dot import FltDot
from nvnmd.hdl.arith.flt import FltLayout, from_word, to_word
from nvnmd.hdl.arith.mul import FltMul
from nvnmd.hdl.arith.mul_bank import FltMulBank
from nvnmd.hdl.atom.gradient_memory import ROWS, dgr_port, rowmax_layout
from nvnmd.hdl.neighbor.gradient import deriv_layout, neighbor_grad, tap_layout
from nvnmd.hdl.neighbor.slot_gradient import (
    SLOT_MARK,
    ColumnGrad,
    MarkDelay,
    RowGrad,
    TableDot,
    aligned_vector,
)
from nvnmd.hdl.neighbor.store import meta_layout, slot_layout
from nvnmd.hdl.neighbor.type_scale import InverseStd
from nvnmd.hdl.neighbor.wide_dot import WideDot
from nvnmd.hdl.params import AcceleratorConfig, ceil_div
from nvnmd.hdl.pipeline.delay import Delay
from nvnmd.hdl.pipeline.loadbus import LoadBus
from nvnmd.hdl.pipeline.owners import share
from nvnmd.hdl.pipeline.pending import Pending

FAULTS = ("dr4", "dg", "ds", "dh", "deriv")


class NeighborBackward(wiring.Component):
    """dE/d[u, x, y, z] of one neighbour after the other, in the order of the store.

    ::

        dE/dR4 = matmul_flt(dGR, G)         dE/dG  = matmul_flt(R4, dGR)
        dE/ds  = add(dot(dG/ds, dE/dG), dE/dR4[0])
        dE/dh  = dot(r, dE/dR4[1:])         dE/d(x,y,z) = mul(h, dE/dR4[1:])
        dE/du  = dot([ds/du, dh/du], [dE/ds, dE/dh])

    In version 1 dE/dG is multiplied by the type gain, dE/ds and dE/dh by the inverse deviations. In
    SUB_VERSION 2 dE/dG is that of ``G + G*factor``, k has a slope, too, and dE/du three terms.

    A rigid pipeline: a neighbour starts when its meta word is there, its atom's dE/dGR is ready
    and there is room for its result, and then runs through. Magnitudes below the least flt word
    give the word 0; one above the largest gives `overflow` with a word that means nothing.

    Latency: `latency` cycles from the start to the result in the output queue.
    Throughput: one neighbour in `fold` cycles, 9*L multipliers for the sums over channels.

    Attributes
    ----------
    load : In, `LoadBus`, only in version 1
        Section INV_STD.
    dgr : In, `dgr_port`
        The aligned dE/dGR of the oldest atom.
    meta, slot_next, slot_o
        The neighbour store.
    deriv : Out, stream of `deriv_layout`
        One beat per neighbour. An atom without neighbours has none.
    overflow : Out
        High for one cycle when a result leaves the range of a word.
    fault : In, only with `cfg.trace`
        Flips the last mantissa bit of every result of the stages in `FAULTS`.
    tap_dr4, tap_dg, tap_ds, tap_dh : Out, only with `cfg.trace`
        Words of dE/dR4 (4), dE/dG (L per slot), dE/ds and dE/dh.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self.slots = ceil_div(cfg.m1, cfg.lanes)
        self._aligns = {
            name: [Align(cfg) for _ in range(n)]
            for name, n in (("g", cfg.lanes), ("slope", cfg.lanes), ("r4", ROWS))
        }
        self._rows = RowGrad(cfg)
        self._columns = ColumnGrad(cfg)
        self._table = TableDot(cfg, self.slots)
        self._to_ds = FltAdd(cfg)
        self._to_dh = FltDot(cfg, 3, cfg.fold)
        self._to_xyz = FltMulBank(cfg, 3)
        self._to_du = FltDot(cfg, cfg.radial, cfg.fold)
        self._gains = [FltMul(cfg) for _ in range(cfg.lanes)] if cfg.version else []
        # SUB_VERSION 2: dE/dG by the table, the products with the table's G, and dE/dk
        lanes = range(cfg.lanes if cfg.switched else 0)
        self._sums = [BinarySum(cfg) for _ in lanes]
        self._by_gain = [FltMul(cfg) for _ in lanes]
        self._to_dk = WideDot(cfg, self.slots) if cfg.switched else None
        self._inverse = InverseStd(cfg, second=True) if cfg.version else None
        # neighbours under way or waiting to be taken: enough to keep the pipeline full
        self.depth = ceil_div(self.latency, self.slots) + 4
        ports = {
            "dgr": In(dgr_port(cfg)),
            "meta": In(stream.Signature(meta_layout(cfg))),
            "slot_next": Out(1),
            "slot_o": In(slot_layout(cfg)),
            "deriv": Out(stream.Signature(deriv_layout(cfg))),
            "overflow": Out(1),
        }
        if cfg.version:
            ports["load"] = In(LoadBus())
        if cfg.trace:
            ports |= {
                "fault": In(data.StructLayout(dict.fromkeys(FAULTS, 1))),
                "tap_dr4": Out(tap_layout(cfg, ROWS)),
                "tap_dg": Out(tap_layout(cfg, cfg.lanes)),
                "tap_ds": Out(tap_layout(cfg, 1)),
                "tap_dh": Out(tap_layout(cfg, 1)),
            }
        super().__init__(ports)

    @property
    def latency(self) -> int:
        """Cycles from a neighbour's start to its result in the output queue."""
        operands = 1 + self._aligns["r4"][0].latency + self.slots - 1
        ds = self._dg_latency + self._table.latency + self._to_ds.latency
        dh = self._rows.latency + self._to_dh.latency
        scale = self._inverse.latency if self._inverse is not None else 0
        dk = 0
        if self._to_dk is not None:
            dk = self._columns.latency + self._by_gain[0].latency + self._to_dk.latency
        return operands + max(ds, dh, dk) + 1 + scale + self._to_du.latency + 1

    @property
    def _dg_latency(self) -> int:
        """Cycles from aligned operands to dE/dG."""
        gained = self._gains[0].latency if self._gains else 0
        return self._columns.latency + gained + (self._sums[0].latency if self._sums else 0)

    # the words of one atom, see `neighbor_grad`
    compute = staticmethod(neighbor_grad)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        mark, meta, rowmax, room_back = self._issue(m)
        self._vectors(m, mark, meta, rowmax)
        self._scalars(m, mark, meta, room_back)
        return m

    def _issue(self, m: Module) -> tuple[data.View, data.View, data.View, Signal]:
        """Start neighbours and walk their slots.

        Returns the mark of the slot whose words are on `slot_o` and `dgr.columns`, with that
        neighbour's meta word and its atom's row exponents; and the place that a taken result
        gives back.
        """
        cfg = self.cfg
        slot = Signal(range(max(2, self.slots)))
        room = Signal(range(self.depth + 1), init=self.depth)
        start, active, atom_ends = Signal(), Signal(), Signal()
        room_back = Signal()
        mark = Signal(SLOT_MARK)
        meta, rowmax = Signal(meta_layout(cfg)), Signal(rowmax_layout(cfg))
        m.d.comb += [
            start.eq((slot == 0) & self.meta.valid & self.dgr.ready & (room != 0)),
            active.eq(start | (slot != 0)),
            atom_ends.eq(Mux(slot == 0, self.meta.payload.last, meta.last)),
            self.meta.ready.eq(start),
            self.slot_next.eq(active),
            self.dgr.slot.eq(slot),
        ]
        m.d.sync += [
            room.eq(room - start + room_back),
            mark.valid.eq(active),
            mark.first.eq(start),
            mark.last.eq(active & (slot == self.slots - 1)),
        ]
        with m.If(active):
            with m.If(slot == self.slots - 1):
                m.d.comb += self.dgr.release.eq(atom_ends)
                m.d.sync += slot.eq(0)
            with m.Else():
                m.d.sync += slot.eq(slot + 1)
        with m.If(start):
            m.d.sync += [meta.eq(self.meta.payload), rowmax.eq(self.dgr.rowmax)]
        return mark, meta, rowmax, room_back

    def _waiting(self, m: Module, name: str, shape: object, push: Value) -> Pending:
        """A queue that cannot overflow: it holds at most one entry per neighbour under way."""
        pending = Pending(shape, self.depth)
        m.submodules[f"pending_{name}"] = pending
        m.d.comb += pending.push.eq(push)
        return pending

    def _result(
        self, m: Module, stage: str, valid: Value, items: list[data.View]
    ) -> list[data.View]:
        """The results of a stage; in verification builds faulty on request, and on the tap."""
        if not self.cfg.trace:
            return items
        results = []
        tap = getattr(self, f"tap_{stage}", None)
        for i, item in enumerate(items):
            result = Signal(FltLayout(self.cfg), name=f"{stage}_{i}")
            m.d.comb += [
                result.eq(item),
                result.man.eq(item.man ^ (self.fault[stage] & item.man.any())),
            ]
            results.append(result)
            if tap is not None:
                word, _ = to_word(m, self.cfg, result)
                m.d.comb += tap.words[i].eq(word)
        if tap is not None:
            m.d.comb += tap.valid.eq(valid)
        return results

    def _vectors(self, m: Module, mark: data.View, meta: data.View, rowmax: data.View) -> None:
        """Align, and feed the three sums over channels."""
        cfg = self.cfg
        lanes, wait = cfg.lanes, self._aligns["r4"][0].latency
        m.submodules.rows = rows = self._rows
        m.submodules.columns = columns = self._columns
        m.submodules.table = table = self._table

        def aligned(name: str, items: data.View, emax: Value) -> data.View:
            aligns = self._aligns[name]
            out = Signal(aligned_vector(cfg, len(aligns)), name=f"aligned_{name}")
            for i, align in enumerate(aligns):
                m.submodules[f"align_{name}_{i}"] = align
                m.d.comb += [align.i.eq(items[i]), align.emax.eq(emax), out[i].eq(align.o)]
            return out

        g = aligned("g", self.slot_o.g, meta.gmax)
        slope = aligned("slope", self.slot_o.dg, meta.dgmax)
        r4 = aligned("r4", meta.r4, meta.r4max)
        m.submodules.wait_columns = wait_columns = Delay(self.dgr.columns.shape(), wait)
        m.submodules.wait_r4max = wait_r4max = Delay(signed(cfg.exp_int), wait)
        m.submodules.wait_mark = wait_mark = MarkDelay(wait)
        m.d.comb += [
            wait_columns.i.eq(self.dgr.columns),
            wait_r4max.i.eq(meta.r4max),
            wait_mark.i.eq(mark),
        ]

        self._mark = wait_mark.o

        # dE/dR4: the sum of the exponents of row and G waits for the totals
        exponents = self._waiting(m, "e", rows.e.shape(), mark.first)
        m.d.comb += [
            exponents.i[c].eq(rowmax[c] + meta.gmax - 2 * cfg.frac) for c in range(ROWS)
        ]
        m.d.comb += [
            exponents.pop.eq(rows.take),
            rows.e.eq(exponents.o),
            rows.mark.eq(wait_mark.o),
            rows.g.eq(g),
            columns.r4.eq(r4),
        ]
        for k in range(lanes):
            column = wait_columns.o[k]
            m.d.comb += [
                rows.row[k].eq(column.row),
                columns.col[k].eq(column.col),
                columns.e[k].eq(wait_r4max.o + column.colmax - 2 * cfg.frac),
            ]

        # ds: dE/dG meets the slopes, which waited
        m.submodules.mark_dg = mark_dg = MarkDelay(self._dg_latency)
        m.submodules.wait_slope = wait_slope = Delay(
            slope.shape(), self._dg_latency + table.slope_delay
        )
        slope_max = self._waiting(m, "slope_max", signed(cfg.exp_int), mark.first)
        dg = self._result(m, "dg", mark_dg.o.valid, self._gained(m, wait))
        m.d.comb += [
            mark_dg.i.eq(wait_mark.o),
            wait_slope.i.eq(slope),
            slope_max.i.eq(meta.dgmax),
            slope_max.pop.eq(table.take),
            table.mark.eq(mark_dg.o),
            table.slope.eq(wait_slope.o),
            table.slope_max.eq(slope_max.o),
        ]
        m.d.comb += [table.i[k].eq(dg[k]) for k in range(lanes)]

    def _gained(self, m: Module, wait: int) -> list[data.View]:
        """dE/dG of a slot; version 1: times the gains, which waited since the operands came."""
        cfg, columns = self.cfg, self._columns
        values = [columns.o[k] for k in range(cfg.lanes)]
        if not self._gains:
            return values
        m.submodules.wait_gain = gain = Delay(
            self.slot_o.gain.shape(), wait + columns.latency)
        m.d.comb += gain.i.eq(self.slot_o.gain)
        for k, mul in enumerate(self._gains):
            m.submodules[f"gain_{k}"] = mul
        if self._sums:
            return self._switched(m, wait, values, gain.o)
        for k, mul in enumerate(self._gains):
            m.d.comb += [mul.a.eq(values[k]), mul.b.eq(from_word(m, cfg, gain.o[k]))]
        return [mul.o for mul in self._gains]

    def _switched(
        self, m: Module, wait: int, values: list[data.View], gain: data.View
    ) -> list[data.View]:
        """SUB_VERSION 2: ``trunc(dG + mul(factor, dG))``; feeds the sum of dE/dk."""
        cfg, wide = self.cfg, self._to_dk
        assert wide is not None
        vector = self.slot_o.factor.shape()
        times = self._by_gain[0].latency
        both = data.StructLayout({"factor": vector, "plain": vector})
        m.submodules.wait_switched = kept = Delay(both, wait + self._columns.latency)
        m.submodules.wait_dg = wait_dg = Delay(vector, times)
        m.submodules.wait_words = words = Delay(gain.shape(), times)
        m.submodules.mark_dk = mark = MarkDelay(self._columns.latency + times)
        m.submodules.to_dk = wide
        m.d.comb += [
            kept.i.factor.eq(self.slot_o.factor),
            kept.i.plain.eq(self.slot_o.plain),
            words.i.eq(gain),
            mark.i.eq(self._mark),
            wide.mark.eq(mark.o),
        ]
        for k, (mul, total, product) in enumerate(
            zip(self._gains, self._sums, self._by_gain, strict=True)
        ):
            m.submodules[f"sum_{k}"], m.submodules[f"by_gain_{k}"] = total, product
            m.d.comb += [
                mul.a.eq(kept.o.factor[k]),
                mul.b.eq(values[k]),
                wait_dg.i[k].eq(values[k]),
                total.a.eq(wait_dg.o[k]),
                total.b.eq(mul.o),
                product.a.eq(kept.o.plain[k]),
                product.b.eq(values[k]),
                wide.a[k].eq(product.o),
                wide.b[k].eq(from_word(m, cfg, words.o[k])),
            ]
        return [total.o for total in self._sums]

    def _slopes_sh(
        self, m: Module, mark: data.View, meta: data.View, ds: Pending, dh: Pending
    ) -> tuple[Value, list[data.View]]:
        """dE/ds and dE/dh of one neighbour side by side, in SUB_VERSION 2 with dE/dk; version 1:
        the two times the inverse deviations.

        One of them may be there earlier; all leave their queues together.
        """
        both = Signal()
        m.d.comb += [ds.pop.eq(both), dh.pop.eq(both)]
        inverse = self._inverse
        more = []
        if self._to_dk is None or inverse is None:
            m.d.comb += both.eq(ds.valid & dh.valid)
        else:
            one = FltLayout(self.cfg)
            dk = self._waiting(m, "dk", one, self._to_dk.valid_o)
            m.submodules.wait_dk = wait_dk = Delay(one, inverse.latency)
            m.d.comb += [
                dk.i.eq(self._to_dk.o),
                both.eq(ds.valid & dh.valid & dk.valid),
                dk.pop.eq(both),
                wait_dk.i.eq(dk.o),
            ]
            more = [wait_dk.o]
        if inverse is None:
            return both, [ds.o, dh.o]
        m.submodules.inverse = inverse
        share(m, self.load, inverse.load)
        kind = self._waiting(m, "ctype", self.cfg.type_bits, mark.first)
        m.d.comb += [
            kind.i.eq(meta.ctype),
            kind.pop.eq(both),
            inverse.valid_i.eq(both),
            inverse.ctype.eq(kind.o),
            inverse.a[0].eq(ds.o),
            inverse.a[1].eq(dh.o),
        ]
        return inverse.valid_o, [inverse.o[0], inverse.o[1], *more]

    def _scalars(self, m: Module, mark: data.View, meta: data.View, room_back: Signal) -> None:
        """From dE/dR4 and ds to the four words, once per neighbour."""
        cfg = self.cfg
        one = FltLayout(cfg)
        rows, table = self._rows, self._table
        m.submodules.to_ds, m.submodules.to_dh = to_ds, to_dh = self._to_ds, self._to_dh
        m.submodules.to_xyz, m.submodules.to_du = to_xyz, to_du = self._to_xyz, self._to_du

        dr4 = self._result(m, "dr4", rows.valid_o, [rows.o[c] for c in range(ROWS)])
        position = self._waiting(
            m, "position", data.StructLayout({"r": data.ArrayLayout(one, 3), "h": one}), mark.first
        )
        radial = self._waiting(m, "radial", one, rows.valid_o)
        m.d.comb += [
            position.i.r.eq(meta.r),
            position.i.h.eq(meta.h),
            position.pop.eq(rows.valid_o),
            radial.i.eq(dr4[0]),
            radial.pop.eq(table.valid_o),
            to_dh.valid_i.eq(rows.valid_o),
            to_xyz.valid_i.eq(rows.valid_o),
            to_ds.a.eq(table.o),
            to_ds.b.eq(radial.o),
        ]
        for axis in range(3):
            m.d.comb += [
                to_dh.a[axis].eq(position.o.r[axis]),
                to_dh.b[axis].eq(dr4[1 + axis]),
                to_xyz.a[axis].eq(position.o.h),
                to_xyz.b[axis].eq(dr4[1 + axis]),
            ]

        m.submodules.valid_ds = valid_ds = Delay(1, to_ds.latency)
        m.d.comb += valid_ds.i.eq(table.valid_o)
        ds = self._waiting(m, "ds", one, valid_ds.o)
        dh = self._waiting(m, "dh", one, to_dh.valid_o)
        slopes = self._waiting(m, "slopes", data.ArrayLayout(one, cfg.radial), mark.first)
        m.d.comb += [ds.i.eq(to_ds.o), dh.i.eq(to_dh.o)]
        valid, (ds_value, dh_value, *dk_value) = self._slopes_sh(m, mark, meta, ds, dh)
        (ds_value,) = self._result(m, "ds", valid, [ds_value])
        (dh_value,) = self._result(m, "dh", valid, [dh_value])
        m.d.comb += [
            slopes.i[0].eq(meta.ds),
            slopes.i[1].eq(meta.dh),
            slopes.pop.eq(valid),
            to_du.valid_i.eq(valid),
            to_du.a.eq(slopes.o),
            to_du.b[0].eq(ds_value),
            to_du.b[1].eq(dh_value),
        ]
        for value in dk_value:
            m.d.comb += [slopes.i[2].eq(meta.dk), to_du.b[2].eq(value)]

        xyz = self._waiting(m, "xyz", data.ArrayLayout(one, 3), to_xyz.valid_o)
        last = self._waiting(m, "last", 1, mark.first)
        m.d.comb += [
            xyz.i.eq(to_xyz.o),
            xyz.pop.eq(to_du.valid_o),
            last.i.eq(meta.last),
            last.pop.eq(to_du.valid_o),
        ]
        results = self._result(
            m, "deriv", to_du.valid_o, [to_du.o, *(xyz.o[axis] for axis in range(3))]
        )
        beat, beat_valid = Signal(deriv_layout(cfg)), Signal()
        m.d.sync += [beat_valid.eq(to_du.valid_o), beat.last.eq(last.o)]
        over: Value = Const(0)
        for name, value in zip(("u", "x", "y", "z"), results, strict=True):
            word, beyond = to_word(m, cfg, value)
            m.d.sync += beat[name].eq(word)
            over = over | beyond
        m.d.sync += self.overflow.eq(to_du.valid_o & over)

        # one entry for the queue's output register: the memory alone holds all places given out
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(
            width=deriv_layout(cfg).size, depth=self.depth + 1
        )
        m.d.comb += [
            queue.w_data.eq(beat.as_value()),
            queue.w_en.eq(beat_valid),
            self.deriv.payload.as_value().eq(queue.r_data),
            self.deriv.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.deriv.ready),
            room_back.eq(self.deriv.valid & self.deriv.ready),
        ]
