"""`nvnmd build --json`: one document of the form that is documented, for every kind of board."""

from __future__ import annotations

import json
import re

import pytest

pytest.importorskip("amaranth", reason="Amaranth is not installed")

from support.board_cases import potential

from nvnmd.boards import ecp5
from nvnmd.cli.main import main
from nvnmd.reports.schemas import schema

# jschon 0.11.1 uses what rfc3986 2.0 calls old
pytestmark = pytest.mark.filterwarnings("ignore:Please use rfc3986:DeprecationWarning")
ROUTED = {"clock_asked", "clock_achieved", "critical_path", "seed", "used", "available"}
MODEL = {"model_digest", "parameters", "fingerprint", "cycles_per_atom", "digest_cycles"}


@pytest.fixture(scope="module")
def form():
    jschon = pytest.importorskip("jschon")
    jschon.create_catalog("2020-12")
    found = jschon.JSONSchema(schema("build"))
    return lambda document: found.evaluate(jschon.JSON(document)).valid


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.nvnmd"
    potential().network.save(path)
    return path


def routed(design, board, clock, folder, *, seed, say):
    """What the tools for an ECP5 would find; they are not run here."""
    # Amaranth warns of designs that nobody elaborates, as here on purpose
    design._MustUse__used = True
    (folder / "top.bit").write_bytes(b"bits")
    say("a line of progress")
    return ecp5.Routed(bitstream=folder / "top.bit", clock_asked=clock / 1e6, clock_achieved=31.5,
                       critical_path="from a to b", used={"MULT18X18D": 3},
                       available={"MULT18X18D": 156}, tools={"nextpnr-ecp5": "0.7"})


@pytest.mark.parametrize(("board", "echo", "keys"), [
    ("kc705", False, MODEL | {"clock_asked", "vivado_part", "microseconds_per_atom"}),
    ("ulx3s-85f", False, MODEL | ROUTED | {"microseconds_per_atom", "tools"}),
    ("ulx3s-85f", True, ROUTED | {"tools"}),
    ("sim", True, {"tools"})])
def test_documents_have_their_form(form, model, tmp_path, capsys, monkeypatch, board, echo, keys):
    monkeypatch.setattr(ecp5, "route", routed)
    # a busy machine would get lines of progress
    monkeypatch.setattr("nvnmd.progress.LINE_SECONDS", 1e6)
    out = tmp_path / "out"
    what = ["--echo"] if echo else [str(model), "--fold", "2", "--fit-cols", "4"]
    assert main(["build", *what, "--board", board, "-o", str(out), "--json"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert captured.err == "" and form(document)
    assert set(document) == {"schema", "output", "nvnmd", "board", "part", "files"} | keys
    kept = json.loads((out / "report.json").read_text())
    assert document == {"schema": "nvnmd.build.1", "output": str(out), **kept}
    # and the form can be missed
    assert not form({k: v for k, v in document.items() if k != "board"})
    assert not form({**document, "other": 1})


def test_the_table_has_the_same_numbers(model, tmp_path, capsys):
    argv = ["build", str(model), "--fold", "2", "--fit-cols", "4", "--board", "kc705", "-o",
            str(tmp_path / "out")]
    assert main(argv) == 0
    rows = dict(re.split(r"  +", line) for line in capsys.readouterr().out.splitlines()
                if "  " in line)
    assert main([*argv, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert rows["cycles per atom, full list"] == str(document["cycles_per_atom"])
    assert rows["model"] == document["model_digest"]
    assert rows["µs per atom, full list"] == f"{document['microseconds_per_atom']:.1f}"
