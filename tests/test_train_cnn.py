"""The continuous stage: files, learning curve, exact restart, interruption, learning at all."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
from float_cases import RCUT, RCUT_SMTH, SEL, alloy

from nvnmd.batch_sampler import BatchSampler
from nvnmd.checkpoint import Checkpoint, find_checkpoint
from nvnmd.config import (
    DescriptorConfig,
    FittingConfig,
    LearningRateConfig,
    LossConfig,
    RunConfig,
    TrainingConfig,
)
from nvnmd.data import load_system
from nvnmd.deepmd_files import read_dict
from nvnmd.errors import InputError, ModelFileError, NeighborOverflowError, NvnmdError
from nvnmd.float_math import NumpyMath
from nvnmd.float_nets import switch
from nvnmd.initial_weights import (
    EMBEDDING_BIAS_GAIN,
    EMBEDDING_WEIGHT_GAIN,
    FITTING_BIAS_GAIN,
    FITTING_WEIGHT_GAIN,
    initial_weights,
)
from nvnmd.lcurve import read_lcurve
from nvnmd.neighbors import build_neighborhood
from nvnmd.schedule import LearningRate, prefactors
from nvnmd.statistics import Statistics, energy_bias
from nvnmd.weights import FloatWeights

HIDDEN = (24, 24, 24)
DESCRIPTOR = DescriptorConfig(
    sel=SEL, rcut=RCUT, rcut_smth=RCUT_SMTH, neuron=(4, 8, 16), seed=1
)
STATISTICS = Statistics(
    davg=np.array([[0.1, 0.0], [0.2, 0.0]]),
    dstd=np.ones((2, 2)),
    t_bias_atom_e=np.array([-1.0, -2.0]),
    min_nbor_dist=2.0,
    largest_counts=np.array([5, 6]),
    s_sample=np.linspace(-0.1, 5.0, 64),
    mean_neighbors=8.0,
)


def pair_labels(coord, box, types):
    """Energy, forces and virial of a switched Morse potential whose depth depends on the types."""
    near = build_neighborhood(coord, box, types, SEL, RCUT)
    mask = near.mask
    r = np.linalg.norm(np.where(mask[..., None], near.rij, 1.0), axis=-1)
    depth = np.array([[0.3, 0.5], [0.5, 0.2]])[near.center_types[:, None], near.slot_types]
    fall = np.exp(-1.2 * (r - 2.6))
    well, slope = fall * (fall - 2.0), -2.4 * fall * (fall - 1.0)
    sw, dsw = switch(NumpyMath(), r, RCUT_SMTH, RCUT)
    energy = np.where(mask, depth * well * sw, 0.0)
    along = np.where(mask, depth * (slope * sw + well * dsw) / r, 0.0)
    gradient = along[..., None] * near.rij
    # Every pair is listed from both ends: half an energy each, and equal and opposite forces.
    force = np.empty_like(coord)
    force[near.order] = gradient.sum(axis=1)
    return 0.5 * energy.sum(), force, -0.5 * np.einsum("ima,imb->ab", gradient, near.rij)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two systems of different composition, labelled with a pair potential."""
    folders = []
    for name, frames, repeats in (("large", 6, (2, 2, 1)), ("small", 4, (2, 1, 1))):
        folder = tmp_path_factory.mktemp("data") / name
        (folder / "set.000").mkdir(parents=True)
        many = [alloy(seed, repeats) for seed in range(frames)]
        types = many[0][2]
        labels = [pair_labels(c, b, types) for c, b, _ in many]
        arrays = {
            "coord": [c.ravel() for c, _, _ in many],
            "box": [b.ravel() for _, b, _ in many],
            "energy": [energy for energy, _, _ in labels],
            "force": [force.ravel() for _, force, _ in labels],
            "virial": [virial.ravel() for _, _, virial in labels],
        }
        for key, rows in arrays.items():
            np.save(folder / "set.000" / f"{key}.npy", np.array(rows))
        (folder / "type.raw").write_text(" ".join(str(t) for t in types))
        (folder / "type_map.raw").write_text("Cu Au")
        folders.append(str(folder))
    return tuple(folders)


