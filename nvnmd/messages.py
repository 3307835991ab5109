"""Lines for whoever runs the program: progress on standard output, warnings on standard error."""

from __future__ import annotations

import sys


def log(line: str) -> None:
    """Show a line of progress."""
    print(line, flush=True)


def warn(line: str) -> None:
    """Show a warning."""
    print(f"nvnmd: warning: {line}", file=sys.stderr, flush=True)
