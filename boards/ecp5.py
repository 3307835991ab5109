"""ECP5 boards: the top level with its clock, and Yosys, nextpnr and ecppack in one folder.

The tools run in the build folder and get relative names: those that come as WebAssembly have a
file system of their own. What they write is removed before they start, and their exit codes
decide: nextpnr writes a configuration even where the clock is missed.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.hdl import Const, Instance, Module, Signal, Value
from amaranth.lib import wiring

from nvnmd.boards.catalog import BoardType
from nvnmd.boards.top import TOP, SerialTop
from nvnmd.errors import InputError, NvnmdError, ToolMissingError
from nvnmd.external_tools import Tool, find_tools
from nvnmd.hdl.verilog import to_verilog

DEVICES = {"LFE5U-85F": ("--85k", "CABGA381", "6"), "LFE5UM5G-85F": ("--um5g-85k", "CABGA554", "8")}
"""nextpnr's option, package and speed grade of a part."""


@dataclass(frozen=True)
class Pll:
    """Dividers of an EHXPLLL whose feedback is its own output.

    Attributes
    ----------
    reference, feedback, output : int
        CLKI_DIV, CLKFB_DIV and CLKOP_DIV.
    frequency : float
        Of its output, in Hz.
    """

    reference: int
    feedback: int
    output: int
    frequency: float


def find_pll(oscillator: float, wanted: float) -> Pll:
    """The PLL setting whose output is nearest to a frequency and not above it.

    The oscillator inside must run at 400 to 800 MHz, the phase detector at 3.125 MHz at least
    (Lattice FPGA-DS-02012, sysCLOCK PLL timing).

    Raises
    ------
    InputError
        There is none within 20 % of it.
    """
    best: Pll | None = None
    for reference in range(1, 33):
        if oscillator / reference < 3.125e6:
            break
        for feedback in range(1, 81):
            frequency = oscillator / reference * feedback
            if frequency > wanted * 1.000001:
                break
            output = int(800e6 // frequency)
            if 1 <= output <= 128 and frequency * output >= 400e6 and (
                    best is None or frequency > best.frequency):
                best = Pll(reference, feedback, output, frequency)
    if best is None or best.frequency < 0.8 * wanted:
        raise InputError(f"clock: got {wanted / 1e6:g} MHz, expected one that a PLL makes of "
                         f"{oscillator / 1e6:g} MHz")
    return best


class Ecp5Top(SerialTop):
    """`SerialTop` with the oscillator as its clock where it is the one that is wanted, else a PLL.

    Attributes
    ----------
    clk : In
        The oscillator's pin.
    """

    def __init__(self, design: wiring.Component, board: BoardType, clock: float) -> None:
        self.pll = None if clock == board.oscillator else find_pll(board.oscillator, clock)
        super().__init__(design, board, clock if self.pll is None else self.pll.frequency,
                         ("clk",))

    def make_clock(self, m: Module, clock: Signal) -> Value:
        if self.pll is None:
            m.d.comb += clock.eq(self.clk)
            return Const(1)
        locked = Signal()
        m.submodules.pll = Instance(
            "EHXPLLL",
            p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED", p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED", p_OUTDIVIDER_MUXA="DIVA", p_OUTDIVIDER_MUXB="DIVB",
            p_OUTDIVIDER_MUXC="DIVC", p_OUTDIVIDER_MUXD="DIVD",
            p_CLKI_DIV=self.pll.reference, p_CLKFB_DIV=self.pll.feedback,
            p_CLKOP_DIV=self.pll.output, p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_CPHASE=self.pll.output - 1, p_CLKOP_FPHASE=0, p_FEEDBK_PATH="CLKOP",
            i_RST=Const(0), i_STDBY=Const(0), i_CLKI=self.clk, i_CLKFB=clock,
            i_PHASESEL0=Const(0), i_PHASESEL1=Const(0), i_PHASEDIR=Const(1),
            i_PHASESTEP=Const(1), i_PHASELOADREG=Const(1), i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0), o_CLKOP=clock, o_LOCK=locked)
        return locked


def constraints(board: BoardType) -> str:
    """The pins of a board as a Lattice preference file, from amaranth-boards.

    Raises
    ------
    ToolMissingError
        amaranth-boards is not installed.
    """
    module, _, name = board.platform.partition(".")
    try:
        platform = getattr(importlib.import_module(f"amaranth_boards.{module}"), name)()
    except ImportError:
        raise ToolMissingError("Python package amaranth-boards is not installed, expected it from: "
                               "pip install 'nvnmd[synth]'") from None
    clock = platform.lookup(platform.default_clk)
    uart = platform.lookup("uart", 0)
    pins = {"clk": clock, **{f"uart_{part.name}": part for part in uart.ios
                             if part.name in ("rx", "tx")}}
    lines = []
    for port, source in pins.items():
        (pin,) = source.ios[0].names
        kind = {**uart.attrs, **source.attrs}["IO_TYPE"]
        lines += [f'LOCATE COMP "{port}" SITE "{pin}";',
                  f'IOBUF PORT "{port}" IO_TYPE={kind};']
    lines.append(f'FREQUENCY PORT "clk" {board.oscillator / 1e6:g} MHZ;')
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, kw_only=True)
class Routed:
    """What place and route gave.

    Attributes
    ----------
    bitstream : Path
    clock_asked, clock_achieved : float
        In MHz.
    critical_path : str
        The slowest way from register to register.
    used, available : dict of str to int
        Cells of the FPGA by their kind.
    tools : dict of str to str
        Versions.
    """

    bitstream: Path
    clock_asked: float
    clock_achieved: float
    critical_path: str
    used: dict[str, int]
    available: dict[str, int]
    tools: dict[str, str]


