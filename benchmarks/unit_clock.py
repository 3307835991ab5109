"""The clock that each unit of the accelerator reaches by itself on an ECP5-85F.

Every unit is put between registers, so that no path begins or ends outside it, synthesised by
Yosys and placed and routed by nextpnr, once per seed. The whole cannot be faster than its slowest
unit. Run:

    python benchmarks/unit_clock.py [UNIT ...] [--preset small] [--seeds 1 2 3] [--at-least MHZ]
        [--json FILE]

With `--json` every result is written as soon as it is there, with the versions of the tools; what
is in the file already, of the same Verilog and the same tools, is not done again. So a run that was
ended goes on where it was. Exit code 1 where the best seed of a unit is slower than `--at-least`.
Needs the extra `synth`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from nvnmd.atomic_file import atomic_write
from nvnmd.boards.ecp5 import critical_path, run_tool
from nvnmd.errors import NvnmdError
from nvnmd.external_tools import Tool, find_tools
from nvnmd.hdl.arith.add import FltAdd
from nvnmd.hdl.arith.dot import FltDot
from nvnmd.hdl.arith.mul import FltMul
from nvnmd.hdl.arith.mul_bank import FltMulBank
from nvnmd.hdl.arith.normalize import Normalize
from nvnmd.hdl.arith.tanh4 import Tanh4
from nvnmd.hdl.arith.whole import ProductToFix
from nvnmd.hdl.atom.descriptor import Descriptor
from nvnmd.hdl.atom.gradient_memory import ReceiveG, ReceiveGr
from nvnmd.hdl.atom.gradient_stages import Lanes, Middle, Walk
from nvnmd.hdl.atom.gradient_sum import GradSum
from nvnmd.hdl.fitting.one_copy import OneCopyArray
from nvnmd.hdl.fitting.passes import Passes
from nvnmd.hdl.fitting.post import FitPost
from nvnmd.hdl.fitting.schedule import Schedule
from nvnmd.hdl.host.loader import Loader
from nvnmd.hdl.neighbor.empty import EmptySlot
from nvnmd.hdl.neighbor.front import FrontEnd
from nvnmd.hdl.neighbor.gr import GrAccumulate, GrFinalize
from nvnmd.hdl.neighbor.octave_select import OctaveSelect
from nvnmd.hdl.neighbor.row_select import RowSelect
from nvnmd.hdl.neighbor.slot_gradient import ColumnGrad, RowGrad, TableDot
from nvnmd.hdl.neighbor.store import NeighborStore
from nvnmd.hdl.neighbor.table import TableUnit
from nvnmd.hdl.neighbor.type_scale import InverseStd, TypeGain
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.loadbus import Section
from nvnmd.hdl.verilog import to_verilog

OCTAVES = ((-7, 32), (-7, 32), *((step, 32) for step in range(-6, 1)))
PRESETS = {
    "small": AcceleratorConfig(ntypes=1, max_nnei=128, store_neighbors=256, weights_once=True),
    "tiny": AcceleratorConfig(
        version=1, ntypes=8, max_nnei=128, store_neighbors=256, m1=16, m2=4, width=64, fold=16,
        fit_cols=16, weights_once=True, octave=True, u_segments=OCTAVES, s_segments=((-4, 256),)),
}
"""Of `small` the vendor's tables and version 0, of `tiny` octave tables and version 1."""


def _version1(cfg: AcceleratorConfig) -> AcceleratorConfig:
    return replace(cfg, version=1)


def _post(cfg: AcceleratorConfig) -> FitPost:
    return FitPost(cfg, Schedule.best(cfg).lanes)


def _passes(cfg: AcceleratorConfig) -> Passes:
    return Passes(cfg, Schedule.best(cfg), 2 * cfg.fit_atoms)


def _g_table(cfg: AcceleratorConfig) -> TableUnit:
    """The table of G among octave tables, which alone fit an ECP5."""
    return TableUnit(cfg, n_out=cfg.m1, segments=((-4, 256),), ntab=1, fold=cfg.fold,
                     sections=(Section.G_VALUE, None))


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
    "TableUnit": _g_table,
    "FltMulBank": lambda cfg: FltMulBank(cfg, 3),
    "OneCopyArray": OneCopyArray,
    "FitPost": _post,
    "Passes": _passes,
    "ReceiveG": ReceiveG,
    "ReceiveGr": lambda cfg: ReceiveGr(cfg, cfg.atoms),
    "Walk": Walk,
    "Middle": Middle,
    "Lanes": Lanes,
    "NeighborStore": NeighborStore,
    "EmptySlot": lambda cfg: EmptySlot(replace(cfg, version=0)),
    "InverseStd": lambda cfg: InverseStd(_version1(cfg)),
    "TypeGain": lambda cfg: TypeGain(_version1(cfg)),
    "Loader": Loader,
}
"""What `small` and `tiny` are made of; parts of a unit that is listed are not listed."""
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


