"""`nvnmd boards`, `nvnmd build` and `nvnmd upload`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nvnmd.cli.common import add_command, model_path, need, positive
from nvnmd.cli.hardware import add_folds, config_of
from nvnmd.cli.output import TextTable, add_json, quiet, show_json, show_table
from nvnmd.cli.record import record
from nvnmd.errors import InputError
from nvnmd.messages import log, warn

# repeated here because their home imports the gateware; a test compares the two
NAMES = ("sim", "ulx3s-85f", "ecpix5-85f", "kc705", "genesys2", "vcu118")


def add_commands(commands: Any) -> None:
    """Add the commands of this group."""
    boards = add_command(
        commands, "boards", show_boards, summary="the boards, and what fits them",
        description="Print a table of the boards that the program knows: FPGA, clock, link, "
                    "resources, and what was checked. With --model, also the resources that an "
                    "accelerator for this model takes on each. With --models, those of unmodified "
                    "DeePMD-kit models. With --run, run a simulated board that `nvnmd build` made, "
                    "until Ctrl-C.",
        examples=["", "--model nvnmd_qnn --fold 8", "--models", "--run board_out --port 4000"])
    boards.add_argument("--model", metavar="MODEL", help="model.nvnmd, or the folder that holds it")
    boards.add_argument("--models", action="store_true",
                        help="print instead which boards fit an unmodified DeePMD-kit model, by "
                             "version and types; takes seconds")
    boards.add_argument("--run", metavar="DIR", type=Path, dest="program",
                        help="run the simulated board in this folder of `nvnmd build`")
    boards.add_argument("--host", metavar="ADDRESS", default="127.0.0.1",
                        help="IPv4 address where --run listens (default: 127.0.0.1, for programs "
                             "of this machine only)")
    boards.add_argument("--port", metavar="N", type=int, default=0,
                        help="TCP port of --run (default: any that is free)")
    add_folds(boards)
    add_json(boards)

    build = add_command(
        commands, "build", build_board, summary="a bitstream or a simulated board for a model",
        description="Build the accelerator of a model, behind the link to a host, for a board: the "
                    "program of a simulated board, a bitstream by Yosys, nextpnr and ecppack, or a "
                    "project for Vivado; with a report of resources, clock, cycles, tools and "
                    "digests.",
        examples=["nvnmd_qnn/model.nvnmd -o board_out",
                  "nvnmd_qnn --board ulx3s-85f --clock 25 -o ulx3s_out",
                  "--echo --board ecpix5-85f -o echo_out"])
    build.add_argument("model", metavar="MODEL", nargs="?",
                       help="model.nvnmd, or the folder that holds it")
    build.add_argument("--echo", action="store_true",
                       help="instead of a model: the link with an echo behind it, for tests of a "
                            "board")
    build.add_argument("--board", choices=NAMES, default="sim", help="the board (default: sim)")
    build.add_argument("-o", "--output", metavar="DIR", type=Path, required=True,
                       help="output folder")
    build.add_argument("--clock", metavar="MHZ", type=positive,
                       help="clock of an FPGA (default: 25 on an ECP5, with --echo 50; others 100)")
    build.add_argument("--seed", metavar="N", type=positive, default=1,
                       help="seed of the placement (default: 1)")
    add_folds(build)
    add_json(build)

    upload = add_command(
        commands, "upload", run_upload, summary="a bitstream, or a model, onto a board",
        description="Send a bitstream to a board through openFPGALoader, then a model over the "
                    "link, verified by the check that the board computed over what arrived. "
                    "Another model of the same sizes needs no new bitstream.",
        examples=["--model nvnmd_qnn", "--board ulx3s-85f --bitstream ulx3s_out/top.bit",
                  "--board ulx3s-85f --model nvnmd_qnn --serial /dev/ttyUSB0",
                  "--model nvnmd_qnn --serial 127.0.0.1:4000"])
    upload.add_argument("--board", choices=NAMES, default="sim", help="the board (default: sim)")
    upload.add_argument("--bitstream", metavar="F", type=Path, help="bitstream of `nvnmd build`")
    upload.add_argument("--model", metavar="MODEL", help="model.nvnmd, or the folder that holds it")
    upload.add_argument("--cable", metavar="C", help="another cable than the board's own, "
                        "by openFPGALoader's name")
    upload.add_argument("--serial", metavar="S",
                        help="where the board's link is: a serial port, or HOST:PORT of a "
                             "simulated board (default: a simulated board of its own)")
    upload.add_argument("--flash", action="store_true",
                        help="write the bitstream into the board's flash memory, which keeps it "
                             "without power")
    upload.add_argument("--dry-run", action="store_true", help="only say what would be done")


def show_boards(args: argparse.Namespace) -> int:
    """Run `nvnmd boards`."""
    if args.program is not None:
        if args.json:
            raise InputError("--json: got it with --run, which prints no table; expected one of "
                             "the two")
        return _run_board(args)
    need("boards", "hdl", "amaranth")
    if args.models:
        if args.model is not None:
            raise InputError("--models: got it with --model, expected one of the two")
        return _show_models(args)
    from nvnmd.boards.catalog import all_boards

    head = ["board", "FPGA", ">oscillator, MHz", "link", ">LUT", ">multipliers", ">memory blocks",
            "checked"]
    cfg = None
    if args.model is not None:
        from nvnmd.quantize.model import Model

        cfg = config_of(args, Model.load(model_path(args.model)))
        head.append("the model takes")
    table = TextTable(tuple(head))
    found = []
    for board in all_boards():
        have = [board.luts, board.multipliers, board.memories]
        row = [board.name, board.part, f"{board.oscillator / 1e6:g}", board.link,
               *(str(count) if board.fpga else "-" for count in have), board.checked]
        takes = None if cfg is None else _takes(cfg, board)
        if takes is not None:
            row.append(takes)
        table.add(*row)
        known = have if board.fpga else [None] * 3
        found.append({"name": board.name, "part": board.part, "oscillator": board.oscillator,
                      "link": board.link, "luts": known[0], "multipliers": known[1],
                      "memories": known[2], "checked": board.checked, "takes": takes})
    if args.json:
        show_json("boards", {"boards": found})
    else:
        show_table(table)
        log("no physical board was touched yet")
    return 0


def _takes(cfg: Any, board: Any) -> str:
    from nvnmd.boards.fit import need_of

    if not board.fpga:
        return "any"
    found = need_of(cfg, board)
    return f"{found}: {'fits, logic not counted' if found.fits else 'does not fit'}"


def _show_models(args: argparse.Namespace) -> int:
    from nvnmd.boards.catalog import all_boards
    from nvnmd.boards.fit import DEEPMD_MODELS, deepmd_needs
    from nvnmd.progress import Progress

    boards = [board for board in all_boards() if board.fpga]
    table = TextTable(("version", ">types", ">neighbours", "board", ">multipliers",
                       ">memory blocks", ">memory bits", ">bits there are", "takes it"))
    found = []
    with Progress("counting multipliers and memories", len(DEEPMD_MODELS)) as bar:
        for model, needs in deepmd_needs(boards):
            for one in needs:
                table.add(model.version, f"up to {model.types}", model.neighbors, one.board.name,
                          f"{one.multipliers} of {one.board.multipliers} {one.family.multiplier}",
                          f"{one.memories} of {one.board.memories} {one.family.memory}",
                          one.bits, one.bits_available, "yes" if one.fits else "no")
                found.append({
                    "version": model.version, "types": model.types, "neighbors": model.neighbors,
                    "board": one.board.name, "multipliers": one.multipliers,
                    "multipliers_available": one.board.multipliers, "memories": one.memories,
                    "memories_available": one.board.memories, "bits": one.bits,
                    "bits_available": one.bits_available, "takes": one.fits})
            bar.tick()
    if args.json:
        show_json("board-models", {"models": found})
    else:
        show_table(table)
        log("logic is not counted; the board sim takes any")
    return 0


def _run_board(args: argparse.Namespace) -> int:
    need("boards --run", "hdl", "amaranth")
    from nvnmd.boards.simulated import LOOPBACK, BoardProcess
    from nvnmd.errors import InputError

    program = args.program / "nvnmd_board"
    if not program.is_file():
        raise InputError(f"{program}: no such file, expected a folder of `nvnmd build --board sim`")
    if not 0 <= args.port < 65536:
        raise InputError(f"--port: got {args.port}, expected 0 to 65535")
    with BoardProcess(program, host=args.host, port=args.port) as process:
        if args.host != LOOPBACK:
            warn(f"listens on {args.host}: whoever reaches this machine can use the board, and no "
                 "password is asked")
        log(f"{process.host}:{process.port}")
        log(process.terminal)
        return process.wait()


def build_board(args: argparse.Namespace) -> int:
    """Run `nvnmd build`."""
    from nvnmd.errors import InputError

    if args.echo == (args.model is not None):
        raise InputError("build: got neither a MODEL nor --echo, or both; expected one of them")
    path = None if args.echo else model_path(args.model)
    need("build", "hdl", "amaranth")
    from nvnmd.boards.build import build, table
    from nvnmd.boards.catalog import find_board
    from nvnmd.progress import elapsing
    from nvnmd.quantize.model import Model

    with elapsing("building"):
        report = build(None if path is None else Model.load(path), find_board(args.board),
                       args.output, size=args.preset, fold=args.fold, fit_cols=args.fit_cols,
                       fit_rows=args.fit_rows, fit_atoms=args.fit_atoms,
                       clock=None if args.clock is None else 1e6 * args.clock, seed=args.seed,
                       say=quiet if args.json else log)
    record(args.output, args)
    if args.json:
        show_json("build", {"output": args.output, **report})
        return 0
    shown = TextTable(("what", "value"))
    for row in table(report):
        shown.add(*row)
    show_table(shown)
    log(f"report: {args.output / 'report.json'}")
    return 0


def run_upload(args: argparse.Namespace) -> int:
    """Run `nvnmd upload`."""
    from nvnmd.errors import InputError

    if args.bitstream is None and args.model is None:
        raise InputError("upload: got nothing to upload, expected --bitstream, --model or both")
    path = None if args.model is None else model_path(args.model)
    if path is not None and args.board != "sim" and args.serial is None:
        raise InputError(f"upload: --serial is missing, expected the serial port of {args.board}")
    need("upload", "hdl", "amaranth")
    from nvnmd.boards.catalog import find_board
    from nvnmd.boards.fit import check_model
    from nvnmd.boards.upload import upload_bitstream
    from nvnmd.quantize.model import Model

    board = find_board(args.board)
    model = None if path is None else Model.load(path)
    if model is not None and board.fpga:
        check_model(model, board)
    if args.bitstream is not None:
        upload_bitstream(board, args.bitstream, cable=args.cable, flash=args.flash,
                         dry_run=args.dry_run, say=log)
    if model is None:
        return 0
    from nvnmd.boards.connect import BAUD, connect
    from nvnmd.progress import counted

    where = args.serial or "sim"
    if args.dry_run:
        log(f"would load {path} ({model.digest}) over {where}")
        return 0
    with connect(where, baud=board.baud or BAUD) as opened:
        with counted("loading the model, beats of its image") as tell:
            found = opened.load(model, tell)
        log(f"{opened.session.transport.name}: holds {path}; memories read back, {found}, as in "
            f"the image; {opened.session.counters.sent} bytes sent, "
            f"{opened.session.counters.repeated} requests repeated")
    return 0
