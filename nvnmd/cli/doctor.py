"""`nvnmd doctor`: what is installed, and what is missing for what."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from nvnmd.cli.common import add_command, nearest
from nvnmd.cli.output import TextTable, add_json, show_json, show_table
from nvnmd.errors import InputError
from nvnmd.messages import log


def add_commands(commands: Any) -> None:
    """Add the command of this group."""
    parser = add_command(
        commands, "doctor", run, summary="what is installed, and what is missing for what",
        description="Show the libraries and programs of others, their versions, the commands that "
                    "want what is missing, and what installs it. With --for the exit code is 0 if "
                    "that command has all it needs, else 1; its libraries are imported then.",
        examples=["", "--for simulate", "--for train-cnn --json"])
    parser.add_argument("--for", metavar="COMMAND", dest="command",
                        help="look at what this command needs")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Run `nvnmd doctor`; 1 if the command named does not work."""
    from nvnmd.reports.doctor import NEEDS, disabled, examine

    if args.command is not None and args.command not in NEEDS:
        hint = nearest(args.command, NEEDS) or f", expected one of {', '.join(NEEDS)}"
        raise InputError(f"--for: got {args.command!r}{hint}")
    parts = examine(args.command)
    lost = disabled(parts)
    works = args.command is None or args.command not in lost
    if args.json:
        show_json("doctor", {"command": args.command, "works": works, "disabled": lost,
                             "parts": [asdict(part) for part in parts]})
        return 0 if works else 1
    table = TextTable(("part", "version", "needs", "state"))
    for part in parts:
        table.add(part.name, part.version or "-", part.needs or "any",
                  part.where if part.works else f"MISSING: {part.where}")
    show_table(table)
    for part in parts:
        if not part.works:
            lacking = ", ".join(part.commands) or part.use
            log(f"{part.name}: without it no {lacking}; {part.cure}")
    if args.command is not None:
        log(f"{args.command}: {'works' if works else 'does not work'}")
    else:
        less = "" if all(part.works for part in parts) else ", but for the uses named above"
        log(f"do not work: {', '.join(lost)}" if lost else f"every command works{less}")
    return 0 if works else 1
