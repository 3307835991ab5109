"""Nets and layers that are not trained stay as they are, in both trainings and both versions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support import v1_stage as version1
from support.cnn_runs import data, make_config, train  # noqa: F401
from support.qnn_stage import quiet, run_config, stage  # noqa: F401
from support.v1_stage import folders  # noqa: F401

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from nvnmd.training.continuous.train import train_cnn
from nvnmd.training.quantized.train import train_qnn

LAYERS = (True, False, True, False)


def changed(first, second):
    """Names of the arrays in which two sets of weights differ."""
    one, two = first.arrays(), second.arrays()
    return {name for name in one if not np.array_equal(one[name], two[name])}


def fixed(config, descriptor, fitting):
    return replace(config, descriptor=replace(config.descriptor, trainable=descriptor),
                   fitting=replace(config.fitting, trainable=fitting))


def test_float_training(data, tmp_path):
    config = make_config(data[:1], batch_size=(1,), numb_steps=2)
    start, _ = train(fixed(config, False, (False,) * 4), tmp_path / "nothing")
    nets, _ = train(fixed(config, True, (False,) * 4), tmp_path / "embedding")
    layers, _ = train(fixed(config, False, LAYERS), tmp_path / "layers")
    embedding = {f"embedding.{t}.{k}.{part}" for t in (0, 1) for k in (0, 1, 2)
                 for part in ("weight", "bias")}
    assert changed(start.weights, nets.weights) == embedding
    assert changed(start.weights, layers.weights) == {
        "fitting.0.weight", "fitting.0.bias", "fitting.2.weight", "fitting.2.bias"}
    # which is where a training begins, and what it goes on from
    again, _ = train(fixed(replace(config, training=replace(config.training, numb_steps=4)),
                           False, LAYERS), tmp_path / "on",
                     restart=tmp_path / "layers/model.ckpt-2.npz")
    assert changed(layers.weights, again.weights) == changed(start.weights, layers.weights)


def test_float_training_of_version_1(folders, tmp_path):
    start = train_cnn(version1.run_config(folders, 0), tmp_path / "0", log=quiet)
    config = fixed(version1.run_config(folders, 1), False, (False, True, True))
    result = train_cnn(config, tmp_path / "1", log=quiet)
    found = changed(start.weights, result.weights)
    # the type vectors belong to no net of the two
    assert {name.split(".")[0] for name in found} == {"type_embedding", "fitting"}
    assert "fitting.1.weight" in found


def test_quantized_training(stage, tmp_path):

    folder, weights = stage
    config = fixed(run_config(folder, 1), True, (False, True, False))
    model = train_qnn(config, folder / "cnn", tmp_path / "out", log=quiet,
                      keep_last=True).model
    for layer, same in enumerate((True, False, True)):
        assert np.array_equal(model.fit_weights[layer], weights.fit_weights[layer]) == same
        assert np.array_equal(model.fit_biases[layer], weights.fit_biases[layer]) == same
    nothing = fixed(config, True, (False,) * 3)
    model = train_qnn(nothing, folder / "cnn", tmp_path / "none", log=quiet).model
    for found, start in zip(model.fit_weights, weights.fit_weights, strict=True):
        np.testing.assert_array_equal(found, start)
