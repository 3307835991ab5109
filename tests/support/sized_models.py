"""Frozen models of any size that an input document may ask for, of initial weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from support.small_models import small_config
from support.type_models import NAMES

from nvnmd.deepmd.tables import tables_of_weights
from nvnmd.inputs.config import DescriptorConfig, FittingConfig, RunConfig
from nvnmd.mapping.freeze import freeze_model
from nvnmd.network.initial_weights import initial_weights
from nvnmd.network.statistics import Statistics
from nvnmd.network.weights import FloatWeights
from nvnmd.quantize.model import Model

RCUT, RCUT_SMTH = 4.0, 1.0
# features, axis neurons, hidden layers, capacity: the ends of each range, and both ends together
SIZES = ((8, 2, 1, 32), (8, 8, 4, 64), (16, 4, 3, 32), (64, 2, 2, 256), (32, 4, 1, 128))


def size_config(m1: int, axis: int, hidden: int, capacity: int, *, version: int = 0,
                ntypes: int = 2, tables: str = "vendor") -> RunConfig:
    """The settings of a model whose slots fill its capacity, up to 64."""
    slots = min(capacity, 64)
    sel = (slots,) if version else (slots // ntypes,) * ntypes
    return small_config(
        version=version, type_map=NAMES[:ntypes], max_nnei=capacity, tables=tables,
        descriptor=DescriptorConfig(sel=sel, rcut=RCUT, rcut_smth=RCUT_SMTH, seed=m1,
                                    neuron=(m1 // 4, m1 // 2, m1), axis_neuron=axis),
        fitting=FittingConfig(neuron=(m1 * axis,) * hidden, seed=axis))


def sized_weights(config: RunConfig) -> FloatWeights:
    """What a training would begin with on loosely packed atoms."""
    n = config.ntypes
    mean = np.full((n, 2), 0.05) * [1.0, 0.0] * (config.version == 0)
    # in version 1 nothing shifts s below 0, so that sums are larger
    deviation = 0.3 if config.version else 0.15
    return initial_weights(
        config.descriptor, config.fitting,
        Statistics(davg=mean, dstd=np.full((n, 2), deviation), t_bias_atom_e=-np.ones(n),
                   min_nbor_dist=1.7, largest_counts=np.full(n, 8),
                   s_sample=np.linspace(-0.1, 3.0, 64), mean_neighbors=12.0),
        config.version)


def sized_model(*size: int, **settings) -> Model:
    """The frozen model of `size_config`."""
    config = size_config(*size, **settings)
    weights = sized_weights(config)
    weights = replace(weights, fit_biases=tuple(0.1 * b for b in weights.fit_biases))
    return freeze_model(weights, tables_of_weights(weights, RCUT, RCUT_SMTH, name=config.tables),
                        config)
