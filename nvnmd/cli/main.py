"""The command line: one module per group of commands, imported without anything heavy."""

from __future__ import annotations

import argparse
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from nvnmd.atomic_file import FULL
from nvnmd.cli import (
    boards,
    compare,
    completion,
    convert,
    demo,
    doctor,
    dynamics,
    exchange,
    hardware,
    info,
    init,
    inputs,
    ipi,
    lammps,
    presets,
    report,
    tables,
    test,
    train,
    widths,
)
from nvnmd.cli.common import HelpFormatter, nearest
from nvnmd.errors import InputError, NvnmdError, Terminated

DESCRIPTION = """\
Train a Deep Potential in two stages (a continuous network, then its quantized form), freeze it into
one integer model, write the accelerator that computes it, and prove by simulation that hardware and
model give the same bits.
"""

# `nvnmd --help`, docs/commands.md and docs/README.md show the commands in these groups. A new
# command is a module with `add_commands`, named in the group where a user would look for it.
GROUPS = (
    ("start here", (demo, doctor, completion)),
    ("data and input", (init, convert, inputs)),
    ("training", (train,)),
    ("evaluation", (test, compare, report, info, tables, widths)),
    ("molecular dynamics", (dynamics, lammps, ipi)),
    ("hardware", (hardware, presets, boards)),
    ("files of other programs", (exchange,)),
)

EXAMPLES = """\
examples:
  nvnmd demo                                      the whole chain, on data that it makes itself
  nvnmd convert OUTCAR -f vasp/outcar -o data     labelled frames of another program
  nvnmd check input.json                          every mistake of an input document
  nvnmd train-cnn input.json                      the continuous network and its tables
  nvnmd train-qnn input.json                      the quantized network: nvnmd_qnn/model.nvnmd
  nvnmd test -m nvnmd_qnn/model.nvnmd -s data     errors of the model on labelled data
  nvnmd export-hdl nvnmd_qnn/model.nvnmd -o hdl   Verilog, load image, manifest, stimulus
  nvnmd simulate nvnmd_qnn/model.nvnmd -s data    hardware against integer model, word by word
"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and errors of the program.

    Where a word is no command or no option, the line ends with the nearest one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.commands: dict[str, Parser] = {}
        self.command_action: argparse.Action | None = None
        self._given: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and keep the words for `error`."""
        self._given = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        words = self._given
        if self.commands and words and words[0][:1] != "-" and words[0] not in self.commands:
            raise InputError(f"argument COMMAND: invalid choice: {words[0]!r}"
                             f"{nearest(words[0], self.commands)}; see `{self.prog} --help`")
        parser = self.commands.get(words[0], self) if words else self
        known = re.findall(r"--[a-z][a-z-]*", parser.format_help())
        options = [word.partition("=")[0] for word in words if word.startswith("--")]
        hints = [f"; {option}{nearest(option, known)}" for option in options
                 if not any(name.startswith(option) for name in known)
                 and nearest(option, known)]
        raise InputError(f"{message}{''.join(hints)}; see `{self.prog} --help`")


class Summaries:
    """Takes commands as argparse's collection does, and keeps the summary of each."""

    def __init__(self, commands: Any) -> None:
        self.commands = commands
        self.found: dict[str, str] = {}

    def add_parser(self, name: str, *, help: str, **settings: Any) -> argparse.ArgumentParser:
        """Add a command to the collection."""
        self.found[name] = help
        return self.commands.add_parser(name, help=help, **settings)


class ShowVersion(argparse.Action):
    """Print the version; reading it costs time, so only on demand."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from nvnmd.version import program_version

        print(f"nvnmd {program_version()}")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """Parser with every command; a command's function is in `args.run`."""
    return build_groups()[0]


def build_groups() -> tuple[Parser, dict[str, dict[str, str]]]:
    """Parser with every command, and what each does in one line, by group and name."""
    parser = Parser(prog="nvnmd", usage="nvnmd [-h] [--version] COMMAND ...",
                    description=DESCRIPTION, formatter_class=HelpFormatter)
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="show the version and exit")
    # argparse knows no groups of commands; they are listed in the epilog instead
    commands = parser.add_subparsers(prog="nvnmd", metavar="COMMAND", dest="command",
                                     required=True, help=argparse.SUPPRESS)
    summaries = Summaries(commands)
    groups: dict[str, dict[str, str]] = {}
    for title, modules in GROUPS:
        before = set(summaries.found)
        for module in modules:
            module.add_commands(summaries)
        groups[title] = {name: summary for name, summary in summaries.found.items()
                         if name not in before}
    listed = [f"{title}:\n" + "".join(f"  {name:17s}{line}\n" for name, line in lines.items())
              for title, lines in groups.items()]
    parser.epilog = "\n".join([*listed, EXAMPLES])
    parser.commands, parser.command_action = commands.choices, commands
    return parser, groups


def show_any_text() -> None:
    """Let both output streams replace what they cannot show, like the Å of many messages.

    Terminals and pipes have the encoding of the locale, which may be one without that letter.
    Files are always written in UTF-8.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and (
                stream.errors in ("strict", "surrogateescape")):
            stream.reconfigure(errors="replace")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code is 0, 1 (a failure), 2 (a mistake in the input), 130 or 143.

    These two are of Ctrl-C and SIGTERM, which end a command alike.
    """
    show_any_text()
    with _sigterm():
        return _run(argv)


@contextmanager
def _sigterm() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does."""
    def terminate(number: int, frame: object) -> NoReturn:
        raise Terminated("terminated")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(argv: Sequence[str] | None) -> int:
    """Run one command, and turn what ends it into a line and an exit code."""
    try:
        parser = build_parser()
        args = parser.parse_args(argv)
        args.parser = parser
        args.argv = sys.argv[1:] if argv is None else list(argv)
        return args.run(args) or 0
    except NvnmdError as error:
        # several mistakes of one document come as several lines, each complete
        for line in str(error).splitlines():
            print(f"nvnmd: error: {line}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as interrupt:
        print(f"nvnmd: {str(interrupt) or 'interrupted'}", file=sys.stderr)
        return 143 if isinstance(interrupt, Terminated) else 130
    except BrokenPipeError:
        # whoever read the output has stopped; a second failure while closing would be noise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        # no permission, a full disk, a folder that vanished: nothing that a traceback would explain
        if error.filename is None and error.errno not in FULL:
            raise
        place = f"{error.filename}: " if error.filename is not None else ""
        print(f"nvnmd: error: {place}{error.strerror}", file=sys.stderr)
        return 1
