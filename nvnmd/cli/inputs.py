"""`nvnmd check`, `nvnmd doc-train-input` and `nvnmd neighbor-stat`."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvnmd.cli.common import add_command
from nvnmd.cli.output import add_json, show_json
from nvnmd.errors import InputError
from nvnmd.messages import log, warn

if TYPE_CHECKING:
    from nvnmd.inputs.config import RunConfig


def add_commands(commands: Any) -> None:
    """Add the commands of this group."""
    check = add_command(
        commands, "check", check_input, summary="check an input document",
        description="Check an input document and its data without training: every mistake is "
                    "shown, with the path of its key and, for an unknown key, the nearest known "
                    "one. Warnings say where data look as if they were not in Å, eV and eV/Å, and "
                    "where atoms have more neighbours than sel.",
        examples=["input.json", "input.json --no-data"])
    check.add_argument("input", metavar="INPUT.json", type=Path, help="the input document")
    check.add_argument("--no-data", action="store_true",
                       help="leave out the data: do not look for them, nor into them")
    add_json(check)

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
    add_json(stat)


def show_neighbors(args: argparse.Namespace) -> int:
    """Run `nvnmd neighbor-stat`."""
    from nvnmd.data.neighbor_stat import auto_sel, neighbor_stat
    from nvnmd.data.systems import find_systems, load_systems
    from nvnmd.inputs.limits import AUTO_FACTOR
    from nvnmd.progress import counted

    if not 0.0 < args.rcut < math.inf:
        raise InputError(f"--rcut: got {args.rcut}, expected a radius above 0 Å")
    systems = load_systems(find_systems(args.system), args.type_map, require=())
    with counted("neighbours") as progress:
        found = neighbor_stat(systems, len(args.type_map), args.rcut, progress)
    sel = [list(auto_sel(found, AUTO_FACTOR, version)) for version in (0, 1)]
    if args.json:
        show_json("neighbor-stat", {
            "rcut": args.rcut, "type_map": args.type_map, "nearest": found.nearest,
            "most": found.most, "most_in_all": found.most_in_all, "factor": AUTO_FACTOR,
            "sel": {"0": sel[0], "1": sel[1]}})
        return 0
    log(f"smallest distance: {found.nearest:.6f} Å")
    log(f"most neighbours of each type: {found.most.tolist()}, of any: {found.most_in_all}")
    log(f"sel for them times {AUTO_FACTOR}: version 0 {sel[0]}, version 1 {sel[1]}")
    return 0


def check_input(args: argparse.Namespace) -> int:
    """Run `nvnmd check`; 2 if there is a mistake."""
    from nvnmd.inputs.read import load_input

    warnings: list[str] = []
    say = warnings.append if args.json else warn
    try:
        config = load_input(args.input, warn=say, find_systems=not args.no_data)
        if not args.no_data:
            _check_data(config, say)
    except InputError as error:
        if not args.json:
            raise
        show_json("check", {"input": args.input, "valid": False, "warnings": warnings,
                            "mistakes": str(error).splitlines(), "document": None})
        return error.exit_code
    if args.json:
        show_json("check", {"input": args.input, "valid": True, "warnings": warnings,
                            "mistakes": [], "document": config.normalized})
        return 0
    systems = len(config.training.systems)
    what = "one system" if systems == 1 else f"{systems} systems"
    log(f"{args.input}: valid; NVNMD version {config.version}, {config.ntypes} types, "
        f"{what}, {config.training.numb_steps} steps")
    return 0


def _check_data(config: RunConfig, say: Callable[[str], None]) -> None:
    """Read the data as a training would, and warn of what they do not look like."""
    from nvnmd.data.plausible import implausible, seen_twice
    from nvnmd.data.systems import load_systems
    from nvnmd.inputs.loss_terms import atom_labels, check_labels, required
    from nvnmd.progress import counted

    training, dscp = config.training, config.descriptor
    for line in seen_twice(training.systems, training.validation_systems):
        say(line)
    for paths, prefix in ((training.systems, training.set_prefix),
                          (training.validation_systems, training.validation_set_prefix)):
        if not paths:
            continue
        systems = load_systems(paths, config.type_map, require=required(config.loss),
                               set_prefix=prefix, atom_labels=atom_labels(config.loss))
        check_labels(config.loss, systems)
        with counted("frames") as progress:
            lines = implausible(systems, config.type_map, dscp.rcut, dscp.sel, progress)
        for line in lines:
            say(line)


def print_reference(args: argparse.Namespace) -> int:
    """Run `nvnmd doc-train-input`."""
    from nvnmd.inputs.doc import reference, restructured_text
    from nvnmd.inputs.json_schema import json_schema

    if args.out_type == "json_schema":
        print(json.dumps(json_schema(), indent=2))
    else:
        print(restructured_text() if args.out_type == "rst" else reference(), end="")
    return 0
