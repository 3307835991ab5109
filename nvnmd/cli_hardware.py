"""`nvnmd export-hdl` and `nvnmd simulate`; neither needs TensorFlow."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nvnmd.cli_common import add_command, add_overflow, log, model_path, need, positive


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
                           help="a system in deepmd/npy layout; its first frame is used")
    simulate_.add_argument("-o", "--output", metavar="DIR", type=Path, default=Path("nvnmd_sim"),
                           help="output folder (default: nvnmd_sim)")
    simulate_.add_argument("--atoms", metavar="N", type=positive,
                           help="atoms to simulate (default: all of the frame)")
    _add_folds(simulate_)
    add_overflow(simulate_)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="model.nvnmd, or the folder that holds it")


def _add_folds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fold", metavar="N", type=positive,
                        help="cycles per neighbour, a power of two up to 32: more cycles, fewer "
                             "multipliers")


def export_hdl(args: argparse.Namespace) -> int:
    """Run `nvnmd export-hdl`."""
    path = model_path(args.model)
    need("export-hdl", "hdl", "amaranth")
    raise NotImplementedError(path, log)


def simulate(args: argparse.Namespace) -> int:
    """Run `nvnmd simulate`."""
    path = model_path(args.model)
    need("simulate", "sim", "amaranth", "cocotb")
    raise NotImplementedError(path)
