"""Weights that the integer network holds exactly.

The quantized fitting net rounds a weight down to a whole number of units that its column shares
(forward) or its row (backward). Rounding down is what makes quantization shift energies: every sum
over a column loses half a unit per weight on average. A weight on the coarser of both grids is held
exactly by both passes, so a training that ends there has nothing to lose later.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nvnmd.quantize.ops import FIX_FRAC, WEIGHT_FRAC, largest_exponent


def nearest_on_grid(w: NDArray[np.float64], *, whole: bool = False) -> NDArray[np.float64]:
    """The nearest weights that forward and backward pass hold without rounding.

    Parameters
    ----------
    w : (..., nin, nout)
        Weights.
    whole : bool
        One exponent for the whole matrix (the last layer) instead of one per column and row.

    Returns
    -------
    ndarray
        Same shape; multiples of ``2**(e - 19)``, `e` the larger exponent of column and row, and of
        ``2**-23``. Weights that lie there already come back bit-equal.
    """
    while True:
        column = largest_exponent(w, (-2, -1) if whole else -2)
        row = largest_exponent(w, (-2, -1) if whole else -1)
        shared = np.maximum(np.maximum(column, row) - WEIGHT_FRAC, -FIX_FRAC)
        unit = np.exp2(shared.astype(np.float64))
        moved = np.round(w / unit) * unit
        if np.array_equal(moved, w):
            return w
        # a weight that reached a power of two makes its column's and row's unit coarser: once more
        w = moved
