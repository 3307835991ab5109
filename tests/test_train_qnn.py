"""The quantized stage end to end on a small net: what changes, what stays, what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from small_models import random_weights, small_config

from nvnmd.checkpoint import Checkpoint
from nvnmd.config import FittingConfig, LearningRateConfig, LossConfig, TrainingConfig
from nvnmd.deepmd_config import deepmd_config
from nvnmd.deepmd_files import read_dict, write_dict
from nvnmd.errors import InputError, ModelFileError
from nvnmd.freeze import freeze_model
from nvnmd.lcurve import read_lcurve
from nvnmd.mapping_files import map_folder, tables_of_weights
from nvnmd.model_extras import stage_weights
from nvnmd.neighbors import build_neighborhood
from nvnmd.quantize.forces import assemble_forces
from nvnmd.quantize.model import Model
from nvnmd.quantize.reference import evaluate_atoms
from nvnmd.weights import FloatWeights

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from nvnmd.tf_qnn import train_qnn

FRAMES = 6


def write_system(folder, weights, rng):
    """Rattled frames, labelled by the quantized model of other fitting nets."""
    teacher = freeze_model(
        dataclasses.replace(weights, fit_weights=tuple(1.2 * w for w in weights.fit_weights)),
        tables_of_weights(weights, 4.0, 1.0),
        small_config(),
    )
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), -1).reshape(-1, 3)
    types = np.array([0, 1, 1, 0, 1, 0, 0, 0])
    box = np.eye(3) * 6.0
    data = {"coord": [], "box": [], "energy": [], "force": [], "virial": []}
    for _ in range(FRAMES):
        coord = (3.0 * grid + rng.normal(scale=0.2, size=grid.shape)).astype(np.float32)
        nb = build_neighborhood(coord, box, types, teacher.sel, teacher.rcut)
        trace = evaluate_atoms(teacher, nb.center_types, nb.rij, nb.mask)
        forces = assemble_forces(trace.deriv, nb.rij, nb.index)
        unsorted = np.empty((len(types), 3))
        unsorted[nb.order] = forces.force
        rows = coord, box, trace.atom_energy.sum(), unsorted, forces.virial
        for key, value in zip(data, rows, strict=True):
            data[key].append(np.ravel(value))
    (folder / "set.000").mkdir(parents=True)
    (folder / "type.raw").write_text("\n".join(map(str, types)))
    (folder / "type_map.raw").write_text("Cu\nAu\n")
    for key, values in data.items():
        np.save(folder / "set.000" / f"{key}.npy", np.array(values))


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """A continuous stage's folder, a labelled system, and the weights."""
    folder = tmp_path_factory.mktemp("stage")
    rng = np.random.default_rng(8)
    weights = random_weights(rng)
    write_system(folder / "data", weights, rng)
    cnn = folder / "cnn"
    cnn.mkdir()
    write_dict(cnn / "weight.npy", weights.to_deepmd((12, 12)))
    write_dict(cnn / "config.npy", deepmd_config(small_config(), weights))
    map_folder(cnn)
    return folder, weights


def run_config(folder, steps, lr=2e-3, **changes):
    settings = {
        "training": TrainingConfig(
            systems=(str(folder / "data"),),
            batch_size=(2,),
            numb_steps=steps,
            seed=3,
            disp_freq=1,
            save_freq=4,
        ),
        "learning_rate": LearningRateConfig(start_lr=lr, stop_lr=lr, decay_steps=1000),
        "loss": LossConfig(
            start_pref_e=1.0,
            limit_pref_e=1.0,
            start_pref_f=100.0,
            limit_pref_f=100.0,
            start_pref_v=0.1,
            limit_pref_v=0.1,
        ),
    }
    return small_config(**(settings | changes))


def curve(folder):
    lines = (folder / "lcurve.out").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def quiet(_):
    pass


def test_zero_learning_rate_keeps_every_bit(stage, tmp_path):
    folder, weights = stage
    result = train_qnn(run_config(folder, 3, lr=0.0), folder / "cnn", tmp_path, log=quiet)
    again = FloatWeights.from_deepmd(read_dict(tmp_path / "weight.npy"))
    model = Model.load(tmp_path / "model.nvnmd")
    assert model.digest == result.model.digest
    for found in (again, model):
        for k in range(3):
            for name in ("fit_weights", "fit_biases"):
                expected = getattr(weights, name)[k]
                assert expected.tobytes() == np.ascontiguousarray(getattr(found, name)[k]).tobytes()
    tables = tables_of_weights(weights, 4.0, 1.0)
    frozen = freeze_model(weights, tables, small_config())
    for name in ("table_u", "table_u_grad", "table_g", "table_g_grad", "davg", "dstd"):
        np.testing.assert_array_equal(getattr(model, name), getattr(frozen, name))
    assert len(curve(tmp_path)) == 3


