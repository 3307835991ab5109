"""`nvnmd demo`: the whole chain on data that the program labels itself."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvnmd.cli.common import add_command, need
from nvnmd.cli.output import (
    TextTable,
    add_json,
    error_numbers,
    quiet,
    show_json,
    show_table,
)
from nvnmd.cli.record import record
from nvnmd.errors import InputError
from nvnmd.messages import log

if TYPE_CHECKING:
    from nvnmd.boards.proof import BoardRun
    from nvnmd.demo.run import Report


def add_commands(commands: Any) -> None:
    """Add the command of this group."""
    parser = add_command(
        commands, "demo", run, summary="run the whole chain on a small alloy",
        description="Make a data set of copper-gold (version 1: of copper, silver, gold, nickel "
                    "and palladium), labelled with ASE's effective medium theory, train both "
                    "networks, write the accelerator, simulate it, and show what came out in one "
                    "table.",
        examples=["", "-o my_demo", "--version 1", "--board sim", "--data-only -o tutorial"])
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, default=Path("nvnmd_demo"),
                        help="output folder (default: nvnmd_demo)")
    parser.add_argument("--version", type=int, choices=(0, 1), default=0,
                        help="NVNMD version (default: 0)")
    parser.add_argument("--board", metavar="WHERE",
                        help="evaluate the simulated frame on a board, too: sim (a simulated one), "
                             "HOST:PORT, or a serial port")
    parser.add_argument("--data-only", action="store_true",
                        help="write the data and the input documents, and stop")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Run `nvnmd demo`; 1 if the simulation failed."""
    if args.data_only:
        need("demo --data-only", "demo", "ase")
        if args.json:
            raise InputError("--json: got it with --data-only, which comes to no figures; expected "
                             "one of the two")
        from nvnmd.demo.run import prepare_inputs

        prepare_inputs(args.output, args.version)
        return 0
    need("demo", "all", "ase", "tensorflow", "amaranth", "cocotb")
    from nvnmd.demo.run import run_demo

    report = run_demo(args.output, args.version, quiet if args.json else log)
    simulation = report.simulation
    assert simulation is not None
    board = None if args.board is None else _on_board(args)
    record(args.output, args)
    if args.json:
        show_json("demo", figures(args.output, report) | {
            "board": None if board is None else board.summary})
    else:
        log("")
        show_table(summary(args.output, report))
        for line in simulation.lines()[1:]:
            log(line)
        log(simulation.line)
        if board is not None:
            # the line that scripts look for is the last
            for line in ("", "== board", *reversed(board.lines())):
                log(line)
    return 1 if simulation.problems or (board is not None and not board.equal) else 0


def _on_board(args: argparse.Namespace) -> BoardRun:
    """The frame that was simulated, on a board behind its link."""
    import numpy as np

    from nvnmd.boards.connect import connect
    from nvnmd.boards.proof import run_on_board
    from nvnmd.demo.run import FOLD, last_frame
    from nvnmd.progress import elapsing
    from nvnmd.quantize.model import Model

    model = Model.load(args.output / "nvnmd_qnn" / "model.nvnmd")
    hood = last_frame(args.output, model)
    with connect(args.board, fold=FOLD) as board, elapsing("board"):
        return run_on_board(board, model, hood, np.arange(len(hood.center_types)))


def summary(folder: Path, report: Report) -> TextTable:
    """Everything in one table."""
    from nvnmd.demo.run import FOLD, sizes

    table = TextTable(("what", ">energy, meV/atom", ">force, eV/Å", ">virial, meV/atom"),
                      title=f"nvnmd demo: {report.title}")
    rows = {f"RMSE of the {name}": errors for name, errors in report.errors.items()}
    for name, errors in {**rows, "cost of quantization (RMS)": report.cost}.items():
        table.add(name, f"{1e3 * errors['energy_peratom'].rmse:.3g}",
                  f"{errors['force'].rmse:.3g}", f"{1e3 * errors['virial_peratom'].rmse:.3g}")
    simulation = report.simulation
    assert simulation is not None
    table.add("RTL against the continuous network (RMS)", f"{1e3 * simulation.energy_rms:.3g}",
              f"{simulation.force_rms:.3g}", "")
    table.add("words of RTL and reference", f"{simulation.compared} compared",
              f"{simulation.differing} differ", "")
    table.add(f"cycles per atom (fold {FOLD})", f"{simulation.cycles_per_atom:.0f}", "", "")
    for title, seconds in report.seconds.items():
        table.add(title, f"{seconds:.0f} s", "", "")
    for name, (files, size) in sizes(folder).items():
        table.add(str(folder / name), f"{files} files", f"{size / 1e6:.1f} MB", "")
    return table


def figures(folder: Path, report: Report) -> dict[str, Any]:
    """The same in JSON's types."""
    from nvnmd.demo.run import sizes

    assert report.simulation is not None
    return {
        "folder": str(folder), "title": report.title, "seconds": report.seconds,
        "errors": {name: error_numbers(errors) for name, errors in report.errors.items()},
        "cost": error_numbers(report.cost), "simulation": report.simulation.summary,
        "parts": {name: {"files": files, "bytes": size}
                  for name, (files, size) in sizes(folder).items()},
    }
