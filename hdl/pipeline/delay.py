"""A fixed delay: registers when it is short, a ring in memory when it is long and wide."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Shape, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.pipeline.memories import make_memory

# From here on a ring costs less than the registers: FPGAs have 16-deep distributed memories.
_RING_CYCLES = 5
_RING_WIDTH = 4


class Delay(wiring.Component):
    """``o(t) = i(t - cycles)``. Latency `cycles`, one value per cycle.

    Parameters
    ----------
    shape : shape-like
        What passes; ports `i` and `o` have it.
    cycles : int
        Delay, 0 or more; 0 is a wire.
    ring : bool, optional
        Force (True) or forbid (False) the ring in memory; chosen by size when left out. A ring
        has no reset: for `cycles` cycles after a reset it brings out older values. Single bits
        are always registers, so valid bits may pass through a Delay of their own.
    """

    def __init__(self, shape: Any, cycles: int, *, ring: bool | None = None) -> None:
        if cycles < 0:
            raise ValueError(f"a delay of {cycles} cycles cannot be built")
        if ring and cycles < 2:
            raise ValueError(f"a ring needs 2 cycles or more, not {cycles}")
        width = Shape.cast(shape).width
        self.shape = shape
        self.cycles = cycles
        self.ring = (cycles >= _RING_CYCLES and width >= _RING_WIDTH) if ring is None else ring
        super().__init__({"i": In(shape), "o": Out(shape)})

    @property
    def latency(self) -> int:
        """Cycles from `i` to `o`."""
        return self.cycles

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if not self.ring:
            value = self.i
            for k in range(self.cycles):
                stage = Signal(self.shape, name=f"stage{k}")
                m.d.sync += stage.eq(value)
                value = stage
            m.d.comb += self.o.eq(value)
            return m
        # A power-of-two depth lets the pointers wrap by themselves. The read pointer runs
        # cycles-1 behind the write pointer, and the read register adds the last cycle.
        bits = (self.cycles - 1).bit_length()
        m.submodules.ring = ring = make_memory(self.shape, 1 << bits)
        write, read = ring.write_port(), ring.read_port()
        at = Signal(bits)
        m.d.sync += at.eq(at + 1)
        m.d.comb += [
            write.addr.eq(at),
            write.data.eq(self.i),
            write.en.eq(1),
            read.addr.eq(at - (self.cycles - 1)),
            self.o.eq(read.data),
        ]
        return m

    @staticmethod
    def compute(values: list, cycles: int, initial: Any = 0) -> list:
        """The outputs for the inputs `values`, one per cycle."""
        return ([initial] * cycles + list(values))[: len(values)]
