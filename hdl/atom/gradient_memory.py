"""Records of dE/dGR, and the memories that receive its operands."""

from __future__ import annotations

from amaranth import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.arith.flt import FltLayout
from nvnmd.hdl.arith.normalize import Normalize
from nvnmd.hdl.layouts import GrLayout, dd_layout
from nvnmd.hdl.params import AcceleratorConfig, ceil_div
from nvnmd.hdl.pipeline.delay import Delay
from nvnmd.hdl.pipeline.memories import make_memory

ROWS = 4


def aligned_column_layout(cfg: AcceleratorConfig) -> data.StructLayout:
    """One column of dE/dGR twice as whole numbers, with the column's own largest exponent.

    `row[c]` is the mantissa at the largest exponent of row c, `col[c]` at `colmax`.
    """
    mantissas = data.ArrayLayout(signed(cfg.man_bits + 1), ROWS)
    return data.StructLayout({"row": mantissas, "col": mantissas, "colmax": signed(cfg.exp_int)})


def middle_layout(cfg: AcceleratorConfig) -> data.StructLayout:
    """One column of dE/dGR as flt, with its largest exponent."""
    column = data.ArrayLayout(FltLayout(cfg), ROWS)
    return data.StructLayout({"column": column, "colmax": signed(cfg.exp_int)})


def rowmax_layout(cfg: AcceleratorConfig) -> data.ArrayLayout:
    """The largest exponent of each row of dE/dGR."""
    return data.ArrayLayout(signed(cfg.exp_int), ROWS)


def mark_layout() -> data.StructLayout:
    """What accompanies an element of dE/dGR: its row and whether its column is the first, last."""
    return data.StructLayout({"valid": 1, "row": range(ROWS), "first": 1, "last": 1})


def dgr_port(cfg: AcceleratorConfig) -> wiring.Signature:
    """The reader's side of the dE/dGR memory (direction: from memory to reader).

    `ready`: the oldest atom's dE/dGR can be read; `rowmax`: its rows' largest exponents; `slot`:
    the L columns slot*L ... to read, which are on `columns` in the next cycle; `release`: the atom
    is done (in the cycle of its last read).
    """
    slots = ceil_div(cfg.m1, cfg.lanes)
    return wiring.Signature(
        {
            "ready": Out(1),
            "rowmax": Out(rowmax_layout(cfg)),
            "slot": In(range(max(2, slots))),
            "columns": Out(data.ArrayLayout(aligned_column_layout(cfg), cfg.lanes)),
            "release": In(1),
        }
    )


def _wrapped(counter: Signal, n: int) -> Value:
    return Mux(counter == n - 1, 0, counter + 1)


