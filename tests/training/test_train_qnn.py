"""The quantized stage end to end on a small net: what changes, what stays, what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.qnn_stage import curve, quiet, run_config, stage  # noqa: F401
from support.small_models import small_config

from nvnmd.data.systems import load_system
from nvnmd.deepmd.config import deepmd_config
from nvnmd.deepmd.extras import stage_weights
from nvnmd.deepmd.files import read_dict, write_dict
from nvnmd.deepmd.tables import map_folder, tables_of_weights
from nvnmd.deepmd.weights import from_deepmd, to_deepmd
from nvnmd.errors import InputError, ModelFileError
from nvnmd.evaluation.potential import Potential
from nvnmd.inputs.config import FittingConfig
from nvnmd.mapping.freeze import freeze_model
from nvnmd.neighbors.slots import build_neighborhood
from nvnmd.quantize.model import Model
from nvnmd.quantize.reference import evaluate_atoms
from nvnmd.training.checkpoint import Checkpoint
from nvnmd.training.lcurve import read_lcurve

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from nvnmd.training.quantized.train import train_qnn


def test_zero_learning_rate_keeps_every_bit(stage, tmp_path):
    folder, weights = stage
    result = train_qnn(run_config(folder, 3, lr=0.0), folder / "cnn", tmp_path, log=quiet)
    again = from_deepmd(read_dict(tmp_path / "weight.npy"))
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
    write_dict(other / "weight.npy", to_deepmd(moved, (12, 12)))
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


def test_the_model_keeps_what_the_training_saw(stage, tmp_path):
    folder, _ = stage
    model = train_qnn(run_config(folder, 1), folder / "cnn", tmp_path, log=quiet).model
    assert Model.load(tmp_path / "model.nvnmd").seen is not None
    system = load_system(folder / "data", model.type_map)
    least = np.full((2, 2), model.rcut)
    low = np.full((2, model.m1 * model.m2), np.inf)
    high = -low
    radial = {0: [], 1: []}
    for frame in range(system.nframes):
        near = build_neighborhood(system.coord[frame], system.box[frame], system.types, model.sel,
                                  model.rcut)
        trace = evaluate_atoms(model, near.center_types, near.rij, near.mask)
        for atom, kind in enumerate(near.center_types):
            low[kind] = np.minimum(low[kind], trace.d[atom])
            high[kind] = np.maximum(high[kind], trace.d[atom])
            for slot in np.flatnonzero(near.mask[atom]):
                pair = kind, near.slot_types[slot]
                least[pair] = min(least[pair], np.linalg.norm(near.rij[atom, slot]))
                radial[kind].append(trace.r4[atom, slot, 0])
    np.testing.assert_allclose(model.seen.distance, least, rtol=1e-15)
    np.testing.assert_allclose(np.sqrt(model.seen.u[0]), least.min(), rtol=1e-15)
    np.testing.assert_array_equal(model.seen.d[..., 0], low)
    np.testing.assert_array_equal(model.seen.d[..., 1], high)
    for kind, values in radial.items():
        np.testing.assert_array_equal(model.seen.s[kind], [min(values), max(values)])
    found = Potential(model).evaluate(system.coord, system.box, system.types)
    assert not found.outside.any()
