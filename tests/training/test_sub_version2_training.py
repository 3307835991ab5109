"""Both trainings of version 1, SUB_VERSION 2: gradients, statistics, and a small run of each."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from support.sub2_models import switched_weights
from support.type_models import SETTINGS, rattled
from support.v1_stage import COMPOSITIONS, folders, run_config  # noqa: F401

from nvnmd.data.frame_pairs import NeighborCache
from nvnmd.data.systems import load_system
from nvnmd.deepmd.files import read_dict
from nvnmd.deepmd.modelpb import encode_model
from nvnmd.deepmd.weights import from_deepmd
from nvnmd.errors import InputError, ModelFileError
from nvnmd.inputs.read import parse_document
from nvnmd.neighbors.slots import build_neighborhood
from nvnmd.network.compiled import float_evaluator
from nvnmd.network.model import predict_float
from nvnmd.network.statistics import collect_statistics
from nvnmd.quantize.forces import assemble_forces
from nvnmd.quantize.model import Model
from nvnmd.quantize.reference import evaluate_atoms

NAMES = ("Cu", "Au", "Ag")


def quiet(_):
    pass


def test_forces_are_the_slope_of_the_energy():
    """Plain and compiled, with pairs within rcut_smth, in between and beyond."""
    rng = np.random.default_rng(3)
    weights = switched_weights(rng)
    cell = rattled(rng, COMPOSITIONS[1], 2.2)
    near = build_neighborhood(cell.coord, cell.box, cell.types, (50,), 4.0, ntypes=3,
                              overflow="truncate")
    distances = np.linalg.norm(near.rij, axis=-1)[near.mask]
    assert distances.min() < 2.5
    settings = SETTINGS | {"sel": (90,), "rcut_smth": 2.5}

    def energy(coord):
        return predict_float(weights, coord, cell.box, cell.types, **settings).energy

    found = predict_float(weights, cell.coord, cell.box, cell.types, **settings)
    step = 1e-5
    for atom, axis in ((0, 0), (5, 1), (9, 2)):
        ahead, back = cell.coord.copy(), cell.coord.copy()
        ahead[atom, axis] += step
        back[atom, axis] -= step
        slope = (energy(ahead) - energy(back)) / (2 * step)
        assert abs(found.force[atom, axis] + slope) < 1e-6
    near = build_neighborhood(cell.coord, cell.box, cell.types, (90,), 4.0, ntypes=3)
    energies, forces = float_evaluator(weights, **settings)(near)
    np.testing.assert_allclose(energies, found.atom_energy[near.order], rtol=1e-12)
    np.testing.assert_allclose(forces.force, found.force[near.order], atol=1e-12)
    np.testing.assert_allclose(forces.virial, found.virial, atol=1e-11)


@pytest.mark.parametrize("options", [{}, {"train_types": False}, {"relative_f": 0.5}])
def test_gradients_are_those_of_the_graph(options):
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    pytest.importorskip("numba", reason="numba is not installed")
    from support.compiled_cases import both, compare, labelled

    weights = switched_weights(np.random.default_rng(4))
    fast, graph, batches = both(weights, labelled(ntypes=3), (50,), axis_neuron=2, **options)
    ours = compare(fast, graph, batches)
    trained = fast._numbers
    biases = sum(bias.size for bias in trained.type_biases)
    assert biases == 8 and ours.size == trained.vector.size - (
        0 if options.get("train_types", True) else 8 + 3 * 8)


def test_statistics_keep_the_mean(folders):
    systems = [load_system(folders / f"data{n}", NAMES) for n in range(2)]
    cache = NeighborCache(systems, (50,), 4.0, NAMES, shared=True)
    found = collect_statistics(cache, 1.0, shared_mean=True)
    plain = collect_statistics(cache, 1.0)
    np.testing.assert_array_equal(found.dstd, plain.dstd)
    assert (found.davg[:, 0] > 0).all() and not found.davg[:, 1].any()
    # the mean over all slots, empty ones as 0, of the values that have weight in the sample
    total = np.zeros(3)
    count = np.zeros(3)
    for system in systems:
        for frame in range(system.nframes):
            near = build_neighborhood(system.coord[frame], system.cell(frame), system.types, (50,),
                                      4.0, ntypes=3)
            r = np.linalg.norm(np.where(near.mask[..., None], near.rij, 1.0), axis=-1)
            x = np.clip((r - 1.0) / 3.0, 0, 1)
            s = np.where(near.mask, (x**3 * (-6 * x**2 + 15 * x - 10) + 1) / r, 0.0)
            np.add.at(total, near.center_types, s.sum(axis=1))
            np.add.at(count, near.center_types, 50)
    np.testing.assert_allclose(found.davg[:, 0], total / count, rtol=1e-9)


@pytest.fixture(scope="module")
def runs(folders):
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    from nvnmd.training.continuous.train import train_cnn
    from nvnmd.training.quantized.train import train_qnn

    config = run_config(folders, 60, sub_version=2)
    cnn = train_cnn(config, folders / "cnn2", log=quiet)
    qnn = train_qnn(run_config(folders, 8, lr=1e-4, sub_version=2), folders / "cnn2",
                    folders / "qnn2", log=quiet, keep_last=True)
    return cnn, qnn


def test_continuous_training(folders, runs):
    cnn, _ = runs
    lines = [x for x in (folders / "cnn2" / "lcurve.out").read_text().splitlines() if x[0] != "#"]
    first, last = (np.array([float(x) for x in lines[k].split()]) for k in (0, -1))
    assert last[1] < 0.5 * first[1]
    found = from_deepmd(read_dict(folders / "cnn2" / "weight.npy"), sub_version=2)
    for name, array in cnn.weights.arrays().items():
        np.testing.assert_array_equal(found.arrays()[name], array, err_msg=name)
    assert found.type_embedding[0][1].all() and found.davg[:, 0].all()
    config = read_dict(folders / "cnn2" / "config.npy")
    assert config["ctrl"]["SUB_VERSION"] == 2 and config["dscp"]["smin"] < 0
    stored = read_dict(folders / "cnn2" / "map.npy")
    assert {"k", "k_grad"} <= set(stored) and stored["cfg_s2g"][1][2] == 0.125


def test_quantized_training(folders, runs):
    """`train_qnn` itself compares its first frame with the integer reference."""
    _, qnn = runs
    model = Model.load(folders / "qnn2" / "model.nvnmd")
    assert (model.version, model.sub_version, model.digest) == (1, 2, qnn.model.digest)
    assert model.origin["device"] == "vu9p"
    for number, types in enumerate(COMPOSITIONS):
        cell = rattled(np.random.default_rng(number), types)
        near = build_neighborhood(cell.coord, cell.box, cell.types, (50,), 4.0, ntypes=3)
        wanted = predict_float(model, cell.coord, cell.box, cell.types, **SETTINGS)
        for mode in ("graph", "machine"):
            trace = evaluate_atoms(model, near.center_types, near.rij, near.mask,
                                   near.neighbor_types, mode)
            force = assemble_forces(trace.deriv, near.rij, near.index).force
            assert np.abs(force - wanted.force[near.order]).max() < 2e-3
            assert np.abs(trace.atom_energy - wanted.atom_energy[near.order]).max() < 1e-3


def test_stages_of_two_arithmetics_do_not_mix(folders, runs, tmp_path):
    from nvnmd.training.quantized.train import train_qnn

    with pytest.raises(ModelFileError, match="expected SUB_VERSION 2"):
        train_qnn(run_config(folders, 2), folders / "cnn2", tmp_path / "q", log=quiet)


def document(**nvnmd):
    return {
        "nvnmd": {"version": 1, "sub_version": 2, "max_nnei": 256, "net_size": 128, "sel": 150,
                  "rcut": 6.0, "rcut_smth": 0.5, "type_map": ["Ge", "Te"], **nvnmd},
        "learning_rate": {"type": "exp"}, "loss": {},
        "training": {"training_data": {"systems": ["x"], "batch_size": 1}, "numb_steps": 10,
                     "seed": 1},
    }


def parsed(**nvnmd):
    return parse_document(document(**nvnmd), "input.json", find_systems=False)


def test_input_document():
    config = parsed(device="vu13p")
    assert (config.version, config.sub_version, config.device) == (1, 2, "vu13p")
    assert config.descriptor.sel == (160,) and not config.descriptor.set_davg_zero
    assert parsed(sel=[20, 30]).descriptor.sel == (128,)
    assert parsed().device == "vu9p" and parsed(sub_version=1).descriptor.sel == (150,)
    written = config.normalized
    assert written["nvnmd"]["sub_version"] == 2 and written["nvnmd"]["device"] == "vu13p"
    descriptor = written["model"]["descriptor"]
    assert descriptor["smooth_type_embdding"] and descriptor["stripped_type_embedding"]
    assert descriptor["set_davg_zero"] is False and "tebd_input_mode" not in descriptor
    again = parse_document(json.loads(json.dumps(written)), "train.json", find_systems=False)
    assert dataclasses.replace(again) == config


@pytest.mark.parametrize(("change", "words"), [
    ({"version": 0, "sel": [9, 9]}, "nvnmd/sub_version: got 2, expected 1 in version 0"),
    ({"sub_version": 3}, "nvnmd/sub_version: got 3, expected 1 or 2"),
    ({"device": "vu19p"}, 'nvnmd/device: got "vu19p", expected "vu9p" or "vu13p"'),
    ({"device": "vu9p", "sub_version": 1}, "expected sub_version 2 with it"),
    ({"seed": -1}, "nvnmd/seed: got -1, expected null or an integer from 0"),
    ({"sel": 300}, "got a sum of 300, expected at most nvnmd/max_nnei = 256"),
])
def test_mistakes_in_the_document(change, words):
    with pytest.raises(InputError) as caught:
        parsed(**change)
    assert words in str(caught.value)


def test_one_seed_for_both_nets():
    """The key of the vendor's newest programs, in every version; nets have one seed each."""
    for nvnmd in ({}, {"sub_version": 1}):
        config = parsed(seed=7, **nvnmd)
        assert (config.descriptor.seed, config.fitting.seed, config.training.seed) == (7, 7, 1)
        again = parse_document(config.normalized, "train.json", find_systems=False)
        assert (again.descriptor.seed, again.fitting.seed) == (7, 7)
    plain = parsed(seed=None)
    assert plain.descriptor.seed == plain.fitting.seed == 1
    for part in ("descriptor", "fitting_net"):
        both = document(seed=7) | {"model": {part: {"seed": 7}}}
        with pytest.raises(InputError, match=f"nvnmd/seed: got a second value besides "
                                             f"model/{part}/seed"):
            parse_document(both, "input.json", find_systems=False)


def test_a_trained_model_goes_to_a_file_and_back(folders, runs):
    """Not one of these widths: the format says so by name."""
    with pytest.raises(InputError, match=r"model\.pb holds models of 32 features"):
        encode_model(runs[1].model)
