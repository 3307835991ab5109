"""`nvnmd plot`: figures as files, and the numbers behind them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from support.exchange_models import wide_model
from support.golden_data import load_fixture
from support.report_runs import make_run

from nvnmd.cli.main import main
from nvnmd.deepmd.modelpb import write_modelpb
from nvnmd.evaluation.half_quantized import STAGES
from nvnmd.mapping.other_layout import with_layout
from nvnmd.mapping.table_error import table_errors
from nvnmd.quantize.model import Model

FILES = {
    "lcurve": {f"{stage}_rmse_{q}" for stage in ("nvnmd_cnn", "nvnmd_qnn") for q in "ef"},
    "parity": {f"{q}_{what}" for q in ("energy", "force", "virial")
               for what in ("float", "fixed", "errors")},
    "tables": {"u", "s"},
    "budget": {"energy", "force"},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "demo"
    make_run(folder)
    return folder


@pytest.mark.parametrize("kind", FILES)
def test_files(run, tmp_path, capsys, kind):
    pytest.importorskip("matplotlib")
    output = tmp_path / "figures"
    assert main(["plot", kind, str(run), "-o", str(output)]) == 0
    names = {f"{kind}_{name}.svg" for name in FILES[kind]}
    assert {path.name for path in output.iterdir()} == names
    assert capsys.readouterr().out.split() == [str(path) for path in sorted(
        output.iterdir(), key=lambda p: capsys_order(kind, p.stem))]
    for path in output.iterdir():
        text = path.read_text()
        # colours of a page on paper, none of the marks
        assert text.startswith("<?xml") and "#0b0" not in text and "#1a1a1a" in text


def capsys_order(kind: str, stem: str) -> int:
    """Place of a file in the order in which the figures are drawn."""
    order = {"lcurve": [f"nvnmd_{s}_rmse_{q}" for s in ("cnn", "qnn") for q in "ef"],
             "parity": [f"{q}_{w}" for q in ("energy", "force", "virial")
                        for w in ("float", "fixed", "errors")],
             "tables": ["u", "s"], "budget": ["energy", "force"]}
    return order[kind].index(stem.removeprefix(f"{kind}_"))


@pytest.mark.parametrize("form", ["png", "pdf"])
def test_other_formats(run, tmp_path, capsys, form):
    pytest.importorskip("matplotlib")
    for folder in ("a", "b"):
        assert main(["plot", "tables", str(run), "-o", str(tmp_path / folder),
                     "--format", form]) == 0
    first, second = ((tmp_path / folder / f"tables_u.{form}").read_bytes() for folder in "ab")
    assert first == second and first[:4] == {"png": b"\x89PNG", "pdf": b"%PDF"}[form]


def numbers(capsys, kind, run) -> dict:
    assert main(["plot", kind, str(run), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == f"nvnmd.plot.{kind}.1" and document["path"] == str(run)
    return document


def test_numbers_of_curves(run, capsys):
    curves = numbers(capsys, "lcurve", run)["curves"]
    assert list(curves) == ["nvnmd_cnn", "nvnmd_qnn"]
    assert curves["nvnmd_cnn"]["columns"][0] == "step"
    # what is not a number is null
    assert curves["nvnmd_cnn"]["rows"][2] == [100, 0.02, 0.01, 0.03, 0.02, None, None, 0.001]


def test_numbers_of_predictions(run, capsys):
    found = numbers(capsys, "parity", run)
    assert (found["frames"], found["available"], found["atoms"]) == (3, 3, 24)
    energy, force, _ = found["quantities"]
    # labels are the float network's and a little more
    assert energy["errors"]["float"]["all"]["rmse"] == pytest.approx(1e-2 / 8)
    assert force["errors"]["float"]["all"]["mae"] == pytest.approx(1e-3)
    assert force["errors"]["fixed"]["all"]["rmse"] == pytest.approx(1e-3, rel=1e-2)
    assert force["errors"]["fixed"]["by_element"]["Au"]["count"] == 36
    assert len(force["label"]) == 72 and force["element"][:1] == [0]


def test_numbers_of_tables(run, capsys):
    found = numbers(capsys, "tables", run)
    assert [e["name"] for e in found["errors"]] == ["s", "h", "ds/du", "dh/du", "G", "dG/ds"]
    assert sum(found["density"]["u"]["counts"]) == found["pairs"] > 0
    first = found["errors"][0]
    assert max(first["error"]) == first["largest"] and first["x"][0] >= found["smallest"]**2


def test_tables_command(run, tmp_path, capsys):
    """The numbers of `plot tables`; the layout that the model does not have beside its own."""
    drawn = numbers(capsys, "tables", run)
    assert main(["tables", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.pop("schema") == "nvnmd.tables.1"
    assert {**found, "schema": drawn["schema"]} == drawn
    assert found["layout"] == "vendor" and list(found["others"]) == ["octave"]
    model = run / "nvnmd_qnn" / "model.nvnmd"
    octave = with_layout(Model.load(model), "octave", found["smallest"])
    by_hand = {e.name: e.largest for e in table_errors(octave, found["smallest"])}
    assert {e["name"]: e["largest"] for e in found["others"]["octave"]} == by_hand
    for error in found["errors"]:
        assert 0 < error["over_data"] <= error["largest"]
    # a model alone, without any data
    shutil.copy(model, tmp_path)
    assert main(["tables", str(tmp_path / "model.nvnmd")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 12 and "0 pairs" in lines[0] and " r, Å" in lines[1]
    assert main(["tables", str(tmp_path / "model.nvnmd"), "-o", str(tmp_path / "model.nvnmd")]) == 2
    assert "in the way" in capsys.readouterr().err


def test_numbers_of_the_budget(run, capsys):
    found = numbers(capsys, "budget", run)
    for one in found["quantities"].values():
        assert list(one["stages"]) == list(STAGES)
        shares = [cost["share"] for cost in (*one["stages"].values(), one["remainder"])]
        assert np.sum(shares) == pytest.approx(1.0) and abs(shares[-1]) < 1e-6


def test_a_file_without_names(tmp_path, capsys):
    model = wide_model("v0-128")
    write_modelpb(tmp_path / "model.pb", model)
    frame = load_fixture(128).frames[0]
    part = tmp_path / "data" / "set.000"
    part.mkdir(parents=True)
    (tmp_path / "data" / "type.raw").write_text("\n".join(map(str, frame.types)))
    (tmp_path / "data" / "type_map.raw").write_text("\n".join(model.type_map))
    for name, values in (("coord", frame.coord), ("box", frame.box),
                         ("force", np.zeros(frame.coord.shape))):
        np.save(part / f"{name}.npy", values.reshape(1, -1))
    argv = ["plot", "parity", str(tmp_path / "model.pb"), "-s", str(tmp_path / "data"), "--json"]
    assert main(argv) == 2
    assert "is not in" in capsys.readouterr().err
    assert main([*argv, "-t", *model.type_map]) == 0
    found = json.loads(capsys.readouterr().out)
    # it holds no float network
    assert found["type_map"] == list(model.type_map)
    assert list(found["quantities"][0]["predicted"]) == ["fixed"]


def test_mistakes(run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(run / "nvnmd_qnn" / "model.nvnmd", alone)
    (alone / "bare").mkdir()
    (alone / "bare" / "lcurve.out").write_text("# step lr\n1 1e-3\n2 1e-4\n")
    for argv, line in (
            (["parity", str(run / "hdl")], "no model in it"),
            (["budget", str(alone)], "no data to measure on"),
            (["lcurve", str(run / "hdl")], "no lcurve.out"),
            (["lcurve", str(alone / "bare")], "no numbers to draw, expected columns as rmse_f_trn"),
            (["tables", str(run), "-o", str(run / "nvnmd_qnn" / "model.nvnmd")], "in the way")):
        assert main(["plot", *argv]) == 2
        (said,) = capsys.readouterr().err.splitlines()
        assert said.startswith("nvnmd: error: ")
        assert line in said
    assert [path.name for path in tmp_path.iterdir()] == ["alone"]
