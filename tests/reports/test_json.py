"""What `--json` prints is one document of the form that is documented."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.report_runs import make_run

from nvnmd.cli.main import main
from nvnmd.evaluation.narrowing import Price, narrow_search
from nvnmd.reports.schemas import SCHEMAS, page, schema

# jschon 0.11.1 uses what rfc3986 2.0 calls old
pytestmark = pytest.mark.filterwarnings("ignore:Please use rfc3986:DeprecationWarning")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "json.md"
COMMANDS = {
    "info": ["info", "{run}/nvnmd_qnn"],
    "doctor": ["doctor", "--for", "check"],
    "test": ["test", "-m", "{run}/nvnmd_qnn", "-s", "{run}/data"],
    "compare": ["compare", "{run}/nvnmd_qnn", "{other}/nvnmd_qnn", "-s",
                "{run}/data/validation/made"],
    "boards": ["boards"],
    "board-models": ["boards", "--models"],
    "check": ["check", "{run}/sound.json"],
    "neighbor-stat": ["neighbor-stat", "-s", "{run}/data", "-r", "4", "-t", "Cu", "Au"],
    "tables": ["tables", "{run}"],
    "widths": ["widths", "{run}/nvnmd_qnn", "-s", "{run}/data", "--bound", "100"],
    "presets": ["presets", "{run}/nvnmd_qnn"],
    **{f"plot.{kind}": ["plot", kind, "{run}"]
       for kind in ("lcurve", "parity", "tables", "budget")},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "run")
    make_run(folder / "other", seed=5)
    (folder / "run" / "sound.json").write_text(json.dumps(
        {"nvnmd": {"version": 1, "max_nnei": 128, "sel": 60, "type_map": ["Cu", "Au"]},
         "training": {"numb_steps": 5, "training_data": {
             "systems": [str(folder / "run" / "data")], "batch_size": 1}}}))
    return {"run": folder / "run", "other": folder / "other"}


@pytest.fixture(scope="module")
def valid():
    """Hold a document against a JSON Schema."""
    jschon = pytest.importorskip("jschon")
    jschon.create_catalog("2020-12")

    def check(document: dict, kind: str) -> list:
        result = jschon.JSONSchema(schema(kind)).evaluate(jschon.JSON(document))
        return [] if result.valid else list(result.output("basic")["errors"])

    return check


@pytest.mark.parametrize("kind", COMMANDS)
def test_documents_have_their_form(kind, runs, valid, capsys, monkeypatch):
    if kind == "widths":
        # accelerators are elaborated in test_narrowing.py
        monkeypatch.setattr("nvnmd.evaluation.narrowing.narrow_search.__kwdefaults__",
                            narrow_search.__kwdefaults__ | {"price": lambda model, widths: Price(
                                multiplier_bits=sum(widths.to_dict().values()), memory_bits=1)})
    argv = [word.format(**runs) for word in COMMANDS[kind]]
    code = main([*argv, "--json"])
    document = json.loads(capsys.readouterr().out)
    assert code == (1 if kind == "compare" else 0)
    assert valid(document, kind) == []
    # and the form can be missed
    assert valid({**document, "schema": "nvnmd.other.1"}, kind) != []
    missing = next(key for key in SCHEMAS[kind]["required"])
    assert valid({k: v for k, v in document.items() if k != missing}, kind) != []


def test_numbers_of_test_are_those_of_the_lines(runs, capsys):
    argv = ["test", "-m", str(runs["run"] / "nvnmd_qnn"), "-s", str(runs["run"] / "data")]
    assert main(argv) == 0
    lines = capsys.readouterr().out
    assert main([*argv, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert f"Force  RMSE        : {found['average']['force']['rmse']:e} eV/Å" in lines
    assert found["systems"][0]["errors"] == found["average"] and found["systems"][0]["frames"] == 3


def test_tables_on_a_terminal(runs, capsys, monkeypatch):
    monkeypatch.setattr("nvnmd.cli.test.on_terminal", lambda: True)
    monkeypatch.setattr("nvnmd.cli.output.on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    argv = ["test", "-m", str(runs["run"] / "nvnmd_qnn"), "-s", str(runs["run"] / "data")]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "┃ quantity" in out and "Force" in out and "per atom" in out
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert main(argv) == 0
    # bold may stay, colours may not
    assert "\x1b[3" not in capsys.readouterr().out.replace("\x1b[3m", "")


def test_page_is_the_program_s():
    # to renew it: python -m nvnmd.reports.schemas > docs/json.md
    assert PAGE.read_text(encoding="utf-8") == page()


def test_mistakes_of_a_document(runs, valid, capsys):
    path = runs["run"] / "wrong.json"
    path.write_text('{"nvnmd": {"version": 7, "sell": 1}, "training": {"numb_test": 2}}')
    assert main(["check", str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert main(["check", str(path), "--json"]) == 2
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert captured.err == "" and valid(document, "check") == []
    assert document["valid"] is False and document["document"] is None
    assert [f"nvnmd: error: {line}" for line in document["mistakes"]] == lines and len(lines) > 2
    assert main(["check", str(runs["run"] / "none.json"), "--json"]) == 2
    assert "none.json" in json.loads(capsys.readouterr().out)["mistakes"][0]


def test_a_valid_document_comes_with_its_defaults(runs, capsys):
    assert main(["check", str(runs["run"] / "sound.json"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["valid"] is True and found["mistakes"] == []
    # the labels are those of a random potential, whose bonds pull: that is told, and nothing else
    assert [line.split(":")[0] for line in found["warnings"]] == ["force"]
    assert found["document"]["model"]["descriptor"]["rcut"] == 6.0


def test_every_form_has_a_command_or_a_reason():
    # those of gateware are held against their forms beside its other tests
    assert set(SCHEMAS) == {*COMMANDS, "simulate", "export-hdl", "demo", "build"}