class Occupancy(wiring.Component):
    """Counts the atoms in a memory of `places`: `room` and `ready`, and which place is next.

    `reserve` takes the place `write`, `fill` makes the oldest reserved atom readable at place
    `read`, `release` frees it. All three may come in one cycle.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        index = range(max(2, places))
        super().__init__(
            {
                "reserve": In(1),
                "fill": In(1),
                "release": In(1),
                "room": Out(1),
                "ready": Out(1),
                "write": Out(index),
                "read": Out(index),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        taken, filled = Signal(range(self.places + 1)), Signal(range(self.places + 1))
        m.d.sync += [
            taken.eq(taken + self.reserve - self.release),
            filled.eq(filled + self.fill - self.release),
        ]
        with m.If(self.reserve):
            m.d.sync += self.write.eq(_wrapped(self.write, self.places))
        with m.If(self.release):
            m.d.sync += self.read.eq(_wrapped(self.read, self.places))
        m.d.comb += [self.room.eq(taken != self.places), self.ready.eq(filled != 0)]
        return m


class ReceiveG(wiring.Component):
    """dE/dD cut to flt, as m2 words per column, for two atoms.

    `g` is column `column` of the oldest atom, one cycle after the address.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        super().__init__(
            {
                "dd": In(stream.Signature(dd_layout(cfg))),
                "ready": Out(1),
                "release": In(1),
                "column": In(range(cfg.m1)),
                "g": Out(data.ArrayLayout(FltLayout(cfg), cfg.m2)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.atoms = atoms = Occupancy(2)
        m.submodules.normalize = normalize = Normalize(cfg, cfg.dd_bits)
        taken = Signal()
        accept = Signal(range(cfg.m1 * cfg.m2))
        m.d.comb += [
            self.dd.ready.eq(atoms.room),
            taken.eq(self.dd.valid & self.dd.ready),
            normalize.i.eq(self.dd.payload.value),
            normalize.e.eq(-cfg.fix_frac),
            # a place is needed only while an atom comes in: it is taken with the last element,
            # and the next atom's elements wait for the next one
            atoms.reserve.eq(taken & (accept == cfg.m1 * cfg.m2 - 1)),
        ]
        with m.If(taken):
            m.d.sync += accept.eq(accept + 1)
        m.submodules.valid = valid = Delay(1, normalize.latency)
        m.d.comb += valid.i.eq(taken)

        place = Signal()
        column, term = Signal(range(cfg.m1)), Signal(range(cfg.m2))
        earlier = Signal(data.ArrayLayout(FltLayout(cfg), cfg.m2 - 1))
        m.submodules.words = words = make_memory(
            data.ArrayLayout(FltLayout(cfg), cfg.m2), 2 * cfg.m1)
        write, read = words.write_port(), words.read_port()
        with m.If(valid.o):
            m.d.sync += term.eq(term + 1)
            for k in range(cfg.m2 - 1):
                source = normalize.o if k == cfg.m2 - 2 else earlier[k + 1]
                m.d.sync += earlier[k].eq(source)
            with m.If(term == cfg.m2 - 1):
                m.d.comb += write.en.eq(1)
                m.d.sync += column.eq(column + 1)
                with m.If(column == cfg.m1 - 1):
                    m.d.sync += place.eq(~place)
                    m.d.comb += atoms.fill.eq(1)
        m.d.comb += [write.data[k].eq(earlier[k]) for k in range(cfg.m2 - 1)]
        m.d.comb += [
            write.data[cfg.m2 - 1].eq(normalize.o),
            write.addr.eq(Cat(column, place)),
            read.addr.eq(Cat(self.column, atoms.read)),
            self.g.eq(read.data),
            self.ready.eq(atoms.ready),
            atoms.release.eq(self.release),
        ]
        return m


class ReceiveGr(wiring.Component):
    """GR columns of up to `places` atoms, with the mark of an atom without neighbours.

    `o` is column `column` of the oldest atom, one cycle after the address.
    """

    def __init__(self, cfg: AcceleratorConfig, places: int) -> None:
        self.cfg = cfg
        self.places = places
        super().__init__(
            {
                "gr": In(stream.Signature(GrLayout(cfg))),
                "ready": Out(1),
                "none": Out(1),
                "release": In(1),
                "column": In(range(cfg.m1)),
                "o": Out(data.ArrayLayout(FltLayout(cfg), ROWS)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.atoms = atoms = Occupancy(self.places)
        columns = make_memory(data.ArrayLayout(FltLayout(cfg), ROWS), cfg.m1 << len(atoms.write))
        m.submodules.columns = columns
        write, read = columns.write_port(), columns.read_port()
        none = Array(Signal(name=f"none_{i}") for i in range(self.places))
        at = Signal(range(cfg.m1))
        last = Signal()
        m.d.comb += [
            self.gr.ready.eq(atoms.room),
            write.en.eq(self.gr.valid & self.gr.ready),
            write.addr.eq(Cat(at, atoms.write)),
            write.data.eq(self.gr.payload.column),
            last.eq(write.en & (at == cfg.m1 - 1)),
            atoms.reserve.eq(last),
            atoms.fill.eq(last),
            atoms.release.eq(self.release),
            read.addr.eq(Cat(self.column, atoms.read)),
            self.o.eq(read.data),
            self.ready.eq(atoms.ready),
            self.none.eq(none[atoms.read]),
        ]
        with m.If(write.en):
            m.d.sync += at.eq(at + 1)
        for i, flag in enumerate(none):
            with m.If(last & (atoms.write == i)):
                m.d.sync += flag.eq(self.gr.payload.none)
        return m
