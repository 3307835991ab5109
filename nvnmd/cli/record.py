"""Keeps the command line that made a folder in it, for the report."""

from __future__ import annotations

import argparse
import json
import shlex
import time
from pathlib import Path

COMMANDS = "commands.json"
_MOST_TEXT = 16 << 20


def record(folder: Path, args: argparse.Namespace, *, after: bool = False) -> Path:
    """Write `commands.json`: each command line with the program's version and when it ended.

    Parameters
    ----------
    folder : Path
        What the command made.
    args : Namespace
        With `argv`, as `main` puts it there.
    after : bool
        Keep earlier lines, as that of a training that was continued; else they are replaced.

    Returns
    -------
    Path
        The file.
    """
    from nvnmd.atomic_file import atomic_write
    from nvnmd.version import program_version

    path = folder / COMMANDS
    entry = {"line": shlex.join(["nvnmd", *args.argv]), "nvnmd": program_version(),
             "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    content = {"commands": [*(_earlier(path) if after else []), entry]}
    with atomic_write(path) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())
    return path


def _earlier(path: Path) -> list[object]:
    """Lines of a file that this program wrote; one that is damaged has none."""
    from nvnmd.regular_file import text_of

    try:
        found = json.loads(text_of(path, _MOST_TEXT))["commands"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    return found if isinstance(found, list) else []
