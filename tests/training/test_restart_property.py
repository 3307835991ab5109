"""A training that was killed and continued ends with the bits of one that was not, whatever it is.

Random documents of both stages and versions: sizes, batches of differing shapes, losses, steps.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support import v1_stage
from support.cnn_runs import data, make_config  # noqa: F401
from support.qnn_stage import quiet, stage  # noqa: F401
from support.qnn_stage import run_config as qnn_config
from support.v1_stage import folders  # noqa: F401

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from nvnmd.inputs.config import LossConfig
from nvnmd.training.checkpoint import Checkpoint
from nvnmd.training.continuous.train import train_cnn
from nvnmd.training.quantized.train import train_qnn

# 6, 14 and 25 are runs whose bits depended on the shapes that a process had seen before
SHORT = (0, 1, 6, 14, 25)
# from 100 on the quantized stage of version 1
LONG = tuple(seed for seed in (*range(45), *range(100, 110)) if seed not in SHORT)


def random_loss(rng) -> LossConfig:
    """Prefactors of which some are 0 from the start."""
    def draw():
        return float(rng.choice([0.0, 0.02, 1.0, 50.0]))

    return LossConfig(start_pref_e=draw(), limit_pref_e=1.0, start_pref_f=100.0, limit_pref_f=1.0,
                      start_pref_v=draw(), limit_pref_v=draw(),
                      relative_f=float(rng.choice([0.5, 1.0])) if rng.random() < 0.3 else None)


@pytest.fixture(scope="module")
def v1_cnn(folders):
    """A float stage of version 1, for the stage after it."""
    if not (folders / "cnn").exists():
        train_cnn(v1_stage.run_config(folders, 2), folders / "cnn", log=quiet)
    return folders / "cnn"


def random_run(rng, data, v1_folders, qnn_folder, v1_cnn):
    """Return a function that trains into a folder, from a checkpoint or from the beginning."""
    steps = int(rng.integers(4, 9))
    if v1_cnn is not None:
        config = with_steps(v1_stage.run_config(v1_folders, steps, lr=1e-5, loss=random_loss(rng)),
                            steps, rng_batch(rng, 2))
        return "qnn 1", steps, lambda out, restart: train_qnn(
            config, v1_cnn, out, log=quiet, restart=restart)
    kind = rng.choice(["cnn 0", "cnn 1", "qnn 0"], p=[0.5, 0.25, 0.25])
    if kind == "qnn 0":
        config = with_steps(qnn_config(qnn_folder, steps, loss=random_loss(rng)), steps,
                            rng_batch(rng, 1))
        return kind, steps, lambda out, restart: train_qnn(
            config, qnn_folder / "cnn", out, log=quiet, restart=restart)
    if kind == "cnn 1":
        config = v1_stage.run_config(v1_folders, steps, loss=random_loss(rng))
    else:
        neuron = (4, 8, int(rng.choice([8, 16])))
        config = make_config(data, numb_steps=steps, loss=random_loss(rng))
        config = replace(config, descriptor=replace(config.descriptor, neuron=neuron))
    config = with_steps(config, steps, rng_batch(rng, 2))
    return kind, steps, lambda out, restart: train_cnn(config, out, log=quiet, restart=restart)


def rng_batch(rng, systems):
    """A batch size for each system."""
    return tuple(int(size) for size in rng.integers(1, 4, systems))


def with_steps(config, steps, sizes):
    training = replace(config.training, batch_size=sizes, numb_steps=steps, save_freq=1,
                       disp_freq=3, max_ckpt_keep=100)
    return replace(config, training=training)


@pytest.mark.parametrize("seed", [
    *SHORT, *(pytest.param(seed, marks=pytest.mark.slow) for seed in LONG)])
def test_continued_is_the_same_training(seed, data, folders, stage, request, tmp_path):
    rng = np.random.default_rng(seed)
    v1_cnn = request.getfixturevalue("v1_cnn") if seed >= 100 else None
    kind, steps, run = random_run(rng, data, folders, stage[0], v1_cnn)
    step = int(rng.integers(1, steps))
    run(tmp_path / "whole", None)
    run(tmp_path / "again", tmp_path / "whole" / f"model.ckpt-{step}.npz")
    name = kind[:3]
    whole, again = (Checkpoint.load(tmp_path / folder, name) for folder in ("whole", "again"))
    assert whole.step == again.step == steps and whole.state == again.state
    assert set(whole.arrays) == set(again.arrays)
    for key, array in whole.arrays.items():
        assert array.tobytes() == again.arrays[key].tobytes(), f"{kind}, from {step}: {key}"
    for file in ("model.nvnmd", "map.npy", "weight.npy"):
        if (tmp_path / "whole" / file).exists():
            assert ((tmp_path / "whole" / file).read_bytes()
                    == (tmp_path / "again" / file).read_bytes()), file
