"""Blocks of code in the documentation: what a page shows, and what of it is not run, and why."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

# the tutorial and the how-to pages, in the order in which `make docs-check` runs their blocks
RUN_PAGES = ("getting_started", "install", "data", "training", "evaluation", "simulation",
             "python", "dynamics", "exchange", "report", "restart", "external_programs",
             "distributed")
BLOCK = re.compile(r"(?:<!-- docs-check: (?:not run, (?P<reason>[^>]*?)|(?P<output>output)) -->\n)?"
                   r"^```(?P<language>[a-z]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes
    ----------
    line : int
        Line of the page where it begins, from 1.
    language : str
        Such as ``sh``, ``python``, ``text``.
    text : str
        What stands in it.
    reason : str
        Why `make docs-check` does not run it; empty if it does.
    output : bool
        Whether its lines must be among those that the block before it printed.
    """

    line: int
    language: str
    text: str
    reason: str = ""
    output: bool = False


def blocks_of(page: Path, *languages: str) -> list[Block]:
    """Blocks of a page in their order, of some languages."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        if match["language"] in languages:
            line = text.count("\n", 0, match.start("language")) + 1
            found.append(Block(line=line, language=match["language"], text=match["text"],
                               reason=match["reason"] or "", output=bool(match["output"])))
    return found


def commands_of(text: str, program: str) -> list[str]:
    """Command lines of a program in a block, each in one piece and without what follows a ``#``."""
    whole = text.replace("\\\n", " ")
    lines = [re.sub(r"\s+#.*", "", line).strip() for line in whole.splitlines()]
    return [line for line in lines if line.startswith(f"{program} ")]
