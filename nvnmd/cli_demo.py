"""`nvnmd demo`: the whole chain on data that the program labels itself."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nvnmd.cli_common import add_command, need


def add_commands(commands: Any) -> None:
    """Add the command of this group."""
    parser = add_command(
        commands, "demo", run, summary="run the whole chain on a small alloy",
        description="Make a data set of copper-gold (version 1: of copper, silver, gold, nickel "
                    "and palladium), labelled with ASE's effective medium theory, train both "
                    "networks, write the accelerator, simulate it, and show what came out in one "
                    "table.",
        examples=["", "-o my_demo", "--version 1"])
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, default=Path("nvnmd_demo"),
                        help="output folder (default: nvnmd_demo)")
    parser.add_argument("--version", type=int, choices=(0, 1), default=0,
                        help="NVNMD version (default: 0)")


def run(args: argparse.Namespace) -> int:
    """Run `nvnmd demo`."""
    need("demo", "all", "ase", "tensorflow", "amaranth", "cocotb")
    from nvnmd.demo import run_demo

    return run_demo(args.output, args.version)
