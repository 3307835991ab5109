"""Trainings with more than 128 neighbours per atom."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.small_models import small_config
from support.type_models import rattled, type_config

from nvnmd.inputs.config import DescriptorConfig, LearningRateConfig, LossConfig, TrainingConfig
from nvnmd.quantize.model import Model

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from nvnmd.training.continuous.train import train_cnn
from nvnmd.training.quantized.train import train_qnn


@pytest.mark.parametrize("version", [0, 1])
def test_both_stages(tmp_path, version):
    """A dense crystal; `train_qnn` itself compares a frame with the integer reference."""
    rng = np.random.default_rng(3)
    cells = [rattled(rng, [0, 1, 0, 0, 1, 1, 0, 1], spacing=1.85) for _ in range(2)]
    part = tmp_path / "data" / "set.000"
    part.mkdir(parents=True)
    (part.parent / "type.raw").write_text("0 1 0 0 1 1 0 1")
    for key, rows in {"coord": [c.coord for c in cells], "box": [c.box for c in cells],
                      "energy": rng.normal(size=2), "force": rng.normal(size=(2, 24))}.items():
        values = np.array(rows)
        np.save(part / f"{key}.npy", values if values.ndim == 1 else values.reshape(2, -1))
    base = type_config(2) if version else small_config(2)
    config = dataclasses.replace(
        base, max_nnei=256,
        descriptor=DescriptorConfig(sel=(240,) if version else (120, 120), rcut=6.0,
                                    rcut_smth=1.0, neuron=(4, 8), axis_neuron=2, seed=1),
        learning_rate=LearningRateConfig(start_lr=1e-4, stop_lr=1e-4),
        loss=LossConfig(),
        training=TrainingConfig(systems=(str(part.parent),), batch_size=(2,), numb_steps=2,
                                seed=1, disp_freq=1))
    lines = []
    train_cnn(config, tmp_path / "cnn", log=lines.append)
    counts = next(line for line in lines if "most neighbours" in line)
    most = [int(n) for n in counts.split("[")[1].split("]")[0].split(",")]
    assert 128 < sum(most) <= 240
    train_qnn(config, tmp_path / "cnn", tmp_path / "qnn", log=lines.append)
    model = Model.load(tmp_path / "qnn" / "model.nvnmd")
    assert model.max_nnei == 256 and sum(model.sel) == 240
    for stage in ("cnn", "qnn"):
        assert np.isfinite(np.loadtxt(tmp_path / stage / "lcurve.out")).all()
