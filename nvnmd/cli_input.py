"""`nvnmd check` and `nvnmd doc-train-input`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from nvnmd.cli_common import add_command, log, warn


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