def make_config(data, **changes):
    settings = {
        "systems": data,
        "batch_size": (2, 3),
        "numb_steps": 12,
        "seed": 3,
        "disp_freq": 2,
        "save_freq": 4,
        "time_training": False,
    }
    return RunConfig(
        version=0,
        max_nnei=128,
        type_map=("Cu", "Au"),
        descriptor=DESCRIPTOR,
        fitting=FittingConfig(neuron=HIDDEN, seed=2),
        learning_rate=changes.pop(
            "learning_rate", LearningRateConfig(start_lr=5e-3, stop_lr=1e-4, decay_steps=3)
        ),
        loss=changes.pop("loss", LossConfig()),
        training=TrainingConfig(**(settings | changes)),
        normalized={"nvnmd": {"version": 0}},
    )


def train(config, folder, **options):
    from nvnmd.tf_train import train_cnn

    lines = []
    result = train_cnn(config, folder, log=lines.append, **options)
    return result, lines


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "nvnmd_cnn"
    config = make_config(data, validation_systems=data[1:], validation_batch_size=(2,),
                         validation_numb_btch=2)  # fmt: skip
    result, lines = train(config, folder)
    return config, folder, result, lines


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
    again = FloatWeights.from_deepmd(read_dict(folder / "weight.npy")).arrays()
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


def test_restart_continues_exactly(finished, tmp_path):
    config, folder, result, _ = finished
    again, _ = train(config, tmp_path, restart=folder / "model.ckpt-4.npz")
    whole = (folder / "lcurve.out").read_text().splitlines()
    later = (tmp_path / "lcurve.out").read_text().splitlines()
    assert later[2:] == whole[5:] and whole[5].split()[0] == "6"
    for name, array in result.weights.arrays().items():
        np.testing.assert_array_equal(again.weights.arrays()[name], array, err_msg=name)
    last = Checkpoint.load(folder, "cnn")
    other = Checkpoint.load(tmp_path, "cnn")
    assert last.step == other.step == 12 and last.state == other.state
    for name, array in last.arrays.items():
        np.testing.assert_array_equal(other.arrays[name], array, err_msg=name)


def test_restart_in_place_rewrites_the_later_lines(data, tmp_path):
    config = make_config(data[:1], batch_size=(2,), numb_steps=6, save_freq=3, disp_freq=1)
    train(config, tmp_path)
    before = (tmp_path / "lcurve.out").read_text()
    train(config, tmp_path, restart=tmp_path / "model.ckpt-3")
    assert (tmp_path / "lcurve.out").read_text() == before


def test_restart_of_a_finished_run_does_nothing(finished, tmp_path):
    config, folder, result, _ = finished
    again, lines = train(config, tmp_path, restart=folder)
    assert any("nothing to do: 12 of 12" in line for line in lines)
    np.testing.assert_array_equal(again.weights.fit_weights[0], result.weights.fit_weights[0])


def test_other_seeds_give_another_run(finished, data, tmp_path):
    _, _, result, _ = finished
    one = initial_weights(DESCRIPTOR, FittingConfig(neuron=HIDDEN, seed=2), STATISTICS)
    two = initial_weights(DESCRIPTOR, FittingConfig(neuron=HIDDEN, seed=2), STATISTICS)
    three = initial_weights(
        replace(DESCRIPTOR, seed=9), FittingConfig(neuron=HIDDEN, seed=9), STATISTICS
    )
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(two.arrays()[name], array)
        if name.startswith(("embedding", "fitting")):
            assert (three.arrays()[name] != array).all()
            assert array.shape == result.weights.arrays()[name].shape
    first, second = BatchSampler([36], [1], 3), BatchSampler([36], [1], 4)
    assert [first.draw()[1][0] for _ in range(9)] != [second.draw()[1][0] for _ in range(9)]


