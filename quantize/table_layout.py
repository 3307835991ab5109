"""Where the rows of a table lie on its axis: a start and segments of equal steps.

A layout is shared by the table builder, the lookup and the hardware's row selection, so that
the question "which row, which offset" has one answer.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COARSE_STEP, SWITCHED_STEP = 2.0**-4, 2.0**-3
"""Step of the coarse rows of the G table: the usual one, and that of SUB_VERSION 2."""


@dataclass(frozen=True)
class Segment:
    """Rows of one step.

    Attributes
    ----------
    start : float
        Where the first row begins, counted from the table's `x0`.
    step : float
        Width of a row; a power of two, so that dividing by it is a shift.
    rows : int
        Number of rows.
    first_row : int
        Row index of the segment's first row in the whole table.
    """

    start: float
    step: float
    rows: int
    first_row: int

    def __post_init__(self) -> None:
        if not (self.step > 0.0 and math.frexp(self.step)[0] == 0.5):
            raise ValueError(f"the step of a table segment must be a power of two, not {self.step}")
        if self.rows < 1 or self.first_row < 0:
            raise ValueError(f"a table segment needs rows >= 1 and first_row >= 0, not {self}")

    @property
    def length(self) -> float:
        """Extent of the segment on the table's axis."""
        return self.rows * self.step


@dataclass(frozen=True)
class TableLayout:
    """Segments of a table, in the order in which the lookup tries them.

    Attributes
    ----------
    x0 : float
        Origin of the table's axis.
    segments : tuple of Segment
        Their rows follow one another without gaps; their ranges may overlap, the first that
        holds an argument is taken.
    half_open : bool
        Whether a segment's end belongs to the next segment instead of to it; so it is where the
        row is read off the argument's exponent and first mantissa bits.
    """

    x0: float
    segments: tuple[Segment, ...]
    half_open: bool = False

    def __post_init__(self) -> None:
        row = 0
        for segment in self.segments:
            if segment.first_row != row:
                raise ValueError(f"table segment {segment} should begin at row {row}")
            row += segment.rows
        if row == 0:
            raise ValueError("a table needs at least one segment")

    @property
    def rows(self) -> int:
        """Number of rows of all segments together."""
        return sum(segment.rows for segment in self.segments)

    def row_starts(self) -> NDArray[np.float64]:
        """Where each row begins on the table's axis, shape (rows,)."""
        return np.concatenate(
            [self.x0 + (g.start + g.step * np.arange(g.rows)) for g in self.segments]
        )

    def row_ends(self) -> NDArray[np.float64]:
        """Where each row ends, shape (rows,); the same binary64 number as the next row's start."""
        return np.concatenate(
            [self.x0 + (g.start + g.step * np.arange(1, g.rows + 1)) for g in self.segments]
        )

    def row_steps(self) -> NDArray[np.float64]:
        """Width of each row, shape (rows,)."""
        return np.concatenate([np.full(g.rows, g.step) for g in self.segments])

    def to_config(self) -> list[list[float]]:
        """Return DeePMD-kit's form: a list of `[x0, x1, dx, row0, row1]`, one per segment."""
        return [
            [
                self.x0 + g.start,
                self.x0 + (g.start + g.length),
                g.step,
                g.first_row,
                g.first_row + g.rows,
            ]
            for g in self.segments
        ]

    @classmethod
    def from_config(cls, config: list) -> TableLayout:
        """Build a layout from DeePMD-kit's `cfg_u2s` or `cfg_s2g`.

        Raises
        ------
        ValueError
            If ranges, steps and rows contradict each other.
        """
        x0 = float(config[0][0])
        segments = []
        for start, end, step, row0, row1 in config:
            segment = Segment(float(start) - x0, float(step), int(row1) - int(row0), int(row0))
            if x0 + (segment.start + segment.length) != float(end):
                raise ValueError(
                    f"table segment [{start}, {end}] does not hold {segment.rows} steps of {step}"
                )
            segments.append(segment)
        return cls(x0, tuple(segments))


VENDOR = "vendor"
OCTAVE = "octave"
OCTAVE8 = "octave8"
LAYOUTS = (VENDOR, OCTAVE, OCTAVE8)
"""Names of the layouts: docs/octave_tables.md says what each is."""
OCTAVE_ROWS = 32
G_ROWS = 256


def u_layout(name: str = VENDOR) -> TableLayout:
    """Return a layout of the table of (s, h) over u = r^2, from 0 to 64 Å^2.

    Parameters
    ----------
    name : str
        ``"vendor"``: 512 rows of 1/8. ``"octave"``: 32 rows over [0, 1/4] and over every octave
        from there, 9 segments, the row read off the argument's exponent and first five mantissa
        bits. ``"octave8"``: the same from [0, 1/2], 8 segments, with the vendor's row choice.
    """
    if name == VENDOR:
        return TableLayout(0.0, (Segment(0.0, 0.125, 512, 0),))
    first = -2 if name == OCTAVE else -1
    bounds = [0.0, *(2.0**e for e in range(first, 7))]
    segments = tuple(
        Segment(low, (high - low) / OCTAVE_ROWS, OCTAVE_ROWS, OCTAVE_ROWS * k)
        for k, (low, high) in enumerate(itertools.pairwise(bounds))
    )
    return TableLayout(0.0, segments, half_open=name == OCTAVE)


def s_layout(
    s_min: float, coarse: float = COARSE_STEP, name: str = VENDOR, reach: float = 16.0
) -> TableLayout:
    """Return a layout of the table of G, from `s_min`.

    Parameters
    ----------
    s_min : float
        Least argument; a multiple of 1/256, which the hardware holds as an integer.
    coarse : float
        The vendor's coarse step.
    name : str
        ``"vendor"``: one unit in 256 rows, and 256 coarse rows. Else one segment of 256 rows of
        1/64, 1/32 or 1/16, the narrowest with which it holds `reach`; beyond 16, 512 rows of 1/16.
    reach : float
        Largest argument, counted from `s_min`, that the rows shall hold if they can.
    """
    if not float(s_min * 256.0).is_integer():
        raise ValueError(f"s_min must be a multiple of 1/256, not {s_min}")
    if name == VENDOR:
        return TableLayout(
            float(s_min), (Segment(0.0, 2.0**-8, 256, 0), Segment(0.0, coarse, 256, 256))
        )
    for step in (2.0**-6, 2.0**-5, COARSE_STEP):
        if reach <= G_ROWS * step:
            return TableLayout(float(s_min), (Segment(0.0, step, G_ROWS, 0),))
    return TableLayout(float(s_min), (Segment(0.0, COARSE_STEP, 2 * G_ROWS, 0),))


def layout_name(u: TableLayout, s: TableLayout, own_slopes: bool) -> str | None:
    """Return which of `LAYOUTS` a model's tables have; None for another one.

    Parameters
    ----------
    u, s : TableLayout
        Of both tables.
    own_slopes : bool
        Whether slopes are those of the stored cubics, not of tables of their own.
    """
    for name in LAYOUTS:
        reach, coarse = s.segments[0].length, s.segments[-1].step
        if (own_slopes == (name == OCTAVE) and u == u_layout(name)
                and s == s_layout(s.x0, coarse, name, reach)):
            return name
    return None
