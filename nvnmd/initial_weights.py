"""Initial weights of the float model."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from nvnmd.config import DescriptorConfig, FittingConfig
from nvnmd.statistics import Statistics
from nvnmd.weights import FloatWeights, Layer


def draw_net(rng: np.random.Generator, widths: Sequence[int]) -> tuple[Layer, ...]:
    """Draw one net: weights normal with deviation ``1/sqrt(nin + nout)``, biases normal with 1.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the numbers.
    widths : sequence of int
        Inputs, then the width of each layer.
    """
    return tuple(
        (rng.normal(size=(nin, nout)) / np.sqrt(nin + nout), rng.normal(size=nout))
        for nin, nout in pairwise(widths)
    )


def initial_weights(
    descriptor: DescriptorConfig, fitting: FittingConfig, statistics: Statistics
) -> FloatWeights:
    """Draw all nets, in the distribution that DeePMD-kit draws from (its numbers are others).

    Parameters
    ----------
    descriptor, fitting : DescriptorConfig, FittingConfig
        Widths and seeds; without a seed the operating system gives one.
    statistics : Statistics
        Of the training data.
    """
    ntypes = len(descriptor.sel)
    rng = np.random.default_rng(descriptor.seed)
    embedding = tuple(draw_net(rng, (1, *descriptor.neuron)) for _ in range(ntypes))
    rng = np.random.default_rng(fitting.seed)
    inputs = descriptor.neuron[-1] * descriptor.axis_neuron
    nets = [draw_net(rng, (inputs, *fitting.neuron, 1)) for _ in range(ntypes)]
    return FloatWeights(
        embedding=embedding,
        fit_weights=tuple(np.stack([w for w, _ in layer]) for layer in zip(*nets, strict=True)),
        fit_biases=tuple(np.stack([b for _, b in layer]) for layer in zip(*nets, strict=True)),
        davg=statistics.davg,
        dstd=statistics.dstd,
        t_bias_atom_e=statistics.t_bias_atom_e,
        min_nbor_dist=statistics.min_nbor_dist,
    )
