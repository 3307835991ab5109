"""The numbers that the continuous stage trains, as one vector and as the arrays of the nets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.network.weights import FloatWeights

Floats = NDArray[np.float64]
Net = list[tuple[Floats, Floats]]


class TrainedNumbers:
    """A vector and views of it: weights, or a gradient by them.

    The order is that of checkpoints: embedding nets, fitting nets of one type after the other, in
    version 1 the matrices of the type embedding, the net of the gains and `tweight`. The bias of
    the type embedding stays as it is: it would only double what its matrix learns. SUB_VERSION 2
    trains it, as the vendor does; it stands behind the matrices.

    Parameters
    ----------
    weights : FloatWeights
        Gives the shapes, and the values where there is no `vector`.
    vector : (n,), optional
        The numbers.

    Attributes
    ----------
    vector : (n,) float64
        All numbers.
    embedding, fitting : lists of nets
        Layers (weight, bias), views of the vector.
    type_matrices, type_biases, type_net, tweight
        Version 1, likewise; else empty and None. Without trained biases that list is empty.
    """

    def __init__(self, weights: FloatWeights, vector: Floats | None = None) -> None:
        self._model = weights
        fitting = list(zip(weights.fit_weights, weights.fit_biases, strict=True))
        nets = [list(net) for net in weights.embedding]
        nets += [[(w[t], b[t]) for w, b in fitting] for t in range(len(fitting[0][0]))]
        arrays = [array for net in nets for layer in net for array in layer]
        if weights.tweight is not None:
            arrays += [w for w, _ in weights.type_embedding]
            arrays += [b for _, b in weights.type_embedding if weights.sub_version == 2]
            arrays += [array for layer in weights.type_net for array in layer]
            arrays.append(weights.tweight)
        if vector is None:
            vector = np.concatenate([np.ravel(array) for array in arrays])
        self.vector = vector
        views, start = [], 0
        for array in arrays:
            views.append(vector[start : start + array.size].reshape(array.shape))
            start += array.size
        if start != len(vector):
            raise ValueError(f"{len(vector)} numbers, expected {start}")
        rest = iter(views)
        taken: list[Net] = [[(next(rest), next(rest)) for _ in net] for net in nets]
        self.embedding = taken[: len(weights.embedding)]
        self.fitting = taken[len(weights.embedding) :]
        self.type_matrices: list[Floats] = []
        self.type_biases: list[Floats] = []
        self.type_net: Net = []
        self.tweight: Floats | None = None
        if weights.tweight is not None:
            self.type_matrices = [next(rest) for _ in weights.type_embedding]
            if weights.sub_version == 2:
                self.type_biases = [next(rest) for _ in weights.type_embedding]
            self.type_net = [(next(rest), next(rest)) for _ in weights.type_net]
            self.tweight = next(rest)

    @property
    def type_embedding(self) -> Net:
        """Matrices with their biases."""
        biases = self.type_biases or [bias for _, bias in self._model.type_embedding]
        return list(zip(self.type_matrices, biases, strict=True))

    def zeros(self) -> TrainedNumbers:
        """Zeros of the same shapes."""
        return TrainedNumbers(self._model, np.zeros_like(self.vector))

    def weights(self) -> FloatWeights:
        """A copy, with the model's statistics."""
        types: dict[str, Any] = {}
        if self.tweight is not None:
            types = {
                "type_embedding": _copied(self.type_embedding),
                "type_net": _copied(self.type_net),
                "tweight": self.tweight.copy(),
            }
        layers = range(len(self.fitting[0]))
        return replace(
            self._model,
            embedding=tuple(_copied(net) for net in self.embedding),
            fit_weights=tuple(np.stack([net[k][0] for net in self.fitting]) for k in layers),
            fit_biases=tuple(np.stack([net[k][1] for net in self.fitting]) for k in layers),
            **types,
        )


def _copied(net: Net) -> tuple[tuple[Floats, Floats], ...]:
    return tuple((w.copy(), b.copy()) for w, b in net)
