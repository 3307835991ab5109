"""From data to a model file through the commands, a few steps each."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.golden_data import load_fixture

from nvnmd.cli.main import main
from nvnmd.deepmd.files import read_dict
from nvnmd.quantize.model import Model
from nvnmd.training.checkpoint import Checkpoint

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder in which both trainings have run."""
    folder = tmp_path_factory.mktemp("run")
    frames = load_fixture(128).frames[:2]
    part = folder / "data" / "set.000"
    part.mkdir(parents=True)
    (folder / "data" / "type.raw").write_text("\n".join(map(str, frames[0].types)))
    (folder / "data" / "type_map.raw").write_text("Cu\nAu\n")
    np.save(part / "coord.npy", np.array([f.coord.ravel() for f in frames]))
    np.save(part / "box.npy", np.array([f.box.ravel() for f in frames]))
    np.save(part / "energy.npy", np.array([f.cnn["energy"] for f in frames]))
    np.save(part / "force.npy", np.array([f.cnn["force"].ravel() for f in frames]))
    model = load_fixture(128).model
    document = {
        "nvnmd": {"version": 0, "max_nnei": 128, "net_size": 128, "sel": list(model.sel),
                  "rcut": model.rcut, "rcut_smth": model.rcut_smth, "type_map": ["Cu", "Au"]},
        "training": {"training_data": {"systems": ["data"], "batch_size": 1}, "stop_batch": 3,
                     "seed": 1, "disp_freq": 1, "save_freq": 2},
    }
    (folder / "in.json").write_text(json.dumps(document))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train-cnn", "in.json"]) == 0
        assert main(["train-qnn", "in.json"]) == 0
    return folder


def test_folders(run):
    cnn = {path.name for path in (run / "nvnmd_cnn").iterdir()}
    assert cnn >= {"train.json", "lcurve.out", "config.npy", "weight.npy", "map.npy"}
    assert {path.name for path in (run / "nvnmd_qnn").iterdir()} >= {
        "train.json", "lcurve.out", "config.npy", "weight.npy", "model.nvnmd"}
    for stage, quantized in (("cnn", False), ("qnn", True)):
        written = json.loads((run / f"nvnmd_{stage}" / "train.json").read_text())
        assert written["nvnmd"]["quantize_descriptor"] is quantized
        assert written["nvnmd"]["config_file"] == "nvnmd_cnn/config.npy"
        assert written["training"]["numb_steps"] == 3


def test_what_is_written_back_is_an_input(run, monkeypatch):
    monkeypatch.chdir(run)
    assert main(["train-cnn", "nvnmd_cnn/train.json", "-o", "again"]) == 0
    first, again = (read_dict(run / name / "weight.npy") for name in ("nvnmd_cnn", "again"))
    assert first.keys() == again.keys()
    assert all(np.array_equal(first[key], again[key]) for key in first)


def test_map_builds_the_same_tables(run, monkeypatch, capsys):
    monkeypatch.chdir(run)
    file = run / "nvnmd_cnn" / "map.npy"
    before = file.read_bytes()
    file.unlink()
    assert main(["map"]) == 0
    assert capsys.readouterr().out == "tables: nvnmd_cnn/map.npy\n"
    assert file.read_bytes() == before


def test_model_file(run, monkeypatch, capsys):
    monkeypatch.chdir(run)
    model = Model.load(run / "nvnmd_qnn" / "model.nvnmd")
    assert model.type_map == ("Cu", "Au")
    forces = {}
    for backend in ("fixed", "float"):
        assert main(["test", "-m", "nvnmd_qnn", "-s", "data", "--backend", backend,
                     "-d", backend]) == 0
        assert "Force  RMSE" in capsys.readouterr().out
        forces[backend] = np.loadtxt(f"{backend}.f.out")[:, 3:]
    difference = np.abs(forces["fixed"] - forces["float"]).max()
    assert 0 < difference < 1e-3 * np.abs(forces["float"]).max()


def test_keep_last_takes_the_last_weights(run, monkeypatch, capsys):
    monkeypatch.chdir(run)
    capsys.readouterr()
    printed = {}
    for name, more in (("better", []), ("last", ["--keep-last"])):
        assert main(["train-qnn", "in.json", "-o", name, "--restart", "nvnmd_qnn", *more]) == 0
        printed[name] = capsys.readouterr().out
    assert "2 training frames before: energy RMSE " in printed["better"]
    assert "kept: " in printed["better"] and "kept: " not in printed["last"]
    checkpoint = Checkpoint.load(run / "nvnmd_qnn", "qnn").arrays
    last = Model.load(run / "last" / "model.nvnmd")
    for k, weight in enumerate(last.fit_weights):
        # on the grid, half a unit away at most
        np.testing.assert_allclose(weight, checkpoint[f"weights/fitting.{k}.weight"], atol=2e-6)


def test_missing_first_stage(run, monkeypatch, capsys):
    monkeypatch.chdir(run)
    capsys.readouterr()
    assert main(["train-qnn", "in.json", "--cnn", "nowhere", "-o", "out"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nvnmd: error: nowhere: no such folder")
    assert not (run / "out").exists()
