"""`nvnmd check`, `nvnmd doc-train-input` and `nvnmd neighbor-stat`."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from nvnmd.cli_common import add_command, log, warn
from nvnmd.errors import InputError


def add_commands(commands: Any) -> None:
    """Add the commands of this group."""
    check = add_command(
        commands, "check", check_input, summary="check an input document",
        description="Check an input document without training: every mistake is shown, with the "
                    "path of its key and, for an unknown key, the nearest known one.",
        examples=["input.json", "input.json --no-data"])
    check.add_argument("input", metavar="INPUT.json", type=Path, help="the input document")
    check.add_argument("--no-data", action="store_true",
                       help="leave out whether the folders of data exist")

    doc = add_command(
        commands, "doc-train-input", print_reference, summary="print the keys of the input",
        description="Print every key of the input document: types, default, meaning, and what "
                    "this program does with it.",
        examples=["", "--out-type json_schema > nvnmd.schema.json", "--out-type markdown"])
    doc.add_argument("--out-type", choices=("rst", "json_schema", "markdown"), default="rst",
                     help="form of the output (default: rst)")

    stat = add_command(
        commands, "neighbor-stat", show_neighbors, summary="count the neighbours in data",
        description="Count the neighbours that the atoms of some data have within a cut-off, for "
                    "the choice of sel, and show the smallest distance.",
        examples=["-s data -r 6.0 -t Ge Te"])
    stat.add_argument("-s", "--system", metavar="DIR", required=True,
                      help="a system (folder or FILE.hdf5#/PATH), or a folder or file with systems "
                           "below it")
    stat.add_argument("-r", "--rcut", metavar="R", type=float, required=True,
                      help="cut-off radius in Å")
    stat.add_argument("-t", "--type-map", metavar="NAME", nargs="+", required=True,
                      help="element names in the order of the types")


def show_neighbors(args: argparse.Namespace) -> int:
    """Run `nvnmd neighbor-stat`."""
    from nvnmd.data import find_systems, load_systems
    from nvnmd.input_limits import AUTO_FACTOR
    from nvnmd.neighbor_stat import auto_sel, neighbor_stat

    if not 0.0 < args.rcut < math.inf:
        raise InputError(f"--rcut: got {args.rcut}, expected a radius above 0 Å")
    systems = load_systems(find_systems(args.system), args.type_map, require=())
    found = neighbor_stat(systems, len(args.type_map), args.rcut)
    sel = [list(auto_sel(found, AUTO_FACTOR, version)) for version in (0, 1)]
    log(f"smallest distance: {found.nearest:.6f} Å")
    log(f"most neighbours of each type: {found.most.tolist()}, of any: {found.most_in_all}")
    log(f"sel for them times {AUTO_FACTOR}: version 0 {sel[0]}, version 1 {sel[1]}")
    return 0


def check_input(args: argparse.Namespace) -> int:
    """Run `nvnmd check`."""
    from nvnmd.input_schema import load_input

    config = load_input(args.input, warn=warn, find_systems=not args.no_data)
    systems = len(config.training.systems)
    what = "one system" if systems == 1 else f"{systems} systems"
    log(f"{args.input}: valid; NVNMD version {config.version}, {config.ntypes} types, "
        f"{what}, {config.training.numb_steps} steps")
    return 0


def print_reference(args: argparse.Namespace) -> int:
    """Run `nvnmd doc-train-input`."""
    from nvnmd.input_doc import reference, restructured_text
    from nvnmd.input_json_schema import json_schema

    if args.out_type == "json_schema":
        print(json.dumps(json_schema(), indent=2))
    else:
        print(restructured_text() if args.out_type == "rst" else reference(), end="")
    return 0