def test_initial_weights_have_the_stated_distribution():
    wide = replace(DESCRIPTOR, neuron=(100, 200))
    weights = initial_weights(wide, FittingConfig(neuron=(150, 150), seed=1), STATISTICS)
    gains = [(1.0, 1.0), (EMBEDDING_WEIGHT_GAIN, EMBEDDING_BIAS_GAIN)]
    for (weight, bias), (gain, shift) in zip(weights.embedding[0], gains, strict=True):
        np.testing.assert_allclose(weight.std() * np.sqrt(sum(weight.shape)), gain, rtol=0.2)
        np.testing.assert_allclose(bias.std(), shift, rtol=0.2)
    for weight, gain in zip(weights.fit_weights, (FITTING_WEIGHT_GAIN, 1.0, 1.0), strict=True):
        np.testing.assert_allclose(weight.std() * np.sqrt(sum(weight.shape[1:])), gain, rtol=0.15)
    np.testing.assert_allclose(weights.fit_biases[0].std(), FITTING_BIAS_GAIN, rtol=0.2)
    np.testing.assert_array_equal(weights.davg, STATISTICS.davg)


def test_sampler_goes_through_all_frames_before_it_repeats():
    sampler = BatchSampler([7, 3], [2, 5], 1)
    seen = {0: [], 1: []}
    for _ in range(400):
        system, frames = sampler.draw()
        assert len(frames) == (2, 3)[system]
        seen[system].append(sorted(frames.tolist()))
    for k in range(0, len(seen[0]) - 2, 3):
        epoch = {frame for batch in seen[0][k : k + 3] for frame in batch}
        assert len(epoch) == 6
    assert all(frames == [0, 1, 2] for frames in seen[1])
    # three batches against one
    np.testing.assert_allclose(len(seen[0]) / len(seen[1]), 3.0, rtol=0.3)


def test_init_model_takes_the_weights_only(finished, data, tmp_path):
    _, folder, result, _ = finished
    config = make_config(data[:1], batch_size=(1,), numb_steps=1, disp_training=False,
                         learning_rate=LearningRateConfig(start_lr=0.0, stop_lr=0.0))  # fmt: skip
    for k, source in enumerate((folder / "weights.npz", folder / "model.ckpt-12.npz")):
        again, _ = train(config, tmp_path / str(k), init_model=source)
        assert again.step == 1
        for name, array in result.weights.arrays().items():
            np.testing.assert_array_equal(again.weights.arrays()[name], array, err_msg=name)


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


def test_old_checkpoints_are_deleted(data, tmp_path):
    config = make_config(data[:1], batch_size=(1,), numb_steps=5, save_freq=1, max_ckpt_keep=2)
    train(config, tmp_path)
    kept = sorted(path.name for path in tmp_path.glob("model.ckpt-*"))
    assert kept == ["model.ckpt-4.npz", "model.ckpt-5.npz"]
    assert find_checkpoint(tmp_path / "model.ckpt").name == "model.ckpt-5.npz"


def test_interrupt_leaves_a_checkpoint_that_continues(finished, data, tmp_path):
    config, folder, result, _ = finished
    from nvnmd.tf_train import train_cnn

    lines = []

    def log(line):
        lines.append(line)
        if line.startswith("step       6"):
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as interrupt:
        train_cnn(config, tmp_path, log=log)
    assert signal.getsignal(signal.SIGINT) is handler
    step = Checkpoint.load(tmp_path, "cnn").step
    assert step in (6, 7)
    message = str(interrupt.value)
    assert message.startswith(f"interrupted at step {step}; to continue: --restart {tmp_path}")
    again, _ = train(config, tmp_path, restart=tmp_path)
    assert (tmp_path / "lcurve.out").read_text() == (folder / "lcurve.out").read_text()
    for name, array in result.weights.arrays().items():
        np.testing.assert_array_equal(again.weights.arrays()[name], array, err_msg=name)


