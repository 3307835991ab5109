"""Stages that restore or quantize a part: what they start from, what stays, what comes out."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from support.qnn_stage import curve, quiet, run_config, stage  # noqa: F401
from support.v1_stage import folders  # noqa: F401
from support.v1_stage import run_config as run_v1

from nvnmd.cli.main import main
from nvnmd.deepmd.files import read_dict
from nvnmd.deepmd.tables import tables_of_weights
from nvnmd.deepmd.weights import to_deepmd
from nvnmd.errors import InputError, ModelFileError
from nvnmd.inputs.config import StageFiles, Switches
from nvnmd.mapping.freeze import freeze_model
from nvnmd.network.model import predict_float
from nvnmd.network.weights import FloatWeights
from nvnmd.quantize.fitting import fitting_net
from nvnmd.training.restore import read_weights
from nvnmd.training.weight_grid import on_grid

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from nvnmd.training.continuous.batches import make_layouts, pack
from nvnmd.training.continuous.train import train_cnn
from nvnmd.training.data import load_data
from nvnmd.training.partial.fixed_fitting import train_fixed_fitting
from nvnmd.training.partial.models import FixedFittingModel, TableDescriptorModel
from nvnmd.training.partial.table_stage import train_table_descriptor
from nvnmd.training.quantized.batches import QuantizedFrames
from nvnmd.training.quantized.train import train_qnn

SHAPE = {"sel": (12, 12), "rcut": 4.0, "rcut_smth": 1.0, "axis_neuron": 2}
DESCRIPTOR = ("embedding.", "davg", "dstd")
FITTING = ("fitting.", "t_bias_atom_e")


def switched(config, command, *, weight_file=None, **switches):
    """The run with switches; those left out are the command's."""
    return dataclasses.replace(
        config, stage=command, switches=Switches(**switches),
        files=StageFiles(weight_file=None if weight_file is None else str(weight_file)))


def same(one, other, names):
    """Whether all arrays whose names begin so are equal, and whether all differ."""
    pairs = [(array, other.arrays()[name]) for name, array in one.arrays().items()
             if name.startswith(names)]
    equal = [np.array_equal(a, b) for a, b in pairs]
    return all(equal), not any(equal)


def descriptor_frames(folder, config):
    """Data, neighbours and the first two frames' layout of the test's system."""
    systems, cache = load_data(config, (str(folder / "data"),), "error")
    return systems, cache, make_layouts(systems, [2], SHAPE["sel"])[0]


def test_continuous_stage_with_a_restored_descriptor(stage, tmp_path):
    folder, weights = stage
    config = switched(run_config(folder, 3), "cnn", restore_descriptor=True,
                      weight_file=folder / "cnn" / "weight.npy")
    found = train_cnn(config, tmp_path / "out", log=quiet, xla=False).weights
    assert same(found, weights, DESCRIPTOR) == (True, False)
    assert same(found, weights, FITTING) == (False, True)
    # the tables are those of the restored nets; the smallest distance holds for both data
    assert found.min_nbor_dist == weights.min_nbor_dist
    before, after = (read_dict(folder / "cnn" / "map.npy"), read_dict(tmp_path / "out" / "map.npy"))
    np.testing.assert_array_equal(before["g"], after["g"])
    with pytest.raises(InputError, match="restore_descriptor: got true, expected false together "
                                         "with --init-model"):
        train_cnn(config, tmp_path / "no", log=quiet, init_model=tmp_path / "out" / "weights.npz")


def test_continuous_stage_with_restored_fitting_nets(stage, tmp_path):
    folder, weights = stage
    config = switched(run_config(folder, 1, lr=0.0), "cnn", restore_fitting_net=True,
                      weight_file=folder / "cnn" / "weight.npy")
    found = train_cnn(config, tmp_path, log=quiet, xla=False).weights
    assert same(found, on_grid(weights), FITTING) == (True, False)
    assert same(found, weights, ("embedding.",)) == (False, True)


def test_quantized_descriptor_with_float_fitting_nets(stage, tmp_path):
    folder, weights = stage
    config = switched(run_config(folder, 12), "qnn", quantize_fitting_net=False)
    out = tmp_path / "half"
    result = train_table_descriptor(config, folder / "cnn", out, log=quiet)
    losses = [float(line.split()[1]) for line in curve(out)]
    assert losses[-1] < 0.8 * losses[0]
    assert same(result.weights, weights, (*DESCRIPTOR, "t_bias_atom_e")) == (True, False)
    assert same(result.weights, weights, ("fitting.",)) == (False, True)
    assert (out / "map.npy").read_bytes() == (folder / "cnn" / "map.npy").read_bytes()
    # its folder is that of a first stage
    whole = train_qnn(switched(run_config(folder, 0), "qnn"), out, tmp_path / "whole", log=quiet)
    for k, trained in enumerate(result.weights.fit_weights):
        np.testing.assert_array_equal(whole.model.fit_weights[k], trained)
    # a checkpoint of this stage is none of the whole quantized stage
    with pytest.raises(InputError, match=r"written with quantize = \['descriptor'\], the input"):
        train_qnn(run_config(folder, 20), folder / "cnn", tmp_path / "no", restart=out, log=quiet)


