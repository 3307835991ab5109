"""What tells the types apart in the float model of version 1: type vectors, gains, first layer.

Functions of the types alone, so they are evaluated once per pair of types and not per neighbour:

- t = onehot(type) W + b, the type vector, without activation (`[t, t]` or `t` added by the rule of
  the embedding nets where the widths allow it);
- gain[c, n] = 1 + net(concat(t[n], t[c])), the factors on the M1 features of a neighbour n of c;
  in SUB_VERSION 2 without the 1: there the factor is 1 + gain k, with a k that fades with distance;
- first[c] = t[c] tweight, which the first fitting layer receives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nvnmd.network.math import Array, Math

Net = Sequence[tuple[Array, Array]]


@dataclass(frozen=True)
class TypeTerms:
    """Contributions of the types of centre and neighbour.

    Attributes
    ----------
    vectors : (ntypes, width)
        Type vectors.
    gains : (ntypes * ntypes, M1)
        Factors on the features; row ``centre * ntypes + neighbour``.
    first : (ntypes, nout)
        Added to the first fitting layer, per centre type.
    switched : bool
        Whether the gains fade with distance: SUB_VERSION 2.
    """

    vectors: Array
    gains: Array
    first: Array
    switched: bool = False


def type_terms(
    xp: Math, type_embedding: Net, type_net: Net, tweight: Array, switched: bool = False
) -> TypeTerms:
    """Evaluate the nets of the types.

    Parameters
    ----------
    xp : Math
        Array library.
    type_embedding : layers (weight, bias)
        The first has one input per type.
    type_net : layers (weight, bias)
        The first has two type vectors' width as inputs.
    tweight : (width of a type vector, nout)
        Weights into the first fitting layer.
    switched : bool
        Gains of SUB_VERSION 2.

    Returns
    -------
    TypeTerms
    """
    ntypes = int(type_embedding[0][0].shape[0])
    vectors = type_vectors(xp, type_embedding)
    neighbors = xp.concat([vectors] * ntypes, 0)
    centers = xp.concat([vectors[t : t + 1] + np.zeros((ntypes, 1)) for t in range(ntypes)], 0)
    pairs = xp.concat([neighbors, centers], -1)
    gains = type_gain(xp, type_net, pairs)
    return TypeTerms(vectors, gains if switched else 1.0 + gains, vectors @ tweight, switched)


def type_vectors(xp: Math, type_embedding: Net) -> Array:
    """Return the type vectors (ntypes, width)."""
    x: Array = np.eye(int(type_embedding[0][0].shape[0]))
    for weight, bias in type_embedding:
        x = _with_skip(xp, x, x @ weight + bias)
    return x


def type_gain(xp: Math, type_net: Net, pairs: Array) -> Array:
    """Return what the net gives, (p, M1), to pairs (p, 2 * width): neighbour's vector, centre's."""
    x = pairs
    for weight, bias in type_net:
        x = _with_skip(xp, x, xp.tanh(x @ weight + bias))
    return x


def _with_skip(xp: Math, x: Array, y: Array) -> Array:
    """Add a layer's input to its output where the width stays or doubles."""
    nin, nout = int(x.shape[-1]), int(y.shape[-1])
    if nout == 2 * nin:
        return y + xp.concat([x, x], -1)
    return y + x if nout == nin else y
