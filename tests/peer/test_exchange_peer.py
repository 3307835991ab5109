"""Exchange with DeePMD-kit itself: its `model.pb`, and its second stage from an exported folder."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from peer_env import peer_python

from nvnmd.deepmd_export import export_deepmd
from nvnmd.deepmd_files import read_dict
from nvnmd.deepmd_import import import_model
from nvnmd.modelpb import encode_model
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
