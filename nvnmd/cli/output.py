"""Tables and JSON: rich on a terminal, plain aligned text where the output is piped."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nvnmd.evaluation.evaluate import Errors

GAP = "  "


@dataclass
class TextTable:
    """A table to print.

    Attributes
    ----------
    columns : sequence of str
        Their titles; one that begins with ">" is set to the right.
    title : str
        Above the table; none if empty.
    rows : list of sequences of str
        One text per column.
    """

    columns: Sequence[str]
    title: str = ""
    rows: list[Sequence[str]] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        """Append a row."""
        self.rows.append([str(cell) for cell in cells])


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the option that prints JSON instead of text."""
    parser.add_argument("--json", action="store_true",
                        help="print one JSON document (docs/json.md) instead of text")


def quiet(line: str) -> None:
    """Take a line of progress, and show none of it: that of a command which prints JSON."""


def on_terminal() -> bool:
    """Whether a person is looking."""
    return sys.stdout.isatty()


def show_table(table: TextTable) -> None:
    """Print a table; colours stay away where NO_COLOR is set."""
    if on_terminal():
        _show_rich(table)
    else:
        print("\n".join(plain_lines(table)), flush=True)


def plain_lines(table: TextTable) -> list[str]:
    """A table as aligned text, cells on one line each."""
    right = [title.startswith(">") for title in table.columns]
    heads = [title.removeprefix(">") for title in table.columns]
    rows = [[one_line(cell) for cell in row] for row in [heads, *table.rows]]
    widths = [max(len(row[k]) for row in rows) for k in range(len(heads))]
    lines = [one_line(table.title)] if table.title else []
    for number, row in enumerate(rows):
        if number or any(heads):
            cells = (cell.rjust(width) if to_right else cell.ljust(width)
                     for cell, width, to_right in zip(row, widths, right, strict=True))
            lines.append(GAP.join(cells).rstrip())
    return lines


def one_line(text: str) -> str:
    """Text with line ends and other control characters written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _show_rich(table: TextTable) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=Text(one_line(table.title)) if table.title else None, title_justify="left",
                  show_header=any(table.columns))
    for title in table.columns:
        shown.add_column(title.removeprefix(">"), overflow="fold",
                         justify="right" if title.startswith(">") else "left")
    for row in table.rows:
        # not as markup: a name may hold brackets
        shown.add_row(*(Text(one_line(cell)) for cell in row))
    Console().print(shown)


def show_json(kind: str, content: dict[str, Any]) -> None:
    """Print one JSON document; `schema` names its form (see `nvnmd.reports.schemas`)."""
    document = {"schema": f"nvnmd.{kind}.1", **content}
    print(json.dumps(plain(document), indent=1, ensure_ascii=False, allow_nan=False), flush=True)


def error_numbers(errors: dict[str, Errors]) -> dict[str, dict[str, float | str]]:
    """Errors in JSON's types."""
    return {key: {"mae": found.mae, "rmse": found.rmse, "count": found.count,
                  "unit": "eV/Å" if key == "force" else "eV"}
            for key, found in errors.items()}


def plain(value: Any) -> Any:
    """A value in JSON's types; what is not a finite number becomes null."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)
