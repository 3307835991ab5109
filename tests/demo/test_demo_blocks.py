"""The demo's export counts multipliers and memories, for the report."""

from __future__ import annotations

import json

import pytest
from support.report_runs import make_run

pytest.importorskip("amaranth")
from nvnmd.demo import run
from nvnmd.hdl.budget import count_budget, document, total
from nvnmd.hdl.export import config_for


def test_the_demo_counts_its_blocks(tmp_path, monkeypatch):
    # simulations have tests of their own; this one would take minutes
    monkeypatch.setattr("nvnmd.evaluation.simulate.simulate_hood", lambda *args, **options: None)
    monkeypatch.setattr(run, "FOLD", 4)
    model = make_run(tmp_path)
    run.hardware(tmp_path, model, run.Report(say=lambda line: None))
    units = count_budget(config_for(model, fold=4))
    found = json.loads((tmp_path / "hdl" / "budget.json").read_text())
    assert found == document(units | {"all": total(units)})
    assert found["units"][-1]["unit"] == "all" and found["units"][-1]["memory_bits"] > 0
    assert (tmp_path / "hdl" / "nvnmd_accelerator.v").stat().st_size > 0
