"""A memory of consecutive words that is written and read in groups of different sizes."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Shape, ShapeLike, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.errors import InputError
from nvnmd.hdl.pipeline.memories import make_memory


def log2(n: int) -> int:
    """The exponent of a power of two."""
    if n < 1 or n & (n - 1):
        raise InputError(f"fitting net: {n} is not a power of two")
    return n.bit_length() - 1


def span(n: int) -> range:
    """The range of an index below n, at least one bit wide: Verilog has no signals of none."""
    return range(max(2, n))


class LaneMemory(wiring.Component):
    """`items` words; a write stores `write_lanes` consecutive ones, a read gives `read_lanes`.

    Group g of a side with n lanes holds words ``g*n`` to ``g*n + n - 1``. A memory row is as wide
    as the wider side; the narrower side addresses part of a row by the low bits of its index.

    Latency: ``r_data`` one cycle after ``r_index``. Throughput: a write and a read per cycle. A
    group that is written in the cycle its read is asked for reads as before the write.

    While `check` is high the read port serves ``w_index`` instead: ``w_back`` is that group as it
    stands in memory, one cycle later.
    """

    def __init__(self, items: int, shape: ShapeLike, *, write_lanes: int, read_lanes: int) -> None:
        self.items = items
        self.word = Shape.cast(shape)
        self.write_lanes = write_lanes
        self.read_lanes = read_lanes
        self.row = max(write_lanes, read_lanes)
        for lanes in (write_lanes, read_lanes):
            log2(lanes)
        if items < 1 or items % self.row:
            raise InputError(f"lane memory: {items} words, expected a multiple of {self.row}")
        super().__init__(
            {
                "w_en": In(1),
                "w_index": In(span(items // write_lanes)),
                "w_data": In(data.ArrayLayout(self.word, write_lanes)),
                "check": In(1),
                "w_back": Out(data.ArrayLayout(self.word, write_lanes)),
                "r_index": In(span(items // read_lanes)),
                "r_data": Out(data.ArrayLayout(self.word, read_lanes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        parts = self.row // self.write_lanes
        picks = self.row // self.read_lanes
        m.submodules.store = store = make_memory(
            data.ArrayLayout(self.word, self.row), max(2, self.items // self.row))
        write = store.write_port(granularity=self.write_lanes if parts > 1 else None)
        read = store.read_port()

        m.d.comb += [
            write.addr.eq(self.w_index >> log2(parts)),
            write.data.as_value().eq(self.w_data.as_value().replicate(parts)),
            read.addr.eq(Mux(self.check, self.w_index >> log2(parts),
                             self.r_index >> log2(picks))),
            read.en.eq(1),
        ]
        if parts > 1:
            part = Signal(log2(parts))
            m.d.sync += part.eq(self.w_index[:log2(parts)])
            m.d.comb += [
                write.en.eq(self.w_en << self.w_index[:log2(parts)]),
                self.w_back.as_value().eq(read.data.as_value().word_select(
                    part, self.write_lanes * self.word.width)),
            ]
        else:
            m.d.comb += [
                write.en.eq(self.w_en),
                self.w_back.as_value().eq(read.data.as_value()),
            ]
        bits = self.read_lanes * self.word.width
        if picks > 1:
            pick = Signal(log2(picks))
            m.d.sync += pick.eq(self.r_index[:log2(picks)])
            m.d.comb += self.r_data.as_value().eq(
                read.data.as_value().word_select(pick, bits))
        else:
            m.d.comb += self.r_data.as_value().eq(read.data.as_value())
        return m
