"""The weights that a training begins with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from support.cnn_runs import DESCRIPTOR, HIDDEN, data, finished  # noqa: F401

from nvnmd.data.sampler import BatchSampler
from nvnmd.inputs.config import FittingConfig
from nvnmd.network.initial_weights import (
    EMBEDDING_BIAS_GAIN,
    EMBEDDING_WEIGHT_GAIN,
    FITTING_BIAS_GAIN,
    FITTING_WEIGHT_GAIN,
    initial_weights,
)
from nvnmd.network.statistics import Statistics

STATISTICS = Statistics(
    davg=np.array([[0.1, 0.0], [0.2, 0.0]]),
    dstd=np.ones((2, 2)),
    t_bias_atom_e=np.array([-1.0, -2.0]),
    min_nbor_dist=2.0,
    largest_counts=np.array([5, 6]),
    s_sample=np.linspace(-0.1, 5.0, 64),
    mean_neighbors=8.0,
)


def test_other_seeds_give_another_run(finished, data, tmp_path):
    _, _, result, _ = finished
    one = initial_weights(DESCRIPTOR, FittingConfig(neuron=HIDDEN, seed=2), STATISTICS)
    two = initial_weights(DESCRIPTOR, FittingConfig(neuron=HIDDEN, seed=2), STATISTICS)
    three = initial_weights(
        replace(DESCRIPTOR, seed=9), FittingConfig(neuron=HIDDEN, seed=9), STATISTICS
    )
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(two.arrays()[name], array)
        if name.startswith(("embedding", "fitting")):
            assert (three.arrays()[name] != array).all()
            assert array.shape == result.weights.arrays()[name].shape
    first, second = BatchSampler([36], [1], 3), BatchSampler([36], [1], 4)
    assert [first.draw()[1][0] for _ in range(9)] != [second.draw()[1][0] for _ in range(9)]


def test_initial_weights_have_the_stated_distribution():
    wide = replace(DESCRIPTOR, neuron=(100, 200))
    weights = initial_weights(wide, FittingConfig(neuron=(150, 150), seed=1), STATISTICS)
    gains = [(1.0, 1.0), (EMBEDDING_WEIGHT_GAIN, EMBEDDING_BIAS_GAIN)]
    for (weight, bias), (gain, shift) in zip(weights.embedding[0], gains, strict=True):
        np.testing.assert_allclose(weight.std() * np.sqrt(sum(weight.shape)), gain, rtol=0.2)
        np.testing.assert_allclose(bias.std(), shift, rtol=0.2)
    for weight, gain in zip(weights.fit_weights, (FITTING_WEIGHT_GAIN, 1.0, 1.0), strict=True):
        np.testing.assert_allclose(weight.std() * np.sqrt(sum(weight.shape[1:])), gain, rtol=0.15)
    np.testing.assert_allclose(weights.fit_biases[0].std(), FITTING_BIAS_GAIN, rtol=0.2)
    np.testing.assert_array_equal(weights.davg, STATISTICS.davg)
