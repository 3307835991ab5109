"""Passes of the training on random numbers; prints a digest of what each of them gives."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np

from nvnmd.training.continuous import kernels, node_kernels
from nvnmd.training.continuous.embedding_kernels import TILE, store_size

ATOMS, WIDTHS = 40, np.array([1, 8, 16, 32])
PAIRS, M1 = 2 * TILE, int(WIDTHS[-1])


def main() -> None:
    rng = np.random.default_rng(0)
    centers, neighbors = rng.integers(0, ATOMS, size=(2, PAIRS))
    shared, gain_of = rng.random(PAIRS) < 0.5, np.zeros(PAIRS, dtype=np.int64)
    rij, slopes, r4, rates = (rng.normal(size=(PAIRS, n)) for n in (3, 3, 4, 4))
    dgr, by_gr = rng.normal(size=(2, ATOMS, 4, M1))
    net = rng.normal(size=sum((a + 1) * b for a, b in pairwise(WIDTHS)))
    features, store = np.empty((PAIRS, 2, M1)), np.empty((2, store_size(WIDTHS)))
    kernels.embed(0, 2, r4[:, 0].copy(), net, WIDTHS, store, features)
    pair = np.empty((PAIRS, 3))
    kernels.pair_gradients(
        0, PAIRS, centers, neighbors, shared, rij, r4, slopes, features, dgr, pair)
    # no rows: the gains do not fade
    common = (centers, neighbors, shared, gain_of, np.ones((1, M1)), np.empty((0, 2)), r4, rates,
              by_gr, dgr)
    to_net, to_gains = np.zeros(len(net)), np.zeros((1, M1))
    kernels.embed_backward(0, 2, *common, net, WIDTHS, store, features, to_net, to_gains)
    to_points = np.zeros(len(net))
    kernels.points_backward(0, 2, features, net, WIDTHS, store, features, to_points)
    cells = rng.integers(0, 10, size=PAIRS)
    factors, to_nodes = rng.normal(size=(PAIRS, 2 * node_kernels.POINTS)), np.zeros((30, M1))
    node_kernels.collect(0, PAIRS, cells, factors, *common, features, to_nodes, np.zeros((1, M1)))
    results = {"embed": features, "pair_gradients": pair, "embed_backward": to_net,
               "points_backward": to_points, "collect": to_nodes}
    for name, array in results.items():
        print(name, hashlib.sha256(array.tobytes()).hexdigest())


if __name__ == "__main__":
    main()
