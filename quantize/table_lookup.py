"""Look a value up in a table: the row, the offset inside it, and Horner's scheme in flt."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nvnmd.quantize import ops
from nvnmd.quantize.table_layout import TableLayout

OFFSET_FRAC = 16
"""Fraction bits kept in the mantissa of a row's offset."""


def locate(
    x: ArrayLike, layout: TableLayout, offset_frac: int = OFFSET_FRAC
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the row of each argument and its offset inside the row.

    The first segment whose range holds x is taken, else the last one; ranges are closed, or
    without their ends in a layout that is `half_open`. With
    ``k = floor((x - x0)/step)``: below 0 the segment's first row at offset 0; beyond the segment
    its last row at offset `step`, which is what an argument at the segment's end gives as well.

    Parameters
    ----------
    x : array_like of float, any shape
        Arguments (flt values).
    layout : TableLayout
        Where the rows lie.
    offset_frac : int
        Fraction bits kept of the offset's binary64 mantissa.

    Returns
    -------
    row : ndarray of int64, shape of x
        Row in the whole table.
    offset : ndarray of float64, shape of x
        x minus the row's start, cut toward zero to `offset_frac` fraction bits of its mantissa.
    """
    x = np.asarray(x, dtype=np.float64)
    row = np.zeros(x.shape, dtype=np.int64)
    offset = np.zeros(x.shape, dtype=np.float64)
    todo = np.ones(x.shape, dtype=bool)
    last = len(layout.segments) - 1
    for number, segment in enumerate(layout.segments):
        start = layout.x0 + segment.start
        end = layout.x0 + (segment.start + segment.length)
        below = x < end if layout.half_open else x <= end
        take = todo if number == last else todo & (x >= start) & below
        # One binary64 subtraction, which rounds when x is far below the ulp of the start; all that
        # follows is exact, because the step is a power of two.
        distance = x[take] - start
        k = np.floor(distance / segment.step)
        inside = distance - k * segment.step
        inside = np.where(k < 0, 0.0, np.where(k >= segment.rows, segment.step, inside))
        row[take] = segment.first_row + np.clip(k, 0, segment.rows - 1).astype(np.int64)
        offset[take] = inside
        todo &= ~take
    return row, ops.trunc_flt(offset, offset_frac)


def evaluate(
    coefficients: NDArray[np.float64], row: NDArray[np.int64], offset: NDArray[np.float64],
    frac: int = ops.FRAC,
) -> NDArray[np.float64]:
    """Evaluate a table's cubics with flt products and sums.

    Parameters
    ----------
    coefficients : ndarray, shape (rows, outputs, 4)
        a, b, c, d of ``((a x + b) x + c) x + d``.
    row, offset : ndarray, any shape
        From `locate`.
    frac : int
        Fraction bits of flt.

    Returns
    -------
    ndarray, shape (*row.shape, outputs)
        flt values.
    """
    a, b, c, d = np.moveaxis(coefficients[row], -1, 0)
    x = offset[..., None]
    y = ops.add(ops.mul(a, x, frac), b, frac)
    y = ops.add(ops.mul(y, x, frac), c, frac)
    return ops.add(ops.mul(y, x, frac), d, frac)


def evaluate_both(
    coefficients: NDArray[np.float64],
    slopes: NDArray[np.float64] | None,
    row: NDArray[np.int64],
    offset: NDArray[np.float64],
    frac: int = ops.FRAC,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Evaluate a table's cubics and their slopes.

    Parameters
    ----------
    coefficients : ndarray, shape (..., rows, outputs, 4)
        See `evaluate`; rows of several tables count on from table to table.
    slopes : ndarray, of the same shape, or None
        Cubics of the slopes. None: the slope is that of the cubic itself, by Horner's scheme for
        it, which takes the value's two intermediate results; docs/octave_tables.md.
    row, offset : ndarray, any shape
        From `locate`.
    frac : int
        Fraction bits of flt.

    Returns
    -------
    value, slope : ndarray, shape (*row.shape, outputs)
        flt values.
    """
    stacked = coefficients.reshape(-1, *coefficients.shape[-2:])
    if slopes is not None:
        of_slopes = slopes.reshape(-1, *slopes.shape[-2:])
        return (evaluate(stacked, row, offset, frac),
                evaluate(of_slopes, row, offset, frac))
    a, b, c, d = np.moveaxis(stacked[row], -1, 0)
    x = offset[..., None]
    first = ops.mul(a, x, frac)
    linear = ops.add(first, b, frac)
    quadratic = ops.add(ops.mul(linear, x, frac), c, frac)
    slope = ops.add(ops.mul(ops.add(first, linear, frac), x, frac), quadratic, frac)
    return ops.add(ops.mul(quadratic, x, frac), d, frac), slope
