"""The float model of version 1: DeePMD-kit's energies and forces, derivatives, permutations."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.golden_checks import check_float
from support.golden_data import load_type_folder
from support.type_models import RCUT, RCUT_SMTH, SEL, SETTINGS, rattled, type_weights

from nvnmd.deepmd.files import read_dict
from nvnmd.deepmd.weights import from_deepmd, to_deepmd
from nvnmd.errors import ModelFileError
from nvnmd.network.math import NumpyMath
from nvnmd.network.model import predict_float
from nvnmd.network.types import type_terms, type_vectors
from nvnmd.network.weights import FloatWeights

TYPES = [0, 2, 1, 0, 2, 2, 1, 0]


@pytest.mark.shared
@pytest.mark.parametrize("f", [0, 1])
def test_deepmd_kit(shared, f):
    """1e-10 of the frame's largest value, from weights read under DeePMD-kit's names."""
    folder = shared / "golden" / "v1_ni128_gete"
    file = folder / "nvnmd_cnn" / "weight.npy"
    weights = from_deepmd(read_dict(file), str(file))
    model, frames = load_type_folder(folder)
    check_float(weights, model, frames[f])


def test_forces_are_derivatives():
    rng = np.random.default_rng(3)
    weights, cell = type_weights(rng), rattled(rng, TYPES)
    found = predict_float(weights, cell.coord, cell.box, cell.types, **SETTINGS)
    assert found.energy == pytest.approx(found.atom_energy.sum())
    step = 1e-5
    for atom, axis in ((0, 0), (1, 2), (6, 1)):
        ends = []
        for sign in (1, -1):
            moved = cell.coord.copy()
            moved[atom, axis] += sign * step
            ends.append(predict_float(weights, moved, cell.box, cell.types, **SETTINGS).energy)
        slope = (ends[0] - ends[1]) / (2 * step)
        assert found.force[atom, axis] == pytest.approx(-slope, rel=1e-6, abs=1e-8)
    step = 1e-6
    stretch = np.eye(3)
    stretch[0, 0] += step
    long, box = cell.coord @ stretch, cell.box @ stretch
    longer = predict_float(weights, long, box, cell.types, **SETTINGS)
    slope = (longer.energy - found.energy) / step
    assert found.virial[0, 0] == pytest.approx(-slope, rel=1e-3)


def test_order_of_atoms_and_empty_slots_do_not_count():
    rng = np.random.default_rng(4)
    weights, cell = type_weights(rng), rattled(rng, TYPES)
    found = predict_float(weights, cell.coord, cell.box, cell.types, **SETTINGS)
    order = rng.permutation(len(TYPES))
    other = predict_float(weights, cell.coord[order], cell.box, cell.types[order], **SETTINGS)
    np.testing.assert_allclose(other.atom_energy, found.atom_energy[order], rtol=1e-12)
    np.testing.assert_allclose(other.force, found.force[order], atol=1e-12)
    # 60 slots have the same NIX as 50
    wider = predict_float(weights, cell.coord, cell.box, cell.types, **(SETTINGS | {"sel": (60,)}))
    np.testing.assert_allclose(wider.force, found.force, atol=1e-12)


def test_every_type_array_counts():
    """Exchanging the rows of two types in every array is renaming the types."""
    rng = np.random.default_rng(5)
    weights, cell = type_weights(rng), rattled(rng, TYPES)
    found = predict_float(weights, cell.coord, cell.box, cell.types, **SETTINGS)
    swap = [2, 1, 0]
    ((matrix, bias),) = weights.type_embedding
    renamed = dataclasses.replace(
        weights,
        type_embedding=((matrix[swap], bias),),
        dstd=weights.dstd[swap],
        t_bias_atom_e=weights.t_bias_atom_e[swap],
    )
    types = np.array(swap)[cell.types]
    other = predict_float(renamed, cell.coord, cell.box, types, **SETTINGS)
    np.testing.assert_allclose(other.force, found.force, atol=1e-12)
    assert other.energy == pytest.approx(found.energy, rel=1e-12)
    for name in ("type_embedding", "type_net", "tweight"):
        value = getattr(weights, name)
        changed = 1.5 * value if name == "tweight" else tuple((1.5 * w, b) for w, b in value)
        altered = dataclasses.replace(weights, **{name: changed})
        other = predict_float(altered, cell.coord, cell.box, cell.types, **SETTINGS)
        assert np.abs(other.force - found.force).max() > 1e-6, name


@pytest.mark.parametrize("ntypes", [1, 3, 4, 8])
def test_type_terms_by_their_definition(ntypes):
    """With 4 types a type vector has `[x, x]` added, with 8 types `x`."""
    rng = np.random.default_rng(ntypes)
    weights = type_weights(rng, ntypes)
    ((matrix, bias),) = weights.type_embedding
    vectors = type_vectors(NumpyMath(), weights.type_embedding)
    one_hot = np.eye(ntypes)
    extra = {4: np.hstack([one_hot, one_hot]), 8: one_hot}.get(ntypes, 0.0)
    np.testing.assert_array_equal(vectors, matrix + bias + extra)
    terms = type_terms(NumpyMath(), weights.type_embedding, weights.type_net, weights.tweight)
    (w1, b1), (w2, b2) = weights.type_net
    for c in range(ntypes):
        np.testing.assert_allclose(terms.first[c], vectors[c] @ weights.tweight, rtol=1e-12)
        for nb in range(ntypes):
            x = np.concatenate([vectors[nb], vectors[c]])
            y = np.tanh(x @ w1 + b1)
            z = np.tanh(y @ w2 + b2) + np.concatenate([y, y])
            np.testing.assert_allclose(terms.gains[c * ntypes + nb], 1.0 + z, rtol=1e-12)


def test_deepmd_names(tmp_path):
    weights = type_weights(np.random.default_rng(6))
    names = to_deepmd(weights, SEL)
    assert names["descrpt_attr.t_std"].shape == (3, 4 * SEL[0])
    assert names["layer_0.tweight"].shape == (8, 16)
    assert names["final_layer.matrix"].shape == (16, 1)

    def same(found, wanted=weights):
        assert found.arrays().keys() == wanted.arrays().keys()
        for name, array in wanted.arrays().items():
            np.testing.assert_array_equal(found.arrays()[name], array)

    same(from_deepmd(names))
    suffixed = {f"{k}_1" if k == "layer_0.matrix" else k: v for k, v in names.items()}
    assert "layer_0.matrix" not in suffixed
    same(from_deepmd(suffixed))
    # the bias that DeePMD-kit 3.2.0 does not write is zero, as that of `weights`
    same(from_deepmd({k: v for k, v in names.items() if "embed_net.bias" not in k}))
    bare = {k: v for k, v in names.items() if "filter_type_all" not in k}
    quantized = from_deepmd(bare)
    same(quantized, dataclasses.replace(weights, embedding=((),), type_net=()))
    weights.save(tmp_path / "w.npz")
    again = FloatWeights.load(tmp_path / "w.npz")
    same(again)
    assert (again.version, again.ntypes) == (1, 3)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"layer_0.tweight": None}, "neither 'layer_0_type_0.matrix' nor 'layer_0.tweight'"),
        ({"type_embed_net.matrix_1": None}, "'type_embed_net.matrix_1' is missing"),
        ({"type_embed_net.matrix_1": np.zeros((2, 8))}, r"shape \(2, 8\), expected \(3, width\)"),
        ({"descrpt_attr.t_avg": np.ones((3, 80))}, "t_avg is not 0, but version 1 has no mean"),
        ({"type_embed_net.matrix_2": np.zeros((8, 8))}, "several layers, expected one"),
    ],
)
def test_unusable_weights(change, message):
    names = to_deepmd(type_weights(np.random.default_rng(6)), SEL) | change
    names = {k: v for k, v in names.items() if v is not None}
    with pytest.raises(ModelFileError, match=message):
        from_deepmd(names, "w.npy")


def test_tensorflow_equals_numpy():
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    from nvnmd.data.frame_pairs import NeighborCache
    from nvnmd.data.systems import System
    from nvnmd.training.continuous.batches import Layout, pack
    from nvnmd.training.continuous.tf_model import TfFloatModel

    rng = np.random.default_rng(7)
    weights, cell = type_weights(rng), rattled(rng, [0, 2, 2, 0, 2, 0, 2, 0])
    system = System(path="x", types=cell.types, coord=cell.coord[None], box=cell.box[None],
                    energy=np.zeros(1), force=np.zeros((1, 8, 3)), virial=None)
    cache = NeighborCache([system], SEL, RCUT, ("Cu", "Au", "Ag"), shared=True)
    # rows to spare for each type, also for the one that is absent
    batch = pack(cache, 0, [0], Layout(1, (5, 2, 4), SEL))
    model = TfFloatModel(weights, sel=SEL, rcut=RCUT, rcut_smth=RCUT_SMTH, axis_neuron=2)
    energy, _, force, _ = model.predict(batch)
    found = predict_float(weights, cell.coord, cell.box, cell.types, **SETTINGS)
    assert energy[0] == pytest.approx(found.energy, rel=1e-12)
    rows = np.flatnonzero(batch.frame == 0)
    order = np.argsort(cell.types, kind="stable")
    np.testing.assert_allclose(force[rows], found.force[order], atol=1e-12)
