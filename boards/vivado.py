"""AMD boards: Verilog, constraints, Tcl and a script for Vivado, which is not run here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.hdl import Instance, Module, Signal, Value
from amaranth.lib import wiring

from nvnmd.boards.catalog import BoardType
from nvnmd.boards.top import TOP, SerialTop
from nvnmd.errors import InputError
from nvnmd.hdl.verilog import to_verilog


@dataclass(frozen=True, kw_only=True)
class Wires:
    """What Vivado has to know of a board.

    Attributes
    ----------
    part : str
        With package and speed grade.
    clock : (str, str)
        Pins of the differential oscillator.
    clock_standard, uart_standard : str
        IOSTANDARD.
    rx, tx : str
        Pins of the serial port, as the FPGA sees them.
    mmcm : str
        The clock manager's primitive.
    vco : (float, float)
        Frequencies that its oscillator may have, in Hz, in every speed grade.
    """

    part: str
    clock: tuple[str, str]
    clock_standard: str
    rx: str
    tx: str
    uart_standard: str
    mmcm: str
    vco: tuple[float, float]


@dataclass(frozen=True)
class Mmcm:
    """DIVCLK_DIVIDE, CLKFBOUT_MULT_F, CLKOUT0_DIVIDE_F of a clock manager, and its clock in Hz."""

    divide: int
    multiply: int
    output: int
    frequency: float


def find_mmcm(oscillator: float, wanted: float, vco: tuple[float, float]) -> Mmcm:
    """The setting whose output is nearest to a frequency and not above it.

    Raises
    ------
    InputError
        There is none within 20 % of it.
    """
    found = [Mmcm(d, m, o, oscillator * m / d / o)
             for d in range(1, 11) for m in range(2, 65)
             if vco[0] <= oscillator * m / d <= vco[1]
             for o in [-int(-oscillator * m / d * 0.999999 // wanted)] if 1 <= o <= 128]
    best = max(found, key=lambda one: one.frequency, default=None)
    if best is None or best.frequency < 0.8 * wanted:
        raise InputError(f"clock: got {wanted / 1e6:g} MHz, expected one that an MMCM makes of "
                         f"{oscillator / 1e6:g} MHz")
    return best


class VivadoTop(SerialTop):
    """`SerialTop` with an MMCM behind a differential oscillator.

    Attributes
    ----------
    clk_p, clk_n : In
        The oscillator's pins.
    """

    def __init__(self, design: wiring.Component, board: BoardType, wires: Wires, clock: float
                 ) -> None:
        self._wires, self._board = wires, board
        self.mmcm = find_mmcm(board.oscillator, clock, wires.vco)
        super().__init__(design, board, self.mmcm.frequency, ("clk_p", "clk_n"))

    def make_clock(self, m: Module, clock: Signal) -> Value:
        oscillator, made, feedback, locked = (
            Signal(name=name) for name in ("oscillator", "made", "feedback", "locked"))
        m.submodules.pins = Instance("IBUFDS", i_I=self.clk_p, i_IB=self.clk_n, o_O=oscillator)
        m.submodules.mmcm = Instance(
            self._wires.mmcm, p_CLKIN1_PERIOD=round(1e9 / self._board.oscillator, 3),
            p_DIVCLK_DIVIDE=self.mmcm.divide, p_CLKFBOUT_MULT_F=float(self.mmcm.multiply),
            p_CLKOUT0_DIVIDE_F=float(self.mmcm.output), i_CLKIN1=oscillator, i_CLKFBIN=feedback,
            i_RST=0, i_PWRDWN=0, o_CLKFBOUT=feedback, o_CLKOUT0=made, o_LOCKED=locked)
        m.submodules.tree = Instance("BUFG", i_I=made, o_O=clock)
        return locked


def write_project(design: wiring.Component, board: BoardType, wires: Wires, clock: float,
                  folder: Path) -> dict[str, Any]:
    """Write ``top.v``, ``top.xdc``, ``top.tcl`` and ``build.sh``; return facts for the report.

    Parameters
    ----------
    design : wiring.Component
        With the byte streams `rx` and `tx`.
    clock : float
        Hz.
    folder : Path
        That of the build.
    """
    top = VivadoTop(design, board, wires, clock)
    (folder / "top.v").write_text(to_verilog(top, TOP), encoding="utf-8")
    pins = {"clk_p": (wires.clock[0], wires.clock_standard),
            "clk_n": (wires.clock[1], wires.clock_standard),
            "uart_rx": (wires.rx, wires.uart_standard), "uart_tx": (wires.tx, wires.uart_standard)}
    lines = [f"set_property -dict {{PACKAGE_PIN {pin} IOSTANDARD {kind}}} [get_ports {port}]"
             for port, (pin, kind) in pins.items()]
    lines += [f"create_clock -name oscillator -period {1e9 / board.oscillator:.3f} "
              "[get_ports clk_p]",
              # the serial port is synchronised inside
              "set_false_path -from [get_ports uart_rx]", "set_false_path -to [get_ports uart_tx]"]
    (folder / "top.xdc").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "top.tcl").write_text(f"""\
# Vivado in batch mode: synthesis, place and route, bitstream; fails where the clock is missed
read_verilog top.v
read_xdc top.xdc
synth_design -top {TOP} -part {wires.part}
opt_design
place_design
phys_opt_design
route_design
report_utilization -file utilization.rpt
report_timing_summary -file timing.rpt
if {{[get_property SLACK [get_timing_paths -setup]] < 0}} {{
    puts stderr "the clock of {top.clock / 1e6:g} MHz is missed, see timing.rpt"
    exit 1
}}
write_bitstream -force top.bit
""", encoding="utf-8")
    script = folder / "build.sh"
    script.write_text("""\
#!/bin/sh
# makes top.bit; needs Vivado on PATH
set -e
cd "$(dirname "$0")"
rm -f top.bit
command -v vivado > /dev/null || { echo "build.sh: vivado is not on PATH" >&2; exit 1; }
vivado -mode batch -nojournal -log vivado.log -source top.tcl
""", encoding="utf-8")
    script.chmod(0o755)
    return {"clock_asked": top.clock / 1e6, "vivado_part": wires.part}
