"""Errors of the interpolation that `train-cnn` evaluates its embedding nets by.

    python benchmarks/interpolation.py WEIGHTS [WEIGHTS ...] [--range -0.5 9]

WEIGHTS are `weights.npz` files, which `train-cnn` writes. For each net: the density of nodes that
training would choose on that range of s, and the largest errors of G and dG/ds at 100,000 points of
it, as parts of the largest G and dG/ds, beside the exact net.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from nvnmd import node_kernels
from nvnmd.embedding_pass import EmbeddingPass, Space
from nvnmd.pair_lists import PairLists
from nvnmd.weights import FloatWeights

POINTS = 100_080


def pairs_of_one_net() -> PairLists:
    """As many pairs as there are points, all of one net."""
    many, none = np.zeros(POINTS, dtype=np.int64), np.zeros(0, dtype=np.int64)
    return PairLists(
        kinds=none, frames=none, blocks=np.array([0, POINTS]), begin=none, counts=none, slots=none,
        centers=many, neighbors=many, shared=many > 0, rij=np.zeros((POINTS, 3)), gain_of=many)


def exact(net: list, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """G and dG/ds of an embedding net."""
    x, dx = s[:, None], np.ones((len(s), 1))
    for weight, bias in net:
        t = np.tanh(x @ weight + bias)
        dt = (1.0 - t * t) * (dx @ weight)
        times = weight.shape[1] // weight.shape[0]
        if weight.shape[1] in (weight.shape[0], 2 * weight.shape[0]):
            x, dx = np.tile(x, times) + t, np.tile(dx, times) + dt
        else:
            x, dx = t, dt
    return x, dx


def main() -> None:
    """Print a line per net."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--range", type=float, nargs=2, default=(-0.5, 9.0))
    args = parser.parse_args()
    r4 = np.zeros((POINTS, 4))
    r4[:, 0] = np.random.default_rng(0).uniform(*args.range, POINTS)
    batch, densities = pairs_of_one_net(), []
    measure = node_kernels.coarse_errors

    def watched(per_unit: float, nodes: np.ndarray, count: int) -> float:
        densities.append(per_unit)
        return measure(per_unit, nodes, count)

    node_kernels.coarse_errors = watched
    for path in args.weights:
        for k, net in enumerate(FloatWeights.load(path).embedding):
            widths = np.array([w.shape[0] for w, _ in net] + [net[-1][0].shape[1]])
            numbers = np.concatenate([np.concatenate([w.ravel(), b.ravel()]) for w, b in net])
            found = EmbeddingPass(widths, Space()).forward(numbers[None], batch, r4)
            errors = [np.abs(found[:, half] - right).max() / np.abs(right).max()
                      for half, right in enumerate(exact(net, r4[:, 0]))]
            print(f"{path}, net {k}: {densities[-1]:.0f} nodes per unit, "
                  f"errors {errors[0]:.0e} and {errors[1]:.0e}")


if __name__ == "__main__":
    main()
