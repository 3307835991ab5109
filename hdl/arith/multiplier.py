"""The multipliers: the only place in the gateware that multiplies."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.arith.split import FAMILY_BLOCKS, Part, split_product
from nvnmd.hdl.params import ceil_div


class Multiplier(wiring.Component):
    """``p = a * b``, signed, exact. Latency `latency` cycles, one product per cycle.

    Where the family's products are split by hand (`split_product`), the products of parts, each a
    multiplier block or a few adders, are summed.

    Parameters
    ----------
    a_bits, b_bits : int
        Widths of the signed operands; the product has their sum.
    latency : int
        Pipeline registers. From 2 on the first is before the products, the last behind their sum;
        from 3 on the second is behind the products of parts; more are behind the sum. That is what
        the multiplier blocks of FPGAs can absorb; 0 is combinational.
    family : str
        FPGA family.
    """

    def __init__(self, a_bits: int, b_bits: int, latency: int = 3, family: str = "ECP5") -> None:
        if a_bits < 2 or b_bits < 2:
            raise ValueError(f"a multiplier of {a_bits} by {b_bits} bits cannot be built")
        if latency < 0:
            raise ValueError(f"a multiplier cannot have latency {latency}")
        self.a_bits = a_bits
        self.b_bits = b_bits
        self.family = family
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
        if FAMILY_BLOCKS[self.family].by_hand:
            terms = self._products(m, a, b, registered=after >= 2)
            after -= after >= 2
            product = Signal(self.p.shape())
            m.d.comb += product.eq(sum(terms[1:], terms[0]))
        else:
            product = a * b
        for k in range(after):
            stage = Signal(self.p.shape(), name=f"product{k}")
            m.d.sync += stage.eq(product)
            product = stage
        m.d.comb += self.p.eq(product)
        return m

    def _products(self, m: Module, a: Signal, b: Signal, *, registered: bool) -> list[Value]:
        """The products of the operands' parts, at their places."""
        split = split_product(self.a_bits, self.b_bits, self.family)
        domain = m.d.sync if registered else m.d.comb
        terms: list[Value] = []
        for i, x in enumerate(split.a):
            for j, y in enumerate(split.b):
                left, right = _bits(a, x), _bits(b, y)
                value = (_in_logic(left, x, right, y) if (i, j) in split.logic
                         else left * right)
                term = Signal(signed(x.width + y.width + 1), name=f"part_{i}_{j}")
                domain += term.eq(value)
                terms.append(term << (x.start + y.start))
        return terms

    @staticmethod
    def compute(a: int, b: int) -> int:
        """The product."""
        return a * b


def _bits(operand: Signal, part: Part) -> Value:
    """A part of an operand, as a number."""
    bits = operand[part.start:part.start + part.width]
    return bits.as_signed() if part.signed else bits


def _in_logic(left: Value, x: Part, right: Value, y: Part) -> Value:
    """A product as the sum of one factor, shifted, for each bit of the other and narrower one."""
    if x.width < y.width:
        left, right, y = right, left, x
    total: Value = Const(0)
    for k in range(y.width):
        row = Mux(right[k], left, 0) << k
        # the last bit of a number with a sign counts below zero
        total = total - row if y.signed and k == y.width - 1 else total + row
    return total


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


def gathered(m: Module, fresh: Value, slots: int) -> Value:
    """What units behind a `Serializer` gave in all slots, the newest on top.

    Results of earlier slots wait in a shift register; with one slot there is none, because Verilog
    has no signals without bits.
    """
    if slots == 1:
        return fresh
    waiting = Signal(len(fresh) * (slots - 1))
    everything = Cat(waiting, fresh)
    m.d.sync += waiting.eq(everything[len(fresh):])
    return everything
