"""Both trainings of version 1, on systems that hold some of the types only."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.golden_data import load_type_folder
from support.type_models import SETTINGS, rattled, type_config, type_weights
from support.v1_stage import COMPOSITIONS, folders, run_config  # noqa: F401

from nvnmd.data.frame_pairs import NeighborCache
from nvnmd.data.systems import System, load_system
from nvnmd.deepmd.files import read_dict
from nvnmd.deepmd.tables import tables_of_weights
from nvnmd.deepmd.weights import from_deepmd
from nvnmd.errors import InputError
from nvnmd.mapping.freeze import freeze_model
from nvnmd.neighbors.slots import build_neighborhood
from nvnmd.network.initial_weights import initial_weights
from nvnmd.network.model import predict_float
from nvnmd.network.statistics import Statistics, collect_statistics
from nvnmd.quantize.forces import assemble_forces
from nvnmd.quantize.model import Model
from nvnmd.quantize.reference import evaluate_atoms

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from nvnmd.training.continuous.train import train_cnn
from nvnmd.training.quantized.batches import QuantizedFrames
from nvnmd.training.quantized.model import TfQuantizedModel
from nvnmd.training.quantized.train import train_qnn


def quiet(_):
    pass






@pytest.fixture(scope="module")
def cnn(folders):
    return train_cnn(run_config(folders, 60), folders / "cnn", log=quiet)


def last_errors(folder):
    lines = [x for x in (folder / "lcurve.out").read_text().splitlines() if x[:1] != "#"]
    return np.array([float(x) for x in lines[0].split()]), np.array(
        [float(x) for x in lines[-1].split()]
    )


def test_training_learns_and_writes_what_the_next_stage_reads(folders, cnn):
    first, last = last_errors(folders / "cnn")
    assert last[1] < 0.5 * first[1]
    found = from_deepmd(read_dict(folders / "cnn" / "weight.npy"))
    assert found.version == 1 and found.type_embedding[0][0].shape == (3, 8)
    for name, array in cnn.weights.arrays().items():
        np.testing.assert_array_equal(found.arrays()[name], array)
    config = read_dict(folders / "cnn" / "config.npy")
    assert config["dscp"]["sel"] == 50 and config["ctrl"]["VERSION"] == 1
    assert len(read_dict(folders / "cnn" / "map.npy")["gt"]) == 16


def test_every_type_array_is_trained(folders, cnn):
    statistics = Statistics(davg=np.zeros((3, 2)), dstd=np.ones((3, 2)), t_bias_atom_e=np.zeros(3),
                            min_nbor_dist=1.0, largest_counts=np.array([50]),
                            s_sample=np.linspace(0.0, 8.0, 64), mean_neighbors=20.0)
    config = run_config(folders, 60)
    start = initial_weights(config.descriptor, config.fitting, statistics, 1)
    for name, array in start.arrays().items():
        if name == "type_embedding.0.bias":
            assert not array.any() and not cnn.weights.arrays()[name].any()
        elif name not in ("davg", "dstd", "t_bias_atom_e", "min_nbor_dist"):
            assert array.shape == cnn.weights.arrays()[name].shape
            assert (array != cnn.weights.arrays()[name]).any(), name


def test_continued_training_is_the_same_training(folders, tmp_path):
    whole = train_cnn(run_config(folders, 12), tmp_path / "whole", log=quiet)
    part = train_cnn(run_config(folders, 6), tmp_path / "part", log=quiet)
    assert part.step == 6
    config = run_config(folders, 12)
    rest = train_cnn(config, tmp_path / "rest", restart=tmp_path / "part", log=quiet)
    for name, array in whole.weights.arrays().items():
        np.testing.assert_array_equal(rest.weights.arrays()[name], array, err_msg=name)


def test_statistics_have_no_mean(folders):
    systems = [load_system(folders / f"data{n}", ("Cu", "Au", "Ag", "Ni")) for n in range(2)]
    cache = NeighborCache(systems, (50,), 4.0, ("Cu", "Au", "Ag", "Ni"), shared=True)
    found = collect_statistics(cache, 1.0)
    per_type = NeighborCache(systems, (50,) * 4, 4.0, ("Cu", "Au", "Ag", "Ni"))
    split = collect_statistics(per_type, 1.0)
    assert not found.davg.any() and split.davg[:3, 0].all()
    assert found.largest_counts.shape == (1,)
    # the radial squares are the same, spread over a quarter of the slots
    mean = 4.0 * split.davg[:3, 0]
    mean_square = 4.0 * (split.dstd[:3, 0] ** 2 + split.davg[:3, 0] ** 2)
    np.testing.assert_allclose(found.dstd[:3, 0], np.sqrt(mean_square - mean**2), rtol=1e-12)
    assert (found.dstd[3] == 0.25).all()


@pytest.fixture(scope="module")
def qnn(folders, cnn):
    return train_qnn(run_config(folders, 8, lr=1e-4), folders / "cnn", folders / "qnn", log=quiet,
                     keep_last=True)


def test_quantized_training(folders, cnn, qnn):
    """`train_qnn` itself compares its first frame with the integer reference."""
    model = Model.load(folders / "qnn" / "model.nvnmd")
    assert model.version == 1 and model.digest == qnn.model.digest
    for found, start in ((model.tweight, cnn.weights.tweight),
                         (model.fit_weights[0], cnn.weights.fit_weights[0])):
        assert (found != start).any() and np.abs(found - start).max() < 0.01
    bare = from_deepmd(read_dict(folders / "qnn" / "weight.npy"))
    assert bare.embedding == ((),) and bare.type_net == ()
    np.testing.assert_array_equal(bare.tweight, model.tweight)
    np.testing.assert_array_equal(model.type_net[0][0], cnn.weights.type_net[0][0])


def test_quantized_model_is_near_its_float_model(folders, qnn):
    for number, types in enumerate(COMPOSITIONS):
        cell = rattled(np.random.default_rng(number), types)
        near = build_neighborhood(cell.coord, cell.box, cell.types, (50,), 4.0, ntypes=3)
        trace = evaluate_atoms(qnn.model, near.center_types, near.rij, near.mask,
                               near.neighbor_types)
        force = assemble_forces(trace.deriv, near.rij, near.index).force
        wanted = predict_float(qnn.model, cell.coord, cell.box, cell.types, **SETTINGS)
        assert np.abs(force - wanted.force[near.order]).max() < 2e-3
        assert np.abs(trace.atom_energy - wanted.atom_energy[near.order]).max() < 1e-3


def test_continued_quantized_training(folders, cnn, tmp_path):
    whole = train_qnn(run_config(folders, 9, lr=1e-3), folders / "cnn", tmp_path / "a", log=quiet,
                      keep_last=True)
    train_qnn(run_config(folders, 6, lr=1e-3), folders / "cnn", tmp_path / "b", log=quiet)
    config = run_config(folders, 9, lr=1e-3)
    rest = train_qnn(config, folders / "cnn", tmp_path / "c", restart=tmp_path / "b", log=quiet,
                     keep_last=True)
    assert rest.model.digest == whole.model.digest


def test_weights_of_the_other_version_are_refused(folders, cnn, tmp_path):
    other = dataclasses.replace(run_config(folders, 1).descriptor, sel=(20, 20, 20))
    config = run_config(folders, 1, version=0, descriptor=other)
    with pytest.raises(InputError, match="weights of version 1, the input has 0"):
        train_cnn(config, tmp_path, init_model=folders / "cnn" / "weights.npz", log=quiet)
    with pytest.raises(InputError, match="trained with version = 1, the input has 0"):
        train_qnn(config, folders / "cnn", tmp_path, log=quiet)


def test_thirty_two_types():
    """A random model of 32 types: trained network and integer reference agree in every bit."""
    rng = np.random.default_rng(11)
    weights, cell = type_weights(rng, 32), rattled(rng, rng.permutation(32))
    model = freeze_model(weights, tables_of_weights(weights, 4.0, 1.0), type_config(32))
    assert model.type_gain.shape == (32, 32, 8)
    system = System(path="x", types=cell.types, coord=cell.coord[None], box=cell.box[None],
                    energy=None, force=None, virial=None)
    cache = NeighborCache([system], model.sel, model.rcut, model.type_map, shared=True)
    network = TfQuantizedModel(model, weights)
    found = network.predict(QuantizedFrames(model, cache).batch(0, [0]), once=True)
    near = build_neighborhood(cell.coord, cell.box, cell.types, model.sel, 4.0, ntypes=32)
    trace = evaluate_atoms(model, near.center_types, near.rij, near.mask, near.neighbor_types)
    np.testing.assert_array_equal(found.atom_energy[0], trace.atom_energy)
    force = assemble_forces(trace.deriv, near.rij, near.index).force
    np.testing.assert_array_equal(found.force[0], force)
    floating = predict_float(model, cell.coord, cell.box, cell.types, **SETTINGS)
    assert np.abs(floating.force[near.order] - force).max() < 1e-4


@pytest.mark.shared
def test_deepmd_kits_bits(shared):
    """The trained network, before any step, on DeePMD-kit's own run: no differing bit."""
    folder = shared / "golden" / "v1_ni128_gete"
    model, frames = load_type_folder(folder)
    weights = from_deepmd(read_dict(folder / "nvnmd_qnn" / "weight.npy"))
    system = load_system(shared / "data" / "gete", model.type_map)
    np.testing.assert_array_equal(system.coord[7].astype(np.float32), frames[1].coord)
    cache = NeighborCache([system], model.sel, model.rcut, model.type_map, shared=True)
    network = TfQuantizedModel(model, weights)
    found = network.predict(QuantizedFrames(model, cache).batch(0, [7]), once=True)
    order = np.argsort(system.types, kind="stable")
    wanted = frames[1].qnn
    np.testing.assert_array_equal(found.atom_energy[0], wanted["atom_energy"][order])
    np.testing.assert_array_equal(found.force[0], wanted["force"][order])
    np.testing.assert_array_equal(found.virial[0], wanted["virial"])
