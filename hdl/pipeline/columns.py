"""From words of several columns to one column per cycle."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.pipeline.pending import Pending


class Columns(wiring.Component):
    """Words of L columns to single columns: a queue read lane by lane (L = 1: a wire).

    Parameters
    ----------
    bits, side_bits : int
        Width of one column, and of what accompanies a word.
    lanes : int
        L, a power of two.
    depth : int
        Words that may wait; there is no way to refuse one.
    """

    def __init__(self, bits: int, side_bits: int, lanes: int, depth: int) -> None:
        self.bits = bits
        self.lanes = lanes
        self.depth = depth
        super().__init__(
            {
                "push": In(1),
                "word": In(bits * lanes),
                "side": In(side_bits),
                "valid": Out(1),
                "column": Out(bits),
                "side_o": Out(side_bits),
                "last_lane": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.lanes == 1:
            m.d.comb += [
                self.valid.eq(self.push),
                self.column.eq(self.word),
                self.side_o.eq(self.side),
                self.last_lane.eq(1),
            ]
            return m
        whole = Cat(self.word, self.side)
        m.submodules.queue = queue = Pending(len(whole), self.depth)
        lane = Signal(range(self.lanes))
        word = queue.o[: len(self.word)]
        m.d.comb += [
            queue.push.eq(self.push),
            queue.i.eq(whole),
            self.valid.eq(queue.valid),
            self.column.eq(word.word_select(lane, self.bits)),
            self.side_o.eq(queue.o[len(self.word) :]),
            self.last_lane.eq(lane == self.lanes - 1),
            queue.pop.eq(queue.valid & self.last_lane),
        ]
        with m.If(queue.valid):
            m.d.sync += lane.eq(lane + 1)
        return m