class Router:
    """Synthesis of a unit once, place and route once per seed, in a folder of its own."""

    def __init__(self, verilog: str, folder: Path) -> None:
        self.folder = folder
        self.tools = find_tools("yosys", "nextpnr-ecp5")
        self._synthesised = False
        (folder / "top.v").write_text(verilog, encoding="utf-8")

    def route(self, seed: int) -> dict[str, Any]:
        """Clock in MHz, the slowest path and cells, with one seed of placement."""
        if not self._synthesised:
            run_tool(self.tools["yosys"],
                     ["-q", "-l", "yosys.log", "-p", "read_verilog top.v; synth_ecp5 -top top "
                      "-json top.json; tee -q -o cells.json stat -json"],
                     self.folder, "yosys.log", "cells.json")
            self._synthesised = True
        (self.folder / "timing.json").unlink(missing_ok=True)
        run_tool(self.tools["nextpnr-ecp5"],
                 ["--85k", "--package", "CABGA756", "--speed", "6", "--freq", "120", "--seed",
                  str(seed), "--json", "top.json", "--report", "timing.json",
                  "--timing-allow-fail", "--lpf-allow-unconstrained", "--log", "nextpnr.log",
                  "-q"],
                 self.folder, "nextpnr.log", "timing.json")
        counted = json.loads((self.folder / "cells.json").read_text(encoding="utf-8"))
        cells = counted["design"]["num_cells_by_type"]
        report: dict[str, Any] = json.loads(
            (self.folder / "timing.json").read_text(encoding="utf-8"))
        (clock,) = (entry["achieved"] for entry in report["fmax"].values())
        return {"clock": round(float(clock), 2), "path": critical_path(report),
                "cells": {name: cells.get(name, 0) for name in CELLS}}


class Results:
    """What was found before, and what is found now, in a file that is whole at any time.

    An entry holds for the Verilog and the tools that it was made of, by their digest.
    """

    def __init__(self, file: Path | None, tools: dict[str, Tool]) -> None:
        self.file = file
        self.tools = {tool.program.name: tool.version for tool in tools.values()}
        self.units: dict[str, dict[str, Any]] = {}
        if file is not None and file.exists():
            self.units = json.loads(file.read_text(encoding="utf-8"))["units"]

    def of(self, key: str, verilog: str) -> dict[str, Any]:
        """Seeds of a unit with what they gave; empty if it was another Verilog, or other tools."""
        made_of = "\n".join([verilog, json.dumps(self.tools)])
        digest = hashlib.sha256(made_of.encode()).hexdigest()[:16]
        if self.units.get(key, {}).get("digest") != digest:
            self.units[key] = {"digest": digest, "tools": self.tools, "seeds": {}}
        seeds: dict[str, Any] = self.units[key]["seeds"]
        return seeds

    def keep(self) -> None:
        """Write the file."""
        if self.file is not None:
            with atomic_write(self.file) as stream:
                stream.write((json.dumps({"part": "LFE5U-85F, speed grade 6", "units": self.units},
                                         indent=1) + "\n").encode())


def line(name: str, seeds: dict[str, Any]) -> str:
    """A row of the table."""
    clocks = [found["clock"] for found in seeds.values()]
    cells = next(iter(seeds.values()))["cells"]
    return (f"{name:14s}{max(clocks):7.1f}{min(clocks):7.1f}{len(clocks):6d}"
            + "".join(f"{cells[cell]:12d}" for cell in CELLS))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("units", nargs="*", metavar="UNIT", help=f"of {', '.join(UNITS)}")
    parser.add_argument("--preset", default="small", choices=PRESETS, help="whose sizes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="of placement")
    parser.add_argument("--at-least", type=float, default=0.0, metavar="MHZ")
    parser.add_argument("--json", type=Path, metavar="FILE", help="is gone on with")
    options = parser.parse_args()
    unknown = [name for name in options.units if name not in UNITS]
    if unknown:
        parser.error(f"no unit {', '.join(unknown)}; expected of {', '.join(UNITS)}")
    cfg = PRESETS[options.preset]
    results = Results(options.json, find_tools("yosys", "nextpnr-ecp5"))
    print(f"{options.preset:14s}{'best':>7s}{'worst':>7s}{'seeds':>6s}"
          + "".join(f"{name:>12s}" for name in CELLS), flush=True)
    slow = []
    for name in options.units or UNITS:
        verilog = to_verilog(Between(UNITS[name](cfg)), "top")
        seeds = results.of(f"{options.preset} {name}", verilog)
        with tempfile.TemporaryDirectory() as folder:
            router = Router(verilog, Path(folder))
            for seed in options.seeds:
                if str(seed) not in seeds:
                    seeds[str(seed)] = router.route(seed)
                    results.keep()
        print(line(name, seeds), flush=True)
        best = max(seeds.values(), key=lambda found: found["clock"])
        if best["clock"] < options.at_least:
            slow.append(f"{name}, {best['clock']:.1f} MHz: {best['path']}")
    if slow:
        print(f"slower than {options.at_least:g} MHz:\n" + "\n".join(slow), file=sys.stderr)
    return 1 if slow else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except NvnmdError as error:
        sys.exit(f"unit_clock.py: {error}")
