"""The embedding net of one scalar, with its first and second derivatives in closed form."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Layer = tuple[Array, Array]


def embedding_jet(s: Array, layers: Sequence[Layer]) -> tuple[Array, Array, Array]:
    """Evaluate an embedding net and its derivatives by its input.

    A layer is `y = tanh(x W + b)`; where it doubles the width `[x, x]` is added, where it keeps
    the width `x` is. Derivatives are carried forward with the value (Taylor arithmetic of order
    two), so they are exact up to rounding.

    Parameters
    ----------
    s : ndarray, shape (n,)
        The scalar argument.
    layers : sequence of (W, b)
        `W` of shape (in, out), `b` of shape (out,); the first `in` is 1.

    Returns
    -------
    value, first, second : ndarray, shape (n, out)
        The net, d/ds and d²/ds² of it.
    """
    x = np.asarray(s, dtype=np.float64).reshape(-1, 1)
    x1 = np.ones_like(x)
    x2 = np.zeros_like(x)
    for weight, bias in layers:
        n_in, n_out = weight.shape
        if n_in != x.shape[1] or bias.shape != (n_out,):
            raise ValueError(
                f"embedding layer of shape {weight.shape}, {bias.shape} after width {x.shape[1]}"
            )
        z1 = x1 @ weight
        y = np.tanh(x @ weight + bias)
        slope = 1.0 - y * y
        y1 = slope * z1
        y2 = slope * (x2 @ weight) - 2.0 * y * y1 * z1
        if n_out == n_in:
            y, y1, y2 = y + x, y1 + x1, y2 + x2
        elif n_out == 2 * n_in:
            y, y1, y2 = (a + np.tile(b, (1, 2)) for a, b in ((y, x), (y1, x1), (y2, x2)))
        x, x1, x2 = y, y1, y2
    return x, x1, x2
