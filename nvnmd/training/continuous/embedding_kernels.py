"""The embedding nets of the float model's training, compiled; formulas in docs/training_speed.md.

Pairs go through the layers in tiles. Within a tile a layer's output is one row per neuron, of the
values of all its pairs and then of their derivatives by s, so that every loop runs over pairs and
becomes vector instructions whatever the widths. One more row, of ones and then of zeros, takes the
bias through the matrix product: weights and bias of a layer stand next to each other in `net`.
"""

from __future__ import annotations

import numpy as np

from nvnmd.compiling import njit
from nvnmd.network.tanh import tanh

_ANY_ORDER = {"reassoc", "contract", "nsz"}

TILE = 120
"""Pairs that go through the layers of an embedding net together. Matrix products of so few rows
are below the size from which OpenBLAS starts threads of its own; rows whose length is a power of
two would compete for the same places of the processor's cache."""

_STEP = 8


def store_size(widths: np.ndarray) -> int:
    """Numbers that a tile keeps: the inputs of all layers with their rows of ones."""
    return 2 * TILE * int(widths[:-1].sum() + len(widths) - 1)


@njit(error_model="numpy", fastmath=_ANY_ORDER)
def begin_tile(store):
    """What no pair changes in the rows of the net's input."""
    for p in range(TILE):
        store[TILE + p] = 1.0
        store[2 * TILE + p] = 1.0
        store[3 * TILE + p] = 0.0


@njit(error_model="numpy", fastmath=_ANY_ORDER)
def embed_tile(net, widths, store, last, features):
    """Every layer of one net for a tile.

    Parameters
    ----------
    net, widths : (numbers,), (layers + 1,)
        Weights and bias of each layer in turn; widths from 1 on.
    store : (`store_size`,)
        In: s in the first `TILE` numbers, then what `begin_tile` leaves. Out: the inputs of all
        layers.
    last : (M1, 2 * TILE)
        Room for the last layer.
    features : (TILE, 2, M1)
        Out: G and dG/ds of each pair.
    """
    layers = len(widths) - 1
    at, start = 0, 0
    for k in range(layers):
        nin, nout = widths[k], widths[k + 1]
        y = store[start : start + 2 * TILE * (nin + 1)].reshape(nin + 1, 2 * TILE)
        start += 2 * TILE * (nin + 1)
        z = last
        if k < layers - 1:
            z = store[start : start + 2 * TILE * nout].reshape(nout, 2 * TILE)
        np.dot(net[at : at + (nin + 1) * nout].reshape(nin + 1, nout).T, y, z)
        at += (nin + 1) * nout
        adds = nout == 2 * nin or nout == nin
        for j in range(nout):
            row = z[j]
            for p in range(TILE):
                t = tanh(row[p])
                row[p] = t
                row[TILE + p] *= 1.0 - t * t
        if adds:
            for j in range(nout):
                row, skipped = z[j], y[j % nin]
                for p in range(2 * TILE):
                    row[p] += skipped[p]
        if k < layers - 1:
            more = store[start + 2 * TILE * nout : start + 2 * TILE * (nout + 1)]
            for p in range(TILE):
                more[p] = 1.0
                more[TILE + p] = 0.0
        else:
            _to_pairs(z, features)


@njit(error_model="numpy", fastmath=_ANY_ORDER)
def _to_pairs(z, features):
    """Rows (M1, 2 * TILE) of neurons to rows (TILE, 2, M1) of pairs."""
    fours = len(z) - len(z) % 4
    for begin in range(0, TILE, _STEP):
        for half in range(2):
            for j in range(0, fours, 4):
                a, b, c, d = z[j], z[j + 1], z[j + 2], z[j + 3]
                for q in range(_STEP):
                    p = half * TILE + begin + q
                    out = features[begin + q, half]
                    out[j], out[j + 1], out[j + 2], out[j + 3] = a[p], b[p], c[p], d[p]
            for j in range(fours, len(z)):
                for q in range(_STEP):
                    features[begin + q, half, j] = z[j, half * TILE + begin + q]


@njit(error_model="numpy", fastmath=_ANY_ORDER)
def _to_neurons(rows, bar):
    """The other way round."""
    for begin in range(0, TILE, 4):
        for half in range(2):
            a, b, c, d = (rows[begin, half], rows[begin + 1, half], rows[begin + 2, half],
                          rows[begin + 3, half])
            at = half * TILE + begin
            for j in range(len(bar)):
                out = bar[j]
                out[at], out[at + 1], out[at + 2], out[at + 3] = a[j], b[j], c[j], d[j]


@njit(error_model="numpy", fastmath=_ANY_ORDER)
def embed_tile_backward(net, widths, store, features, rows, last, bar, space, to_net):
    """Add the gradient by one net's weights to `to_net`.

    Parameters
    ----------
    store, features
        As `embed_tile` leaves them.
    rows : (TILE, 2, M1)
        Gradients by G and by dG/ds.
    last : (M1, 2 * TILE)
        Room for the last layer.
    bar, space : (2, M, 2 * TILE), (M, 2 * TILE)
        Room for the widest layer.
    """
    layers = len(widths) - 1
    start, at = len(store), len(net)
    _to_neurons(features, last)
    _to_neurons(rows, bar[layers % 2, : widths[layers]])
    z = last
    for k in range(layers - 1, -1, -1):
        nin, nout = widths[k], widths[k + 1]
        start -= 2 * TILE * (nin + 1)
        y = store[start : start + 2 * TILE * (nin + 1)].reshape(nin + 1, 2 * TILE)
        after, before = bar[(k + 1) % 2], space[:nout]
        adds = nout == 2 * nin or nout == nin
        for j in range(nout):
            row, by, to = z[j], after[j], before[j]
            if adds:
                # what tanh alone gave: the output less the input that was added
                skipped = y[j % nin]
                for p in range(TILE):
                    t, dt = row[p] - skipped[p], row[TILE + p] - skipped[TILE + p]
                    inner = 1.0 - t * t
                    to[p] = by[p] * inner - 2.0 * t * dt * by[TILE + p]
                    to[TILE + p] = by[TILE + p] * inner
            else:
                for p in range(TILE):
                    t, dt = row[p], row[TILE + p]
                    inner = 1.0 - t * t
                    # (1 - t^2) z' is dt: the second derivative of tanh needs no division
                    to[p] = by[p] * inner - 2.0 * t * dt * by[TILE + p]
                    to[TILE + p] = by[TILE + p] * inner
        at -= (nin + 1) * nout
        part = np.dot(y, before.T)
        for i in range(nin + 1):
            for j in range(nout):
                to_net[at + i * nout + j] += part[i, j]
        if k > 0:
            back = bar[k % 2, :nin]
            np.dot(net[at : at + nin * nout].reshape(nin, nout), before, back)
            if adds:
                for j in range(nout):
                    row, by = back[j % nin], after[j]
                    for p in range(2 * TILE):
                        row[p] += by[p]
        z = y[:nin]