def route(design: wiring.Component, board: BoardType, clock: float, folder: Path, *, seed: int = 1,
          say: Callable[[str], None] = lambda _: None) -> Routed:
    """Make a bitstream of a design in a folder that is this function's own.

    Parameters
    ----------
    design : wiring.Component
        With the byte streams `rx` and `tx`.
    clock : float
        Hz.
    folder : Path
        Gets Verilog, constraints, logs and ``top.bit``.
    seed : int
        Of placement.
    say : callable
        Takes lines of progress.

    Raises
    ------
    ToolMissingError
        A tool is missing or too old.
    NvnmdError
        A tool failed, or the clock was not reached; the message names the log.
    """
    tools = find_tools("yosys", "nextpnr-ecp5", "ecppack")
    pins = constraints(board)
    for name in ("top.json", "top.config", "top.bit", "timing.json"):
        (folder / name).unlink(missing_ok=True)
    top = Ecp5Top(design, board, clock)
    say(f"Verilog, {top.clock / 1e6:g} MHz")
    (folder / "top.v").write_text(to_verilog(top, TOP), encoding="utf-8")
    (folder / "top.lpf").write_text(pins, encoding="utf-8")
    device, package, speed = DEVICES[board.part]
    say(tools["yosys"].line)
    run_tool(tools["yosys"], ["-q", "-l", "yosys.log", "-p",
                          "read_verilog top.v; synth_ecp5 -no-rw-check -top "
                          f"{TOP} -json top.json"], folder, "yosys.log", "top.json")
    say(tools["nextpnr-ecp5"].line)
    asked = top.clock / 1e6
    run_tool(tools["nextpnr-ecp5"],
         [device, "--package", package, "--speed", speed, "--json", "top.json", "--lpf", "top.lpf",
          "--freq", f"{asked:g}", "--seed", str(seed), "--report", "timing.json", "--textcfg",
          "top.config", "--log", "nextpnr.log"], folder, "nextpnr.log", "top.config")
    achieved, path, used, available = read_report(folder / "timing.json", asked)
    say(tools["ecppack"].line)
    run_tool(tools["ecppack"], ["--compress", "--input", "top.config", "--bit", "top.bit"], folder,
         "ecppack.log", "top.bit")
    return Routed(bitstream=folder / "top.bit", clock_asked=asked, clock_achieved=achieved,
                  critical_path=path, used=used, available=available,
                  tools={tool.program.name: tool.version for tool in tools.values()})


def read_report(path: Path, asked: float) -> tuple[float, str, dict[str, int], dict[str, int]]:
    """The clock of nextpnr's report in MHz, its slowest path, and the cells used and available.

    Raises
    ------
    NvnmdError
        It names no clock, or one below `asked`.
    """
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        clocks = {name: float(entry["achieved"]) for name, entry in report["fmax"].items()}
        cells = {name: (int(e["used"]), int(e["available"]))
                 for name, e in report["utilization"].items()}
        slowest_path = critical_path(report)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NvnmdError(f"{path}: no report of nextpnr ({error})") from None
    if not clocks:
        raise NvnmdError(f"{path}: nextpnr names no clock, expected one of {asked:g} MHz at least")
    slowest = min(clocks.values())
    if slowest < asked:
        raise NvnmdError(f"{path}: the clock reaches {slowest:.2f} MHz, expected {asked:g} MHz; "
                         f"the slowest path: {slowest_path}; "
                         "ask for a lower clock by --clock, or try another --seed")
    return (slowest, slowest_path, {name: used for name, (used, _) in cells.items() if used},
            {name: have for name, (used, have) in cells.items() if used})


def critical_path(report: dict[str, Any]) -> str:
    """The slowest path from register to register in nextpnr's report, in words; empty if none."""
    def delay(path: dict[str, Any], kinds: tuple[str, ...] = ()) -> float:
        return sum(float(part["delay"]) for part in path["path"]
                   if not kinds or part["type"] in kinds)

    inside = [path for path in report["critical_paths"]
              if path["path"] and "<async>" not in (path["from"], path["to"])]
    if not inside:
        return ""
    slowest = max(inside, key=delay)
    first, last = slowest["path"][0]["from"]["cell"], slowest["path"][-1]["to"]["cell"]
    return (f"{first} to {last}, {delay(slowest):.2f} ns, of which "
            f"{delay(slowest, ('routing',)):.2f} ns on wires")


def run_tool(tool: Tool, arguments: list[str], folder: Path, log: str, makes: str) -> None:
    """Run a program in a folder.

    Parameters
    ----------
    tool : Tool
        From `find_tools`.
    arguments : list of str
        File names in them are relative to the folder.
    log, makes : str
        Files in the folder: what the program tells goes into the first one, the second one must be
        there afterwards.

    Raises
    ------
    NvnmdError
        It failed, or wrote no such file; the message has the first error and names the log.
    """
    done = subprocess.run([*tool.command, *arguments], cwd=folder, env=tool.environment(),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", check=False)
    path = folder / log
    written = path.read_text(encoding="utf-8") if path.exists() else ""
    told = [*_lines(done.stdout), *_lines(written)]
    if not path.exists():
        path.write_text(done.stdout, encoding="utf-8")
    if done.returncode:
        first = next((line for line in told if re.search(r"error", line, re.IGNORECASE)),
                     told[-1] if told else "no message")
        raise NvnmdError(f"{tool.program.name} failed (exit code {done.returncode}): {first}; see "
                         f"{path}")
    if not (folder / makes).is_file():
        raise NvnmdError(f"{tool.program.name} wrote no {makes}; see {path}")


def _lines(text: str) -> Iterator[str]:
    return (line.strip() for line in text.splitlines() if line.strip())
