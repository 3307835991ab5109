"""Embedding nets by interpolation between nodes: values and gradients of the nets themselves."""

from __future__ import annotations

import numpy as np
import pytest
from support.float_cases import SEL, random_weights
from support.type_models import type_weights

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("numba", reason="numba is not installed")

from support.compiled_cases import PREFACTORS, both, compare, labelled

from nvnmd.training.continuous import embedding_pass, node_kernels
from nvnmd.training.continuous.node_kernels import BEFORE, POINTS

CASES = {
    "version 0": (random_weights, 2, SEL, {}),
    "other widths": (lambda: random_weights(neuron=(3, 6, 6, 12), hidden=(20, 24)), 2, SEL, {}),
    "version 1": (lambda: type_weights(np.random.default_rng(4)), 3, (50,), {"axis_neuron": 2}),
}


@pytest.fixture
def by_nodes(monkeypatch):
    """Every net by interpolation, however few pairs there are; densities and errors found."""
    monkeypatch.setattr(embedding_pass, "_WORTH", 0)
    seen: list[tuple[float, float]] = []
    measure = node_kernels.coarse_errors

    def watched(per_unit, nodes, count):
        seen.append((per_unit, measure(per_unit, nodes, count)))
        return seen[-1][1]

    monkeypatch.setattr(node_kernels, "coarse_errors", watched)
    return seen


def case(name):
    """Models of one case and a batch for each."""
    weights, ntypes, sel, options = CASES[name]
    return both(weights(), labelled(ntypes=ntypes), sel, **options)


@pytest.mark.parametrize("name", CASES)
def test_same_gradients_through_nodes(name, by_nodes):
    fast, graph, batches = case(name)
    compare(fast, graph, batches, rtol=1e-8, atol=1e-9)
    blocks = len(batches[0].parts[0].pairs.blocks) - 1
    accepted = [error for _, error in by_nodes if error <= embedding_pass._TOLERANCE]
    # `compare` evaluates three times, each net once
    assert len(accepted) == 3 * blocks


def test_threads_change_no_bit(by_nodes, monkeypatch):
    fast, _, (batch, _) = case("version 0")
    gradients = []
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        gradients.append(fast.gradient(batch, PREFACTORS).tobytes())
    assert len(set(gradients)) == 1 and by_nodes


def test_steep_nets_get_more_nodes_or_go_pair_by_pair(by_nodes):
    """Steeper nets need denser nodes; beyond the densest every pair goes through the net."""
    densest = []
    for factor in (1.0, 4.0, 200.0):
        weights = random_weights()
        for net in weights.embedding:
            net[0][0][:] *= factor
        by_nodes.clear()
        compare(*both(weights, labelled(), SEL), rtol=1e-8, atol=1e-9)
        densest.append(max(density for density, _ in by_nodes))
    assert densest[0] < densest[1] <= densest[2] == embedding_pass._DENSITIES[-1]
    assert by_nodes[-1][1] > embedding_pass._TOLERANCE


def test_few_pairs_go_through_the_net():
    fast, _, (batch, _) = case("version 0")
    fast.predict(batch)
    assert fast._pass._embedding._nodes == [None, None]


def test_what_is_not_a_number_stays_so(by_nodes):
    weights = random_weights()
    weights.embedding[0][1][0][0, 0] = np.nan
    fast, _, (batch, _) = both(weights, labelled(), SEL)
    energy, *_ = fast.predict(batch)
    assert np.isnan(energy).all()
    assert any(error == np.inf for _, error in by_nodes)


def test_factors_are_exact_for_polynomials():
    """Of the degree that the points allow: values, and derivatives by s."""
    per_unit = 4.0
    table = node_kernels.factor_table(per_unit)
    polynomial = np.polynomial.Polynomial(np.random.default_rng(0).normal(size=POINTS))
    for t in (0.0, 0.3, 0.5, 0.9):
        factors = (t - 0.5) ** np.arange(POINTS) @ table
        nodes = polynomial((np.arange(POINTS) - BEFORE) / per_unit)
        np.testing.assert_allclose(factors[:POINTS] @ nodes, polynomial(t / per_unit), rtol=1e-12)
        np.testing.assert_allclose(
            factors[POINTS:] @ nodes, polynomial.deriv()(t / per_unit), rtol=1e-10)


def test_coarse_errors_are_those_of_every_second_node():
    """Of sin(3 s) and its derivative, beside the textbook's bound on the error halfway."""
    per_unit, count = 8.0, 60
    s = np.arange(count) / per_unit
    nodes = np.stack([np.sin(3 * s), 3 * np.cos(3 * s)], axis=1)[:, :, None].copy()
    found = node_kernels.coarse_errors(per_unit, nodes, count)
    reach = np.abs(np.arange(POINTS) - BEFORE - 0.5) * 2 / per_unit
    bound = np.prod(reach) * 3.0**POINTS / np.prod(np.arange(1.0, POINTS + 1))
    assert 0.3 * bound < found < 10 * bound
    nodes[20, 0] += 0.01
    assert node_kernels.coarse_errors(per_unit, nodes, count) > 0.009
