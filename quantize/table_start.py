"""Where the tables of u begin to follow their functions: below, a pair's forces mean nothing."""

from __future__ import annotations

import math

import numpy as np

from nvnmd.quantize.model_data import ModelData


def table_start(model: ModelData) -> float:
    """Return the u = r^2 in Å^2 from which on every row of the tables follows its function.

    Below the clamp of r (0.5 Å, or 0.1 Å less than the data's smallest distance where that is not
    above 0.5 Å) s and h are constant, their slopes are 0, and the table's row in which the clamp
    lies joins both. The node at 0 is that of an empty slot. So this is the end of the last row
    that begins with slopes of 0, 0.25 Å^2 for data whose atoms are farther apart than 0.5 Å.

    Returns
    -------
    float
        0 where the first row of a type begins with a slope: tables of another making.
    """
    if model.table_u_grad is None:
        # the slope at a row's start is the cubic's linear coefficient
        slopes = model.table_u[:, :, :2, 2]
    else:
        slopes = model.table_u_grad[:, :, :2, 3]
    moving = np.any(slopes != 0.0, axis=2)
    rows = np.where(moving.any(axis=1), np.argmax(moving, axis=1), 0)
    first = int(rows.min())
    return float(model.u_layout.row_ends()[first - 1]) if first else 0.0


def near_exponent(model: ModelData) -> int:
    """Return e: the hardware's status tells pairs with u below 2^-e; 0 for none.

    The least power of two that is not below `table_start`, which the vendor's rows make it: 1/8 or
    1/4 Å^2.
    """
    start = table_start(model)
    return max(0, math.floor(-math.log2(start))) if start > 0.0 else 0