def test_half_quantized_models_lie_between_the_whole_ones(stage):
    folder, weights = stage
    config = run_config(folder, 1)
    systems, cache, layout = descriptor_frames(folder, config)
    system, types = systems[0], systems[0].types
    order = np.argsort(types, kind="stable")
    found = [predict_float(weights, system.coord[k], system.cell(k), types, **SHAPE)
             for k in range(2)]
    force = np.array([one.force[order] for one in found])

    model = freeze_model(weights, tables_of_weights(weights, 4.0, 1.0), config)
    frames = QuantizedFrames(model, cache)
    table = TableDescriptorModel(model, weights).predict(frames.batch(0, [0, 1]), once=True)
    np.testing.assert_allclose(table.energy, [one.energy for one in found], rtol=0, atol=1e-5)
    np.testing.assert_allclose(table.force, force, rtol=0, atol=5e-6)
    # not the same: the tables cut their numbers to 20 bits
    assert np.abs(table.force - force).max() > 1e-9

    fixed = FixedFittingModel(weights, **SHAPE)
    batch = pack(cache, 0, [0, 1], layout)
    energy, atomic, by_row, _ = fixed.predict(batch)
    np.testing.assert_allclose(energy, [one.energy for one in found], rtol=0, atol=1e-5)
    rows = np.array([by_row[batch.frame == k] for k in range(2)])
    np.testing.assert_allclose(rows, force, rtol=0, atol=5e-6)
    # every energy is a whole number of the fixed format's units
    units = (atomic - np.repeat(weights.t_bias_atom_e, layout.atoms)) * 2.0**23
    np.testing.assert_allclose(units, np.round(units), rtol=0, atol=1e-6)


def test_float_descriptor_with_quantized_fitting_nets(stage, tmp_path):
    folder, weights = stage
    config = switched(run_config(folder, 2), "qnn", quantize_descriptor=False,
                      restore_descriptor=False, weight_file=folder / "cnn" / "weight.npy")
    result = train_fixed_fitting(config, tmp_path / "half", log=quiet, xla=False)
    # the descriptor is trained, too
    assert same(result.weights, weights, ("embedding.",)) == (False, True)
    assert same(result.weights, weights, ("davg", "dstd"))[0] is False
    assert len(curve(tmp_path / "half")) == 2
    # the trained nets are on the grid: the fixed-point net takes them as they are
    d = np.random.default_rng(0).normal(size=(3, 16))
    nets = [[w[0] for w in result.weights.fit_weights], [b[0] for b in result.weights.fit_biases]]
    assert np.isfinite(fitting_net(d, *nets).out).all()


def test_quantized_stage_with_fresh_fitting_nets(stage, tmp_path):
    folder, weights = stage
    config = switched(run_config(folder, 1, lr=0.0), "qnn", restore_fitting_net=False)
    model = train_qnn(config, folder / "cnn", tmp_path, log=quiet).model
    for k, array in enumerate(weights.fit_weights):
        assert not np.any(model.fit_weights[k] == array)
    np.testing.assert_array_equal(model.davg, weights.davg)
    assert not np.array_equal(model.t_bias_atom_e, weights.t_bias_atom_e)


def test_weights_that_do_not_fit(stage, tmp_path):
    folder, weights = stage
    bare = dataclasses.replace(weights, embedding=((),) * 2)
    from nvnmd.deepmd.files import write_dict

    file = tmp_path / "weight.npy"
    write_dict(file, to_deepmd(bare, SHAPE["sel"]))
    config = run_config(folder, 1)
    assert isinstance(read_weights(file, config, embedding=False), FloatWeights)
    with pytest.raises(ModelFileError, match="holds no embedding nets, expected the file of"):
        read_weights(file, config)
    other = dataclasses.replace(config, fitting=dataclasses.replace(config.fitting, neuron=(8, 8)))
    with pytest.raises(InputError, match=r"2 types and widths \[4, 8\], \[16, 16\]; the input has"):
        read_weights(folder / "cnn" / "weight.npy", other)
    near = dataclasses.replace(config, descriptor=dataclasses.replace(config.descriptor, rcut=3.0))
    near = dataclasses.replace(
        switched(near, "qnn", quantize_descriptor=False),
        files=StageFiles(**{f"{key}_file": str(folder / "cnn" / f"{key}.npy")
                            for key in ("weight", "config")}))
    with pytest.raises(InputError, match=r"config\.npy: trained with rcut = 4\.0, the input has"):
        train_fixed_fitting(near, tmp_path / "out", log=quiet)
    lost = dataclasses.replace(near, files=StageFiles())
    with pytest.raises(InputError, match="nvnmd/weight_file: missing key, expected the weights to"):
        train_fixed_fitting(lost, tmp_path / "out", log=quiet)