def test_only_fitting_weights_change_and_the_loss_falls(stage, tmp_path):
    folder, weights = stage
    result = train_qnn(run_config(folder, 40), folder / "cnn", tmp_path, log=quiet)
    losses = [float(line.split()[1]) for line in curve(tmp_path)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:3])
    model = Model.load(tmp_path / "model.nvnmd")
    frozen = freeze_model(weights, tables_of_weights(weights, 4.0, 1.0), small_config())
    for name in ("table_u", "table_u_grad", "table_g", "table_g_grad", "t_bias_atom_e"):
        np.testing.assert_array_equal(getattr(model, name), getattr(frozen, name))
    # a run folder for DeePMD-kit needs the float stage as it was
    for name, values in stage_weights(model, "cnn").arrays().items():
        np.testing.assert_array_equal(values, weights.arrays()[name], err_msg=name)
    for k in range(3):
        changed = model.fit_weights[k] != weights.fit_weights[k]
        assert changed.mean() > 0.9, k
    for theirs, ours in zip(model.embedding, weights.embedding, strict=True):
        for (w, b), (w0, b0) in zip(theirs, ours, strict=True):
            np.testing.assert_array_equal(w, w0)
            np.testing.assert_array_equal(b, b0)
    assert result.step == 40
    assert {p.name for p in tmp_path.iterdir()} >= {
        "train.json",
        "lcurve.out",
        "checkpoint",
        "config.npy",
        "weight.npy",
        "model.nvnmd",
    }
    written = read_dict(tmp_path / "weight.npy")
    assert not any(key.startswith("filter_type") for key in written)


def test_restart_continues_exactly(stage, tmp_path):
    folder, _ = stage
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_qnn(run_config(folder, 8), folder / "cnn", whole, log=quiet, keep_last=True)
    train_qnn(run_config(folder, 4), folder / "cnn", parts, log=quiet)
    train_qnn(run_config(folder, 8), folder / "cnn", parts, restart=parts, log=quiet,
              keep_last=True)
    assert curve(parts) == curve(whole)
    a, b = Model.load(whole / "model.nvnmd"), Model.load(parts / "model.nvnmd")
    assert a.digest == b.digest


def test_refusals(stage, tmp_path):
    folder, weights = stage
    config = run_config(folder, 1)
    with pytest.raises(InputError, match="no such folder, expected the output of train-cnn"):
        train_qnn(config, folder / "none", tmp_path, log=quiet)
    with pytest.raises(InputError, match=r"fitting neuron = \[16, 16\], the input has \[16\]"):
        train_qnn(
            run_config(folder, 1, fitting=FittingConfig(neuron=(16,))),
            folder / "cnn",
            tmp_path,
            log=quiet,
        )
    with pytest.raises(ModelFileError, match=r"map.npy: cannot be read"):
        other = tmp_path / "bare"
        other.mkdir()
        for name in ("weight.npy", "config.npy"):
            (other / name).write_bytes((folder / "cnn" / name).read_bytes())
        train_qnn(config, other, tmp_path, log=quiet)
    out = tmp_path / "out"
    train_qnn(config, folder / "cnn", out, log=quiet)
    moved = dataclasses.replace(weights, davg=weights.davg * 1.5)
    write_dict(other / "weight.npy", moved.to_deepmd((12, 12)))
    write_dict(other / "config.npy", deepmd_config(config, moved))
    map_folder(other)
    with pytest.raises(InputError, match="its davg is not that of"):
        train_qnn(config, other, out, restart=out, log=quiet)


def test_relative_force_errors_and_the_cut_of_gradients_reach_the_training(stage, tmp_path):
    folder, _ = stage
    config = run_config(folder, 1, lr=0.0)
    train_qnn(config, folder / "cnn", tmp_path / "plain", log=quiet)
    changed = dataclasses.replace(
        config,
        loss=dataclasses.replace(config.loss, relative_f=10.0),
        training=dataclasses.replace(config.training, gradient_max_norm=1e-3, warmup_steps=0,
                                     sys_probs=(1.0,)),
    )
    train_qnn(changed, folder / "cnn", tmp_path / "changed", log=quiet)
    plain, relative = (read_lcurve(tmp_path / name / "lcurve.out")
                       for name in ("plain", "changed"))
    # a force of length L counts with 1/(10 + L)
    assert 0.01 < relative["rmse_f_trn"][0] / plain["rmse_f_trn"][0] < 0.1
    first = [Checkpoint.load(tmp_path / name, "qnn").arrays["adam/first"]
             for name in ("plain", "changed")]
    assert np.linalg.norm(first[0]) > 1e-3
    # the first moment is a tenth of the first gradient
    np.testing.assert_allclose(np.linalg.norm(first[1]), 1e-4, rtol=1e-9)
