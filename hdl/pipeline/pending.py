"""Words of a neighbour that wait inside a rigid pipeline for the rest of its data."""

from __future__ import annotations

from amaranth import Module
from amaranth.hdl import Shape, ShapeLike
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.errors import InputError


class Pending(wiring.Component):
    """A small first-in first-out memory, one entry per neighbour under way.

    A word that is known `n` cycles before it is used would need `n` stages of registers; a
    neighbour enters only once in `fold` cycles, so ``n/fold`` entries do. The depth is chosen by
    the owner from its latency; there is no way to refuse a word.

    Latency: a word pushed in one cycle can be popped in the next. Throughput: one push and one pop
    per cycle.

    Parameters
    ----------
    shape : ShapeLike
        What is kept.
    depth : int
        Entries.

    Attributes
    ----------
    push, i : In
        Append `i`.
    valid, o : Out
        The oldest entry.
    pop : In
        Remove the oldest entry.
    """

    def __init__(self, shape: ShapeLike, depth: int) -> None:
        if depth < 1:
            raise InputError(f"pending words: depth is {depth}, expected at least 1")
        self.depth = depth
        self.width = Shape.cast(shape).width
        super().__init__(
            {
                "push": In(1),
                "i": In(shape),
                "valid": Out(1),
                "o": Out(shape),
                "pop": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.queue = queue = fifo.SyncFIFO(width=self.width, depth=self.depth)
        i = self.i if not hasattr(self.i, "as_value") else self.i.as_value()
        o = self.o if not hasattr(self.o, "as_value") else self.o.as_value()
        m.d.comb += [
            queue.w_data.eq(i),
            queue.w_en.eq(self.push),
            o.eq(queue.r_data),
            self.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.pop),
        ]
        return m
