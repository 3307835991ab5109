"""Initial weights of version 1: features and type nets as their module says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.float_cases import RCUT, RCUT_SMTH, SEL, alloy

from nvnmd.data.frame_pairs import NeighborCache
from nvnmd.data.systems import System
from nvnmd.inputs.config import DescriptorConfig
from nvnmd.network.initial_types import (
    MOST_OFFSET,
    OFFSET,
    SUM,
    TYPE_WIDTH,
    draw_shared_embedding,
    draw_type_nets,
    draw_type_weights,
)
from nvnmd.network.math import NumpyMath
from nvnmd.network.nets import embed, switch
from nvnmd.network.statistics import SAMPLES, Statistics, collect_statistics
from nvnmd.network.types import type_terms

NEURON = (8, 16, 32)


@pytest.fixture(scope="module")
def gathered() -> tuple[Statistics, NeighborCache]:
    coord, box, types = alloy(3, (2, 2, 1))
    system = System(path="random", types=types, coord=coord[None], box=box[None],
                    energy=np.zeros(1), force=None, virial=None)
    cache = NeighborCache([system], (sum(SEL),), RCUT, ("A", "B"), shared=True)
    return collect_statistics(cache, RCUT_SMTH), cache


def test_sample_has_the_distribution_of_s(gathered):
    statistics, cache = gathered
    pairs = cache.pairs(0, 0)
    r = np.linalg.norm(pairs.rij, axis=1)
    radial = switch(NumpyMath(), r, RCUT_SMTH, RCUT)[0] / r
    centre_types = np.sort(cache.systems[0].types)
    centre = centre_types[pairs.center]
    s = radial / statistics.dstd[centre, 0]
    sample = statistics.s_sample
    np.testing.assert_allclose(statistics.mean_neighbors, len(r) / len(centre_types), rtol=1e-12)
    assert sample.shape == (SAMPLES,) and (np.diff(sample) >= 0).all()
    expected = np.quantile(s, (np.arange(SAMPLES) + 0.5) / SAMPLES)
    # half a bin, and a step between two neighbours of the sorted values
    bin_width = 2.0**-7 / statistics.dstd[:, 0].min()
    assert np.abs(sample - expected).max() < bin_width + np.diff(np.sort(s)).max()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_offsets_of_the_features_are_a_fraction(gathered, seed):
    statistics, _ = gathered
    s = statistics.s_sample
    net = draw_shared_embedding(np.random.default_rng(seed), NEURON, statistics)
    assert [w.shape for w, _ in net] == [(1, 8), (8, 16), (16, 32)]
    g, _ = embed(NumpyMath(), net, s[:, None])
    weight = s / s.sum()
    deviation = np.sqrt(weight @ (s - weight @ s) ** 2)
    slopes = np.abs(net[0][0]) * deviation
    assert 0.5 <= slopes.min() < slopes.max() <= 2.0
    offset = weight @ g
    assert 0.3 * OFFSET < offset.std() < 1.5 * OFFSET
    assert np.abs(offset).max() < 3 * OFFSET + MOST_OFFSET
    # features differ, and change over the data by more than their offset
    assert (g.std(axis=0) > 0.05).all() and np.sqrt((g.std(axis=0) ** 2).mean()) > 0.4
    correlation = np.corrcoef(g.T) - np.eye(32)
    assert np.abs(correlation).max() < 1.0 - 1e-6


def test_neighbors_at_one_distance_give_finite_slopes(gathered):
    one = replace(gathered[0], s_sample=np.full(64, 3.0))
    for weight, bias in draw_shared_embedding(np.random.default_rng(1), NEURON, one):
        assert np.isfinite(weight).all() and np.isfinite(bias).all()
        assert np.abs(weight).max() < 10.0


@pytest.mark.parametrize("ntypes", [2, 4, 8, 15, 32])
def test_types_differ_from_the_start(gathered, ntypes):
    statistics = replace(gathered[0], t_bias_atom_e=np.zeros(ntypes), mean_neighbors=60.0,
                         s_sample=np.array([0.8, 1.0]))
    descriptor = DescriptorConfig(sel=(128,), rcut=6.0, rcut_smth=0.5, neuron=NEURON)
    rng = np.random.default_rng(ntypes)
    drawn = draw_type_nets(rng, descriptor, statistics)
    terms = type_terms(NumpyMath(), drawn["type_embedding"], drawn["type_net"],
                       draw_type_weights(rng, 128))
    gains = terms.gains.reshape(ntypes, ntypes, 32)
    # over neighbour types and over centre types, about as large as the gains themselves
    assert gains.std(axis=0).mean() > 0.2 and gains.std(axis=1).mean() > 0.2
    np.testing.assert_allclose(np.sqrt((gains**2).mean()), SUM * 128 / (60.0 * 0.9), rtol=1e-9)
    assert terms.first.std(axis=0).mean() > 0.4


def test_gains_stay_moderate_where_neighbors_are_few_or_many(gathered):
    descriptor = DescriptorConfig(sel=(128,), rcut=6.0, rcut_smth=0.5, neuron=NEURON)
    sizes = []
    for count in (1.0, 70.0, 1000.0):
        drawn = draw_type_nets(np.random.default_rng(1), descriptor,
                               replace(gathered[0], mean_neighbors=count))
        terms = type_terms(NumpyMath(), drawn["type_embedding"], drawn["type_net"],
                           np.zeros((TYPE_WIDTH, 1)))
        sizes.append(np.sqrt((terms.gains**2).mean()))
    assert 3.0 > sizes[0] > sizes[1] > sizes[2] > 0.5
