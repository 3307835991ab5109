"""AMD VCU118 with a Virtex UltraScale+ XCVU9P; a project for Vivado.

Pins: AMD UG1224, VCU118 evaluation board user guide (oscillator of 125 MHz, USB UART).
"""

from nvnmd.boards.catalog import BoardType
from nvnmd.boards.vivado import Wires

BOARD = BoardType(
    name="vcu118", fpga="UltraScale+", part="XCVU9P", oscillator=125e6, link="UART (CP2105)",
    baud=921_600, luts=1_182_240, multipliers=6840, memories=2160, checked="elaborated",
    cable="vcu118")
WIRES = Wires(
    part="xcvu9p-flga2104-2L-e", clock=("AY24", "AY23"), clock_standard="LVDS", rx="AW25",
    tx="BB21", uart_standard="LVCMOS18", mmcm="MMCME4_BASE", vco=(800e6, 1600e6))
