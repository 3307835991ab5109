"""`nvnmd export-hdl --count-cells`: what is counted is shown, kept, and found by the report."""

from __future__ import annotations

import json

import pytest
from support.golden_data import load_fixture

from nvnmd.cli import hardware
from nvnmd.errors import NvnmdError

pytest.importorskip("amaranth")
from nvnmd.hdl import resources
from nvnmd.hdl.export import config_for
from nvnmd.hdl.resources import UNITS, Resources


def test_cells_of_every_unit(tmp_path, capsys, monkeypatch):
    # Yosys takes minutes; what it counts has a test of its own
    def counted(cfg):
        for k, name in enumerate(UNITS):
            if name == "GR to flt":
                yield name, NvnmdError("Yosys could not synthesise it")
            else:
                yield name, Resources(multipliers=k, block_ram=1, distributed_ram=0, lut4=100,
                                      flip_flops=10, carry=2)

    monkeypatch.setattr(resources, "count_resources", counted)
    (tmp_path / "hdl").mkdir()
    hardware._count_cells(config_for(load_fixture(128).model), tmp_path / "hdl" / "resources.json",
                          False)
    captured = capsys.readouterr()
    assert captured.err == "nvnmd: warning: GR to flt: Yosys could not synthesise it\n"
    found = json.loads((tmp_path / "hdl" / "resources.json").read_text())
    assert [unit["unit"] for unit in found["units"]] == [*UNITS, "all"]
    assert found["units"][-1]["lut4"] == 100 * (len(UNITS) - 1)
    assert {"unit": "GR to flt", "problem": "Yosys could not synthesise it"} in found["units"]
    lines = captured.out.splitlines()
    assert "multipliers" in lines[0] and lines[-2].split()[0] == "all"
    # a folder that holds nothing else is enough for a report
    pytest.importorskip("matplotlib")
    from nvnmd.reports.collect import collect

    (tmp_path / "hdl" / "manifest.json").write_text('{"memory_map": []}')
    assert collect(tmp_path).resources == found
