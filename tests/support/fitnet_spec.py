"""The fitting net in binary64 as the arithmetic's text states it.

Written apart from the project's own operations, which it checks.
"""

from __future__ import annotations

import numpy as np

from nvnmd.hdl.fitting.integers import FitResult

ONE = 1 << 23


def _floor(x: np.ndarray, k: int) -> np.ndarray:
    return np.floor(x * 2.0**k) / 2.0**k


def _round(x: np.ndarray, k: int) -> np.ndarray:
    return np.sign(x) * np.floor(np.abs(x) * 2.0**k + 0.5) / 2.0**k


def _matmul(x: np.ndarray, w: np.ndarray, whole: bool) -> np.ndarray:
    top = np.abs(w).max() if whole else np.abs(w).max(axis=0)
    e = np.frexp(np.where(top == 0, 2.0**-100, top))[1] - 1
    w_q = np.floor(w / 2.0**e * 2.0**19) / 2.0**19 * 2.0**e
    return _floor(x @ w_q, 23)


def _tanh(z: np.ndarray) -> np.ndarray:
    a = np.abs(z)
    q = _floor(a * _floor(a, 19), 23)
    return np.sign(z) * np.where(a < 2, _floor(q * (q / 16 - a / 4) + a, 23), 1.0)


def _tanh_gradient(z: np.ndarray, g: np.ndarray) -> np.ndarray:
    a = np.minimum(np.abs(z), 2.0)
    slope = _floor(_floor(a * _floor(a, 19), 19) * (a / 4 - 0.75) + 1, 19)
    return _floor(slope * g, 23)


def by_the_spec(weights: list, biases: list, d: np.ndarray, t: int) -> FitResult:
    w = [_round(np.asarray(x[t]), 23) for x in weights]
    b = [_round(np.asarray(x[t]), 23) for x in biases]
    x = _round(np.asarray(d, dtype=float) / ONE, 23)
    z_all: list = []
    for layer in range(len(w) - 1):
        z = _matmul(x, w[layer], False) + b[layer]
        z_all.append(z)
        x = _round(_tanh(z) + (x if layer else 0.0), 23)
    out = _matmul(x, w[-1], True) + b[-1]
    g = _matmul(np.ones(1), w[-1].T, True)
    for layer in reversed(range(len(w) - 1)):
        back = _round(_round(_tanh_gradient(z_all[layer], _round(g, 23)), 23), 21)
        down = _round(_matmul(back, w[layer].T, False), 23)
        g = down + (g if layer else 0.0)
    whole = [np.array(z_all) * ONE, out[0] * ONE, g * ONE]
    assert all(np.all(v == np.floor(v)) for v in whole)
    return FitResult(whole[0].astype(np.int64), int(whole[1]), whole[2].astype(np.int64))


def of_type(weights: list, biases: list, terms: np.ndarray, t: int) -> tuple[list, list]:
    """The net of version 0 that a type of version 1 amounts to: its term is a part of the bias."""
    first = np.round(np.asarray(biases[0]) * ONE) / ONE + terms[t]
    return weights, [first, *biases[1:]]


def assert_same(found: FitResult, wanted: FitResult) -> None:
    np.testing.assert_array_equal(found.z, wanted.z)
    assert found.energy == wanted.energy
    np.testing.assert_array_equal(found.dd, wanted.dd)
