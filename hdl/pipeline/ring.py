"""A delay counted in words instead of cycles."""

from __future__ import annotations

from amaranth.hdl import Module, Shape, ShapeLike, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from nvnmd.errors import InputError
from nvnmd.hdl.pipeline.memories import make_memory


class Ring(wiring.Component):
    """Gives back, with each word pushed, the word pushed `depth` pushes before.

    It holds one running sum per slot: with `depth` slots visited in turn, `o` is the slot's sum so
    far and `i` the new one. Not cleared by reset: the first `depth` words after it are undefined,
    so the user starts every sum afresh.

    Latency: none (`o` belongs to the cycle of `push`). Throughput: one word per cycle. One register
    when `depth` is 1, else a memory with one write and one read port.
    """

    def __init__(self, shape: ShapeLike, depth: int) -> None:
        if depth < 1:
            raise InputError(f"ring: depth is {depth}, expected at least 1")
        self.depth = depth
        self.width = Shape.cast(shape).width
        super().__init__({"push": In(1), "i": In(shape), "o": Out(shape)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        i = self.i.as_value() if hasattr(self.i, "as_value") else self.i
        o = self.o.as_value() if hasattr(self.o, "as_value") else self.o
        if self.depth == 1:
            with m.If(self.push):
                m.d.sync += o.eq(i)
            return m
        m.submodules.words = words = make_memory(self.width, self.depth)
        write, read = words.write_port(), words.read_port()
        here = Signal(range(self.depth))
        after = Signal.like(here)
        following = Signal.like(here)
        with m.If(here == self.depth - 1):
            m.d.comb += after.eq(0)
        with m.Else():
            m.d.comb += after.eq(here + 1)
        with m.If(self.push):
            m.d.comb += following.eq(after)
        with m.Else():
            m.d.comb += following.eq(here)
        # the word to come is read one cycle ahead; depth 2 or more: it is not the one written now
        m.d.sync += here.eq(following)
        m.d.comb += [
            read.addr.eq(following),
            read.en.eq(1),
            write.addr.eq(here),
            write.data.eq(i),
            write.en.eq(self.push),
            o.eq(read.data),
        ]
        return m
