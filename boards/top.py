"""The top level of a board with an FPGA: a design behind a serial port, with a clock of its own."""

from __future__ import annotations

from abc import abstractmethod

from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Module, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from nvnmd.boards.catalog import BoardType
from nvnmd.boards.uart import Uart, divisor_of

TOP = "nvnmd_board"
DOMAIN = "board"


class SerialTop(wiring.Component):
    """A design between byte streams, behind a serial port; a family says where its clock is from.

    Reset lasts until the clock is stable and for 2**10 cycles more; registers begin at zero.

    Parameters
    ----------
    design : wiring.Component
        With the byte streams `rx` and `tx`, like `nvnmd.boards.gateware.LinkedAccelerator`.
    board : BoardType
        Its baud.
    clock : float
        Of the design, in Hz, as `make_clock` makes it.
    clock_pins : tuple of str
        Names of the oscillator's pins.

    Attributes
    ----------
    clock : float
    uart_rx : In, uart_tx : Out
        Pins, beside those of the oscillator.
    """

    def __init__(self, design: wiring.Component, board: BoardType, clock: float,
                 clock_pins: tuple[str, ...]) -> None:
        self._design = design
        self.clock = clock
        self._divisor = divisor_of(clock, board.baud)
        super().__init__({**{pin: In(1) for pin in clock_pins},
                          "uart_rx": In(1), "uart_tx": Out(1)})

    @abstractmethod
    def make_clock(self, m: Module, clock: Signal) -> Value:
        """Drive the clock from the oscillator's pins; returns a bit that tells it is stable."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains += ClockDomain(DOMAIN)
        m.domains += ClockDomain("start", reset_less=True)
        clock = Signal(name="board_clk")
        stable, count = Signal(), Signal(11)
        m.d.start += stable.eq(self.make_clock(m, clock))
        with m.If(stable & ~count[-1]):
            m.d.start += count.eq(count + 1)
        m.d.comb += [ClockSignal("start").eq(clock), ClockSignal(DOMAIN).eq(clock),
                     ResetSignal(DOMAIN).eq(~count[-1])]
        m.submodules.uart = uart = DomainRenamer(DOMAIN)(Uart(self._divisor))
        m.submodules.design = design = DomainRenamer(DOMAIN)(self._design)
        wiring.connect(m, uart.received, design.rx)
        wiring.connect(m, design.tx, uart.send)
        m.d.comb += [uart.rx.eq(self.uart_rx), self.uart_tx.eq(uart.tx)]
        return m
