"""`nvnmd completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import argparse
from typing import Any

from nvnmd.cli.common import add_command, need

SHELLS = ("bash", "zsh", "tcsh")


def add_commands(commands: Any) -> None:
    """Add the command of this group."""
    parser = add_command(
        commands, "completion", run, summary="print a shell's completion of commands and options",
        description="Print what lets a shell complete commands and options; the shell reads it "
                    "once and starts no Python when it completes.",
        examples=["bash > ~/.local/share/bash-completion/completions/nvnmd",
                  "zsh > ~/.zfunc/_nvnmd"])
    parser.add_argument("shell", choices=SHELLS, help="which shell")


def run(args: argparse.Namespace) -> int:
    """Run `nvnmd completion`."""
    need("completion", "completion", "shtab")
    import shtab

    # shtab leaves out what the help leaves out, and there the commands are listed in groups
    args.parser.command_action.help = "command"
    print(shtab.complete(args.parser, shell=args.shell))
    return 0
