"""Atoms through the accelerator as Yosys maps it to ECP5 cells, every word compared.

The accelerator of a preset is synthesised, its cells get simulation models (those of the blocks of
RAM and of the multipliers are ours, see `nvnmd.sim.cells`), Verilator builds the netlist, and atoms
with lists of random lengths go through it. Run:

    python benchmarks/netlist.py [MODEL] [--preset tiny] [--atoms 20] [--folder DIR] [--json FILE]

Without a model: one of initial weights, [4, 8, 16]/4/64, octave tables, version 1. With `--folder`
the netlist is kept there, and found again. Exit code 1 where a word differs. Needs the extra
`synth`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.rtl_cases import mixed_atoms, random_atoms
from support.sized_models import sized_model

from nvnmd.boards.netlist import ecp5_netlist
from nvnmd.external_tools import find_tools
from nvnmd.hdl.presets import PRESETS, preset
from nvnmd.hdl.verilog import TOP, generate_verilog
from nvnmd.quantize.model import Model
from nvnmd.sim.accelerator import Atoms, run_accelerator

SHOWN = ("LUT4", "CCU2C", "TRELLIS_FF", "TRELLIS_DPR16X4", "MULT18X18D", "DP16KD")


def random_lists(model: Model, count: int) -> Atoms:
    """Atoms without neighbours, with every slot filled, and of all between."""
    rng = np.random.default_rng(2)
    if model.version:
        return mixed_atoms(model, [0, model.nnei, *rng.integers(0, model.nnei, count - 2)])
    some = [[int(rng.integers(0, size + 1)) for size in model.sel] for _ in range(count - 2)]
    return random_atoms(model, [[0] * model.ntypes, list(model.sel), *some])


def netlist_in(folder: Path, verilog: str) -> tuple[str, dict[str, int]]:
    """The netlist of a design, kept in a folder beside the design that it was made of."""
    text, cells, made_of = (folder / name for name in ("simulated.v", "counted.json", "of.v"))
    if made_of.is_file() and made_of.read_text(encoding="utf-8") == verilog:
        return text.read_text(encoding="utf-8"), json.loads(cells.read_text(encoding="utf-8"))
    found, counted = ecp5_netlist(verilog, TOP, folder)
    text.write_text(found, encoding="utf-8")
    cells.write_text(json.dumps(counted), encoding="utf-8")
    made_of.write_text(verilog, encoding="utf-8")
    return found, counted


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--preset", default="tiny", choices=PRESETS)
    parser.add_argument("--atoms", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="where the netlist is kept")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    if options.atoms < 2:
        parser.error(f"argument --atoms: got {options.atoms}, expected at least 2")
    model = (sized_model(16, 4, 3, 64, version=1, tables="octave") if options.model is None
             else Model.load(options.model))
    cfg = preset(options.preset).config(model)
    verilog = generate_verilog(cfg)
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        begin = time.monotonic()
        netlist, cells = netlist_in(folder, verilog)
        print(f"netlist of {options.preset}, {time.monotonic() - begin:.0f} s: "
              + ", ".join(f"{cells.get(cell, 0)} {cell}" for cell in SHOWN), flush=True)
        begin = time.monotonic()
        atoms = random_lists(model, options.atoms)
        run = run_accelerator(model, cfg, atoms, Path(name) / "run", verilog=netlist)
        seconds = time.monotonic() - begin
    found = run.comparison
    print(f"{options.atoms} atoms, {int(atoms.mask.sum())} neighbours, {run.cycles} cycles, built "
          f"and simulated in {seconds:.0f} s")
    print(f"netlist: {options.atoms} atoms, {found.compared} words compared, {found.differing} "
          f"differ{'' if not run.status else '; status ' + ', '.join(run.status)}")
    if options.json:
        tools = find_tools("yosys", "verilator")
        options.json.write_text(json.dumps({
            "preset": options.preset, "atoms": options.atoms, "cycles": run.cycles,
            "compared": found.compared, "differing": found.differing, "status": run.status,
            "cells": cells, "tools": {tool.program.name: tool.version for tool in tools.values()},
        }, indent=1) + "\n", encoding="utf-8")
    return 0 if found.equal and not run.status else 1


if __name__ == "__main__":
    sys.exit(main())
