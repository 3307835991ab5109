"""`nvnmd export-hdl` and `nvnmd simulate`; neither needs TensorFlow."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvnmd.cli.common import (
    add_board,
    add_command,
    add_overflow,
    model_path,
    need,
    open_board,
    positive,
)
from nvnmd.cli.output import TextTable, add_json, quiet, show_json, show_table
from nvnmd.cli.record import record
from nvnmd.messages import log, warn

if TYPE_CHECKING:
    from collections.abc import Callable

    from nvnmd.hdl.params import AcceleratorConfig
    from nvnmd.neighbors.slots import Neighborhood
    from nvnmd.quantize.model import Model

# repeated here because their homes import NumPy; a test compares them
MAX_FLOAT_ERROR = 2e-3
PRESETS, PRESET = ("large", "medium", "small", "tiny"), "small"


def add_commands(commands: Any) -> None:
    """Add the commands of this group."""
    export = add_command(
        commands, "export-hdl", export_hdl, summary="write the accelerator as Verilog",
        description="Write the accelerator: Verilog, the model's load image, a manifest, a "
                    "description of the streams, and stimulus with expected results.",
        examples=["nvnmd_qnn/model.nvnmd -o hdl_out", "nvnmd_qnn -o hdl_out --preset medium"])
    _add_model(export)
    export.add_argument("-o", "--output", metavar="DIR", type=Path, required=True,
                        help="output folder")
    export.add_argument("--count-cells", action="store_true",
                        help="also count the FPGA cells of every unit with Yosys, for ECP5; takes "
                             "minutes")
    export.add_argument("--report", action="store_true",
                        help="also print and write the multipliers and memories of every unit, "
                             "and the blocks that they take on three FPGA families; takes seconds")
    add_folds(export)
    add_json(export)

    simulate_ = add_command(
        commands, "simulate", simulate, summary="simulate the accelerator, compare every word",
        description="Run the accelerator in Verilator on atoms of a system and compare every word "
                    "with the integer reference, and energies and forces with the "
                    "continuous network.",
        examples=["nvnmd_qnn/model.nvnmd -s data/validation",
                  "nvnmd_qnn -s data/validation --atoms 50 --fold 8 -o sim_out"])
    _add_model(simulate_)
    simulate_.add_argument("-s", "--system", metavar="SYSTEM", required=True, type=Path,
                           help="a system (folder or FILE.hdf5#/PATH)")
    simulate_.add_argument("--frame", metavar="K", type=int, default=0,
                           help="frame of the system, counted from 0 (default: 0)")
    simulate_.add_argument("-o", "--output", metavar="DIR", type=Path, default=Path("nvnmd_sim"),
                           help="output folder (default: nvnmd_sim)")
    simulate_.add_argument("--atoms", metavar="N", type=positive,
                           help="atoms to simulate, spread over the frame (default: all)")
    simulate_.add_argument("--max-float-error", metavar="X", type=tolerance,
                           default=MAX_FLOAT_ERROR,
                           help="largest difference from the continuous network that passes, in "
                                f"eV/atom and eV/Å (default: {MAX_FLOAT_ERROR:g})")
    simulate_.add_argument("--engine", choices=("cpp", "cocotb"), default="cpp",
                           help="what turns the clock: a C++ program, or a cocotb testbench, which "
                                "is slower and makes the same words (default: cpp)")
    simulate_.add_argument("--on", choices=("rtl", "sim-board"), default="rtl",
                           help="rtl: the accelerator alone; sim-board: behind the link, on the "
                                "board that --board names (default: rtl)")
    simulate_.add_argument("--waves", action="store_true",
                           help="record waveforms in the output folder (not with --on sim-board)")
    add_board(simulate_)
    add_folds(simulate_)
    add_overflow(simulate_)
    add_json(simulate_)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="model.nvnmd, or the folder that holds it")


def add_folds(parser: argparse.ArgumentParser) -> None:
    """Add the options that trade cycles for multipliers."""
    parser.add_argument("--preset", metavar="NAME", choices=PRESETS, default=PRESET,
                        help=f"size of the accelerator: {', '.join(PRESETS)} (default: "
                             f"{PRESET}; see nvnmd presets); the next four override its parts")
    parser.add_argument("--fold", metavar="N", type=positive,
                        help="cycles per neighbour, a power of two up to the model's "
                             "features: fewer cycles take more multipliers")
    parser.add_argument("--fit-cols", metavar="N", type=positive,
                        help="columns of the fitting net's array of multipliers")
    parser.add_argument("--fit-rows", metavar="N", type=positive,
                        help="rows of that array")
    parser.add_argument("--fit-atoms", metavar="N", type=positive,
                        help="atoms that take turns in the fitting net, a power of two")


def config_of(args: argparse.Namespace, model: Model) -> AcceleratorConfig:
    """The accelerator that the options ask for."""
    from nvnmd.hdl.presets import preset

    return preset(args.preset).config(model, fold=args.fold, fit_cols=args.fit_cols,
                                      fit_rows=args.fit_rows, fit_atoms=args.fit_atoms)


def export_hdl(args: argparse.Namespace) -> int:
    """Run `nvnmd export-hdl`."""
    path = model_path(args.model)
    need("export-hdl", "hdl", "amaranth")
    from nvnmd.external_tools import find_tools
    from nvnmd.hdl.export import export_hdl as export
    from nvnmd.progress import elapsing
    from nvnmd.quantize.model import Model

    find_tools("verilog-writer", *(["yosys"] if args.count_cells else []))
    model = Model.load(path)
    cfg = config_of(args, model)
    say = quiet if args.json else log
    with elapsing("elaborating"):
        done = export(model, args.output, cfg)
    written = [*(done.directory / name for name in done.files), record(done.directory, args)]
    for path in written:
        say(f"{path}: {path.stat().st_size} bytes")
    # None: not asked for
    counted: dict[str, Any] = {"budget": None, "resources": None}
    if args.report:
        counted["budget"] = _report(cfg, done.directory / "budget.json", args.json)
    if args.count_cells:
        counted["resources"] = _count_cells(cfg, done.directory / "resources.json", args.json)
    if args.json:
        show_json("export-hdl", {
            "output": done.directory, "model_digest": model.digest, "parameters": cfg.to_dict(),
            "files": {file.name: file.stat().st_size for file in written}, **counted})
    return 0


def _report(cfg: AcceleratorConfig, path: Path, silent: bool) -> dict[str, Any]:
    """Count multipliers and memories, print them and keep them."""
    from nvnmd.hdl.budget import FAMILIES, count_budget, document, total

    units = count_budget(cfg)
    units["all"] = total(units)
    blocks = [name for family in FAMILIES for name in (family.multiplier, family.memory)]
    table = TextTable(("unit", ">multipliers", ">memory kbit", *(f">{name}" for name in blocks)))
    for name, unit in units.items():
        counts = [count for f in FAMILIES
                  for count in (unit.multiplier_blocks(f), unit.memory_blocks(f))]
        table.add(name, unit.multipliers.total(), f"{unit.bits / 1000:.1f}", *counts)
    lines = []
    for f in FAMILIES:
        used = units["all"].multiplier_blocks(f), units["all"].memory_blocks(f)
        fits = "holds" if used[0] <= f.multipliers and used[1] <= f.memories else "does not hold"
        lines.append(f"{f.part} ({f.name}) {fits} them: {used[0]} of {f.multipliers} "
                     f"{f.multiplier}, {used[1]} of {f.memories} {f.memory}; logic is not counted")
    return _keep(document(units), table, lines, path, silent)


def _count_cells(cfg: AcceleratorConfig, path: Path, silent: bool) -> dict[str, Any]:
    """Count FPGA cells unit by unit, print them and keep them for the report."""
    from nvnmd.hdl.resources import UNITS, Resources, count_resources
    from nvnmd.progress import Progress

    names = [field.name for field in fields(Resources)]
    table = TextTable(("unit", *(f">{name.replace('_', ' ')}" for name in names)))
    units: list[dict[str, object]] = []
    total: Resources | None = None
    with Progress("counting cells", len(UNITS)) as bar:
        for name, found in count_resources(cfg):
            bar.tick()
            if not isinstance(found, Resources):
                warn(f"{name}: {found}")
                units.append({"unit": name, "problem": str(found)})
                continue
            units.append({"unit": name, **asdict(found)})
            table.add(name, *(getattr(found, key) for key in names))
            total = found if total is None else total + found
    if total is not None:
        units.append({"unit": "all", **asdict(total)})
        table.add("all", *(getattr(total, key) for key in names))
    return _keep({"family": "ECP5", "units": units}, table, [], path, silent)


def _keep(content: dict[str, Any], table: TextTable, lines: list[str], path: Path,
          silent: bool) -> dict[str, Any]:
    """Write what was counted for the report, and show it."""
    from nvnmd.atomic_file import atomic_write

    with atomic_write(path) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())
    if not silent:
        show_table(table)
        for line in [*lines, f"{path}: {path.stat().st_size} bytes"]:
            log(line)
    return content


def simulate(args: argparse.Namespace) -> int:
    """Run `nvnmd simulate`; 1 if a word differs or is missing, or the float model is too far."""
    path = model_path(args.model)
    from nvnmd.quantize.model import Model
    from nvnmd.sim.simulators import check_simulation_tools, tool_lines

    model = Model.load(path)
    tools = check_simulation_tools(bench=args.engine == "cocotb")
    from nvnmd.data.mixed import find_frame
    from nvnmd.data.systems import load_groups
    from nvnmd.evaluation.frames import frame_neighborhood
    from nvnmd.evaluation.simulate import simulate_hood
    from nvnmd.progress import elapsing

    groups = load_groups(args.system, model.type_map, require=())
    system, frame = find_frame(groups, args.frame)
    hood = frame_neighborhood(model, system, frame, args.overflow)
    if hood.dropped:
        warn(f"{args.system}: {hood.dropped} neighbours beyond sel were dropped")
    cfg = config_of(args, model)
    say = quiet if args.json else log
    for line in tool_lines(tools):
        say(line)
    if args.on == "sim-board":
        return _on_board(args, model, hood, say)
    with elapsing("simulating"):
        result = simulate_hood(model, hood, cfg, args.output, atoms=args.atoms, waves=args.waves,
                               max_float_error=args.max_float_error, engine=args.engine, log=say)
    record(args.output, args)
    if args.json:
        show_json("simulate", result.summary)
        return 1 if result.problems else 0
    for line in result.lines():
        log(line)
    log(f"summary: {args.output / 'summary.json'}")
    return 1 if result.problems else 0


def _on_board(args: argparse.Namespace, model: Model, hood: Neighborhood,
              say: Callable[[str], None]) -> int:
    """The atoms on a board behind its link; 1 if a word differs."""
    from nvnmd.boards.proof import run_on_board
    from nvnmd.evaluation.simulate import choose_atoms
    from nvnmd.progress import elapsing

    say("building, loading and asking the board")
    with open_board(args) as board, elapsing("board"):
        assert board is not None
        run = run_on_board(board, model, hood, choose_atoms(len(hood.center_types), args.atoms))
    args.output.mkdir(parents=True, exist_ok=True)
    run.write(args.output / "board.json")
    record(args.output, args)
    if args.json:
        show_json("simulate", run.summary)
    else:
        for line in run.lines():
            log(line)
        log(f"summary: {args.output / 'board.json'}")
    return 0 if run.equal else 1


def tolerance(text: str) -> float:
    """Argument type: a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number above 0")
    return value
