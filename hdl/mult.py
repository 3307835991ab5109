"""The multipliers: the only place in the gateware with a `*`."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.delay import Delay
from nvnmd.hdl.params import ceil_div


class Multiplier(wiring.Component):
    """``p = a * b``, signed, exact. Latency `latency` cycles, one product per cycle.

    Parameters
    ----------
    a_bits, b_bits : int
        Widths of the signed operands; the product has their sum.
    latency : int
        Pipeline registers. From 2 on the first is before the product, the rest behind it, which
        is what the multiplier blocks of FPGAs can absorb; 0 is combinational.
    """

    def __init__(self, a_bits: int, b_bits: int, latency: int = 3) -> None:
        if a_bits < 2 or b_bits < 2:
            raise ValueError(f"a multiplier of {a_bits} by {b_bits} bits cannot be built")
        if latency < 0:
            raise ValueError(f"a multiplier cannot have latency {latency}")
        self.a_bits = a_bits
        self.b_bits = b_bits
        self._latency = latency
        super().__init__(
            {
                "a": In(signed(a_bits)),
                "b": In(signed(b_bits)),
                "p": Out(signed(a_bits + b_bits)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the operands to the product."""
        return self._latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, b = self.a, self.b
        after = self._latency
        if self._latency >= 2:
            a, b = Signal.like(self.a), Signal.like(self.b)
            m.d.sync += [a.eq(self.a), b.eq(self.b)]
            after -= 1
        product = a * b
        for k in range(after):
            stage = Signal(self.p.shape(), name=f"product{k}")
            m.d.sync += stage.eq(product)
            product = stage
        m.d.comb += self.p.eq(product)
        return m

    @staticmethod
    def compute(a: int, b: int) -> int:
        """The product."""
        return a * b


class Serializer(wiring.Component):
    """Hands out a vector of `n` items, `lanes` per cycle; item i in slot i//lanes, lane i%lanes.

    Latency 1 cycle to slot 0, then one slot per cycle; a new vector at most every `slots` cycles.
    Lanes beyond the last item carry zeros. `last` marks the last slot, `slot` counts them.
    """

    def __init__(self, shape: Any, n: int, fold: int) -> None:
        if n < 1 or fold < 1:
            raise ValueError(f"a vector of {n} cannot be spread over {fold} cycles")
        self.shape = shape
        self.n = n
        self.lanes = ceil_div(n, fold)
        self.slots = ceil_div(n, self.lanes)
        super().__init__(
            {
                "valid_i": In(1),
                "i": In(data.ArrayLayout(shape, n)),
                "valid_o": Out(1),
                "slot": Out(range(max(2, self.slots))),
                "last": Out(1),
                "o": Out(data.ArrayLayout(shape, self.lanes)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the vector to its slot 0."""
        return 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lane = self.o.as_value().shape().width
        held = Signal(lane * self.slots)
        with m.If(self.valid_i):
            m.d.sync += [held.eq(self.i.as_value()), self.slot.eq(0), self.valid_o.eq(1)]
        with m.Else():
            m.d.sync += held.eq(held[lane:])
            with m.If(self.last):
                m.d.sync += self.valid_o.eq(0)
            with m.Else():
                m.d.sync += self.slot.eq(self.slot + 1)
        m.d.comb += [
            self.o.as_value().eq(held[:lane]),
            self.last.eq(self.valid_o & (self.slot == self.slots - 1)),
        ]
        return m


class MulBank(wiring.Component):
    """``p[i] = a[i] * b[i]`` for a vector of `n`, on ``ceil(n/fold)`` multipliers.

    Operands are taken in the cycle of `valid_i`, which comes at most once per `fold` cycles; all
    products stand in the cycle of `valid_o`, `latency` cycles later. Signed and exact.

    Parameters
    ----------
    n : int
        Products per operand set.
    fold : int
        Cycles over which they are spread.
    a_bits, b_bits : int
        Widths of the operands.
    latency : int
        Latency of one multiplier.
    """

    def __init__(self, n: int, fold: int, a_bits: int, b_bits: int, latency: int = 3) -> None:
        if n < 1 or fold < 1:
            raise ValueError(f"{n} products cannot be spread over {fold} cycles")
        self.n = n
        self.a_bits = a_bits
        self.b_bits = b_bits
        self.lanes = ceil_div(n, fold)
        self.slots = ceil_div(n, self.lanes)
        self.mult_latency = latency
        super().__init__(
            {
                "valid_i": In(1),
                "a": In(data.ArrayLayout(signed(a_bits), n)),
                "b": In(data.ArrayLayout(signed(b_bits), n)),
                "valid_o": Out(1),
                "p": Out(data.ArrayLayout(signed(a_bits + b_bits), n)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from `valid_i` to `valid_o`."""
        return self.mult_latency if self.slots == 1 else self.mult_latency + self.slots

    def elaborate(self, platform: object) -> Module:
        m = Module()
        mults = [Multiplier(self.a_bits, self.b_bits, self.mult_latency) for _ in range(self.lanes)]
        for k, mult in enumerate(mults):
            m.submodules[f"mult{k}"] = mult
        m.submodules.valid = valid = Delay(1, self.mult_latency)
        if self.slots == 1:
            for k, mult in enumerate(mults):
                m.d.comb += [mult.a.eq(self.a[k]), mult.b.eq(self.b[k]), self.p[k].eq(mult.p)]
            m.d.comb += [valid.i.eq(self.valid_i), self.valid_o.eq(valid.o)]
            return m
        pair = data.StructLayout({"a": signed(self.a_bits), "b": signed(self.b_bits)})
        m.submodules.serial = serial = Serializer(pair, self.n, self.slots)
        m.d.comb += [serial.valid_i.eq(self.valid_i), valid.i.eq(serial.last)]
        for i in range(self.n):
            m.d.comb += [serial.i[i].a.eq(self.a[i]), serial.i[i].b.eq(self.b[i])]
        for k, mult in enumerate(mults):
            m.d.comb += [mult.a.eq(serial.o[k].a), mult.b.eq(serial.o[k].b)]
        # Earlier slots wait in a shift register of which the newest stands on top.
        bits = self.a_bits + self.b_bits
        fresh = Signal(bits * self.lanes)
        waiting = Signal(bits * self.lanes * (self.slots - 1))
        for k, mult in enumerate(mults):
            m.d.comb += fresh[bits * k : bits * (k + 1)].eq(mult.p)
        everything = Signal(bits * self.lanes * self.slots)
        m.d.comb += [
            everything.eq((fresh << len(waiting)) | waiting),
            self.p.as_value().eq(everything),
            self.valid_o.eq(valid.o),
        ]
        m.d.sync += waiting.eq(everything[bits * self.lanes :])
        return m

    @staticmethod
    def compute(a: list[int], b: list[int]) -> list[int]:
        """The products."""
        return [x * y for x, y in zip(a, b, strict=True)]
