"""The sum of several signed integers, in a pipelined tree."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out


class SumTree(wiring.Component):
    """``o = i[0] + ... + i[n-1]``, exact. Latency ``ceil(log2 n)``, one vector per cycle.

    Parameters
    ----------
    n : int
        Addends.
    bits : int
        Width of an addend; the sum is ``ceil(log2 n)`` bits wider.
    """

    def __init__(self, n: int, bits: int) -> None:
        if n < 1 or bits < 1:
            raise ValueError(f"a sum of {n} integers of {bits} bits cannot be built")
        self.n = n
        self.bits = bits
        super().__init__(
            {
                "i": In(data.ArrayLayout(signed(bits), n)),
                "o": Out(signed(bits + self.latency)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the addends to their sum."""
        return (self.n - 1).bit_length()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        items = [self.i[k] for k in range(self.n)]
        for level in range(self.latency):
            sums = []
            for k in range(0, len(items), 2):
                total = Signal(signed(self.bits + level + 1), name=f"sum{level}_{k // 2}")
                m.d.sync += total.eq(sum(items[k + 1 : k + 2], items[k]))
                sums.append(total)
            items = sums
        m.d.comb += self.o.eq(items[0])
        return m

    @staticmethod
    def compute(values: list[int]) -> int:
        """The sum."""
        return sum(values)
