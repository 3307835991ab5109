"""Errors of the interpolation that `train-cnn` evaluates its embedding nets by.

    python benchmarks/interpolation.py WEIGHTS [WEIGHTS ...] [--range -0.5 9]

WEIGHTS are `weights.npz` files, which `train-cnn` writes. For each net: the density of nodes that
training would choose on that range of s, or that it would go pair by pair, and the largest errors
of G and dG/ds at 100,000 points of it, as parts of the largest G and dG/ds, beside the exact net.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from nvnmd.network.math import NumpyMath
from nvnmd.network.nets import embed
from nvnmd.network.weights import FloatWeights
from nvnmd.training.continuous.embedding_pass import EmbeddingPass, Space
from nvnmd.training.continuous.pair_lists import PairLists

POINTS = 100_080


def pairs_of_one_net() -> PairLists:
    """As many pairs as there are points, all of one net."""
    many, none = np.zeros(POINTS, dtype=np.int64), np.zeros(0, dtype=np.int64)
    return PairLists(
        kinds=none, frames=none, blocks=np.array([0, POINTS]), begin=none, counts=none, slots=none,
        centers=many, neighbors=many, shared=many > 0, rij=np.zeros((POINTS, 3)), gain_of=many)


def main() -> None:
    """Print a line per net."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--range", type=float, nargs=2, default=(-0.5, 9.0))
    args = parser.parse_args()
    r4 = np.zeros((POINTS, 4))
    r4[:, 0] = np.random.default_rng(0).uniform(*args.range, POINTS)
    batch = pairs_of_one_net()
    for path in args.weights:
        for k, net in enumerate(FloatWeights.load(path).embedding):
            widths = np.array([w.shape[0] for w, _ in net] + [net[-1][0].shape[1]])
            numbers = np.concatenate([np.concatenate([w.ravel(), b.ravel()]) for w, b in net])
            embedding = EmbeddingPass(widths, Space())
            found = embedding.forward(numbers[None], batch, r4)
            errors = [np.abs(found[:, half] - exact).max() / np.abs(exact).max()
                      for half, exact in enumerate(embed(NumpyMath(), net, r4[:, :1]))]
            nodes = embedding._nodes[0]
            how = "pair by pair" if nodes is None else f"{nodes.per_unit:.0f} nodes per unit"
            print(f"{path}, net {k}: {how}, errors {errors[0]:.0e} and {errors[1]:.0e}")


if __name__ == "__main__":
    main()
