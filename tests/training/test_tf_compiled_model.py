"""Training with compiled passes: the gradients are those of the TensorFlow graph."""

from __future__ import annotations

import numpy as np
import pytest
from support.float_cases import RCUT, RCUT_SMTH, SEL, random_weights
from support.type_models import type_weights

from nvnmd.data.frame_pairs import NeighborCache
from nvnmd.training.continuous.batches import Layout, pack

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("numba", reason="numba is not installed")

from support.compiled_cases import PREFACTORS, both, compare, labelled

from nvnmd.training.continuous.adam import BETA1, BETA2, EPSILON, Adam
from nvnmd.training.continuous.compiled_model import CompiledFloatModel
from nvnmd.training.continuous.pair_lists import pack_pairs
from nvnmd.training.continuous.tf_model import TfFloatModel

CASES = {
    "version 0": (random_weights(), SEL, {}),
    "other widths": (random_weights(neuron=(3, 6, 6, 12), hidden=(20, 24)), SEL, {}),
    "more slots than needed": (random_weights(), (30, 40), {"axis_neuron": 4, "relative_f": 0.5}),
    "fitting nets only": (random_weights(), SEL, {"train_embedding": False}),
    "some layers": (random_weights(), SEL, {"train_fitting": (False, True, False, True)}),
}


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_version_0(name):
    weights, sel, options = CASES[name]
    fast, graph, batches = both(weights, labelled(), sel, **options)
    assert len(batches[0].parts) == 1
    compare(fast, graph, batches)


@pytest.mark.parametrize("atoms", [1, 16])
def test_frames_in_parts(atoms, monkeypatch):
    """One frame after another, or two and one."""
    monkeypatch.setattr("nvnmd.training.continuous.pair_lists.PART_ATOMS", atoms)
    for weights, ntypes, sel, m2 in ((random_weights(), 2, SEL, 4),
                                     (type_weights(np.random.default_rng(4)), 3, (50,), 2)):
        fast, graph, batches = both(weights, labelled(ntypes=ntypes), sel, axis_neuron=m2)
        assert len(batches[0].parts) == (3 if atoms == 1 else 2)
        compare(fast, graph, batches)


def test_shared_pairs():
    """Pairs of one type are listed once, images of an atom itself too; the rest for each side."""
    system = labelled()
    cache = NeighborCache([system], SEL, RCUT, ("A", "B"))
    near = cache.pairs(0, 1)
    same = near.types[near.center] == near.types[near.neighbor]
    assert (near.center[same] == near.neighbor[same]).any()
    np.testing.assert_array_equal(near.mates >= 0, same)
    mates = near.mates[same]
    np.testing.assert_array_equal(near.mates[mates], np.flatnonzero(same))
    np.testing.assert_array_equal(near.center[mates], near.neighbor[same])
    np.testing.assert_allclose(near.rij[mates], -near.rij[same], atol=1e-12)
    lists = pack_pairs(cache, 0, [1]).parts[0].pairs
    assert lists.shared.sum() == same.sum() // 2
    assert (lists.centers >= 0).sum() == len(same) - same.sum() // 2


def test_pairs_whose_other_side_is_missing():
    """Where neighbours were dropped a pair may have one side only; it then stands for itself."""
    system = labelled()
    cache = NeighborCache([system], (9, 9), RCUT, ("A", "B"), overflow="truncate")
    near = cache.pairs(0, 1)
    same = near.types[near.center] == near.types[near.neighbor]
    assert (near.mates[same] < 0).any() and (near.mates >= 0).any()
    weights = random_weights()
    settings = {"sel": (9, 9), "rcut": RCUT, "rcut_smth": RCUT_SMTH}
    batch = pack(cache, 0, [1], Layout(1, (4, 4), (9, 9)))
    compare(CompiledFloatModel(weights, **settings), TfFloatModel(weights, **settings),
            (pack_pairs(cache, 0, [1]), batch))


@pytest.mark.parametrize("options", [{}, {"train_embedding": False}, {"train_types": False}])
def test_gradients_of_version_1(options):
    weights = type_weights(np.random.default_rng(4))
    fast, graph, batches = both(weights, labelled(ntypes=3), (50,), axis_neuron=2, **options)
    compare(fast, graph, batches)


def test_steps_are_those_of_the_graph():
    fast, graph, (pairs, padded) = both(random_weights(), labelled(), SEL, gradient_max_norm=0.5)
    for step in (1, 2, 3):
        fast.step(pairs, PREFACTORS, 1e-3, step)
        graph.step(padded, PREFACTORS, 1e-3, step)
    for name, array in graph.weights.arrays().items():
        np.testing.assert_allclose(fast.weights.arrays()[name], array, atol=1e-10, err_msg=name)
    for name, array in graph.moments.items():
        np.testing.assert_allclose(fast.moments[name], array, rtol=1e-6, atol=1e-12)


def test_threads_change_no_bit(monkeypatch):
    fast, _, (batch, _) = both(random_weights(), labelled(), SEL)
    gradients = []
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        gradients.append(fast.gradient(batch, PREFACTORS))
    assert gradients[0].tobytes() == gradients[1].tobytes() == gradients[2].tobytes()


def test_adam():
    """Two steps of the textbook, the first one's gradient cut in length."""
    adam = Adam(2, max_norm=1.0)
    adam.change(np.array([3.0, 4.0]), 0.1, 1)
    change = adam.change(np.array([0.0, -0.5]), 0.1, 2)
    first = np.array([0.6, 0.8]) * (1 - BETA1) * BETA1 + np.array([0.0, -0.5]) * (1 - BETA1)
    second = (np.array([0.36, 0.64]) * BETA2 + np.array([0.0, 0.25])) * (1 - BETA2)
    rate = 0.1 * np.sqrt(1 - BETA2**2) / (1 - BETA1**2)
    np.testing.assert_allclose(change, -rate * first / (np.sqrt(second) + EPSILON), rtol=1e-12)
    with pytest.raises(ValueError, match=r"\(3,\) moments, expected \(2,\)"):
        adam.set_moments({"first": np.zeros(3), "second": np.zeros(2)})
