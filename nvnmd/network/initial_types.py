"""Initial weights of what version 1 has of its own: the shared embedding net and the type nets.

One set of nets serves all types, and s has no mean. Two things follow for the start:

- Types must differ from the first step on. With type vectors and matrices of ``1/sqrt(nin + nout)``
  the gains of all pairs of types are nearly equal, and so are the terms in the first fitting layer;
  the energies of compositions are then learnt last. So type vectors are of unit size, and what is
  made of them as well.
- s is nowhere negative, so that the sums over the neighbours hold a part that hardly changes from
  atom to atom and grows with any offset of the features G. It can make elements of the descriptor
  leave their format (8), and every step of the fitting net's weights then shifts the energies of
  all atoms at once. No offset at all would be no better: the descriptor, a product of two sums,
  would be of second order in the changes. So biases are chosen on the data such that the offset is
  a fraction of what it can be.

The alloy of `benchmarks/accuracy.py`, 2000 steps, seed 1, on the way to these weights: plain ones
ended with a descriptor of 8.2 and 91 meV/atom in the last batch; without offsets, 41 meV/atom and
0.136 eV/Å with plain type nets, 7.1 and 0.115 with those of unit size; with offsets 5.5 and 0.090.
Seeds scatter by several meV/atom; docs/versions.md has means beside version 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.inputs.config import DescriptorConfig
from nvnmd.network.math import NumpyMath
from nvnmd.network.model import nix
from nvnmd.network.statistics import Statistics
from nvnmd.network.types import type_terms
from nvnmd.network.weights import Layer, Net

Array = NDArray[np.float64]

# Width of a type vector
TYPE_WIDTH = 8
# Offset of a feature, relative to the largest that its last layer's tanh can make: its deviation
# at the start, and the largest that is asked for
OFFSET, MOST_OFFSET = 0.6, 0.9
# Size of the descriptor's first row for features of size 1
SUM = 0.6
# Biases of the net of the gains, and between what its matrices are scaled
TYPE_BIAS, SCALES = 0.3, (0.5, 3.0)
# Root mean square of the gains of SUB_VERSION 2 at the start
SWITCHED_GAIN = 1.0
# Slopes of the first embedding layer lie within this factor. A net much steeper than the data asks
# for is not smooth on the table's steps of 1/16: one slope five times the others' cost 2.4e-5 eV/Å
# in the integer network's forces, instead of 5e-6.
SLOPE_FACTOR = 2.0
# Least deviation of s, relative to its mean
LEAST_SPREAD = 0.25
# Halvings of the interval in which a bias is sought, and its half width
HALVINGS, FARTHEST = 50, 30.0


def draw_shared_embedding(
    rng: np.random.Generator, neuron: Sequence[int], statistics: Statistics
) -> tuple[Layer, ...]:
    """Draw the embedding net of all types.

    The units of the first layer change sign at values spread over the data, with slopes of about
    one over the deviation of s. Each further layer's biases give its output, the skipped input
    included, an offset of a chosen size: the mean over the neighbours with s as weight, as the
    descriptor's first row weighs them.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the numbers.
    neuron : sequence of int
        Widths.
    statistics : Statistics
        Of the training data, in SUB_VERSION 1 without a mean.
    """
    s = statistics.s_sample
    # with a mean some values are negative: how much a neighbour weighs is their magnitude
    weight = np.abs(s) / np.abs(s).sum()
    mean = weight @ s
    # slopes that the table can hold, also where all neighbours are at one distance
    deviation = max(np.sqrt(weight @ (s - mean) ** 2), LEAST_SPREAD * abs(mean))
    first = neuron[0]
    places = np.searchsorted(np.cumsum(weight), (rng.permutation(first) + 0.5) / first)
    slopes = rng.choice([-1.0, 1.0], first) * SLOPE_FACTOR ** rng.uniform(-1.0, 1.0, first)
    slopes /= deviation
    layers: list[Layer] = [(slopes[None, :], -slopes * s[places])]
    y = np.tanh(s[:, None] * layers[0][0] + layers[0][1])
    for k, nout in enumerate(neuron[1:], start=2):
        matrix = _unit(rng, y.shape[1], nout)
        z = y @ matrix
        skipped = _skipped(y, nout)
        wanted = OFFSET * rng.normal(size=nout) if k == len(neuron) else np.zeros(nout)
        wanted = np.clip(wanted - weight @ skipped, -MOST_OFFSET, MOST_OFFSET)
        bias = _bias(z, weight, wanted)
        layers.append((matrix, bias))
        y = np.tanh(z + bias) + skipped
    return tuple(layers)


def draw_type_nets(
    rng: np.random.Generator, descriptor: DescriptorConfig, statistics: Statistics
) -> dict[str, Any]:
    """Draw the type embedding, whose bias is 0, and the net of the gains.

    The net's matrices are scaled such that the gains have the size that `wanted_gain` says.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the numbers.
    descriptor : DescriptorConfig
        Widths of the net of the gains, slots.
    statistics : Statistics
        Of the training data.

    Returns
    -------
    dict
        `type_embedding` and `type_net` of `FloatWeights`.
    """
    ntypes = len(statistics.t_bias_atom_e)
    vectors = rng.normal(size=(ntypes, TYPE_WIDTH))
    embedding: Net = ((vectors, np.zeros(TYPE_WIDTH)),)
    drawn, nin = [], 2 * TYPE_WIDTH
    for nout in descriptor.neuron:
        drawn.append((_unit(rng, nin, nout), rng.normal(size=nout) * TYPE_BIAS))
        nin = nout
    wanted = wanted_gain(statistics, sum(descriptor.sel))
    low, high = SCALES
    for _ in range(HALVINGS):
        scale = 0.5 * (low + high)
        net = tuple((matrix * scale, bias) for matrix, bias in drawn)
        terms = type_terms(NumpyMath(), embedding, net, np.zeros((TYPE_WIDTH, 1)))
        if np.sqrt((terms.gains**2).mean()) < wanted:
            low = scale
        else:
            high = scale
    return {"type_embedding": embedding, "type_net": net}


def draw_switched_types(
    rng: np.random.Generator, descriptor: DescriptorConfig, ntypes: int
) -> dict[str, Any]:
    """Draw type embedding and net of the gains of SUB_VERSION 2.

    The gains are of the size `SWITCHED_GAIN`, that of the 1 they are added to. (Larger ones, to
    make up for having faded, saturate the net and learn worse.)

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the numbers.
    descriptor : DescriptorConfig
        Widths of the net of the gains.
    ntypes : int
        Number of types.

    Returns
    -------
    dict
        `type_embedding` and `type_net` of `FloatWeights`.
    """
    embedding: Net = ((rng.normal(size=(ntypes, TYPE_WIDTH)), np.zeros(TYPE_WIDTH)),)
    drawn, nin = [], 2 * TYPE_WIDTH
    for nout in descriptor.neuron:
        drawn.append((_unit(rng, nin, nout), rng.normal(size=nout) * TYPE_BIAS))
        nin = nout
    low, high = SCALES
    for _ in range(HALVINGS):
        scale = 0.5 * (low + high)
        net = tuple((matrix * scale, bias) for matrix, bias in drawn)
        terms = type_terms(NumpyMath(), embedding, net, np.zeros((TYPE_WIDTH, 1)), True)
        if np.sqrt((terms.gains**2).mean()) < SWITCHED_GAIN:
            low = scale
        else:
            high = scale
    return {"type_embedding": embedding, "type_net": net}


def wanted_gain(statistics: Statistics, slots: int) -> float:
    """Return the root mean square gain that gives the sums over the neighbours the size `SUM`.

    Parameters
    ----------
    statistics : Statistics
        Of the training data.
    slots : int
        Neighbour slots, which decide what the sums are divided by.
    """
    total = statistics.mean_neighbors * statistics.s_sample.mean()
    return float(SUM * nix(slots) / total)


def draw_type_weights(rng: np.random.Generator, width: int) -> Array:
    """Draw the weights (TYPE_WIDTH, width) of the type vector in the first fitting layer."""
    return _unit(rng, TYPE_WIDTH, width)


def _unit(rng: np.random.Generator, nin: int, nout: int) -> Array:
    """A matrix that keeps the size of its input."""
    return rng.normal(size=(nin, nout)) / np.sqrt(nin)


def _skipped(y: Array, nout: int) -> Array:
    """What a layer of this width adds of its input."""
    if nout == 2 * y.shape[1]:
        return np.concatenate([y, y], axis=1)
    return y if nout == y.shape[1] else np.zeros((len(y), nout))


def _bias(z: Array, weight: Array, wanted: Array) -> Array:
    """Biases (n,) such that the weighted means of ``tanh(z + bias)`` (k, n) are as wanted."""
    low, high = np.full(z.shape[1], -FARTHEST), np.full(z.shape[1], FARTHEST)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        below = weight @ np.tanh(z + middle) < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return 0.5 * (low + high)
