"""Radiona ULX3S with the largest ECP5; a host reaches it by the FTDI serial port.

The port has no CTS, so the board cannot hold the host back: a request is no longer than the board's
memory, and two are under way at most.
"""

from nvnmd.boards.catalog import BoardType

BOARD = BoardType(
    name="ulx3s-85f", fpga="ECP5", part="LFE5U-85F", oscillator=25e6, link="UART (FT231X)",
    # 25 MHz / 25; 3 Mbaud would be 8.33 cycles a bit
    baud=1_000_000, luts=83640, multipliers=156, memories=208, checked="routed",
    platform="ulx3s.ULX3S_85F_Platform", cable="ulx3s")
