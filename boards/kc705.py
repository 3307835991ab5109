"""AMD KC705 with a Kintex-7; a project for Vivado.

Pins: amaranth-boards 0.0.21; the standard of the serial port, whose bank has 2.5 V: AMD UG810.
"""

from nvnmd.boards.catalog import BoardType
from nvnmd.boards.vivado import Wires

BOARD = BoardType(
    name="kc705", fpga="7-series", part="XC7K325T", oscillator=156.25e6, link="UART (CP2103)",
    baud=921_600, luts=203800, multipliers=840, memories=445, checked="elaborated", cable="kc705")
WIRES = Wires(
    part="xc7k325tffg900-2", clock=("K28", "K29"), clock_standard="LVDS_25", rx="M19", tx="K24",
    uart_standard="LVCMOS25", mmcm="MMCME2_BASE", vco=(600e6, 1200e6))
