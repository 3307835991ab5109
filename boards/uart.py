"""Gateware: a serial port, eight bits, no parity, one stop bit, between pins and byte streams.

The receiver samples each bit in its middle, found by counting from the edge of the start bit; a
byte whose stop bit is low is dropped, and so is one that comes before the last was taken: the
frames around it are then not whole, and the host asks again.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from nvnmd.errors import InputError

TOLERANCE = 0.02
"""Share by which a bit may be off; at 5 % the last bit of a byte is read at its edge."""


def divisor_of(clock: float, baud: int) -> int:
    """Cycles of a bit.

    Raises
    ------
    InputError
        No whole number of cycles is near.
    """
    divisor = round(clock / baud)
    if divisor < 4 or abs(clock / divisor / baud - 1) > TOLERANCE:
        raise InputError(f"baud: got {baud} at a clock of {clock / 1e6:g} MHz, expected one with "
                         f"at least 4 cycles a bit that is off by {TOLERANCE:.0%} at most")
    return divisor


class Uart(wiring.Component):
    """A serial port.

    Parameters
    ----------
    divisor : int
        Clock cycles of a bit, at least 4.

    Attributes
    ----------
    rx : In, tx : Out
        Pins; high when idle.
    received : Out, stream of 8 bits
        Bytes that came; each must be taken within the time of one byte.
    send : In, stream of 8 bits
    """

    def __init__(self, divisor: int) -> None:
        self.divisor = divisor
        super().__init__({
            "rx": In(1, init=1), "tx": Out(1, init=1),
            "received": Out(stream.Signature(8)), "send": In(stream.Signature(8)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rx = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, rx, init=1)

        bits = Signal(8)
        left = Signal(range(10))  # bits to come, the stop bit included
        wait = Signal(range(2 * self.divisor))
        with m.If(self.received.valid & self.received.ready):
            m.d.sync += self.received.valid.eq(0)
        with m.FSM(name="receiver"):
            with m.State("idle"):
                m.d.sync += [wait.eq(self.divisor + self.divisor // 2 - 2), left.eq(9)]
                with m.If(~rx):
                    m.next = "bits"
            with m.State("bits"):
                with m.If(wait != 0):
                    m.d.sync += wait.eq(wait - 1)
                with m.Elif(left == 1):
                    with m.If(rx):
                        m.d.sync += [self.received.payload.eq(bits), self.received.valid.eq(1)]
                        m.next = "idle"
                    with m.Else():
                        m.next = "break"
                with m.Else():
                    m.d.sync += [bits.eq(Cat(bits[1:], rx)), left.eq(left - 1),
                                 wait.eq(self.divisor - 1)]
            with m.State("break"):
                # low for longer than a byte: no start bit before the line was high
                with m.If(rx):
                    m.next = "idle"

        word = Signal(9, init=0x1FF)
        count = Signal(range(11))
        pace = Signal(range(self.divisor))
        m.d.comb += self.send.ready.eq(count == 0)
        with m.If(self.send.ready):
            with m.If(self.send.valid):
                # the start bit, and eight bits; the stop bit is shifted in
                m.d.sync += [self.tx.eq(0), word.eq(Cat(self.send.payload, 1)), count.eq(10),
                             pace.eq(self.divisor - 1)]
        with m.Elif(pace != 0):
            m.d.sync += pace.eq(pace - 1)
        with m.Else():
            m.d.sync += [self.tx.eq(word[0]), word.eq(Cat(word[1:], 1)), count.eq(count - 1),
                         pace.eq(self.divisor - 1)]
        return m
