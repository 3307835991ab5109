"""`nvnmd info`: what a model file is, of every kind that there is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.exchange_models import wide_model
from support.small_models import random_model, random_weights

from nvnmd.cli.main import main
from nvnmd.deepmd.export import export_deepmd
from nvnmd.deepmd.modelpb import write_modelpb
from nvnmd.reports.info import describe
from nvnmd.reports.modelpb import is_graph
from nvnmd.training.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def model():
    return random_model(np.random.default_rng(4), ntypes=2)


def shown(capsys, *argv: str) -> dict:
    """What `nvnmd info --json` prints."""
    assert main(["info", *argv, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document.pop("schema") == "nvnmd.info.1"
    return document


def test_a_model_file_and_its_folder(model, tmp_path, capsys):
    model.save(tmp_path / "model.nvnmd")
    facts = shown(capsys, str(tmp_path / "model.nvnmd"))
    assert facts["kind"] == "model" and facts["digest"] == model.digest
    assert facts["bytes"] == (tmp_path / "model.nvnmd").stat().st_size
    assert (facts["version"], facts["sub_version"]) == (0, 1)
    assert facts["type_map"] == ["Cu", "Au"] and facts["sel"] == [12, 12]
    assert facts["rcut"] == 4.0 and facts["axis_neuron"] == 2
    assert facts["embedding"] == [4, 8] and facts["fitting"] == [16, 16, 1]
    assert facts["tables"]["u"] == {"rows": 512, "from": 0.0, "to": 64.0,
                                    "segments": [{"from": 0.0, "step": 0.125, "rows": 512}]}
    assert facts["ranges"]["table u"] == np.abs(model.table_u).max()
    assert facts["ranges"]["fitting weights"] == max(np.abs(w).max() for w in model.fit_weights)
    beside = shown(capsys, str(tmp_path))
    assert beside.pop("path") == str(tmp_path)
    facts.pop("path")
    assert beside == facts


def test_files_of_deepmd(tmp_path, capsys):
    model = wide_model("v0-128")
    write_modelpb(tmp_path / "model.pb", model)
    facts = shown(capsys, str(tmp_path / "model.pb"))
    assert facts["kind"] == "model.pb" and facts["float_network"] is False
    assert facts["rcut_smth"] is None and facts["origin"]["format"] == "model.pb"
    run = tmp_path / "run"
    export_deepmd(model, run)
    facts = shown(capsys, str(run))
    assert facts["kind"] == "run folder" and facts["float_network"] is True
    assert facts["type_map"] == list(model.type_map)
    facts = shown(capsys, str(run / "nvnmd_cnn"))
    assert facts["kind"] == "float folder" and facts["fitting"] == [128, 128, 128, 1]
    (run / "nvnmd_cnn").rename(tmp_path / "together")
    assert shown(capsys, str(tmp_path / "together"))["kind"] == "stage folder"


def test_weights_and_checkpoints(tmp_path, capsys):
    weights = random_weights(np.random.default_rng(5))
    weights.save(tmp_path / "weights.npz")
    facts = shown(capsys, str(tmp_path / "weights.npz"))
    assert facts["kind"] == "weights" and facts["smallest_distance"] == 1.7
    assert facts["numbers"] == sum(array.size for array in weights.arrays().values())
    state = Checkpoint(kind="cnn", step=7, state={}, arrays={"weights/a": np.zeros((2, 3))})
    state.save(tmp_path, "model.ckpt")
    for path in (tmp_path / "model.ckpt-7.npz", tmp_path / "model.ckpt", tmp_path):
        facts = shown(capsys, str(path))
        assert (facts["kind"], facts["stage"], facts["step"]) == ("checkpoint", "train-cnn", 7)
        assert facts["arrays"] == [["weights/a", [2, 3]]] and facts["numbers"] == 6


def test_text_is_aligned_when_piped(model, tmp_path, capsys):
    model.save(tmp_path / "model.nvnmd")
    assert main(["info", str(tmp_path / "model.nvnmd")]) == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert title == str(tmp_path / "model.nvnmd")
    keys = {line[: line.index("  ")]: line for line in lines}
    assert keys["rcut"].endswith("4 Å") and keys["type map"].endswith("Cu Au")
    # values begin in one column
    assert len({len(line) - len(line[line.index("  "):].lstrip()) for line in lines}) == 1


@pytest.mark.parametrize(("name", "content"), [
    ("none", None), ("model.nvnmd", b"no model"), ("model.pb", b"no model"),
    ("model.ckpt-1.npz", b"no checkpoint"), ("weights.npz", b"no weights")])
def test_what_is_no_model(tmp_path, capsys, name, content):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    assert main(["info", str(path)]) == 1
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith(f"nvnmd: error: {path}: ") and captured.out == ""


def test_an_empty_folder_is_no_model(tmp_path):
    from nvnmd.errors import ModelFileError

    with pytest.raises(ModelFileError, match=r"expected a model$"):
        describe(tmp_path)


@pytest.mark.parametrize("name", [
    "weight.npy", "config.npy", "map.npy", "model.ckpt-5.index", "model.ckpt-5.meta",
    "model.ckpt-5.data-00000-of-00001"])
def test_a_part_of_a_model_names_its_folder(tmp_path, capsys, name):
    (tmp_path / name).write_bytes(b"part")
    assert main(["info", str(tmp_path / name)]) == 1
    assert capsys.readouterr().err == (
        f"nvnmd: error: {tmp_path / name}: one file of a folder of DeePMD-kit's NVNMD, expected "
        f"the folder, {tmp_path}\n")


def test_a_graph_of_tensorflow_is_named(tmp_path, capsys):
    tf = pytest.importorskip("tensorflow")
    # nodes of short and of long messages
    for content in (0.0, [0.0] * 100):
        with tf.Graph().as_default() as graph:
            tf.constant(content, name="train_attr/min_nbor_dist")
        (tmp_path / "frozen_model.pb").write_bytes(graph.as_graph_def().SerializeToString())
        assert main(["info", str(tmp_path / "frozen_model.pb")]) == 1
        assert "a TensorFlow graph, as `dp freeze` writes it" in capsys.readouterr().err
    # a model.pb is none, whatever it begins with
    assert not is_graph(b"") and not is_graph(b"\n") and not is_graph(b"\n\x80\x80\x80")
    assert not is_graph(bytes(64)) and not is_graph(b"\n\x10\n\x80" + bytes(64))
