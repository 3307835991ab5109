"""The continuous stage: files, learning curve, learning at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from support.cnn_runs import SEL, data, finished, make_config, train  # noqa: F401

from nvnmd.data.systems import load_system
from nvnmd.deepmd.files import read_dict
from nvnmd.deepmd.weights import from_deepmd
from nvnmd.errors import InputError, NeighborOverflowError, NvnmdError
from nvnmd.inputs.config import LearningRateConfig, LossConfig
from nvnmd.network.statistics import energy_bias
from nvnmd.network.weights import FloatWeights
from nvnmd.training.checkpoint import Checkpoint
from nvnmd.training.lcurve import read_lcurve
from nvnmd.training.schedule import LearningRate


def test_files(finished):
    config, folder, result, lines = finished
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "train.json", "lcurve.out", "checkpoint", "weights.npz", "weight.npy", "config.npy",
        "map.npy", "model.ckpt-4.npz", "model.ckpt-8.npz", "model.ckpt-12.npz",
    }  # fmt: skip
    assert json.loads((folder / "train.json").read_text()) == config.normalized
    assert result.step == 12
    stored = FloatWeights.load(folder / "weights.npz").arrays()
    again = from_deepmd(read_dict(folder / "weight.npy")).arrays()
    for name, array in result.weights.arrays().items():
        np.testing.assert_array_equal(stored[name], array)
        np.testing.assert_array_equal(again[name], array)
    dscp = read_dict(folder / "config.npy")["dscp"]
    assert dscp["sel"] == list(SEL) and dscp["dmin"] == result.weights.min_nbor_dist
    assert all("\n" not in line for line in lines)


def test_learning_curve_columns(finished):
    _, folder, _, _ = finished
    header = (folder / "lcurve.out").read_text().splitlines()[0].split()
    assert header == [
        "#", "step", "rmse_val", "rmse_trn", "rmse_e_val", "rmse_e_trn", "rmse_f_val",
        "rmse_f_trn", "lr",
    ]  # fmt: skip
    curve = read_lcurve(folder / "lcurve.out")
    np.testing.assert_array_equal(curve["step"], [1, 2, 4, 6, 8, 10, 12])
    rate = LearningRate(LearningRateConfig(start_lr=5e-3, stop_lr=1e-4, decay_steps=3), 12)
    np.testing.assert_allclose(curve["lr"], [rate(s) for s in curve["step"]], rtol=0.05)


def test_training_learns(data, tmp_path):
    config = make_config(
        data[:1],
        batch_size=(6,),
        numb_steps=200,
        disp_freq=50,
        save_freq=1000,
        learning_rate=LearningRateConfig(start_lr=5e-3, stop_lr=1e-4, decay_steps=10),
        loss=LossConfig(start_pref_v=0.1, limit_pref_v=0.1),
    )
    train(config, tmp_path)
    curve = read_lcurve(tmp_path / "lcurve.out")
    assert "rmse_v_trn" in curve.dtype.names
    labels = {key: np.load(f"{data[0]}/set.000/{key}.npy") for key in ("energy", "force", "virial")}
    natoms = labels["force"].shape[1] // 3
    assert curve["rmse_f_trn"][-1] < 0.5 * labels["force"].std()
    assert curve["rmse_e_trn"][-1] < 0.75 * labels["energy"].std() / natoms
    assert curve["rmse_v_trn"][-1] < 0.75 * labels["virial"].std() / natoms


def test_divergence_is_one_line(data, tmp_path):
    config = make_config(
        data[:1], batch_size=(1,), learning_rate=LearningRateConfig(start_lr=1e200, stop_lr=1e199)
    )
    with pytest.raises(NvnmdError, match=r"diverged .*smaller start_lr"):
        train(config, tmp_path)


def test_labels_that_overflow_are_one_line(data, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(data[0], folder)
    force = folder / "set.000/force.npy"
    np.save(force, 1e300 * np.load(force))
    config = make_config((str(folder),), batch_size=(1,))
    # found while they are read, before any step
    with pytest.raises(InputError, match=r"force\.npy: frame 0, atom 0 has a value beyond 1e\+15"):
        train(config, tmp_path / "out")


def test_a_rate_that_overflows_is_one_line(data, tmp_path):
    rate = LearningRateConfig(start_lr=1e200, stop_lr=1e200, decay_steps=3)
    config = make_config(data[:1], batch_size=(1,), learning_rate=rate)
    with pytest.raises(NvnmdError, match=r"diverged .*smaller start_lr"):
        train(config, tmp_path / "out")


def test_too_small_sel_names_frame_and_atom(data, tmp_path):
    config = make_config(data)
    config = replace(config, descriptor=replace(config.descriptor, sel=(4, 19)))
    with pytest.raises(NeighborOverflowError, match=r"large: frame 0: atom \d+ has \d+ .* of Cu"):
        train(config, tmp_path)


def test_virial_loss_without_labels(data, tmp_path):
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(data[0], folder)
    (folder / "set.000/virial.npy").unlink()
    config = make_config((str(folder),), batch_size=(1,), loss=LossConfig(start_pref_v=1.0))
    with pytest.raises(InputError, match=r"no system has the file virial\.npy: .*copy$"):
        train(config, tmp_path / "out")


def test_xla_gives_the_same_training(data, tmp_path):
    config = make_config(data[1:], batch_size=(1,), numb_steps=2, disp_training=False)
    plain, _ = train(config, tmp_path / "a", xla=False)
    compiled, _ = train(config, tmp_path / "b", xla=True)
    for name, array in plain.weights.arrays().items():
        np.testing.assert_allclose(compiled.weights.arrays()[name], array, rtol=1e-6, atol=1e-9)


def test_systems_are_drawn_with_the_given_probabilities(data, tmp_path):
    config = make_config(data, numb_steps=3, sys_probs=(0.0, 1.0), validation_systems=data,
                         validation_batch_size=(1, 1), disp_freq=1,
                         validation_auto_prob="prob_sys_size;0:1:1")  # fmt: skip
    train(config, tmp_path)
    state = Checkpoint.load(tmp_path, "cnn").state
    assert state["training"]["used"][0] == 0 < state["training"]["used"][1]
    assert state["validation"]["used"][1] == 0 < state["validation"]["used"][0]


def test_warmup_is_in_the_learning_curve(data, tmp_path):
    config = make_config(data, numb_steps=5, warmup_steps=4, disp_freq=1)
    train(config, tmp_path)
    rates = np.loadtxt(tmp_path / "lcurve.out")[:, -1]
    np.testing.assert_allclose(rates[:4], [1.25e-3, 2.5e-3, 3.75e-3, 5e-3], rtol=0.05)


def test_relative_force_errors_and_the_cut_of_gradients_reach_the_training(data, tmp_path):
    def first_line(name, **changes):
        config = make_config(data[:1], batch_size=(1,), numb_steps=1, disp_freq=1, **changes)
        result, _ = train(config, tmp_path / name)
        state = Checkpoint.load(tmp_path / name, "cnn")
        return read_lcurve(tmp_path / name / "lcurve.out"), state.arrays, result

    still = LearningRateConfig(start_lr=0.0, stop_lr=0.0)
    plain, arrays, _ = first_line("plain", learning_rate=still)
    relative, _, _ = first_line("relative", learning_rate=still,
                                loss=LossConfig(relative_f=10.0))
    # labels are far shorter than 10 eV/Å: nearly a tenth, and the energies as before
    assert 0.05 < relative["rmse_f_trn"][0] / plain["rmse_f_trn"][0] < 0.1
    assert relative["rmse_e_trn"][0] == plain["rmse_e_trn"][0]
    _, cut, _ = first_line("cut", learning_rate=still, gradient_max_norm=1e-3)
    # the first moment is a tenth of the first gradient
    assert np.linalg.norm(arrays["adam/first"]) > 1e-3
    np.testing.assert_allclose(np.linalg.norm(cut["adam/first"]), 1e-4, rtol=1e-9)


def test_set_prefix_and_rcond_reach_the_training(data, tmp_path):
    folder = tmp_path / "renamed"
    shutil.copytree(data[0], folder)
    (folder / "set.000").rename(folder / "part.000")
    config = make_config((str(folder),), batch_size=(1,), numb_steps=0, set_prefix="part",
                         validation_systems=(str(folder),), validation_batch_size=(1,),
                         validation_set_prefix="part")  # fmt: skip
    other = tmp_path / "other"
    shutil.copytree(data[0], other)
    types = (other / "type.raw").read_text().split()
    # another composition
    (other / "type.raw").write_text(" ".join(["0", "0", "0", *types[3:]]))
    systems = [load_system(folder, config.type_map, set_prefix="part"),
               load_system(other, config.type_map)]  # fmt: skip
    result, _ = train(config, tmp_path / "one")
    np.testing.assert_array_equal(result.weights.t_bias_atom_e, energy_bias(systems[:1], 2))
    (folder / "part.000").rename(folder / "set.000")
    both = make_config((str(folder), str(other)), numb_steps=0)
    rough = replace(both, fitting=replace(both.fitting, rcond=0.9))
    found = [train(one, tmp_path / str(k), overflow="truncate")[0].weights.t_bias_atom_e
             for k, one in enumerate((both, rough))]  # fmt: skip
    np.testing.assert_array_equal(found[1], energy_bias(systems, 2, 0.9))
    assert not np.array_equal(*found)


def test_validation_errors_are_those_of_the_batches_that_have_the_label(data, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(data[1], bare)
    (bare / "set.000/virial.npy").unlink()
    still = LearningRateConfig(start_lr=0.0, stop_lr=0.0)

    def virial_column(systems, probs, batches):
        config = make_config(data[:1], batch_size=(1,), numb_steps=6, disp_freq=1,
                             learning_rate=still, loss=LossConfig(start_pref_v=1.0),
                             validation_systems=systems, validation_sys_probs=probs,
                             validation_batch_size=(4,) * len(systems),
                             validation_numb_btch=batches)  # fmt: skip
        train(config, tmp_path / "out", force=True)
        return read_lcurve(tmp_path / "out/lcurve.out")["rmse_v_val"]

    # the batch is the whole system: one value, whatever is drawn beside it
    alone = virial_column(data[1:], None, 1)
    both = virial_column((*data[1:], str(bare)), (0.5, 0.5), 8)
    np.testing.assert_allclose(both, alone, rtol=0.01)
    assert np.isnan(virial_column((*data[1:], str(bare)), (0.0, 1.0), 2)).all()