def test_divergence_is_one_line(data, tmp_path):
    config = make_config(
        data[:1], batch_size=(1,), learning_rate=LearningRateConfig(start_lr=1e200, stop_lr=1e199)
    )
    with pytest.raises(NvnmdError, match=r"diverged .*smaller start_lr"):
        train(config, tmp_path)


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
    with pytest.raises(InputError, match=r"no system has a virial\.npy"):
        train(config, tmp_path / "out")


def test_bad_checkpoints(finished, data, tmp_path):
    config, folder, _, _ = finished
    with pytest.raises(ModelFileError, match="no checkpoint there"):
        train(config, tmp_path, restart=tmp_path / "model.ckpt-9.npz")
    broken = tmp_path / "model.ckpt-4.npz"
    broken.write_bytes((folder / "model.ckpt-4.npz").read_bytes()[:1000])
    with pytest.raises(ModelFileError, match="not a readable checkpoint"):
        train(config, tmp_path, restart=broken)
    other = replace(config, descriptor=replace(config.descriptor, rcut=4.5))
    with pytest.raises(InputError, match=r"written with rcut = 4\.6, the input has 4\.5"):
        train(other, tmp_path, restart=folder)
    with pytest.raises(InputError, match=r"does not fit .*frames"):
        train(make_config(data[:1], batch_size=(1,)), tmp_path, restart=folder)
    with pytest.raises(ModelFileError, match="not of train-qnn"):
        Checkpoint.load(folder, "qnn")
    with pytest.raises(InputError, match="exclude each other"):
        train(config, tmp_path, restart=folder, init_model=folder)


def test_xla_gives_the_same_training(data, tmp_path):
    config = make_config(data[1:], batch_size=(1,), numb_steps=2, disp_training=False)
    plain, _ = train(config, tmp_path / "a", xla=False)
    compiled, _ = train(config, tmp_path / "b", xla=True)
    for name, array in plain.weights.arrays().items():
        np.testing.assert_allclose(compiled.weights.arrays()[name], array, rtol=1e-6, atol=1e-9)


def test_learning_rate_stairs():
    rate = LearningRate(LearningRateConfig(start_lr=1e-3, stop_lr=3e-8, decay_steps=5000), 20000)
    assert rate(0) == rate(4999) == 1e-3
    np.testing.assert_allclose(rate(5000) / rate(4999), (3e-5) ** 0.25, rtol=1e-12)
    np.testing.assert_allclose(rate(20000), 3e-8, rtol=1e-12)
    assert rate(10**6) == 3e-8
    # A stair longer than the training is shortened.
    assert LearningRate(LearningRateConfig(decay_steps=5000), 2000).decay_steps == 100
    assert LearningRate(LearningRateConfig(decay_steps=5000), 500).decay_steps == 6
    assert LearningRate(LearningRateConfig(decay_steps=5000), 5000).decay_steps == 100
    zero = LearningRate(LearningRateConfig(start_lr=0.0, stop_lr=0.0, decay_steps=3), 10)
    assert zero(0) == zero(9) == 0.0


def test_prefactors_follow_the_learning_rate():
    loss = LossConfig(start_pref_v=2.0, limit_pref_v=0.5)
    loss = replace(loss, start_pref_ae=3.0, limit_pref_pf=4.0)
    np.testing.assert_allclose(prefactors(loss, 1e-3, 1e-3), [0.02, 1000, 2, 3, 0, 0])
    np.testing.assert_allclose(prefactors(loss, 0.0, 1e-3), [1, 1, 0.5, 0, 4, 0])
    np.testing.assert_allclose(prefactors(loss, 5e-4, 1e-3), [0.51, 500.5, 1.25, 1.5, 2, 0])


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
