"""The report: everything is shown, nothing from a file is markup, equal runs give equal pages."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from support.report_runs import HOSTILE, make_run

from nvnmd.cli.main import main
from nvnmd.reports.html import Markup, escaped, tag

pytest.importorskip("matplotlib")
from nvnmd.reports.page import write_report

SHOWN = ("Learning curves", "Errors against the labels", "Predictions beside labels",
         "Histograms of the errors", "Tables", "Error budget of the quantization", "Hardware",
         "Provenance")
FIGURES = ("nvnmd_cnn: rmse_e over", "nvnmd_qnn: rmse_f over", "energy of the backend float",
           "energy of the backend fixed", "force of the backend float",
           "force of the backend fixed", "virial of the backend fixed", "errors of the energy",
           "errors of the force", "Tables of s and h along u", "Tables of G along s",
           "What quantization costs the energy", "What quantization costs the force",
           "The model in memory")


class Reader(HTMLParser):
    """Elements, their attributes, and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, name, attrs):
        self.tags.append(name)
        self.attributes += [(name, key, value or "") for key, value in attrs]
        if name not in ("meta", "use"):
            self.open.append(name)

    def handle_startendtag(self, name, attrs):
        self.tags.append(name)
        self.attributes += [(name, key, value or "") for key, value in attrs]

    def handle_endtag(self, name):
        if name not in ("use",):
            assert self.open and self.open.pop() == name

    def handle_data(self, data):
        self.text.append(data)


def page_of(folder, output, **options) -> str:
    write_report([folder], output, **options)
    return output.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "demo"
    make_run(folder)
    return folder


@pytest.fixture(scope="module")
def page(run, tmp_path_factory):
    return page_of(run, tmp_path_factory.mktemp("page") / "report.html")


def test_everything_is_shown(page):
    read = Reader(page)
    assert not read.open
    text = "".join(read.text)
    for title in (*SHOWN, *FIGURES):
        assert title in text, title
    assert page.count("<svg") == page.count("</svg>") == page.count("<figure") >= len(FIGURES)
    # cycles, sizes, resources, memory map; versions, seeds, data, command lines
    for word in ("3072", "front end", "PARAMS", "numpy", "training/seed 7", "nvnmd demo",
                 "remainder"):
        assert word in text, word


def test_it_asks_nobody_for_anything(page):
    read = Reader(page)
    assert not {"script", "link", "img", "iframe", "object", "embed"} & set(read.tags)
    for name, key, value in read.attributes:
        if key in ("href", "xlink:href", "src", "srcset", "action"):
            assert value.startswith("#"), (name, key, value)
        assert not key.startswith("on"), (name, key)
    # addresses are the names of XML's spaces alone
    found = set(re.findall(r"https?://[^\s\"'<>)]+", page))
    assert found <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "url(" not in re.sub(r"url\(#", "", page)
    assert "default-src 'none'" in page.replace("&#x27;", "'")


def test_ids_are_used_once_and_found(page):
    read = Reader(page)
    ids = [value for _, key, value in read.attributes if key == "id"]
    assert len(ids) == len(set(ids))
    for value in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page):
        assert "".join(value) in ids


def test_two_reports_are_equal_but_for_the_time(run, page, tmp_path):
    again = page_of(run, tmp_path / "again.html")
    first, second = (re.sub(r"<time>[^<]*</time>", "", text) for text in (page, again))
    assert first == second


def test_hostile_names_show_as_text(tmp_path):
    folder = tmp_path / "<script>x & 'y' \"z\"\nw"
    command = f"nvnmd demo -o '{HOSTILE}\nnext line' --x=</code></script><img src=x onerror=y>"
    model = make_run(folder, names=(HOSTILE, "Au"), command=command)
    page = page_of(folder, tmp_path / "report.html")
    read = Reader(page)
    assert not read.open
    assert not {"script", "img"} & set(read.tags)
    assert not any(key.startswith("on") for _, key, _ in read.attributes)
    text = "".join(read.text)
    # the element in the table, in a legend of a figure; path and command with line ends written out
    assert text.count(HOSTILE) >= 6
    assert str(folder).replace("\n", "\\n") in text
    assert command.replace("\n", "\\n") in text
    assert model.digest in text


