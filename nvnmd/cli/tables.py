"""`nvnmd tables`: how far a model's tables are from the network's functions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvnmd.cli.common import add_command, need, positive
from nvnmd.cli.output import TextTable, add_json, show_json, show_table
from nvnmd.errors import InputError
from nvnmd.messages import log
from nvnmd.reports.fonts import prepare_fonts

if TYPE_CHECKING:
    from nvnmd.reports.measure import TablesSeen

MOST_ATOMS = 20_000


def add_commands(commands: Any) -> None:
    """Add the command of this group."""
    parser = add_command(
        commands, "tables", run, summary="errors of a model's tables, in both layouts",
        description="Compare the tables of a frozen model, and those of the other layout, with the "
                    "functions of its continuous network: largest error and where it is, root mean "
                    "square, and that over the data's own pairs. It reads; `nvnmd map` builds.",
        examples=["nvnmd_qnn/model.nvnmd", "nvnmd_demo -s data/validation -o figures"])
    parser.add_argument("model", metavar="MODEL",
                        help="model.nvnmd, or a folder that holds one")
    parser.add_argument("-s", "--system", metavar="SYSTEM", action="append", default=[],
                        help="data whose pairs are counted, may be repeated (default: those of "
                             "the input documents beside the model, if there are any)")
    parser.add_argument("-t", "--type-map", metavar="NAME", nargs="+", default=[],
                        help="element names for a model.pb, which holds none")
    parser.add_argument("--atoms", metavar="N", type=positive, default=MOST_ATOMS,
                        help="count pairs of frames with about N atoms in all (default: "
                             f"{MOST_ATOMS})")
    parser.add_argument("-o", "--output", metavar="DIR", type=Path,
                        help="folder for the figures, which is made if missing (default: none are "
                             "drawn)")
    parser.add_argument("--format", choices=("svg", "png", "pdf"), default="svg",
                        help="form of the figures (default: svg)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Run `nvnmd tables`."""
    if args.output is not None:
        need("tables -o", "report", "matplotlib")
        prepare_fonts()
        if args.output.exists() and not args.output.is_dir():
            raise InputError(f"{args.output}: a file is in the way, expected a folder")
    from nvnmd.reports.numbers import TableErrors, numbers_of

    found = numbers_of("tables", args.model, systems=args.system, type_map=args.type_map,
                       most_atoms=args.atoms)
    assert isinstance(found, TableErrors)
    if args.json:
        show_json("tables", found.json())
    else:
        _show(str(args.model), found.seen)
    if args.output is not None:
        from nvnmd.reports.drawing import to_file

        args.output.mkdir(parents=True, exist_ok=True)
        for name, draw in found.figures():
            path = args.output / f"tables_{name}.{args.format}"
            to_file(draw, path)
            if not args.json:
                log(str(path))
    return 0


def _show(model: str, seen: TablesSeen) -> None:
    table = TextTable(
        ("layout", "function", ">largest error", ">at", ">at r, Å", ">RMS", ">RMS over data"),
        title=f"{model}: tables of the layout {seen.layout}, from {seen.smallest:.4f} Å; "
              f"{seen.pairs} pairs")
    for layout, errors in ((seen.layout, seen.errors), *seen.others.items()):
        for error in errors:
            distance = f"{error.where**0.5:.4f}" if error.argument == "u" else ""
            weighted = seen.over_data(error)
            table.add(layout, error.name, f"{error.largest:.2e}",
                      f"{error.argument} = {error.where:.4f}", distance, f"{error.rms:.2e}",
                      "" if weighted is None else f"{weighted:.2e}")
    show_table(table)
