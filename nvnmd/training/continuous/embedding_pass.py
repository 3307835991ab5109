"""Embedding nets of the float model over a batch's pairs, forward and back; needs numba.

A net goes through the pairs one by one, or, where these are many and the net is smooth enough,
through nodes between which G and dG/ds are interpolated
(`nvnmd.training.continuous.node_kernels`). Which of the two depends on the batch and the weights
alone, not on the steps before.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import floor, isfinite

import numpy as np
from numpy.typing import NDArray

from nvnmd.threads import share_out
from nvnmd.training.continuous import kernels, node_kernels
from nvnmd.training.continuous.embedding_kernels import TILE, store_size
from nvnmd.training.continuous.node_kernels import POINTS
from nvnmd.training.continuous.pair_lists import PairLists

Floats = NDArray[np.float64]

# Ranges of pairs whose parts of a gradient are summed by themselves, whatever the threads: the
# bits must not depend on how many there are.
PARTS = 4

# Nodes per unit of s that are tried in turn.
_DENSITIES = (32.0, 64.0, 128.0, 256.0)

# Error allowed where values are interpolated from every second node, as a part of the largest
# value. From all nodes it is smaller by some 2^-(POINTS - 1).
_TOLERANCE = 1e-6

# Pairs per node below which interpolation would not pay.
_WORTH = 2


class Space:
    """Arrays that are kept between steps."""

    def __init__(self) -> None:
        self._kept: dict[str, Floats] = {}

    def __call__(self, name: str, *shape: int) -> Floats:
        """Return an array at least as long as any asked for before by this name, cut to shape."""
        kept = self._kept.get(name)
        if kept is None or len(kept) < shape[0] or kept.shape[1:] != shape[1:]:
            self._kept[name] = kept = np.empty(shape)
        return kept[: shape[0]]


@dataclass(frozen=True)
class _Nodes:
    """Nodes of one net.

    Attributes
    ----------
    first, per_unit : int, float
        Node i stands at ``s = (first + i) / per_unit``.
    count : int
        How many there are.
    store, features
        See `nvnmd.training.continuous.embedding_kernels.embed_tile`, of whole tiles.
    values : (n, M1)
        G of the nodes.
    """

    first: int
    per_unit: float
    count: int
    store: Floats
    features: Floats
    values: Floats


class EmbeddingPass:
    """G and dG/ds of a batch's pairs, and the gradient by the nets.

    Parameters
    ----------
    widths : (layers + 1,)
        Neurons, from the input on.
    space : Space
        Where arrays are kept.
    """

    def __init__(self, widths: NDArray[np.int64], space: Space) -> None:
        self._widths, self._m1, self._space = widths, int(widths[-1]), space
        self._nodes: list[_Nodes | None] = []

    def forward(self, nets: Floats, batch: PairLists, r4: Floats) -> Floats:
        """Return G and dG/ds (p, 2, M1).

        Parameters
        ----------
        nets : (blocks, n)
            Numbers of each net.
        batch : PairLists
            The pairs.
        r4 : (p, 4)
            Their rows of R4.
        """
        pairs = len(r4)
        features = self._space("features", pairs, 2, self._m1)
        self._nodes = [None] * len(nets)

        def grid(t: int) -> None:
            self._nodes[t] = self._grid(t, nets[t], batch, r4)

        share_out(range(len(nets)), lambda: grid)
        s, store = np.empty(0), np.empty((0, 0))
        if None in self._nodes:
            s, store = r4[:, 0].copy(), self._store(pairs)
        self._cells = np.empty(pairs, dtype=np.int64)
        self._factors = self._space("factors", pairs, 2 * POINTS)

        def part(k: int) -> None:
            for t, low, high in share(batch, k):
                nodes = self._nodes[t]
                if nodes is None:
                    kernels.embed(low, high, s, nets[t], self._widths, store, features)
                else:
                    node_kernels.interpolate(
                        low * TILE, high * TILE, batch.centers, r4, nodes.first, nodes.per_unit,
                        node_kernels.factor_table(nodes.per_unit), nodes.values, self._cells,
                        self._factors, features)

        share_out(range(PARTS), lambda: part)
        return features

    def backward(
        self,
        nets: Floats,
        batch: PairLists,
        gains: Floats,
        fade: Floats,
        r4: Floats,
        rates: Floats,
        by_gr: Floats,
        dgr: Floats,
    ) -> tuple[Floats, Floats]:
        """Return the gradient by the nets (blocks, n) and by the gains, after `forward`.

        Parameters
        ----------
        gains, fade, r4, rates, by_gr, dgr
            See `nvnmd.training.continuous.kernels.embed_backward`.
        """
        pairs = len(r4)
        features = self._space("features", pairs, 2, self._m1)
        store = self._store(pairs) if None in self._nodes else np.empty((0, 0))
        to_nets, to_gains = np.zeros((PARTS, *nets.shape)), np.zeros((PARTS, *gains.shape))
        to_nodes = [np.zeros((PARTS, 0 if nodes is None else nodes.count, self._m1))
                    for nodes in self._nodes]

        def part(k: int) -> None:
            for t, low, high in share(batch, k):
                nodes = self._nodes[t]
                if nodes is None:
                    kernels.embed_backward(
                        low, high, batch.centers, batch.neighbors, batch.shared, batch.gain_of,
                        gains, fade, r4, rates, by_gr, dgr, nets[t], self._widths, store,
                        features, to_nets[k, t], to_gains[k])
                else:
                    node_kernels.collect(
                        low * TILE, high * TILE, self._cells, self._factors, batch.centers,
                        batch.neighbors, batch.shared, batch.gain_of, gains, fade, r4, rates,
                        by_gr, dgr, features, to_nodes[t][k], to_gains[k])

        def through_net(t: int) -> None:
            nodes = self._nodes[t]
            if nodes is not None:
                rows = np.zeros(nodes.features.shape)
                rows[: nodes.count, 0] = to_nodes[t].sum(axis=0)
                kernels.points_backward(
                    0, len(rows) // TILE, rows, nets[t], self._widths, nodes.store,
                    nodes.features, to_nets[0, t])

        share_out(range(PARTS), lambda: part)
        share_out(range(len(nets)), lambda: through_net)
        return to_nets.sum(axis=0), to_gains.sum(axis=0)

    def _grid(self, t: int, net: Floats, batch: PairLists, r4: Floats) -> _Nodes | None:
        """Evaluate a net at nodes, if that is less work and exact enough."""
        low, high = batch.blocks[t], batch.blocks[t + 1]
        least, most, total = node_kernels.extent(batch.centers[low:high], r4[low:high])
        if not isfinite(total) or least > most:
            return None
        for per_unit in _DENSITIES:
            first = floor(least * per_unit) - POINTS + 1
            count = floor(most * per_unit) + POINTS - first + 1
            if _WORTH * count > high - low:
                return None
            nodes = self._evaluated(t, net, first, per_unit, count)
            if node_kernels.coarse_errors(per_unit, nodes.features, count) <= _TOLERANCE:
                return nodes
        return None

    def _evaluated(self, t: int, net: Floats, first: int, per_unit: float, count: int) -> _Nodes:
        """Evaluate a net at nodes."""
        tiles = -(-count // TILE)
        store = self._space(f"node store {t}", tiles, store_size(self._widths))
        features = self._space(f"nodes {t}", tiles * TILE, 2, self._m1)
        s = (first + np.arange(tiles * TILE)) / per_unit
        kernels.embed(0, tiles, s, net, self._widths, store, features)
        return _Nodes(first, per_unit, count, store, features, features[:count, 0].copy())

    def _store(self, pairs: int) -> Floats:
        """Layers of every tile of pairs."""
        return self._space("store", pairs // TILE, store_size(self._widths))


def share(batch: PairLists, part: int) -> list[tuple[int, int, int]]:
    """One part of the pairs: block, first and last tile of each range."""
    ranges = []
    for t, (low, high) in enumerate(pairwise((batch.blocks // TILE).tolist())):
        first, last = _range(high - low, part)
        if last > first:
            ranges.append((t, low + first, low + last))
    return ranges


def _range(count: int, part: int) -> tuple[int, int]:
    """One of `PARTS` parts of a range."""
    return count * part // PARTS, count * (part + 1) // PARTS
