"""Fitting weights where the integer network holds them exactly, at the end of a training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nvnmd.network.weights import FloatWeights
from nvnmd.quantize.grid import nearest_on_grid
from nvnmd.quantize.ops import FIX_FRAC

Array = NDArray[np.float64]


def on_grid(weights: FloatWeights, start: FloatWeights | None = None,
            fixed: Sequence[int] = ()) -> FloatWeights:
    """The nearest fitting nets that quantization leaves as they are.

    Parameters
    ----------
    weights : FloatWeights
        Trained weights.
    start : FloatWeights, optional
        Weights before the training; what the training did not change is not touched.
    fixed : sequence of int
        Layers that were not trained, which stay as they are.

    Returns
    -------
    FloatWeights
        The same but for `fit_weights` and `fit_biases`, which move by half a unit at most: 2**-24
        for biases, for weights half of `nvnmd.quantize.grid`'s unit.
    """
    last = len(weights.fit_weights) - 1
    moved = [nearest_on_grid(w, whole=i == last) for i, w in enumerate(weights.fit_weights)]
    biases = [np.round(b * 2.0**FIX_FRAC) * 2.0**-FIX_FRAC for b in weights.fit_biases]
    if start is not None:
        moved = _where_changed(moved, weights.fit_weights, start.fit_weights)
        biases = _where_changed(biases, weights.fit_biases, start.fit_biases)
    for layer in fixed:
        moved[layer], biases[layer] = weights.fit_weights[layer], weights.fit_biases[layer]
    return dataclasses.replace(weights, fit_weights=tuple(moved), fit_biases=tuple(biases))


def _where_changed(
    moved: list[Array], trained: tuple[Array, ...], start: tuple[Array, ...]
) -> list[Array]:
    return [
        np.where(now != before, new, now)
        for new, now, before in zip(moved, trained, start, strict=True)
    ]
