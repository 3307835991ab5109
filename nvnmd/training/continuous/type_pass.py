"""The nets of the types (version 1, `nvnmd.network.types`) with their reverse pass."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nvnmd.network.math import NumpyMath
from nvnmd.network.types import TypeTerms, type_terms, type_vectors
from nvnmd.training.continuous.numbers import Net, TrainedNumbers

Floats = NDArray[np.float64]


def evaluate(numbers: TrainedNumbers) -> TypeTerms:
    """Contributions of the types with the present numbers (version 1)."""
    return type_terms(NumpyMath(), numbers.type_embedding, numbers.type_net, numbers.tweight,
                      bool(numbers.type_biases))


def backward(
    numbers: TrainedNumbers, by_gains: Floats, by_first: Floats, gradient: TrainedNumbers
) -> None:
    """Fill in the part of the gradient that belongs to the types.

    Parameters
    ----------
    numbers : TrainedNumbers
        The weights.
    by_gains, by_first : (ntypes * ntypes, M1), (ntypes, nout)
        Gradients of the loss by the gains and by the first layer's terms.
    gradient : TrainedNumbers
        Where it goes.
    """
    assert numbers.tweight is not None and gradient.tweight is not None
    vectors = type_vectors(NumpyMath(), numbers.type_embedding)
    ntypes, width = vectors.shape
    gradient.tweight[:] = vectors.T @ by_first
    by_vectors = by_first @ numbers.tweight.T

    # rows of the pairs: centre * ntypes + neighbour, neighbour's vector first
    neighbor, center = np.tile(np.arange(ntypes), ntypes), np.repeat(np.arange(ntypes), ntypes)
    pairs = np.concatenate([vectors[neighbor], vectors[center]], axis=1)
    by_pairs = _layers_backward(numbers.type_net, pairs, by_gains, gradient.type_net, tanh=True)
    by_pairs = by_pairs.reshape(ntypes, ntypes, 2 * width)
    by_vectors += by_pairs[..., :width].sum(axis=0) + by_pairs[..., width:].sum(axis=1)

    # where the biases of this net stay, their gradient goes nowhere
    biases = gradient.type_biases or [np.empty_like(b) for _, b in numbers.type_embedding]
    to_net = list(zip(gradient.type_matrices, biases, strict=True))
    _layers_backward(numbers.type_embedding, np.eye(ntypes), by_vectors, to_net, tanh=False)


def _layers_backward(net: Net, x: Floats, bar: Floats, gradient: Net, *, tanh: bool) -> Floats:
    """Reverse pass of layers that add their input where the widths stay or double.

    `tanh` says whether they have this activation. Returns the gradient by `x`.
    """
    inputs, inner = [], []
    for weight, bias in net:
        inputs.append(x)
        y = x @ weight + bias
        if tanh:
            y = np.tanh(y)
        inner.append(y)
        if y.shape[1] in (x.shape[1], 2 * x.shape[1]):
            y = y + np.tile(x, (1, y.shape[1] // x.shape[1]))
        x = y
    for k in reversed(range(len(net))):
        weight, (to_weight, to_bias) = net[k][0], gradient[k]
        before = bar * (1.0 - inner[k] ** 2) if tanh else bar
        to_weight[:] = inputs[k].T @ before
        to_bias[:] = before.sum(axis=0)
        back = before @ weight.T
        nin, nout = weight.shape
        if nout in (nin, 2 * nin):
            back += bar.reshape(len(bar), nout // nin, nin).sum(axis=1)
        bar = back
    return bar
