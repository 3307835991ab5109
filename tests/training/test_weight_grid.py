"""Weights at the end of a training lie where the integer network holds them exactly."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.small_models import random_weights

from nvnmd.quantize.fitting import quantize_weight
from nvnmd.quantize.grid import nearest_on_grid
from nvnmd.training.weight_grid import on_grid


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("scale", [1e-3, 0.2, 3.0])
def test_quantization_changes_nothing(whole, scale):
    rng = np.random.default_rng(2)
    w = rng.normal(scale=scale, size=(16, 1 if whole else 12))
    w[0, 0] = 1.0 - 2.0**-30  # rounds up to a power of two, which makes the unit coarser
    moved = nearest_on_grid(w, whole=whole)
    for matrix in (moved, moved.T):
        mantissa, e = quantize_weight(matrix, whole=whole)
        assert np.array_equal(mantissa * np.exp2(e - 19.0), matrix)
    # half a unit of the largest exponent, once more where a power of two was reached
    assert np.abs(moved - w).max() <= 1.5 * max(2.0 ** (np.ceil(np.log2(np.abs(w).max())) - 20),
                                                2.0**-24)
    assert np.array_equal(nearest_on_grid(moved, whole=whole), moved)
    # without, it does
    mantissa, e = quantize_weight(w, whole=whole)
    assert not np.array_equal(mantissa * np.exp2(e - 19.0), w)


def test_only_what_changed_moves():
    start = random_weights(np.random.default_rng(3))
    changed = [w.copy() for w in start.fit_weights]
    changed[0][1, 2, 3] += 1e-3
    trained = dataclasses.replace(start, fit_weights=tuple(changed))
    moved = on_grid(trained, start)
    different = [
        np.argwhere(new != old).tolist()
        for new, old in zip(moved.fit_weights, start.fit_weights, strict=True)
    ]
    assert different == [[[1, 2, 3]], [], []]
    for new, old in zip(moved.fit_biases, start.fit_biases, strict=True):
        assert np.array_equal(new, old)
    everything = on_grid(start)
    assert not np.array_equal(everything.fit_weights[0], start.fit_weights[0])
    assert everything.embedding is start.embedding
