"""Nets in binary32 and in mixed precision: the formats reach the training and its results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support import v1_stage as version1
from support.cnn_runs import data, make_config, train  # noqa: F401
from support.float_cases import RCUT, RCUT_SMTH, SEL
from support.qnn_stage import quiet
from support.v1_stage import folders  # noqa: F401

from nvnmd.inputs.config import PrecisionConfig
from nvnmd.training.checkpoint import Checkpoint, unprefixed
from nvnmd.training.lcurve import read_lcurve

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")


from nvnmd.training.continuous.train import train_cnn

SINGLE = PrecisionConfig(descriptor="float32", fitting="float32")


def is_single(array):
    return np.array_equal(array, array.astype(np.float32))


@pytest.fixture(scope="module")
def batches(data):
    from nvnmd.data.frame_pairs import NeighborCache, largest_counts
    from nvnmd.data.systems import load_systems
    from nvnmd.training.continuous.batches import make_layouts, pack

    systems = load_systems(data, ("Cu", "Au"))
    cache = NeighborCache(systems, SEL, RCUT, ("Cu", "Au"))
    layouts = make_layouts(systems, (2, 2), largest_counts(cache).tolist())
    return [pack(cache, k, [0, 1], layout) for k, layout in enumerate(layouts)]


@pytest.mark.parametrize(("precision", "low", "high"), [
    (replace(SINGLE, fitting="float64"), 1e-9, 1e-5),
    (replace(SINGLE, descriptor="float64"), 1e-9, 1e-5),
    (replace(SINGLE, compute="float16"), 1e-5, 2e-2),
    (replace(SINGLE, compute="bfloat16"), 1e-4, 2e-1),
])
def test_forces_have_the_precision_of_the_nets(batches, precision, low, high):
    """And are those of the binary64 nets within it, so the derivatives are right."""
    from support.float_cases import random_weights

    from nvnmd.training.continuous.tf_model import TfFloatModel

    settings = {"sel": SEL, "rcut": RCUT, "rcut_smth": RCUT_SMTH}
    exact = TfFloatModel(random_weights(), **settings)
    model = TfFloatModel(random_weights(), **settings, precision=precision)
    for batch in batches:
        for found, wanted in zip(model.predict(batch), exact.predict(batch), strict=True):
            assert found.dtype == np.float64
            error = np.abs(found - wanted).max() / np.abs(wanted).max()
            assert error < high
        assert error > low
    arrays = model.weights.arrays()
    for name, part in (("embedding.0.1.weight", "descriptor"), ("fitting.1.weight", "fitting")):
        assert is_single(arrays[name]) == (getattr(precision, part) == "float32")


def test_training_and_restart(data, tmp_path):
    config = make_config(data[:1], batch_size=(2,), numb_steps=8, disp_freq=1)
    config = replace(config, precision=replace(SINGLE, compute="bfloat16"))
    result, _ = train(config, tmp_path / "whole")
    arrays = Checkpoint.load(tmp_path / "whole", "cnn").arrays
    weights = unprefixed(arrays, "weights")
    assert all(is_single(array) for name, array in weights.items()
               if name.startswith(("embedding", "fitting")))
    curve = read_lcurve(tmp_path / "whole/lcurve.out")
    assert curve["rmse_trn"][-1] < curve["rmse_trn"][0]
    again, _ = train(config, tmp_path / "again", restart=tmp_path / "whole/model.ckpt-4.npz")
    for name, array in result.weights.arrays().items():
        np.testing.assert_array_equal(again.weights.arrays()[name], array)


def test_version_1(folders, tmp_path):
    config = replace(version1.run_config(folders, 1), precision=SINGLE)
    train_cnn(config, tmp_path, log=quiet)
    weights = unprefixed(Checkpoint.load(tmp_path, "cnn").arrays, "weights")
    single = {name.split(".")[0] for name, array in weights.items() if is_single(array)}
    assert {"embedding", "fitting", "type_net", "tweight"} <= single
