"""Small random models and frames for tests."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from nvnmd.deepmd.tables import tables_of_weights
from nvnmd.inputs.config import (
    DescriptorConfig,
    FittingConfig,
    LearningRateConfig,
    LossConfig,
    RunConfig,
    TrainingConfig,
)
from nvnmd.mapping.freeze import freeze_model
from nvnmd.neighbors.slots import build_neighborhood
from nvnmd.network.weights import FloatWeights


def random_weights(rng, ntypes=2, m1=8, axis=2, width=16, hidden=2):
    """Float weights of a small net: embedding 1-m1/2-m1, fitting of equal widths."""

    def draw(*shape):
        return rng.normal(size=shape) / np.sqrt(sum(shape[-2:]))

    widths = [m1 * axis, *[width] * hidden, 1]
    net = [1, m1 // 2, m1]
    return FloatWeights(
        embedding=tuple(
            tuple((draw(i, o), draw(1, o)[0]) for i, o in pairwise(net)) for _ in range(ntypes)
        ),
        fit_weights=tuple(draw(ntypes, i, o) for i, o in pairwise(widths)),
        fit_biases=tuple(0.1 * draw(ntypes, o) for o in widths[1:]),
        davg=np.stack([rng.uniform(0.01, 0.1, ntypes), np.zeros(ntypes)], axis=1),
        dstd=rng.uniform(0.1, 0.2, (ntypes, 2)),
        t_bias_atom_e=rng.normal(size=ntypes),
        min_nbor_dist=1.7,
    )


def small_config(ntypes=2, **changes):
    """The input document of `random_weights`."""
    settings = {
        "version": 0,
        "max_nnei": 128,
        "type_map": ("Cu", "Au", "Ag", "Ni")[:ntypes],
        "descriptor": DescriptorConfig(
            sel=(12,) * ntypes, rcut=4.0, rcut_smth=1.0, neuron=(4, 8), axis_neuron=2
        ),
        "fitting": FittingConfig(neuron=(16, 16)),
        "learning_rate": LearningRateConfig(),
        "loss": LossConfig(),
        "training": TrainingConfig(systems=("none",), batch_size=(1,), numb_steps=1),
    }
    return RunConfig(**(settings | changes))


def random_model(rng, ntypes=2, **sizes):
    """A frozen model of random weights."""
    weights = random_weights(rng, ntypes, **sizes)
    return freeze_model(weights, tables_of_weights(weights, 4.0, 1.0), small_config(ntypes))


def rattled_crystal(rng, model, cells=2):
    """Neighbours of a rattled simple cubic crystal of random types, 3 Å apart."""
    grid = np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), -1).reshape(-1, 3)
    coord = 3.0 * grid + rng.normal(scale=0.25, size=(len(grid), 3))
    types = rng.integers(0, model.ntypes, len(grid))
    types[: model.ntypes] = np.arange(model.ntypes)
    return build_neighborhood(coord, np.eye(3) * 3.0 * cells, types, model.sel, model.rcut,
                              ntypes=model.shared_types)
