"""The compiled float model of training beside the TensorFlow graph, on shaken crystals."""

from __future__ import annotations

import numpy as np
from support.float_cases import RCUT, RCUT_SMTH, alloy

from nvnmd.data.frame_pairs import NeighborCache, largest_counts
from nvnmd.data.systems import System
from nvnmd.training.continuous.batches import Layout, pack
from nvnmd.training.continuous.compiled_model import CompiledFloatModel
from nvnmd.training.continuous.pair_lists import pack_pairs
from nvnmd.training.continuous.tf_model import TfFloatModel

PREFACTORS = np.array([0.7, 30.0, 0.2, 1.5, 4.0, 0.0])


def labelled(frames=3, ntypes=2):
    """A system of shaken crystals with every kind of label but generalised coordinates."""
    rng = np.random.default_rng(1)
    many = [alloy(k) for k in range(frames)]
    coord = np.stack([c for c, _, _ in many])
    n = coord.shape[1]
    return System(
        path="random", types=rng.permutation(np.arange(n) % ntypes), coord=coord,
        box=np.stack([b for _, b, _ in many]), energy=rng.normal(size=frames),
        force=rng.normal(size=coord.shape), virial=rng.normal(size=(frames, 3, 3)),
        atom_labels={"atom_ener": rng.normal(size=(frames, n)),
                     "atom_pref": rng.random((frames, n))},
    )


def both(weights, system, sel, **options):
    """The two models and a batch for each."""
    names = "ABCDEF"[: weights.ntypes]
    cache = NeighborCache([system], sel, RCUT, tuple(names), shared=weights.version == 1)
    counts = np.bincount(system.types, minlength=weights.ntypes) * 3
    layout = Layout(3, tuple(counts.tolist()), tuple(largest_counts(cache).tolist()))
    settings = {"sel": sel, "rcut": RCUT, "rcut_smth": RCUT_SMTH} | options
    batches = pack_pairs(cache, 0, [2, 0, 1]), pack(cache, 0, [2, 0, 1], layout)
    return CompiledFloatModel(weights, **settings), TfFloatModel(weights, **settings), batches


def compare(fast, graph, batches, rtol=1e-10, atol=1e-11):
    """Predictions, errors and gradients of the two; return the compiled model's gradient."""
    pairs, padded = batches
    for ours, theirs in zip(fast.predict(pairs), graph.predict(padded), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0.01 * rtol, atol=atol)
    np.testing.assert_allclose(
        fast.squared_errors(pairs), graph.squared_errors(padded), rtol=0.1 * rtol)
    ours = fast.gradient(pairs, PREFACTORS)
    theirs = graph.gradient(padded, PREFACTORS).numpy()
    scale = np.abs(theirs).max()
    assert scale > 1e-3
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=0.01 * atol * scale)
    return ours
