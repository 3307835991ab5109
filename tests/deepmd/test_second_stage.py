"""The document for DeePMD-kit's second stage that `nvnmd export` writes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from support.exchange_models import random_run

from nvnmd.cli.main import main
from nvnmd.deepmd.export import export_deepmd
from nvnmd.deepmd.importer import import_model
from nvnmd.inputs.read import parse_document

GIVEN = {
    "learning_rate": {"type": "exp", "start_lr": 2e-4, "stop_lr": 1e-7, "decay_steps": 7},
    "loss": {"start_pref_e": 0.5, "limit_pref_e": 2, "start_pref_f": 10, "limit_pref_f": 1,
             "start_pref_ae": 3},
    "training": {"numb_steps": 300, "seed": 4, "disp_file": "run/out.dat", "save_freq": 30,
                 "training_data": {"systems": ["data/one"], "batch_size": [2],
                                   "sys_probs": [1.0]},
                 "validation_data": {"systems": "data/two", "numb_btch": 3}},
}
# what DeePMD-kit 3.2.0 looks up before it fills in defaults
NEEDED = {"nvnmd": ("version", "max_nnei", "net_size", "sel", "rcut", "rcut_smth", "type_map"),
          "learning_rate": ("type", "start_lr", "stop_lr", "decay_steps"),
          "loss": ("start_pref_e", "limit_pref_e", "start_pref_f", "limit_pref_f", "start_pref_v",
                   "limit_pref_v"),
          "training": ("seed", "stop_batch", "disp_file", "disp_freq", "save_ckpt", "save_freq",
                       "training_data")}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A model without an origin of DeePMD-kit, with data at hand."""
    monkeypatch.chdir(tmp_path)
    export_deepmd(random_run(0, 128, 2)[0], tmp_path / "theirs")
    replace(import_model(tmp_path / "theirs"), origin={"command": "train-qnn"}).save(
        tmp_path / "model.nvnmd")
    (tmp_path / "data/one").mkdir(parents=True)
    (tmp_path / "data/one/type.raw").write_text("0")
    (tmp_path / "data/two").mkdir()
    return tmp_path


def export(folder, capsys, *more):
    assert main(["export", str(folder / "model.nvnmd"), "--format", "deepmd", "-o",
                 str(folder / "run"), *more]) == 0
    document = json.loads((folder / "run/train.json").read_text())
    for section, keys in NEEDED.items():
        assert set(keys) <= set(document[section]), section
    return document, capsys.readouterr().err


def test_settings_of_the_training(folder, capsys):
    (folder / "train.json").write_text(json.dumps(GIVEN))
    document, told = export(folder, capsys)
    assert told == ""
    training = document["training"]
    assert training["training_data"] == {"systems": [str(folder / "data/one")], "batch_size": [2],
                                         "sys_probs": [1.0]}
    assert training["validation_data"] == {"systems": [str(folder / "data/two")],
                                           "batch_size": "auto", "numb_btch": 3}
    assert (training["stop_batch"], training["seed"], training["disp_file"]) == (300, 4, "out.dat")
    assert document["learning_rate"]["start_lr"] == 2e-4
    assert document["loss"]["start_pref_ae"] == 3 and document["loss"]["start_pref_v"] == 0.0
    assert document["nvnmd"]["type_map"] == list(import_model(folder / "theirs").type_map)


def test_it_is_an_input_of_ours_too(folder, capsys):
    document, told = export(folder, capsys)
    assert "no data are known" in told and "run/train.json" in told
    document["training"]["training_data"]["systems"] = ["data/one"]
    (folder / "data/one/set.000").mkdir()
    np.save(folder / "data/one/set.000/coord.npy", np.zeros((1, 3)))
    config = parse_document(document, "train.json")
    assert config.training.numb_steps == 10000 and config.learning_rate.start_lr == 1e-5


def test_data_that_are_not_there(folder, capsys):
    gone = json.loads(json.dumps(GIVEN).replace("data/one", "gone/one"))
    (folder / "train.json").write_text(json.dumps(gone))
    document, told = export(folder, capsys)
    assert "gone/one is not here" in told
    assert document["training"]["training_data"]["systems"] == ["gone/one"]


def test_a_document_beside_it_that_is_damaged(folder, capsys):
    (folder / "train.json").write_text("{")
    assert main(["export", str(folder / "model.nvnmd"), "--format", "deepmd", "-o",
                 str(folder / "run")]) in (1, 2)
    told = capsys.readouterr().err
    assert "train.json" in told and told.count("\n") == 1 and not (folder / "run").exists()
    # of any shape
    (folder / "train.json").write_text('{"training": [], "loss": 3}')
    assert "no data are known" in export(folder, capsys)[1]


def test_documents_that_an_imported_folder_keeps(folder, capsys):
    (folder / "theirs/nvnmd_qnn/train.json").write_text(json.dumps(GIVEN))
    import_model(folder / "theirs").save(folder / "model.nvnmd")
    (folder / "train.json").write_text("{")
    document, _ = export(folder, capsys)
    assert document["training"]["stop_batch"] == 300
