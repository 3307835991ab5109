"""The reference of the keys in every form, the entry point of DP-GUI, and the JSON schema."""

from __future__ import annotations

import copy
import importlib
import json
import tomllib
import warnings
from pathlib import Path

import pytest
from support.input_documents import BASE, SETTINGS, parse, place, without_twin

from nvnmd.cli.main import main
from nvnmd.inputs.contract import NO_DEFAULT, walk
from nvnmd.inputs.json_schema import json_schema
from nvnmd.inputs.tree import dpgui_arguments, sections

KEYS = [entry for entry in walk(sections()) if not entry.choices]


def test_reference_in_every_form(capsys):
    for form in ("rst", "json_schema", "markdown"):
        assert main(["doc-train-input", "--out-type", form]) == 0
        text = capsys.readouterr().out
        for entry in KEYS:
            assert entry.path.rpartition("/")[2] in text, entry.path
    assert "Refused: the hardware knows no spins" in text


def test_entry_point_of_dpgui():
    file = Path(__file__).resolve().parents[2] / "pyproject.toml"
    project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    module, _, name = project["entry-points"]["dpgui"]["NVNMD"].partition(":")
    assert getattr(importlib.import_module(module), name) is dpgui_arguments
    names = [argument.name for argument in dpgui_arguments()]
    assert names == ["nvnmd", "learning_rate", "learning_rate_dict", "loss", "loss_dict",
                     "training", "model", "optimizer", "validating"]


@pytest.fixture(scope="module")
def valid():
    jschon = pytest.importorskip("jschon")
    with warnings.catch_warnings():
        # its own use of its dependencies
        warnings.simplefilter("ignore", DeprecationWarning)
        schema = jschon.JSONSchema(json_schema(), catalog=jschon.create_catalog("2020-12"))
    return lambda document: schema.evaluate(jschon.JSON(document)).valid


def test_schema_takes_what_the_program_takes(valid):
    assert valid(BASE)
    for path, value in SETTINGS.items():
        document = without_twin(copy.deepcopy(BASE), path)
        place(document, path, value)
        assert valid(document), path
    assert valid({**BASE, "_comment": "as here"})


@pytest.mark.parametrize(("path", "value"), [
    ("trainign", {}), ("training/numb_stesp", 1), ("model/descriptor/rkut", 6.0),
    ("training/training_data/system", ["a"]), ("loss/start_pref_fr", 1.0),
    ("training/disp_freq", True), ("training/disp_freq", "1"), ("nvnmd/sel", [60, True]),
    ("model/type", "standart"), ("training/stop_batch", 10),
    ("training/training_data/systems", 1),
])
def test_schema_refuses(valid, path, value):
    document = copy.deepcopy(BASE)
    place(document, path, value)
    assert not valid(document)


def test_schema_of_a_descriptor_whose_type_the_version_tells(valid):
    document = copy.deepcopy(BASE)
    document["nvnmd"]["version"] = 1
    document["model"]["descriptor"] = {"sel": 60, "attn_layer": 0}
    parse(document)
    assert valid(document)
    document["model"]["descriptor"]["attn_layers"] = 0
    assert not valid(document)
    document["model"]["descriptor"] = {"type": "se_e2_a", "attn_layer": 0}
    assert not valid(document)


def test_schema_takes_documents_of_the_first_release(valid):
    document = copy.deepcopy(BASE)
    for name in ("version", "max_nnei"):
        del document["nvnmd"][name]
    assert valid(document)


def test_schema_holds_every_default():
    text = json.dumps(json_schema())
    for entry in KEYS:
        if entry.default is not NO_DEFAULT:
            assert f'"default": {json.dumps(entry.default)}' in text, entry.path
