"""What the commands share: parsers, messages, and the search for what a command needs."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nvnmd.errors import ModelFileError, ToolMissingError

Run = Callable[[argparse.Namespace], int]
MODEL_NAME = "model.nvnmd"


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the line ends of descriptions and examples; wide enough for one line per command."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=100)
        # Python 3.11 forgets the indent of a list of commands when it places their column
        self._action_max_length = 14


def add_command(commands: Any, name: str, run: Run, *, summary: str, description: str,
                examples: Sequence[str]) -> argparse.ArgumentParser:
    """Add a command whose help ends with examples."""
    parser = commands.add_parser(
        name, help=summary, description=textwrap.fill(description, 90),
        epilog="examples:\n" + "\n".join(f"  nvnmd {name} {line}" for line in examples),
        formatter_class=HelpFormatter)
    parser.set_defaults(run=run)
    return parser


def add_overflow(parser: argparse.ArgumentParser) -> None:
    """Add the choice of what becomes of neighbours beyond `sel`."""
    parser.add_argument("--overflow", choices=("error", "truncate"), default="error",
                        help="an atom with more neighbours than sel: an error, or drop the "
                             "farthest of the type with a warning (default: error)")


def positive(text: str) -> int:
    """Argument type: an integer above 0."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value <= 0:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected an integer above 0")
    return value


def log(line: str) -> None:
    """Show a line of progress."""
    print(line, flush=True)


def warn(line: str) -> None:
    """Show a warning."""
    print(f"nvnmd: warning: {line}", file=sys.stderr, flush=True)


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
        path = path / MODEL_NAME
    if not path.is_file():
        raise ModelFileError(f"{path}: no such file, expected the {MODEL_NAME} of `train-qnn`")
    return path
