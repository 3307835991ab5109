"""A memory of any depth, in pieces whose depths are powers of two."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.errors import InputError
from nvnmd.hdl.pipeline.memories import make_memory


def pieces(depth: int) -> list[tuple[int, int]]:
    """First address and depth of each piece, the deepest first.

    A memory of 1536 words is one of 1024 and one of 512: a block of RAM is shallower the wider its
    words are, so that 512 words more take half of what another 1024 would.
    """
    found, start = [], 0
    while depth:
        part = 1 << (depth.bit_length() - 1)
        found.append((start, part))
        start, depth = start + part, depth - part
    return found


class DeepMemory(wiring.Component):
    """`depth` rows of `shape`; a write port with an enable for each of the row's elements.

    Latency: ``r_data`` one cycle after ``r_index``. Throughput: a write and a read per cycle. What
    is read in the cycle of its write is undefined, so nothing does that.
    """

    def __init__(self, depth: int, shape: data.ArrayLayout) -> None:
        self.depth = depth
        self.shape = shape
        if depth < 2:
            raise InputError(f"deep memory: {depth} rows, expected at least 2")
        super().__init__(
            {
                "w_en": In(shape.length),
                "w_index": In(range(depth)),
                "w_data": In(shape),
                "r_index": In(range(depth)),
                "r_data": Out(shape),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        found: list[tuple[Value, Value]] = []
        for k, (start, part) in enumerate(pieces(self.depth)):
            m.submodules[f"piece{k}"] = store = make_memory(self.shape, max(2, part))
            write = store.write_port(granularity=1 if self.shape.length > 1 else None)
            read = store.read_port()
            bits = part.bit_length() - 1
            # pieces begin at multiples of their depths
            m.d.comb += [
                write.en.eq(Mux(self._within(self.w_index, start, bits), self.w_en, 0)),
                write.addr.eq(self.w_index[:bits]),
                write.data.eq(self.w_data),
                read.en.eq(1),
                read.addr.eq(self.r_index[:bits]),
            ]
            asked = Signal(name=f"asked{k}")
            m.d.sync += asked.eq(self._within(self.r_index, start, bits))
            found.append((asked, read.data.as_value()))
        picked = found[-1][1]
        for asked, row in found[:-1]:
            picked = Mux(asked, row, picked)
        m.d.comb += self.r_data.as_value().eq(picked)
        return m

    def _within(self, index: Value, start: int, bits: int) -> Value:
        """Whether an index lies in the piece that begins at `start`."""
        if len(index) <= bits:
            return Const(1)
        return index[bits:] == start >> bits
