"""What the commands share: parsers, messages, and the search for what a command needs."""

from __future__ import annotations

import argparse
import importlib.util
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvnmd.errors import ModelFileError, ToolMissingError

if TYPE_CHECKING:
    from nvnmd.boards.client import Board

Run = Callable[[argparse.Namespace], int]
MODEL_NAME = "model.nvnmd"


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the line ends of descriptions and examples; wide enough for one line per command."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=100)


def add_command(commands: Any, name: str, run: Run, *, summary: str, description: str,
                examples: Sequence[str]) -> argparse.ArgumentParser:
    """Add a command whose help ends with examples."""
    parser = commands.add_parser(
        name, help=summary, description=textwrap.fill(description, 90),
        epilog="examples:\n" + "\n".join(f"  nvnmd {name} {line}".rstrip() for line in examples),
        formatter_class=HelpFormatter)
    parser.set_defaults(run=run)
    return parser


def add_overflow(parser: argparse.ArgumentParser) -> None:
    """Add the option that says how neighbours beyond `sel` are treated."""
    parser.add_argument("--overflow", choices=("error", "truncate"), default="error",
                        help="an atom with more neighbours than sel: an error, or drop the "
                             "farthest of the type with a warning (default: error)")


def add_mode(parser: argparse.ArgumentParser) -> None:
    """Add the option that chooses the words of the integer network: the graph's or a machine's."""
    parser.add_argument("--mode", choices=("graph", "machine"),
                        help="only for version 1, SUB_VERSION 2: the bits of DeePMD-kit's graph, "
                             "or those of the hardware (machine) (default: graph, if the model "
                             "holds its numbers)")


def add_board(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where a board is."""
    parser.add_argument("--board", metavar="WHERE", default="sim",
                        help="the board: sim (a simulated one of its own), HOST:PORT, or a serial "
                             "port (default: sim)")


BACKENDS = ("float", "fixed", "sim", "board")


def add_backend(parser: argparse.ArgumentParser, ranks: bool = False) -> None:
    """Add the options that say what computes, for commands that move atoms."""
    parser.add_argument("--backend", choices=BACKENDS, default="fixed",
                        help="float: the nets before quantization; fixed: the integer network; "
                             "sim: the simulated hardware; board: a board (default: fixed)")
    if ranks:
        parser.add_argument("--board", metavar="WHERE", default="sim",
                            help="the boards, one for each rank, separated by commas: "
                                 "HOST:PORT or a serial port; or sim, a simulated one of its own "
                                 "for each (default: sim)")
    else:
        add_board(parser)


@contextmanager
def open_backend(args: argparse.Namespace) -> Iterator[Any]:
    """What `Potential.evaluate` takes as a backend, for the options of `add_backend`."""
    if args.backend == "sim":
        from nvnmd.sim.simulators import check_simulation_tools

        check_simulation_tools()
    with open_board(args, args.backend == "board") as board:
        yield args.backend if board is None else board


@contextmanager
def open_board(args: argparse.Namespace, wanted: bool = True) -> Iterator[Board | None]:
    """Open the board of `add_board` and give it back; nothing where none is wanted."""
    if not wanted:
        yield None
        return
    need(args.command, "hdl", "amaranth")
    from nvnmd.boards.connect import connect

    folds = {name: getattr(args, name) for name in ("fold", "fit_cols", "fit_rows", "fit_atoms")
             if hasattr(args, name)}
    if hasattr(args, "preset"):
        folds["size"] = args.preset
    with connect(args.board, **folds) as board:
        yield board


def positive(text: str) -> int:
    """Argument type: an integer above 0."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value <= 0:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected an integer above 0")
    return value


def need(command: str, extra: str, *modules: str) -> None:
    """Raise ToolMissingError where a module that the command needs is not installed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ToolMissingError(f"{command}: {', '.join(missing)} not installed; "
                               f"pip install 'nvnmd[{extra}]'")


def model_path(text: str) -> Path:
    """Path of a model file, given itself or as the folder that `train-qnn` wrote."""
    path = Path(text)
    if path.is_dir():
        if not (path / MODEL_NAME).exists() and (path / "weight.npy").is_file():
            raise ModelFileError(f"{path}: holds no {MODEL_NAME}, as the folder of `train-cnn`; "
                                 "expected the folder of `train-qnn`, or what `nvnmd import` made "
                                 "of DeePMD-kit's files")
        path = path / MODEL_NAME
    if not path.is_file():
        raise ModelFileError(f"{path}: no such file, expected the {MODEL_NAME} of `train-qnn`")
    return path


def nearest(word: str, known: Iterable[str]) -> str:
    """Say what a word was perhaps meant to be; nothing where nothing is near."""
    import difflib

    found = difflib.get_close_matches(word, list(known), 1)
    return f": the nearest is {found[0]}" if found else ""
