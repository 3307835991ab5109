"""The clock that each unit of the accelerator reaches by itself on an ECP5-85F.

Every unit is put between registers, so that no path begins or ends outside it, synthesised by
Yosys and placed and routed by nextpnr. The whole cannot be faster than its slowest unit. Run:

    python benchmarks/unit_clock.py [UNIT ...] [--seed 1] [--at-least MHZ] [--json FILE]

Exit code 1 where a unit is slower than `--at-least`. Needs the extra `synth`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from nvnmd.boards.ecp5 import run_tool
from nvnmd.external_tools import find_tools
from nvnmd.hdl.arith.add import FltAdd
from nvnmd.hdl.arith.dot import FltDot
from nvnmd.hdl.arith.mul import FltMul
from nvnmd.hdl.arith.normalize import Normalize
from nvnmd.hdl.arith.tanh4 import Tanh4
from nvnmd.hdl.arith.whole import ProductToFix
from nvnmd.hdl.atom.descriptor import Descriptor
from nvnmd.hdl.atom.gradient_sum import GradSum
from nvnmd.hdl.neighbor.front import FrontEnd
from nvnmd.hdl.neighbor.gr import GrAccumulate, GrFinalize
from nvnmd.hdl.neighbor.octave_select import OctaveSelect
from nvnmd.hdl.neighbor.row_select import RowSelect
from nvnmd.hdl.neighbor.slot_gradient import ColumnGrad, RowGrad, TableDot
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.verilog import to_verilog

UNITS: dict[str, Callable[[AcceleratorConfig], wiring.Component]] = {
    "FltAdd": FltAdd,
    "FltMul": FltMul,
    "FltDot": lambda cfg: FltDot(cfg, 3, cfg.fold),
    "ProductToFix": ProductToFix,
    "Normalize": lambda cfg: Normalize(cfg, cfg.acc_bits),
    "Tanh4": Tanh4,
    "FrontEnd": FrontEnd,
    "RowSelect": lambda cfg: RowSelect(cfg, ((-4, 256),)),
    "OctaveSelect": lambda cfg: OctaveSelect(cfg, OCTAVES),
    "GrAccumulate": GrAccumulate,
    "GrFinalize": GrFinalize,
    "Descriptor": Descriptor,
    "GradSum": GradSum,
    "RowGrad": RowGrad,
    "ColumnGrad": ColumnGrad,
    "TableDot": lambda cfg: TableDot(cfg, cfg.fold),
}
OCTAVES = ((-7, 32), (-7, 32), *((step, 32) for step in range(-6, 1)))
CELLS = ("LUT4", "CCU2C", "TRELLIS_FF", "MULT18X18D", "DP16KD")


class Between(wiring.Component):
    """A unit whose inputs come from a chain of registers, and whose outputs go into a tree."""

    def __init__(self, unit: wiring.Component) -> None:
        self.unit = unit
        super().__init__({"d": In(1), "q": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.unit = self.unit
        ins: list[Value] = []
        outs: list[Value] = []
        for _, member, value in self.unit.signature.flatten(self.unit):
            (ins if member.flow is In else outs).append(Value.cast(value))
        chain = Signal(sum(len(value) for value in ins))
        m.d.sync += chain.eq(Cat(self.d, chain))
        at = 0
        for value in ins:
            held = Signal(len(value))
            m.d.sync += held.eq(chain[at:at + len(value)])
            m.d.comb += value.eq(held)
            at += len(value)
        level: list[Value] = []
        for value in outs:
            held = Signal(len(value))
            m.d.sync += held.eq(value)
            level.extend(held)
        while len(level) > 1:
            above = []
            for k in range(0, len(level), 4):
                bit = Signal()
                m.d.sync += bit.eq(Cat(level[k:k + 4]).xor())
                above.append(bit)
            level = above
        m.d.comb += self.q.eq(level[0])
        return m


def routed(unit: wiring.Component, folder: Path, seed: int) -> tuple[float, dict[str, int]]:
    """Clock in MHz and cells of a unit between registers."""
    tools = find_tools("yosys", "nextpnr-ecp5")
    (folder / "top.v").write_text(to_verilog(Between(unit), "top"), encoding="utf-8")
    run_tool(tools["yosys"],
             ["-q", "-l", "yosys.log", "-p", "read_verilog top.v; synth_ecp5 -top top -json "
              "top.json; tee -q -o cells.json stat -json"],
             folder, "yosys.log", "cells.json")
    run_tool(tools["nextpnr-ecp5"],
             ["--85k", "--package", "CABGA756", "--speed", "6", "--freq", "120", "--seed",
              str(seed), "--json", "top.json", "--report", "timing.json", "--timing-allow-fail",
              "--lpf-allow-unconstrained", "--log", "nextpnr.log", "-q"],
             folder, "nextpnr.log", "timing.json")
    counted = json.loads((folder / "cells.json").read_text(encoding="utf-8"))
    cells = counted["design"]["num_cells_by_type"]
    report: dict[str, Any] = json.loads((folder / "timing.json").read_text(encoding="utf-8"))
    (clock,) = (entry["achieved"] for entry in report["fmax"].values())
    return float(clock), {name: cells.get(name, 0) for name in CELLS}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("units", nargs="*", metavar="UNIT", help=f"of {', '.join(UNITS)}")
    parser.add_argument("--seed", type=int, default=1, help="of placement")
    parser.add_argument("--at-least", type=float, default=0.0, metavar="MHZ")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    unknown = [name for name in options.units if name not in UNITS]
    if unknown:
        parser.error(f"no unit {', '.join(unknown)}; expected of {', '.join(UNITS)}")
    cfg = AcceleratorConfig(ntypes=1, max_nnei=128, store_neighbors=256)
    print(f"{'unit':14s}{'MHz':>7s}" + "".join(f"{name:>12s}" for name in CELLS))
    found, slow = {}, []
    for name in options.units or UNITS:
        with tempfile.TemporaryDirectory() as folder:
            clock, cells = routed(UNITS[name](cfg), Path(folder), options.seed)
        found[name] = {"clock": clock, **cells}
        print(f"{name:14s}{clock:7.1f}" + "".join(f"{cells[c]:12d}" for c in CELLS), flush=True)
        if clock < options.at_least:
            slow.append(name)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if slow:
        print(f"slower than {options.at_least:g} MHz: {', '.join(slow)}", file=sys.stderr)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
