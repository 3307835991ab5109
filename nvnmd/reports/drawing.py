"""matplotlib for pages and files: reproducible SVG, colours that follow the reader's theme.

matplotlib and not a JavaScript library: its SVG needs no program on the reader's side, so a page
holds its figures, prints, and asks nobody for anything; and dpdata brings it along already.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from nvnmd.atomic_file import atomic_write
from nvnmd.errors import InputError
from nvnmd.reports.html import Markup, escaped
from nvnmd.reports.style import LIGHT

SUFFIXES = (".svg", ".png", ".pdf")


@dataclass(frozen=True)
class Palette:
    """Colours of a figure: text and axes, grid, and series one after the other."""

    ink: str
    grid: str
    series: tuple[str, ...]

    def __call__(self, number: int) -> str:
        """Colour of a series by number; they repeat."""
        return self.series[number % len(self.series)]


Draw = Callable[[Palette], Figure]

PAPER = Palette("#1a1a1a", "#d5d5d0", LIGHT)
"""A light page."""
MARKS = Palette("#0b0b01", "#0b0b02", tuple(f"#0b0c{k:02x}" for k in range(len(LIGHT))))
"""Colours that stand for those of the reader's theme, and become the page's own names of them."""


def new_figure(width: float = 4.6, height: float = 3.2, rows: int = 1,
               ratios: tuple[float, ...] | None = None) -> tuple[Figure, list[Axes]]:
    """A figure with axes one below the other, which share their x axis."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False, height_ratios=ratios)
    for one in axes[:, 0]:
        one.grid(True)
        one.set_axisbelow(True)
    return figure, list(axes[:, 0])


def powers(axis: Any, form: str = ".0e") -> None:
    """Label a logarithmic axis in plain text; between powers of ten only where it has few."""

    def between(value: float, _: object) -> str:
        low, high = sorted(axis.get_view_interval())
        label = format(value, form)
        return label if low > 0 and high / low < 12 and label[0] in "235" else ""

    axis.set_major_formatter(FuncFormatter(lambda value, _: format(value, form)))
    axis.set_minor_formatter(FuncFormatter(between))


def to_page(draw: Draw, prefix: str, label: str) -> Markup:
    """Draw a figure as inline SVG in the page's colours.

    Parameters
    ----------
    draw : callable
        Makes the figure.
    prefix : str
        Letters and digits that keep the figure's ids apart from those of others.
    label : str
        What it shows, for readers who do not see it.
    """
    text = _drawn(draw, MARKS, "svg", transparent=True).decode()
    text = text[text.index("<svg"):]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # width and height come from the page
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'\b(xlink:href|href)="#', rf'\1="#{prefix}-', text)
    text = text.replace("url(#", f"url(#{prefix}-")
    text = text.replace(MARKS.ink, "currentColor").replace(MARKS.grid, "var(--line)")
    for number, mark in enumerate(MARKS.series):
        text = text.replace(mark, f"var(--s{number})")
    return Markup(text.replace("<svg", f'<svg role="img" aria-label="{escaped(label)}"', 1))


def to_file(draw: Draw, path: Path) -> None:
    """Draw a figure into a file, all or nothing; its ending says in which format.

    Raises
    ------
    InputError
        The ending is none of `SUFFIXES`.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: got the ending {suffix!r}, expected one of "
                         f"{', '.join(SUFFIXES)}")
    data = _drawn(draw, PAPER, suffix[1:], transparent=False)
    with atomic_write(path) as file:
        file.write(data)


def _drawn(draw: Draw, palette: Palette, form: str, *, transparent: bool) -> bytes:
    # no dates: equal input gives equal files
    none = {"svg": ("Date", "Creator"), "pdf": ("CreationDate",)}.get(form, ())
    with matplotlib.rc_context(_settings(palette)):
        buffer = io.BytesIO()
        draw(palette).savefig(buffer, format=form, transparent=transparent, dpi=160,
                              metadata=dict.fromkeys(none))
    return buffer.getvalue()


def _settings(palette: Palette) -> Any:
    ink = ("axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "text.color", "xtick.color",
           "ytick.color")
    return dict.fromkeys(ink, palette.ink) | {
        # what stands in a name is not a formula
        "text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "nvnmd",
        "font.family": "sans-serif", "font.size": 10.0, "axes.titlesize": 10.5,
        "grid.color": palette.grid, "grid.linewidth": 0.6, "axes.linewidth": 0.8,
        "axes.spines.top": False, "axes.spines.right": False, "axes.formatter.limits": (-3, 4),
        "legend.frameon": False, "legend.fontsize": 9.0, "lines.linewidth": 1.4,
    }
