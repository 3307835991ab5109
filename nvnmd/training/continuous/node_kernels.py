"""Embedding nets of the float model's training by interpolation, compiled.

An embedding net is a function of the one number s, smooth on the scale of its weights, and a frame
asks for it at thousands of s. So G is evaluated at equally spaced nodes ``s = m h``; in between it
is the polynomial through the `POINTS` nodes about s, and dG/ds is the derivative of that. Both are
linear in the nodes' values: on the way back gradients are added up at the nodes with the same
factors, and only the nodes go back through the net. Errors are in docs/training_speed.md.
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial import Polynomial

from nvnmd.compiling import njit
from nvnmd.training.continuous.kernels import back_through_gains, by_features

_ANY_ORDER = {"reassoc", "contract", "nsz"}

POINTS = 12
"""Nodes that a value is interpolated from, half of them on either side."""

BEFORE = POINTS // 2 - 1
"""How many of them lie before the cell of s."""


def _basis() -> np.ndarray:
    """Coefficients of what each node contributes, (degree, POINTS), in u: s from the middle of its
    cell, in cells."""
    nodes = np.arange(POINTS) - BEFORE - 0.5
    found = []
    for k in range(POINTS):
        others = np.delete(nodes, k)
        found.append(Polynomial.fromroots(others).coef / np.prod(nodes[k] - others))
    return np.array(found).T


_BASIS = _basis()
_SLOPES = np.concatenate([_BASIS[1:] * np.arange(1, POINTS)[:, None], np.zeros((1, POINTS))])
# for values in the middle of a cell and derivatives at its beginning, where errors are largest
_HALFWAY = _BASIS[0].copy()
_AT_NODE = np.array([(-0.5) ** k for k in range(POINTS)]) @ _SLOPES


def factor_table(per_unit: float) -> np.ndarray:
    """Coefficients (degree, 2 * POINTS) of the factors on the nodes' G for G, and those for dG/ds.

    `per_unit` is 1/h.
    """
    return np.concatenate([_BASIS, _SLOPES * per_unit], axis=1)


@njit(cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def extent(centers, r4):
    """Smallest and largest s of pairs, and their sum, which is finite if all are."""
    least, most, total = np.inf, -np.inf, 0.0
    for p in range(len(centers)):
        if centers[p] >= 0:
            s = r4[p, 0]
            least, most, total = min(least, s), max(most, s), total + s
    return least, most, total


@njit(cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def coarse_errors(per_unit, nodes, count):
    """Errors of interpolation from every second of `count` nodes, as a part of the largest value.

    Of G halfway between those taken, and of dG/ds at them, the larger. `nodes` is (n, 2, M1), of G
    and dG/ds.
    """
    largest, error, total = np.zeros(2), np.zeros(2), 0.0
    for i in range(POINTS - 1, count - POINTS):
        # i is halfway between two nodes, or is the node before the middle
        half = 1 - i % 2
        begin = i - POINTS + 1 + half
        for j in range(nodes.shape[2]):
            value = 0.0
            if half == 0:
                for k in range(POINTS):
                    value += _HALFWAY[k] * nodes[begin + 2 * k, 0, j]
            else:
                for k in range(POINTS):
                    value += _AT_NODE[k] * nodes[begin + 2 * k, 0, j]
                value *= 0.5 * per_unit
            exact = nodes[i, half, j]
            largest[half] = max(largest[half], abs(exact))
            error[half] = max(error[half], abs(value - exact))
            total += value
    # a maximum loses what is not a number, a sum does not
    return max(error[0] / largest[0], error[1] / largest[1]) if total - total == 0.0 else np.inf


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def interpolate(low, high, centers, r4, first, per_unit, table, nodes, cells, factors, features):
    """G and dG/ds of the pairs `low` to `high`, all of one net.

    Parameters
    ----------
    first, per_unit : int, float
        Number m of the first node; 1/h.
    table : (POINTS, 2 * POINTS)
        See `factor_table`.
    nodes : (n, M1)
        G of each node.
    cells, factors : (p,) int64, (p, 2 * POINTS)
        Out: the first node that each pair takes from; how much it takes of each.
    features : (p, 2, M1)
        Out.
    """
    for p in range(low, high):
        if centers[p] < 0:
            continue
        at = r4[p, 0] * per_unit
        cell = np.floor(at)
        u, begin = at - cell - 0.5, int(cell) - first - BEFORE
        cells[p] = begin
        f = factors[p]
        for j in range(2 * POINTS):
            value = table[POINTS - 1, j]
            for k in range(POINTS - 2, -1, -1):
                value = value * u + table[k, j]
            f[j] = value
        n = nodes[begin : begin + POINTS]
        for half in range(2):
            # written out: the compiler makes vector instructions of a loop over j only
            f0, f1, f2, f3, f4, f5 = f[0], f[1], f[2], f[3], f[4], f[5]
            f6, f7, f8, f9, f10, f11 = f[6], f[7], f[8], f[9], f[10], f[11]
            f, out = f[POINTS:], features[p, half]
            for j in range(len(out)):
                out[j] = (f0 * n[0, j] + f1 * n[1, j] + f2 * n[2, j] + f3 * n[3, j]
                          + f4 * n[4, j] + f5 * n[5, j] + f6 * n[6, j] + f7 * n[7, j]
                          + f8 * n[8, j] + f9 * n[9, j] + f10 * n[10, j] + f11 * n[11, j])


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def collect(
    low, high, cells, factors, centers, neighbors, shared, gain_of, gains, fade, r4, rates, by_gr,
    dgr, features, to_nodes, to_gains,
):
    """Add the gradient by G of one net's nodes that the pairs `low` to `high` make.

    Parameters
    ----------
    cells, factors
        As `interpolate` leaves them.
    centers, neighbors, shared, gain_of, gains, fade, r4, rates, by_gr, dgr, features, to_gains
        See `nvnmd.training.continuous.kernels.embed_backward`.
    to_nodes : (n, M1)
        What is added to.
    """
    m1 = features.shape[2]
    rows = np.empty((2, m1))
    one, two = rows[0], rows[1]
    for p in range(low, high):
        if centers[p] < 0:
            continue
        rows[:] = 0.0
        by_features(p, centers[p], 1.0, r4, rates, by_gr, dgr, one, two)
        if shared[p]:
            by_features(p, neighbors[p], -1.0, r4, rates, by_gr, dgr, one, two)
        if len(gains) > 0:
            of = gain_of[p]
            back_through_gains(features[p, 0], features[p, 1], gains[of], fade, p, one, two,
                               to_gains[of])
        for k in range(POINTS):
            to, value, slope = to_nodes[cells[p] + k], factors[p, k], factors[p, POINTS + k]
            for j in range(m1):
                to[j] += value * one[j] + slope * two[j]
