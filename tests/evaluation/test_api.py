"""`nvnmd.load_model` and `evaluate`, on the committed runs of DeePMD-kit."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from support.golden_checks import assert_same_bits, neighbours
from support.golden_data import GoldenRun, load_fixture, load_type_folder
from support.small_models import random_weights

import nvnmd
from nvnmd.errors import InputError, ModelFileError, NeighborOverflowError
from nvnmd.evaluation.backends import FloatNetwork
from nvnmd.neighbors.slots import build_neighborhood
from nvnmd.network import compiled as float_fast
from nvnmd.network.model import predict_neighborhood


@pytest.fixture(scope="module")
def run() -> GoldenRun:
    return load_fixture(128)


@pytest.fixture(scope="module")
def model(run, tmp_path_factory) -> nvnmd.Potential:
    path = tmp_path_factory.mktemp("model") / "model.nvnmd"
    run.model.save(path)
    return nvnmd.load_model(path.parent)


def frames_of(run: GoldenRun) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    two = run.frames[:2]
    return np.stack([f.coord for f in two]), np.stack([f.box for f in two]), two[0].types


def test_fixed_backend_is_deepmd_kit_s_bits(run, model):
    coord, box, types = frames_of(run)
    assert model.type_map == run.model.type_map and model.rcut == run.model.rcut
    result = model.evaluate(coord, box, types)
    n = len(types)
    assert result.energy.shape == (2,) and result.atom_virial.shape == (2, n, 3, 3)
    for f, frame in enumerate(run.frames[:2]):
        assert_same_bits(result.atom_energy[f], frame.qnn["atom_energy"], "atomic energies")
        assert_same_bits(result.force[f], frame.qnn["force"], "forces")
        scale = np.abs(frame.qnn["virial"]).max()
        assert np.abs(result.virial[f] - frame.qnn["virial"]).max() <= 1e-9 * scale
        np.testing.assert_allclose(result.energy[f], frame.qnn["energy"], rtol=1e-14)
    np.testing.assert_allclose(result.atom_virial.sum(axis=1), result.virial, rtol=0,
                               atol=1e-12 * np.abs(result.virial).max())
    assert result.dropped == 0


def test_flat_arrays_and_lists_are_the_same(run, model):
    coord, box, types = frames_of(run)
    expected = model.evaluate(coord, box, types)
    flat = model.evaluate(coord.reshape(2, -1).tolist(), box.reshape(2, 9).tolist(), types.tolist())
    for name in ("energy", "atom_energy", "force", "virial", "atom_virial"):
        assert_same_bits(getattr(flat, name), getattr(expected, name), name)


def test_no_frames(model):
    result = model.evaluate(np.zeros((0, 6)), np.zeros((0, 9)), [0, 1])
    assert result.energy.shape == (0,) and result.force.shape == (0, 2, 3)
    assert result.virial.shape == (0, 3, 3) and result.atom_virial.shape == (0, 2, 3, 3)


def test_open_boundary(run, model):
    (droplet,) = [f for f in run.frames if f.box is None]
    result = model.evaluate(droplet.coord[None], None, droplet.types)
    assert_same_bits(result.force[0], droplet.qnn["force"], "forces")
    assert_same_bits(result.virial[0], droplet.qnn["virial"], "virial")


def test_too_many_neighbours(run, model):
    (crushed,) = [f for f in run.frames if f.name == "crushed"]
    arguments = crushed.coord[None], crushed.box[None], crushed.types
    with pytest.raises(NeighborOverflowError, match=r"^frame 0: atom \d+ has \d+ neighbours"):
        model.evaluate(*arguments)
    result = model.evaluate(*arguments, overflow="truncate")
    assert result.dropped > 0
    assert_same_bits(result.force[0], crushed.qnn["force"], "forces")


def test_float_backend(run):
    coord, box, types = frames_of(run)
    network = FloatNetwork(
        weights=run.cnn, type_map=run.model.type_map, sel=run.model.sel, rcut=run.model.rcut,
        rcut_smth=run.model.rcut_smth, axis_neuron=4)
    result = nvnmd.Potential(network).evaluate(coord, box, types, backend="float")
    for f, frame in enumerate(run.frames[:2]):
        for name in ("energy", "atom_energy", "force", "virial"):
            expected = frame.cnn[name]
            scale = max(np.abs(expected).max(), 1.0 if name == "force" else 0.0)
            assert np.abs(getattr(result, name)[f] - expected).max() <= 1e-10 * scale, name


@pytest.mark.parametrize("numba", [True, False])
def test_float_evaluators_agree(monkeypatch, numba):
    if numba:
        pytest.importorskip("numba")
    monkeypatch.setattr(float_fast, "available", lambda: numba)
    rng = np.random.default_rng(2)
    weights = random_weights(rng, 3)
    settings = {"sel": (40, 40, 40), "rcut": 4.0, "rcut_smth": 1.0, "axis_neuron": 2}
    near = build_neighborhood(rng.uniform(0, 9, (100, 3)), np.eye(3) * 9.0,
                              rng.integers(0, 3, 100), settings["sel"], 4.0)
    energy, forces = float_fast.float_evaluator(weights, **settings)(near)
    expected = predict_neighborhood(weights, near, **settings)
    np.testing.assert_allclose(energy, expected.atom_energy[near.order], rtol=0, atol=1e-12)
    scale = np.abs(expected.force).max()
    assert np.abs(forces.force - expected.force[near.order]).max() <= 1e-12 * scale
    np.testing.assert_allclose(forces.virial, expected.virial, rtol=0,
                               atol=1e-12 * np.abs(expected.virial).max())
    np.testing.assert_allclose(forces.atom_virial.sum(axis=0), forces.virial, rtol=1e-10)


@pytest.mark.parametrize(("embedding", "hidden", "axis_neuron"), [
    ((5, 10, 10), (17, 17), 3), ((1, 2), (6, 6), 2), ((7,), (6, 6, 5), 7), ((3,), (4,), 5),
])
def test_float_evaluators_agree_at_any_width(embedding, hidden, axis_neuron):
    """Widths that fill no group of four, layers that double, keep or change their inputs."""
    pytest.importorskip("numba")
    rng = np.random.default_rng(3)

    def layers(widths, *leading):
        return [(rng.normal(size=(*leading, a, b)) * 0.4, rng.normal(size=(*leading, b)) * 0.3)
                for a, b in pairwise(widths)]

    fitting = layers((embedding[-1] * axis_neuron, *hidden, 1), 3)
    weights = dataclasses.replace(
        random_weights(rng, 3), embedding=tuple(tuple(layers((1, *embedding))) for _ in range(3)),
        fit_weights=tuple(w for w, _ in fitting), fit_biases=tuple(b for _, b in fitting))
    settings = {"sel": (40, 40, 40), "rcut": 4.0, "rcut_smth": 1.0, "axis_neuron": axis_neuron}
    for n in (60, 1):
        near = build_neighborhood(rng.uniform(0, 8, (n, 3)), None, rng.integers(0, 3, n),
                                  settings["sel"], 4.0)
        energy, forces = float_fast.float_evaluator(weights, **settings)(near)
        expected = predict_neighborhood(weights, near, **settings)
        np.testing.assert_allclose(energy, expected.atom_energy[near.order], rtol=0, atol=1e-12)
        scale = max(np.abs(expected.force).max(), 1e-300)
        assert np.abs(forces.force - expected.force[near.order]).max() <= 1e-12 * scale


@pytest.mark.shared
def test_version_1(shared):
    frozen, frames = load_type_folder(shared / "golden" / "v1_ni128_gete")
    model = nvnmd.Potential(frozen)
    result = model.evaluate(frames[0].coord[None], frames[0].box[None], frames[0].types)
    assert_same_bits(result.force[0], frames[0].qnn["force"], "forces")
    assert_same_bits(result.atom_energy[0], frames[0].qnn["atom_energy"], "atomic energies")


@pytest.mark.shared
@pytest.mark.parametrize("version", [0, 1])
def test_run_folders(shared, version):
    folder = shared / "golden" / f"v{version}_ni128_gete"
    model = nvnmd.load_model(folder)
    golden = np.load(folder / "expected.npz")
    result = model.evaluate(golden["coord"][:1], golden["box"][:1], golden["type"])
    assert_same_bits(result.force[0], golden["qnn_force"][0].reshape(-1, 3), "forces")
    scale = np.abs(golden["qnn_virial"][0]).max()
    assert np.abs(result.virial[0].ravel() - golden["qnn_virial"][0].ravel()).max() <= 1e-9 * scale
    floating = model.evaluate(golden["coord"][:1], golden["box"][:1], golden["type"], "float")
    assert np.abs(floating.force - result.force).max() < 1e-3


@pytest.mark.shared
def test_the_first_stage_has_a_float_network_only(shared):
    model = nvnmd.load_model(shared / "golden" / "v0_ni128_gete" / "nvnmd_cnn")
    with pytest.raises(InputError, match="got fixed, but this is a continuous network"):
        model.evaluate(np.zeros((1, 1, 3)), None, [0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coord": np.zeros((1, 3, 3))}, r"got float64 \(1, 3, 3\), expected \(frames, 2, 3\)"),
        ({"coord": np.zeros(6)}, r"coord: got float64 \(6,\)"),
        ({"coord": "abc"}, r"coord: got <U3 \(\), expected an array of numbers"),
        ({"coord": [[[0, 0, 0], [1, 0]]]}, "coord: expected an array of numbers"),
        ({"coord": np.zeros((1, 2, 3), complex)}, "coord: got complex128"),
        ({"coord": [[[0, 0, 0], [1e200, 0, 0]]]}, "frame 0: coordinates: atom 1 is farther"),
        ({"coord": np.zeros((1, 2, 3))}, "frame 0: coordinates: atoms 0 and 1 are at one place"),
        ({"box": np.eye(3)[None] * 1e-3}, "frame 0: cell: more than 100000 of its images"),
        ({"box": np.full((1, 9), np.nan)}, "box: frame 0: a value is not finite"),
        ({"types": [[0], [0, 1]]}, "types: expected integers"),
        ({"types": [[0, 1]]}, r"types: got int64 \(1, 2\), expected integers"),
        ({"coord": [[[0, 0, np.nan], [1, 0, 0]]]}, "frame 0: coordinates: atom 0"),
        ({"box": np.eye(3)}, r"box: got float64 \(3, 3\), expected \(1, 3, 3\), \(1, 9\) or None"),
        ({"box": np.zeros((1, 9))}, "box: frame 0: the vectors span no volume"),
        ({"types": [0, 7]}, "types: atom 1 has type 7, expected 0 to 1"),
        ({"types": [0.0, 1.0]}, "types: got float64"),
        ({"types": []}, "no atoms"),
        ({"backend": "gpu"}, "backend: got 'gpu', expected float, fixed or sim"),
        ({"overflow": "drop"}, "overflow: got 'drop'"),
    ],
)
def test_mistakes_are_one_line(model, change, message):
    arguments = {"coord": [[[0.0, 0, 0], [2.0, 0, 0]]], "box": None, "types": [0, 1]} | change
    with pytest.raises(InputError, match=message) as error:
        model.evaluate(**arguments)
    assert "\n" not in str(error.value)


def test_no_such_model(tmp_path):
    with pytest.raises(ModelFileError, match="no such file"):
        nvnmd.load_model(tmp_path / "none")
    (tmp_path / "text.txt").write_text("text")
    with pytest.raises(ModelFileError, match=r"text\.txt"):
        nvnmd.load_model(tmp_path / "text.txt")
    with pytest.raises(ModelFileError):
        nvnmd.load_model(tmp_path)


def test_unknown_names_of_the_package():
    with pytest.raises(AttributeError, match="no attribute 'lode_model'"):
        nvnmd.__getattr__("lode_model")
    assert set(nvnmd.__all__) >= {"load_model", "Potential", "Prediction"}
    for name in nvnmd.__all__:
        assert getattr(nvnmd, name)


def test_a_model_without_atoms_of_one_type(run, model):
    alone = model.evaluate([[[0.0, 0.0, 0.0]]], None, [1])
    near = neighbours(run, run.frames[2])
    lonely = np.flatnonzero(near.counts.sum(axis=1) == 0)[0]
    if near.center_types[lonely] == 1:
        assert alone.energy[0] == run.frames[2].qnn["atom_energy"][near.order[lonely]]
    assert not alone.force.any() and not alone.virial.any()
