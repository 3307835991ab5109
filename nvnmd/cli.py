"""The command line: one module per group of commands, imported without anything heavy."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from nvnmd import (
    cli_compare,
    cli_convert,
    cli_demo,
    cli_exchange,
    cli_hardware,
    cli_input,
    cli_test,
    cli_train,
)
from nvnmd.atomic_file import FULL
from nvnmd.cli_common import HelpFormatter
from nvnmd.errors import InputError, NvnmdError

DESCRIPTION = """\
Train a Deep Potential in two stages (a float network, then its quantized form), turn it into the
model of a hardware accelerator, write the accelerator, and prove by simulation that it computes
the same bits.
"""

EXAMPLES = """\
examples:
  nvnmd convert OUTCAR -f vasp/outcar -o data     labelled frames, by dpdata
  nvnmd check input.json                          every mistake of an input document
  nvnmd train-cnn input.json                      the float network, and its tables
  nvnmd train-qnn input.json                      the quantized network: nvnmd_qnn/model.nvnmd
  nvnmd test -m nvnmd_qnn/model.nvnmd -s data     its errors against labelled data
  nvnmd export-hdl nvnmd_qnn/model.nvnmd -o hdl   Verilog, load image, manifest, stimulus
  nvnmd simulate nvnmd_qnn/model.nvnmd -s data    the hardware against the reference, bit by bit
  nvnmd import run -o model.nvnmd                 a model that DeePMD-kit trained
  nvnmd demo                                      all of it, on data that it makes itself
"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and errors of the program."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see `{self.prog} --help`")


class ShowVersion(argparse.Action):
    """Print the version; reading it costs time, so only on demand."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import nvnmd

        print(f"nvnmd {nvnmd.__version__}")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """Parser with every command; a command's function is in `args.run`."""
    parser = Parser(prog="nvnmd", description=DESCRIPTION, epilog=EXAMPLES,
                    formatter_class=HelpFormatter)
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)
    for group in (cli_input, cli_convert, cli_train, cli_test, cli_compare, cli_exchange,
                  cli_hardware, cli_demo):
        group.add_commands(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code is 0, 1 (a failure), 2 (a mistake in the input) or 130."""
    try:
        args = build_parser().parse_args(argv)
        return args.run(args) or 0
    except NvnmdError as error:
        # several mistakes of one document come as several lines, each complete
        for line in str(error).splitlines():
            print(f"nvnmd: error: {line}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as interrupt:
        print(f"nvnmd: {str(interrupt) or 'interrupted'}", file=sys.stderr)
        return 130
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