def test_what_is_missing_is_said(run, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(run / "nvnmd_qnn", bare)
    (bare / "train.json").unlink()
    page = page_of(bare, tmp_path / "bare.html")
    assert "no data to measure on" in page and "Predictions beside labels" not in page
    # with data named, the model alone is enough
    page = page_of(bare / "model.nvnmd", tmp_path / "given.html",
                   systems=[run / "data" / "validation"])
    assert "Error budget of the quantization" in page and "given data" in page


def test_what_cannot_be_evaluated_is_said(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    part = folder / "data" / "validation" / "made" / "set.000"
    box = np.load(part / "box.npy")
    # so dense that every atom has more neighbours than the model has slots
    np.save(part / "box.npy", box * 0.55)
    np.save(part / "coord.npy", np.load(part / "coord.npy") * 0.55)
    page = page_of(folder, tmp_path / "dense.html", most_atoms=8,
                   systems=[folder / "data" / "validation"])
    assert "neighbours beyond the model&#x27;s slots were left out" in page
    assert page.count("Not measured: ") == 1
    # two atoms in one place are no frame at all; the rest of the page stays
    np.save(part / "coord.npy", np.zeros((3, 24)))
    page = page_of(folder, tmp_path / "none.html", systems=[folder / "data" / "validation"])
    assert page.count("Not measured: ") == 3
    assert "Learning curves" in page and "Memory map" in page


def test_two_models_are_compared(run, tmp_path):
    make_run(tmp_path / "other", seed=5)
    write_report([run, tmp_path / "other", run], tmp_path / "all.html", most_atoms=8)
    text = "".join(Reader((tmp_path / "all.html").read_text()).text)
    other, same = text.split("Differences")[1:]
    for word in ("digest", "fit_weights, layer 0", "first difference: stage"):
        assert word in other, word
    assert "Both are the same model" in same and "0 differ" in same


@pytest.mark.parametrize(("name", "content"), [
    ("manifest.json", {"memory_map": "none", "latency": [1], "parameters": {"a": {"b": None}}}),
    ("manifest.json", {"memory_map": [{"section": [], "beats": -1}, 3, {"beats": True}]}),
    ("summary.json", {"words_compared": {"a": "<b>"}, "float_difference": [1]}),
    ("resources.json", {"units": [{"unit": "<b>", "x": [1, None]}, {}]}),
    ("resources.json", {"units": 4}),
    ("budget.json", {"units": [{"blocks": 3}, {"unit": "<b>", "blocks": {"ECP5": [1]}}],
                     "parts": {"ECP5": {"DP16KD": [208]}, "other": 1}}),
    ("budget.json", {"units": [1], "parts": []}),
    ("report.json", {"board": ["<b>"], "used": {"<b>": {"a": 1}}, "available": 3, "tools": [1]})])
def test_files_of_other_forms(run, tmp_path, name, content):
    folder = tmp_path / "run"
    for part in ("hdl", "sim"):
        shutil.copytree(run / part, folder / part)
    where = "sim" if name == "summary.json" else "hdl"
    (folder / where / name).write_text(json.dumps(content))
    assert not Reader(page_of(folder, tmp_path / "report.html")).open


def test_command(run, tmp_path, capsys, monkeypatch):
    # a busy machine would get lines of progress
    monkeypatch.setattr("nvnmd.progress.LINE_SECONDS", 1e6)
    output = tmp_path / "report.html"
    assert main(["report", str(run), "-o", str(output), "--atoms", "16"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"report: {output} ({output.stat().st_size} bytes)\n"
    assert captured.err == "" and output.stat().st_size < 5e6
    assert "2 of 3 frames of the validation data" in output.read_text()


def test_mistakes(run, tmp_path, capsys):
    output = tmp_path / "report.html"
    (tmp_path / "empty").mkdir()
    for argv, line in (
            ([str(tmp_path / "no"), "-o", str(output)], "no such file or folder"),
            ([str(tmp_path / "empty"), "-o", str(output)], "nothing to show in it"),
            ([str(run), "-o", str(tmp_path)], "a folder is in the way"),
            ([str(run), "-o", str(tmp_path / "no" / "r.html")], "its folder does not exist")):
        assert main(["report", *argv]) == 2
        (said,) = capsys.readouterr().err.splitlines()
        assert line in said and not output.exists()


def test_text_is_escaped_unless_it_was_made_here():
    assert escaped("<a href='x'>&") == "&lt;a href=&#x27;x&#x27;&gt;&amp;"
    assert escaped("a\nb\x00\u202e") == "a\\nb\\x00\\u202e"
    assert tag("p", "<b>", tag("b", 1), class_='"x"', aria_label=None) == (
        '<p class="&quot;x&quot;">&lt;b&gt;<b>1</b></p>')
    assert isinstance(escaped(Markup("<b>")), Markup)
