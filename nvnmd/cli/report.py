"""`nvnmd report` and `nvnmd plot`: what a run came to, as a page or as files."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvnmd.cli.common import add_command, need, positive
from nvnmd.errors import InputError
from nvnmd.messages import log, warn
from nvnmd.reports.fonts import prepare_fonts

if TYPE_CHECKING:
    from nvnmd.progress import Progress

MOST_ATOMS = 20_000
KINDS = ("lcurve", "parity", "tables", "budget")
FORMATS = ("svg", "png", "pdf")


def add_commands(commands: Any) -> None:
    """Add the commands of this group."""
    report = add_command(
        commands, "report", run_report, summary="one page that shows what a run came to",
        description="Write one self-contained HTML page: learning curves, predictions beside "
                    "labels, errors, tables, error budget of the quantization, hardware, and where "
                    "everything comes from. With several folders the others are compared with the "
                    "first.",
        examples=["nvnmd_demo -o report.html", "run_a run_b -o both.html -s data/validation"])
    report.add_argument("folders", metavar="DIR", nargs="+",
                        help="a folder with nvnmd_cnn and nvnmd_qnn, one of these, or a model")
    report.add_argument("-o", "--output", metavar="FILE", type=Path, default=Path("report.html"),
                        help="the page to write (default: report.html)")
    _add_data(report)

    plot = add_command(
        commands, "plot", run_plot, summary="the report's figures as files",
        description="Write figures of the report as files: learning curves, predictions beside "
                    "labels, errors of the tables, or the error budget of the quantization.",
        examples=["lcurve nvnmd_demo", "budget nvnmd_demo -o figures --format pdf",
                  "tables nvnmd_qnn -s data/validation --json"])
    plot.add_argument("kind", choices=KINDS, help="which figures")
    plot.add_argument("folder", metavar="DIR", help="a folder or a model, as for `nvnmd report`")
    plot.add_argument("-o", "--output", metavar="DIR", type=Path, default=Path("."),
                      help="folder for the files, which is made if missing (default: this one)")
    plot.add_argument("--format", choices=FORMATS, default="svg",
                      help="what to write (default: svg)")
    plot.add_argument("--json", action="store_true",
                      help="print the numbers behind the figures (docs/json.md), and write none")
    _add_data(plot)


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-s", "--system", metavar="SYSTEM", action="append", default=[],
                        help="data to measure on, may be repeated (default: those of the input "
                             "documents, validation before training)")
    parser.add_argument("-t", "--type-map", metavar="NAME", nargs="+", default=[],
                        help="element names for a model.pb, which holds none")
    parser.add_argument("--atoms", metavar="N", type=positive, default=MOST_ATOMS,
                        help="evaluate frames with about N atoms in all, spread over the data "
                             f"(default: {MOST_ATOMS})")


def run_report(args: argparse.Namespace) -> int:
    """Run `nvnmd report`."""
    need("report", "report", "matplotlib")
    prepare_fonts()
    _check_place(args.output)
    from nvnmd.progress import Progress
    from nvnmd.reports.page import write_report

    bars: list[Progress] = []

    def start(total: int) -> Callable[[], None]:
        bars.append(Progress("report", total).__enter__())
        return bars[-1].tick

    try:
        runs = write_report(args.folders, args.output, systems=args.system, type_map=args.type_map,
                            most_atoms=args.atoms, start=start)
    finally:
        for bar in bars:
            bar.__exit__()
    for run in runs:
        for note in run.notes:
            warn(f"{run.path}: {note}")
    log(f"report: {args.output} ({args.output.stat().st_size} bytes)")
    return 0


def _check_place(output: Path) -> None:
    """Refuse a place where no file can be, before anything is measured."""
    if output.is_dir():
        raise InputError(f"{output}: a folder is in the way, expected a file to write")
    if not output.absolute().parent.is_dir():
        raise InputError(f"{output}: its folder does not exist")


def run_plot(args: argparse.Namespace) -> int:
    """Run `nvnmd plot`."""
    if not args.json:
        need("plot", "report", "matplotlib")
        prepare_fonts()
        if args.output.exists() and not args.output.is_dir():
            raise InputError(f"{args.output}: a file is in the way, expected a folder")
    from nvnmd.progress import Progress
    from nvnmd.reports.numbers import numbers_of

    with Progress(args.kind, 1) as bar:
        found = numbers_of(args.kind, args.folder, systems=args.system, type_map=args.type_map,
                           most_atoms=args.atoms, start=bar.restart)
    if args.json:
        from nvnmd.cli.output import show_json

        show_json(f"plot.{args.kind}", found.json())
        return 0
    from nvnmd.reports.drawing import to_file

    figures = list(found.figures())
    if not figures:
        wanted = "columns as rmse_f_trn in lcurve.out" if args.kind == "lcurve" else "labels"
        raise InputError(f"{args.folder}: no numbers to draw, expected {wanted}")
    args.output.mkdir(parents=True, exist_ok=True)
    for name, draw in figures:
        path = args.output / f"{args.kind}_{name}.{args.format}"
        to_file(draw, path)
        log(str(path))
    return 0
