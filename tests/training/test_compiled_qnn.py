"""The quantized training with compiled forces: bits and gradients of the TensorFlow graph."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support import small_models, type_models
from support.sub2_models import switched_weights

from nvnmd.data.frame_pairs import NeighborCache
from nvnmd.data.systems import System
from nvnmd.deepmd.tables import tables_of_weights
from nvnmd.mapping.freeze import freeze_model
from nvnmd.quantize.compiled.model import FastModel
from nvnmd.training.quantized.batches import QuantizedFrames
from nvnmd.training.quantized.frames import frame_constants

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("numba", reason="numba is not installed")

from nvnmd.training.partial.models import TableDescriptorModel
from nvnmd.training.quantized.model import TfQuantizedModel

PREFACTORS = np.array([0.7, 30.0, 0.2, 1.5, 4.0, 0.0])


def models(version):
    """Weights, the frozen model, and three labelled frames as a batch; 2 is SUB_VERSION 2 of 1."""
    rng = np.random.default_rng(6)
    if version == 0:
        weights, config = small_models.random_weights(rng), small_models.small_config()
    elif version == 1:
        weights, config = type_models.type_weights(rng), type_models.type_config()
    else:
        weights, config = switched_weights(rng), type_models.type_config(sub_version=2)
    model = freeze_model(weights, tables_of_weights(weights, 4.0, 1.0), config)
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), -1).reshape(-1, 3)
    coord = 3.0 * grid + rng.normal(scale=0.2, size=(3, 8, 3))
    system = System(
        path="x", types=rng.permutation(np.arange(8) % model.ntypes), coord=coord,
        box=np.repeat(6.0 * np.eye(3)[None], 3, axis=0), energy=rng.normal(size=3),
        force=rng.normal(size=coord.shape), virial=rng.normal(size=(3, 3, 3)),
        atom_labels={"atom_ener": rng.normal(size=(3, 8)), "atom_pref": rng.random((3, 8))},
    )
    cache = NeighborCache([system], model.sel, model.rcut, model.type_map, shared=version > 0)
    return model, weights, QuantizedFrames(model, cache)


@pytest.mark.parametrize("kind", [TfQuantizedModel, TableDescriptorModel])
@pytest.mark.parametrize("version", [0, 1, 2])
def test_bits_and_gradients_of_the_graph(version, kind):
    model, weights, frames = models(version)
    batch = frames.batch(0, [2, 0, 1])
    fast, graph = (kind(model, weights, relative_f=0.5) for _ in range(2))
    assert fast._forces is not None
    graph._forces = None
    ours, theirs = fast.predict(batch), graph.predict(batch)
    for name in ("atom_energy", "force", "virial"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    assert np.abs(ours.force).max() > 1e-3
    wanted = graph.gradient(batch, PREFACTORS).numpy()
    found = fast.gradient(batch, PREFACTORS).numpy()
    scale = np.abs(wanted).max()
    assert scale > 1e-3
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12 * scale)


@pytest.mark.parametrize("version", [0, 1, 2])
def test_constants_of_a_frame(version):
    from nvnmd.training.quantized.frames_compiled import fast_frame_constants

    model, _, frames = models(version)
    rij, index = frames.slots(0, 1)
    types = np.sort(frames.neighbors.systems[0].types)
    wanted = frame_constants(model, types, rij, index, 24)
    found = fast_frame_constants(FastModel(model), types, rij, index, 24)
    for name, array in vars(wanted).items():
        np.testing.assert_array_equal(getattr(found, name), array, err_msg=name)
        assert getattr(found, name).dtype == array.dtype, name


def test_a_type_that_no_frame_has():
    """Its mean of s is 0, which is no divisor."""
    from nvnmd.training.quantized.forces import QuantizedForces

    model, _, _ = models(2)
    absent = replace(model, davg=model.davg * [[1.0], [0.0], [1.0]])
    inverse = QuantizedForces(absent)._inverse
    np.testing.assert_array_equal(inverse[:, :2], 1.0 / model.dstd)
    assert np.isfinite(inverse).all()


def test_threads_change_no_bit(monkeypatch):
    model, weights, frames = models(0)
    batch = frames.batch(0, [2, 0, 1])
    network = TfQuantizedModel(model, weights)
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        found.append(network.gradient(batch, PREFACTORS).numpy().tobytes())
    assert found[0] == found[1]
