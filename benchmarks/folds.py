"""Cycles per atom and FPGA resources of the accelerator in several folds, each proved equal first.

For every fold: simulate full neighbour lists back to back, compare every word with the integer
reference, and count what `yosys synth_ecp5` makes of each unit (one type in the memories). Run:

    python benchmarks/folds.py [--folds 32x32 8x128] [--no-synth] [--work DIR]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.golden_data import load_fixture

from nvnmd.hdl.export import config_for
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.resources import Resources, count_resources
from nvnmd.neighbors.slots import build_neighborhood
from nvnmd.sim.accelerator import Atoms, run_accelerator

ATOMS = 10


def full_lists() -> tuple:
    """The model for 128 neighbours and `ATOMS` atoms of its frame with full lists."""
    run = load_fixture(128)
    fullest, best = None, -1
    for frame in run.frames:
        hood = build_neighborhood(frame.coord, frame.box, frame.types, run.model.sel,
                                  run.model.rcut, overflow="truncate")
        if hood.mask.sum() > best:
            fullest, best = hood, int(hood.mask.sum())
    assert fullest is not None
    chosen = np.sort(np.resize(np.arange(len(fullest.order)), ATOMS))
    return run.model, Atoms(fullest.center_types[chosen], fullest.rij[chosen],
                            fullest.mask[chosen], fullest.neighbor_types[chosen])


def show_resources(cfg: AcceleratorConfig) -> None:
    """Print the cells of each unit and their sum."""
    total, missing = Resources(0, 0, 0, 0, 0, 0), []
    for name, found in count_resources(cfg):
        if isinstance(found, Resources):
            total += found
            print(f"  {name:28s}{cells(found)}", flush=True)
        else:
            missing.append(name)
            print(f"  {name:28s}not counted: {found}", flush=True)
    without = f" without {', '.join(missing)}" if missing else ""
    print(f"  sum of synth_ecp5{without}: {cells(total)}", flush=True)


def cells(found: Resources) -> str:
    """The counts as one line."""
    return (f"{found.multipliers:5d} MULT18X18D {found.block_ram:5d} DP16KD {found.lut4:7d} LUT4 "
            f"{found.carry:6d} CCU2C {found.flip_flops:7d} FF {found.distributed_ram:6d} DPR16X4")


def main() -> int:
    """Print the table; 1 if a word differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folds", nargs="+", default=["32x32", "8x128"], metavar="FOLDxCOLS")
    parser.add_argument("--no-synth", action="store_true")
    parser.add_argument("--work", type=Path)
    args = parser.parse_args()
    model, atoms = full_lists()
    print(f"{ATOMS} atoms with {int(atoms.mask.sum(axis=1).max())} neighbours, sel {model.sel}")
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        work = args.work or Path(folder)
        for text in args.folds:
            fold, cols = (int(part) for part in text.split("x"))
            cfg = config_for(model, fold=fold, fit_cols=cols)
            run = run_accelerator(model, cfg, atoms, work / text, build_dir=work)
            result = run.comparison
            bad += not result.equal or bool(run.status)
            print(f"fold {fold:2d}, {cols:3d} fitting multipliers: {result.compared} words "
                  f"compared, {result.differing} differ, {run.cycles_per_atom:.0f} cycles/atom",
                  flush=True)
            if not args.no_synth:
                show_resources(config_for(model, fold=fold, fit_cols=cols, ntypes=1))
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
