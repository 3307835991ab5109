"""The page's part about hardware, and data that are found after a run was moved."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
from support.report_runs import make_run

from nvnmd.cli.main import main
from nvnmd.reports.collect import collect
from nvnmd.reports.schemas import schema

pytest.importorskip("matplotlib")
from nvnmd.reports.page import write_report

BUILD = {"nvnmd": "0.1.0", "board": "ulx3s-85f", "part": "LFE5U-85F", "cycles_per_atom": 777,
         "clock_asked": 25.0, "clock_achieved": 31.42, "seed": 3,
         "used": {"MULT18X18D": 15, "<b>": 1}, "available": {"MULT18X18D": 156},
         "tools": {"nextpnr-ecp5": "0.7"}, "microseconds_per_atom": 31.08, "files": {}}


class Cells(HTMLParser):
    """The rows of all tables of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.inside = False
        self.feed(page)

    def handle_starttag(self, name, attrs):
        if name == "tr":
            self.rows.append([])
        if name in ("td", "th"):
            self.rows[-1].append("")
            self.inside = True

    def handle_endtag(self, name):
        self.inside = self.inside and name not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.rows[-1][-1] += data


def rows_of(path, output) -> list[list[str]]:
    write_report([path], output)
    return Cells(output.read_text(encoding="utf-8")).rows


def test_multipliers_and_memories_of_the_export(tmp_path):
    pytest.importorskip("amaranth")
    from nvnmd.hdl.budget import FAMILIES, count_budget, document, total
    from nvnmd.hdl.export import config_for

    model = make_run(tmp_path / "run")
    units = count_budget(config_for(model, fold=4))
    units["all"] = total(units)
    (tmp_path / "run" / "hdl" / "budget.json").write_text(json.dumps(document(units)))
    rows = rows_of(tmp_path / "run", tmp_path / "report.html")
    assert ["unit", *(f"{block}, {f.part}" for f in FAMILIES
                      for block in (f.multiplier, f.memory))] in rows
    for name, unit in units.items():
        assert [name, *(str(count) for f in FAMILIES for count in (
            unit.multiplier_blocks(f), unit.memory_blocks(f)))] in rows
    assert ["the part has", "156", "208", "840", "445", "6840", "2160"] in rows


def test_a_folder_of_build_is_enough(tmp_path):
    folder = tmp_path / "board_out"
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps(BUILD))
    rows = rows_of(folder, tmp_path / "report.html")
    for row in (["board", "ulx3s-85f"], ["clock reached, MHz", "31.42"],
                ["µs per atom, full list", "31.08"], ["MULT18X18D", "15 of 156"],
                ["<b>", "1 of none"], ["nextpnr-ecp5, version", "0.7"]):
        assert row in rows, row
    assert schema("build")["properties"].keys() >= BUILD.keys()


def test_a_build_of_another_model_is_noted(tmp_path):
    model = make_run(tmp_path / "run")
    folder = tmp_path / "run" / "board"
    folder.mkdir()
    for digest, notes in ((model.digest, []), ("abc", ["the build is of another model (digest abc"
                                                       ")"])):
        (folder / "report.json").write_text(json.dumps({**BUILD, "model_digest": digest}))
        assert collect(tmp_path / "run").notes == notes


@pytest.mark.parametrize("where", ["", "nvnmd_qnn", "nvnmd_qnn/model.nvnmd"])
def test_a_run_that_was_moved_and_renamed_finds_its_data(tmp_path, monkeypatch, capsys, where):
    make_run(tmp_path / "here" / "new_name")
    for stage in ("nvnmd_cnn", "nvnmd_qnn"):
        (tmp_path / "here" / "new_name" / stage / "train.json").write_text(json.dumps(
            {"training": {"validation_data": {"systems": ["old_name/data/validation"]}}}))
    path = tmp_path / "here" / "new_name"
    found = collect(path / where)
    assert found.notes == [] and found.part == "validation"
    assert [system.resolve() for system in found.systems] == [
        path / "data" / "validation" / "made"]
    # from inside, too; and a heading is no single dot
    monkeypatch.chdir(path)
    found = collect(".")
    assert [system.resolve() for system in found.systems] == [
        path / "data" / "validation" / "made"]
    assert found.title == str(path) and str(found.path) == "."


def test_what_is_not_there_is_noted_once(tmp_path):
    make_run(tmp_path / "run")
    for stage in ("nvnmd_cnn", "nvnmd_qnn"):
        (tmp_path / "run" / stage / "train.json").write_text(json.dumps(
            {"training": {"validation_data": {"systems": ["elsewhere/none"]}}}))
    assert collect(tmp_path / "run").notes == [
        "the validation data 'elsewhere/none' of train.json is not there",
        "no data to measure on; -s SYSTEM names some"]


def test_a_folder_of_nothing(tmp_path, capsys):
    (tmp_path / "report.json").write_text('{"other": 1}')
    assert main(["report", str(tmp_path), "-o", str(tmp_path / "r.html")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "nothing to show in it, expected a run folder, a folder of train-cnn, " in line
