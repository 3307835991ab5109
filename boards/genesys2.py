"""Digilent Genesys 2 with a Kintex-7; a project for Vivado. Pins: amaranth-boards 0.0.21."""

from nvnmd.boards.catalog import BoardType
from nvnmd.boards.vivado import Wires

BOARD = BoardType(
    name="genesys2", fpga="7-series", part="XC7K325T", oscillator=200e6, link="UART (FT232R)",
    baud=2_000_000, luts=203800, multipliers=840, memories=445, checked="elaborated",
    cable="genesys2")
WIRES = Wires(
    part="xc7k325tffg900-2", clock=("AD12", "AD11"), clock_standard="LVDS", rx="Y20", tx="Y23",
    uart_standard="LVCMOS33", mmcm="MMCME2_BASE", vco=(600e6, 1200e6))
