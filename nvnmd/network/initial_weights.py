"""Initial weights of the float model of version 0, and the parts that both versions share.

Normal numbers scaled by ``1/sqrt(nin + nout)``, as DeePMD-kit draws them, with gains of our own.
Without gains the 32 features of an embedding net differ little (each layer adds a small term to
copies of its input), so the descriptor hardly changes from atom to atom, and a fitting net needs
slopes dE/dD near the edge of the hardware's format (below 8) to make forces of ordinary size. On
216-atom GeTe, runs of 300 to 500 steps of several seeds: 0.31-0.39 eV/Å and slopes up to 5-6.5
without gains, 0.29-0.31 eV/Å and 3-4 with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from nvnmd.inputs.config import DescriptorConfig, FittingConfig
from nvnmd.network.initial_types import (
    draw_shared_embedding,
    draw_switched_types,
    draw_type_nets,
    draw_type_weights,
)
from nvnmd.network.statistics import Statistics
from nvnmd.network.weights import FloatWeights, Layer, Net

# Weights and biases of the embedding layers after the first
EMBEDDING_WEIGHT_GAIN, EMBEDDING_BIAS_GAIN = 4.0, 0.5
# Weights of the first fitting layer; biases of all fitting layers
FITTING_WEIGHT_GAIN, FITTING_BIAS_GAIN = 2.0, 0.5


def draw_net(
    rng: np.random.Generator,
    widths: Sequence[int],
    weight_gains: Sequence[float] | None = None,
    bias_gains: Sequence[float] | None = None,
) -> tuple[Layer, ...]:
    """Draw one net: weights normal with deviation ``1/sqrt(nin + nout)``, biases normal with 1.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the numbers.
    widths : sequence of int
        Inputs, then the width of each layer.
    weight_gains, bias_gains : sequence of float, optional
        Factors on the deviations, one per layer; 1 by default.
    """
    ones = [1.0] * (len(widths) - 1)
    layers = zip(pairwise(widths), weight_gains or ones, bias_gains or ones, strict=True)
    return tuple(
        (
            rng.normal(size=(nin, nout)) * (gain / np.sqrt(nin + nout)),
            rng.normal(size=nout) * shift,
        )
        for (nin, nout), gain, shift in layers
    )


def initial_weights(
    descriptor: DescriptorConfig,
    fitting: FittingConfig,
    statistics: Statistics,
    version: int = 0,
    sub_version: int = 1,
) -> FloatWeights:
    """Draw all nets.

    Parameters
    ----------
    descriptor, fitting : DescriptorConfig, FittingConfig
        Widths and seeds; without a seed the operating system gives one.
    statistics : Statistics
        Of the training data.
    version, sub_version : int
        NVNMD version, and the SUB_VERSION of version 1.
    """
    ntypes, deeper = len(statistics.t_bias_atom_e), len(descriptor.neuron) - 1
    nets_drawn = ntypes if version == 0 else 1
    rng = np.random.default_rng(descriptor.seed)
    if version == 1:
        embedding: tuple[Net, ...] = (draw_shared_embedding(rng, descriptor.neuron, statistics),)
        if sub_version == 2:
            types = {"sub_version": 2, **draw_switched_types(rng, descriptor, ntypes)}
        else:
            types = draw_type_nets(rng, descriptor, statistics)
    else:
        embedding = tuple(
            draw_net(
                rng,
                (1, *descriptor.neuron),
                [1.0] + [EMBEDDING_WEIGHT_GAIN] * deeper,
                [1.0] + [EMBEDDING_BIAS_GAIN] * deeper,
            )
            for _ in range(ntypes)
        )
        types = {}
    rng = np.random.default_rng(fitting.seed)
    inputs, hidden = descriptor.neuron[-1] * descriptor.axis_neuron, len(fitting.neuron)
    nets = [
        draw_net(
            rng,
            (inputs, *fitting.neuron, 1),
            [FITTING_WEIGHT_GAIN] + [1.0] * hidden,
            [FITTING_BIAS_GAIN] * (hidden + 1),
        )
        for _ in range(nets_drawn)
    ]
    if version == 1:
        types["tweight"] = draw_type_weights(rng, fitting.neuron[0])
    return FloatWeights(
        embedding=embedding,
        fit_weights=tuple(np.stack([w for w, _ in layer]) for layer in zip(*nets, strict=True)),
        fit_biases=tuple(np.stack([b for _, b in layer]) for layer in zip(*nets, strict=True)),
        davg=statistics.davg,
        dstd=statistics.dstd,
        t_bias_atom_e=statistics.t_bias_atom_e,
        min_nbor_dist=statistics.min_nbor_dist,
        **types,
    )
