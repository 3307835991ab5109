"""Exchange with DeePMD-kit itself: its `model.pb`, and its second stage from an exported folder."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from peer_env import peer_python

from nvnmd.cli.main import main
from nvnmd.deepmd.export import export_deepmd
from nvnmd.deepmd.files import read_dict
from nvnmd.deepmd.importer import import_model
from nvnmd.deepmd.modelpb import encode_model
from nvnmd.inputs.read import for_stage, parse_document
from nvnmd.quantize.model import Model

HERE = Path(__file__).resolve().parent

pytestmark = pytest.mark.peer


def call(script: str, *arguments: str) -> None:
    command = [peer_python(), str(HERE / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize(("version", "capacity", "ntypes"), [(0, 128, 3), (0, 256, 2), (1, 128, 5)])
def test_second_stage_from_an_exported_folder(version, capacity, ntypes, reference, tmp_path):
    """Every weight and every byte of model.pb as from DeePMD-kit's own folder.

    Once with the tables as DeePMD-kit wrote them, once with the model's flt values.
    """
    own = reference(version, capacity, ntypes)
    model = import_model(own)
    expected = (own / "nvnmd_qnn" / "model.pb").read_bytes()
    assert encode_model(model) == expected
    weights = read_dict(own / "nvnmd_qnn" / "weight.npy")
    name = "layer_1.matrix" if version else "layer_1_type_0.matrix"
    trained = read_dict(own / "nvnmd_cnn" / "weight.npy")[name]
    assert not np.array_equal(weights[name], trained)
    words_only = {k: v for k, v in model.extras.items() if not k.startswith("map.")}
    for name, exported in (("whole", model), ("words", replace(model, extras=words_only))):
        folder = tmp_path / name
        exported.save(tmp_path / "model.nvnmd")
        export_deepmd(Model.load(tmp_path / "model.nvnmd"), folder)
        shutil.rmtree(folder / "nvnmd_qnn")
        for system in {"train", "lacking"} & {path.name for path in own.iterdir()}:
            shutil.copytree(own / system, folder / system)
        shutil.copy(own / "qnn.json", folder)
        call("exchange_run.py", str(folder))
        assert (folder / "nvnmd_qnn" / "model.pb").read_bytes() == expected
        again = read_dict(folder / "nvnmd_qnn" / "weight.npy")
        assert list(again) == list(weights)
        for key, values in weights.items():
            np.testing.assert_array_equal(again[key], values, err_msg=key)


def test_second_stage_from_the_document_that_export_writes(reference, tmp_path, monkeypatch):
    """Its second stage runs, with the settings that the model came from, and reads nvnmd_cnn only.

    Once with DeePMD-kit's document, once with one of ours that leaves out what has a default here.
    """
    own = reference(0, 128, 3)
    expected = (own / "nvnmd_qnn" / "model.pb").read_bytes()
    model = import_model(own)
    given = json.loads((own / "qnn.json").read_text())
    for key in ("disp_file", "save_ckpt"):
        del given["training"][key]
    monkeypatch.chdir(own)
    for name, origin in (("theirs", model.origin), ("ours", {"command": "train-qnn"})):
        folder = tmp_path / name
        folder.mkdir()
        replace(model, origin=origin).save(folder / "model.nvnmd")
        config = for_stage(parse_document(copy.deepcopy(given), "qnn.json"), "qnn")
        (folder / "train.json").write_text(json.dumps(config.normalized))
        assert main(["export", str(folder), "--format", "deepmd", "-o", str(folder / "run")]) == 0
        # whatever is read of the quantized stage would stop the run
        (folder / "run/nvnmd_qnn/weight.npy").write_bytes(b"nothing")
        shutil.copy(folder / "run/train.json", folder / "run/qnn.json")
        call("exchange_run.py", str(folder / "run"))
        assert (folder / "run/nvnmd_qnn/model.pb").read_bytes() == expected
    # without that document it ends so
    (folder / "run/qnn.json").write_text(json.dumps(given))
    done = subprocess.run([peer_python(), str(HERE / "exchange_run.py"), str(folder / "run")],
                          capture_output=True, text=True)
    assert done.returncode != 0 and "KeyError: 'disp_file'" in done.stderr
