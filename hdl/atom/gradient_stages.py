"""The stages of `gradient.GradDescriptor`: the walk, the columns, the aligned lanes."""

from __future__ import annotations

from itertools import pairwise

from amaranth import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.arith.align import Align
from nvnmd.hdl.arith.flt import FltLayout, to_word
from nvnmd.hdl.atom.gradient_memory import (
    ROWS,
    Occupancy,
    aligned_column_layout,
    dgr_port,
    mark_layout,
    middle_layout,
    rowmax_layout,
)
from nvnmd.hdl.params import AcceleratorConfig, ceil_div
from nvnmd.hdl.pipeline.delay import Delay
from nvnmd.hdl.pipeline.memories import make_memory


class Walk(wiring.Component):
    """Slides a window over the columns of g and GR and hands out the factors of each element.

    Element (c, i) needs GR columns i - m2 + 1 to i + m2 - 1 and g columns i - m2 + 1 to i, all
    modulo m1. One column of each enters the window per cycle until it is full, then one per column
    of the result. `mark` goes with `a`, `b`, two cycles after the address.
    Throughput: one atom in 4*m1 + 2*m2 - 1 cycles.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        column = data.ArrayLayout(FltLayout(cfg), ROWS)
        terms = data.ArrayLayout(FltLayout(cfg), cfg.m2)
        super().__init__(
            {
                "ready": In(1),
                "none": In(1),
                "room": In(1),
                "reserve": Out(1),
                "release": Out(1),
                "g_column": Out(range(cfg.m1)),
                "gr_column": Out(range(cfg.m1)),
                "g": In(terms),
                "gr": In(column),
                "a": Out(data.ArrayLayout(terms, 2)),
                "b": Out(data.ArrayLayout(terms, 2)),
                "mark": Out(mark_layout()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        reach = cfg.m2 - 1
        busy = Signal()
        filling = Signal(range(2 * reach + 1))  # columns that the window still lacks
        row, column = Signal(range(ROWS)), Signal(range(cfg.m1))
        newest = Signal(range(cfg.m1))
        shift = Signal()
        mark = Signal(mark_layout())
        m.d.comb += [self.gr_column.eq(newest), self.g_column.eq(newest - reach)]
        with m.If(busy):
            m.d.comb += shift.eq((filling != 0) | (row == 0))
            with m.If(filling != 0):
                m.d.sync += filling.eq(filling - 1)
            with m.Else():
                m.d.comb += [
                    mark.valid.eq(1),
                    mark.row.eq(row),
                    mark.first.eq(column == 0),
                    mark.last.eq(column == cfg.m1 - 1),
                ]
                m.d.sync += row.eq(row + 1)
                with m.If(row == ROWS - 1):
                    m.d.sync += column.eq(column + 1)
                    with m.If(mark.last):
                        m.d.comb += self.release.eq(1)
                        m.d.sync += busy.eq(0)
            with m.If(shift):
                m.d.sync += newest.eq(newest + 1)
        with m.Elif(self.ready & self.none):
            m.d.comb += self.release.eq(1)
        with m.Elif(self.ready & self.room):
            m.d.comb += self.reserve.eq(1)
            m.d.sync += [busy.eq(1), filling.eq(2 * reach), newest.eq(-reach)]

        # one cycle for the memories, one for the window
        mark_read, shift_read = Signal(mark_layout()), Signal()
        m.d.sync += [mark_read.eq(mark), shift_read.eq(shift), self.mark.eq(mark_read)]
        gr_window = [Signal(self.gr.shape(), name=f"gr_window_{j}") for j in range(2 * reach + 1)]
        g_window = [Signal(self.g.shape(), name=f"g_window_{j}") for j in range(reach + 1)]
        with m.If(shift_read):
            for window, newcomer in ((gr_window, self.gr), (g_window, self.g)):
                m.d.sync += [old.eq(new) for old, new in pairwise(window)]
                m.d.sync += window[-1].eq(newcomer)
        for k in range(cfg.m2):
            m.d.comb += [
                self.a[0][k].eq(g_window[reach][k]),
                self.b[0][k].eq(gr_window[reach + k][self.mark.row]),
                self.a[1][k].eq(g_window[reach - k][k]),
                self.b[1][k].eq(gr_window[reach - k][self.mark.row]),
            ]
        return m


class Middle(wiring.Component):
    """dE/dGR of two atoms by columns, and the largest exponents of its columns and rows.

    Elements come rows within columns, with their `mark`. `o` is column `column` of the oldest
    complete atom, one cycle after the address; `rowmax` belongs to that atom.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        words = data.ArrayLayout(cfg.flt_bits, ROWS)
        super().__init__(
            {
                "room": Out(1),
                "reserve": In(1),
                "i": In(FltLayout(cfg)),
                "mark": In(mark_layout()),
                "available": Out(1),
                "rowmax": Out(rowmax_layout(cfg)),
                "column": In(range(cfg.m1)),
                "o": Out(middle_layout(cfg)),
                "release": In(1),
                "tap": Out(data.StructLayout({"valid": 1, "words": words})),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.atoms = atoms = Occupancy(2)
        m.submodules.columns = columns = make_memory(middle_layout(cfg), 2 * cfg.m1)
        write, read = columns.write_port(), columns.read_port()
        mark = self.mark

        def larger(a: Value, b: Value) -> Value:
            return Mux(a > b, a, b)

        exponent = Signal(signed(cfg.exp_int))
        in_column, in_row = Signal.like(exponent), Signal.like(exponent)
        column_so_far = Signal.like(exponent)
        rows_so_far = Signal(rowmax_layout(cfg))
        m.d.comb += [
            exponent.eq(
                Mux(self.i.man.any(), larger(self.i.exp, cfg.exp_floor), cfg.exp_floor)
            ),
            in_column.eq(Mux(mark.row == 0, exponent, larger(exponent, column_so_far))),
            in_row.eq(Mux(mark.first, exponent, larger(exponent, rows_so_far[mark.row]))),
        ]
        earlier = Signal(data.ArrayLayout(FltLayout(cfg), ROWS - 1))
        at, place = Signal(range(cfg.m1)), Signal()
        rowmax = Array(Signal(rowmax_layout(cfg), name=f"rowmax_{i}") for i in range(2))
        with m.If(mark.valid):
            m.d.sync += [column_so_far.eq(in_column), rows_so_far[mark.row].eq(in_row)]
            m.d.sync += [earlier[c].eq(earlier[c + 1]) for c in range(ROWS - 2)]
            m.d.sync += earlier[ROWS - 2].eq(self.i)
            with m.If(mark.row == ROWS - 1):
                m.d.comb += write.en.eq(1)
                m.d.sync += at.eq(at + 1)
                with m.If(mark.last):
                    m.d.comb += atoms.fill.eq(1)
                    m.d.sync += place.eq(~place)
                    for i in range(2):
                        with m.If(place == i):
                            m.d.sync += [rowmax[i][c].eq(rows_so_far[c]) for c in range(ROWS - 1)]
                            m.d.sync += rowmax[i][ROWS - 1].eq(in_row)
        m.d.comb += [write.data.column[c].eq(earlier[c]) for c in range(ROWS - 1)]
        m.d.comb += [
            write.data.column[ROWS - 1].eq(self.i),
            write.data.colmax.eq(in_column),
            write.addr.eq(Cat(at, place)),
            atoms.reserve.eq(self.reserve),
            atoms.release.eq(self.release),
            self.room.eq(atoms.room),
            self.available.eq(atoms.ready),
            self.rowmax.eq(Mux(atoms.read, rowmax[1].as_value(), rowmax[0].as_value())),
            read.addr.eq(Cat(self.column, atoms.read)),
            self.o.eq(read.data),
        ]
        if cfg.trace:
            m.d.comb += self.tap.valid.eq(write.en)
            for c in range(ROWS):
                word, _ = to_word(m, cfg, write.data.column[c])
                m.d.comb += self.tap.words[c].eq(word)
        return m


class Lanes(wiring.Component):
    """Aligns the columns of one atom after the other and keeps two atoms for the reader.

    Column i goes to lane i mod L at word i div L: the reader takes L columns per cycle.
    Throughput: one atom in m1 + 1 cycles.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self.slots = ceil_div(cfg.m1, cfg.lanes)
        super().__init__(
            {
                "available": In(1),
                "rowmax": In(rowmax_layout(cfg)),
                "column": Out(range(cfg.m1)),
                "i": In(middle_layout(cfg)),
                "release": Out(1),
                "dgr": Out(dgr_port(cfg)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.atoms = atoms = Occupancy(2)
        busy = Signal()
        rowmax = Signal(rowmax_layout(cfg))
        kept = Array(Signal(rowmax_layout(cfg), name=f"rowmax_{i}") for i in range(2))
        with m.If(busy):
            m.d.sync += self.column.eq(self.column + 1)
            with m.If(self.column == cfg.m1 - 1):
                m.d.comb += self.release.eq(1)
                m.d.sync += busy.eq(0)
        with m.Elif(self.available & atoms.room):
            m.d.comb += atoms.reserve.eq(1)
            m.d.sync += [busy.eq(1), rowmax.eq(self.rowmax)]
            for i in range(2):
                with m.If(atoms.write == i):
                    m.d.sync += kept[i].eq(self.rowmax)

        aligned = Signal(aligned_column_layout(cfg))
        for kind in ("row", "col"):
            for c in range(ROWS):
                m.submodules[f"align_{kind}_{c}"] = align = Align(cfg)
                emax = rowmax[c] if kind == "row" else self.i.colmax
                m.d.comb += [
                    align.i.eq(self.i.column[c]),
                    align.emax.eq(emax),
                    aligned[kind][c].eq(align.o),
                ]
        m.submodules.colmax = colmax = Delay(signed(cfg.exp_int), align.latency)
        m.submodules.valid = valid = Delay(1, 1 + align.latency)
        m.d.comb += [
            colmax.i.eq(self.i.colmax),
            aligned.colmax.eq(colmax.o),
            valid.i.eq(busy),
        ]
        at, place = Signal(range(cfg.m1)), Signal()
        with m.If(valid.o):
            m.d.sync += at.eq(at + 1)
            with m.If(at == cfg.m1 - 1):
                m.d.comb += atoms.fill.eq(1)
                m.d.sync += place.eq(~place)

        lane_bits = (cfg.lanes - 1).bit_length()
        slot_bits = (self.slots - 1).bit_length()
        for lane in range(cfg.lanes):
            columns = make_memory(aligned_column_layout(cfg), 2 * self.slots)
            m.submodules[f"columns_{lane}"] = columns
            write, read = columns.write_port(), columns.read_port()
            m.d.comb += [
                write.en.eq(valid.o & (at[:lane_bits] == lane)),
                write.addr.eq(Cat(at[lane_bits:], place)),
                write.data.eq(aligned),
                read.addr.eq(Cat(self.dgr.slot[:slot_bits], atoms.read)),
                self.dgr.columns[lane].eq(read.data),
            ]
        m.d.comb += [
            self.dgr.ready.eq(atoms.ready),
            self.dgr.rowmax.eq(Mux(atoms.read, kept[1].as_value(), kept[0].as_value())),
            atoms.release.eq(self.dgr.release),
        ]
        return m