def test_parts_of_version_1(folders, tmp_path):
    base = tmp_path / "base"
    weights = train_cnn(run_v1(folders, 1), base, log=quiet, xla=False).weights
    config = switched(run_v1(folders, 2), "cnn", restore_descriptor=True,
                      weight_file=base / "weight.npy")
    # other nets than those of the first run, whose seeds are the same
    config = dataclasses.replace(config, fitting=dataclasses.replace(config.fitting, seed=77))
    found = train_cnn(config, tmp_path / "restored", log=quiet, xla=False).weights
    stays = ("embedding.", "type_embedding.", "type_net.", "davg", "dstd")
    assert same(found, weights, stays) == (True, False)
    assert same(found, weights, ("fitting.", "tweight")) == (False, True)

    config = run_v1(folders, 1)
    systems, cache = load_data(config, config.training.systems, "error")
    shape = {"sel": config.descriptor.sel, "rcut": config.descriptor.rcut,
             "rcut_smth": config.descriptor.rcut_smth, "axis_neuron": config.descriptor.axis_neuron}
    one = systems[1]
    whole = predict_float(weights, one.coord[0], one.cell(0), one.types, **shape)
    order = np.argsort(one.types, kind="stable")
    tables = tables_of_weights(weights, shape["rcut"], shape["rcut_smth"])
    model = freeze_model(weights, tables, config)
    batch = QuantizedFrames(model, cache).batch(1, [0])
    table = TableDescriptorModel(model, weights).predict(batch, once=True)
    np.testing.assert_allclose(table.energy, [whole.energy], rtol=0, atol=1e-4)
    np.testing.assert_allclose(table.force[0], whole.force[order], rtol=0, atol=1e-4)
    fixed = FixedFittingModel(weights, **shape)
    layout = make_layouts(systems, [1, 1], shape["sel"], ntypes=config.ntypes)[1]
    energy, _, force, _ = fixed.predict(pack(cache, 1, [0], layout))
    np.testing.assert_allclose(energy, [whole.energy], rtol=0, atol=1e-4)
    np.testing.assert_allclose(force, whole.force[order], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("switches", "command", "called"), [
    ({}, "train-qnn", "train_qnn"),
    ({"quantize_fitting_net": False}, "train-qnn", "train_table_descriptor"),
    ({"quantize_descriptor": False}, "train-qnn", "train_fixed_fitting"),
    ({"restore_descriptor": True}, "train-cnn", "train_cnn"),
])
def test_the_command_trains_what_the_switches_say(
    stage, tmp_path, monkeypatch, switches, command, called
):
    calls = []

    def record(name):
        def train(config, *paths, **_):
            # the command keeps its line in the folder that a training makes
            paths[-1].mkdir()
            calls.append((name, config.switches, paths))

        return train

    for module, name in (("continuous.train", "train_cnn"), ("quantized.train", "train_qnn"),
                         ("partial.table_stage", "train_table_descriptor"),
                         ("partial.fixed_fitting", "train_fixed_fitting")):
        monkeypatch.setattr(f"nvnmd.training.{module}.{name}", record(name))
    monkeypatch.chdir(tmp_path)
    document = {
        "nvnmd": {"version": 0, "max_nnei": 128, "net_size": 128, "sel": [12, 12], "rcut": 4.0,
                  "rcut_smth": 1.0, "type_map": ["Cu", "Au"], **switches},
        "training": {"numb_steps": 1, "training_data": {"systems": [str(stage[0] / "data")]}},
    }
    if command == "train-cnn":
        document["nvnmd"]["weight_file"] = "first/weight.npy"
    (tmp_path / "in.json").write_text(json.dumps(document))
    assert main([command, "in.json", "-o", "out"]) == 0
    ((name, found, paths),) = calls
    assert name == called and str(paths[-1]) == "out"
    assert vars(found) == {name: switches.get(name, command == "train-qnn") for name in vars(found)}
