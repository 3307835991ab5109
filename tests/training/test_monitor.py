"""TensorBoard's log and the profiler: their files are read back."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from support.cnn_runs import data, make_config, train  # noqa: F401

from nvnmd.errors import InputError
from nvnmd.training.lcurve import read_lcurve

tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")


def curves(folder):
    """Read every event file of a folder: tag -> {step: value}."""
    found = {}
    for file in sorted(folder.glob("events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name == "scalars"
                points = found.setdefault(value.tag, {})
                assert event.step not in points
                points[event.step] = float(tf.make_ndarray(value.tensor))
    return found


def test_log_and_profile(data, tmp_path):
    (tmp_path / "board").mkdir()
    (tmp_path / "board/precious.txt").write_text("mine")
    settings = {"validation_systems": data[1:], "validation_batch_size": (2,), "disp_freq": 1,
                "batch_size": (1,), "save_freq": 3, "tensorboard": True, "tensorboard_freq": 2,
                "tensorboard_log_dir": "board", "profiling": True, "enable_profiler": True,
                "profiling_file": "trace.json"}  # fmt: skip
    config = make_config(data[:1], numb_steps=6, **settings)
    train(config, tmp_path)
    curve = read_lcurve(tmp_path / "lcurve.out")
    log = curves(tmp_path / "board/train")
    assert set(log) == {"rmse", "rmse_e", "rmse_f", "lr"}
    held_out = curves(tmp_path / "board/test")
    assert set(held_out) == {"rmse", "rmse_e", "rmse_f"}
    for name in ("rmse", "rmse_e", "rmse_f"):
        assert sorted(log[name]) == [2, 4, 6]
        for step, value in log[name].items():
            np.testing.assert_allclose(value, curve[f"{name}_trn"][step - 1], rtol=0.01)
        np.testing.assert_allclose(list(held_out[name].values()), curve[f"{name}_val"], rtol=0.01)
    trace = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    bars = [event for event in trace if event["ph"] == "X"]
    assert len(bars) > 50 and all(event["dur"] >= 0 for event in bars)
    # steps 2 to 6, and inside of them the model's own functions
    steps = [event for event in bars if event["name"] == "train"]
    assert len(steps) == 5
    inside = [event["name"] for event in bars
              if any(step["ts"] <= event["ts"] <= step["ts"] + step["dur"] for step in steps)]
    assert sum("_model.py:step" in name or "_model.py:gradient" in name for name in inside) >= 5
    assert any("Execute" in name for name in inside)
    (profile,) = (tmp_path / "board/plugins/profile").glob("*/*.xplane.pb")
    assert profile.stat().st_size > 1000

    # a continued run adds to the log, and nothing is deleted
    shutil.copytree(tmp_path, tmp_path / "again")
    longer = make_config(data[:1], numb_steps=8, **settings | {"profiling": False,
                                                               "enable_profiler": False})
    train(longer, tmp_path / "again", restart=tmp_path / "again/model.ckpt-6.npz")
    again = curves(tmp_path / "again/board/train")
    assert sorted(again["rmse"]) == [2, 4, 6, 8] and again["rmse"][4] == log["rmse"][4]
    assert (tmp_path / "again/board/precious.txt").read_text() == "mine"


def test_no_file_is_written_unasked(data, tmp_path):
    config = make_config(data[:1], batch_size=(1,), numb_steps=1, profiling=True)
    train(config, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert "timeline.json" in names and "log" not in names
    trace = json.loads((tmp_path / "out/timeline.json").read_text())
    assert any(event["ph"] == "X" for event in trace["traceEvents"])


@pytest.mark.parametrize("asked", ["tensorboard", "enable_profiler"])
def test_a_log_folder_that_cannot_be_is_one_line(data, tmp_path, asked):
    (tmp_path / "file").write_text("mine")
    config = make_config(data[:1], batch_size=(1,), numb_steps=2, tensorboard_log_dir="../file/log",
                         **{asked: True})  # fmt: skip
    with pytest.raises(InputError, match=r"tensorboard_log_dir: .*file/log cannot be written to"):
        train(config, tmp_path / "run")
    # what an earlier run left in the folder is not lost to one that cannot begin
    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "run/lcurve.out").write_text("earlier")
    with pytest.raises(InputError, match="cannot be written to"):
        train(config, tmp_path / "run", force=True)
    assert (tmp_path / "run/lcurve.out").read_text() == "earlier"
    assert not (tmp_path / "run/train.json").exists()
