"""The simulated board: see `nvnmd.boards.simulated` for what runs it."""

from nvnmd.boards.catalog import BoardType

BOARD = BoardType(
    name="sim", fpga="", part="Verilator", oscillator=100e6,
    link="TCP on the loopback interface, pseudo-terminal", baud=0,
    luts=0, multipliers=0, memories=0, checked="simulated")
