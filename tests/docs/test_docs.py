"""The documentation is held against the program."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from support.doc_blocks import RUN_PAGES, blocks_of, commands_of

from nvnmd.cli.main import build_groups, build_parser
from nvnmd.cli.reference import command_reference
from nvnmd.errors import InputError
from nvnmd.inputs.doc import reference
from nvnmd.inputs.read import parse_document

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md"))]
INPUT = (ROOT / "docs" / "input.md").read_text(encoding="utf-8")


def test_reference_of_the_keys_is_the_program_s():
    # to renew it: python -m nvnmd.inputs.doc, below the heading "Keys"
    assert INPUT.split("## Keys\n\n")[1] == reference()


def test_example_document_is_valid():
    (example,) = re.findall(r"```json\n(.*?)```", INPUT, re.DOTALL)
    config = parse_document(json.loads(example), "docs/input.md", find_systems=False)
    assert config.descriptor.sel == (60, 60)


def test_quoted_mistakes_are_what_is_printed():
    (example,) = re.findall(r"```json\n(.*?)```", INPUT, re.DOTALL)
    document = json.loads(example)
    document["numb_steps"] = 1
    document["training"]["numb_stesp"] = 1
    document["nvnmd"]["rcut"] = 9.0
    with pytest.raises(InputError) as caught:
        parse_document(document, "input.json", find_systems=False)
    said = {f"nvnmd: error: {line}" for line in str(caught.value).splitlines()}
    quoted = {line for line in INPUT.splitlines() if line.startswith("nvnmd: error: ")}
    assert said == quoted


@pytest.mark.parametrize("name", PAGES)
def test_links(name):
    text = re.sub(r"^```.*?^```", "", (ROOT / name).read_text(encoding="utf-8"),
                  flags=re.MULTILINE | re.DOTALL)
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", text):
        page = (ROOT / name).parent / target if target else ROOT / name
        assert page.exists(), target
        if anchor:
            assert anchor in anchors(page), f"{target}#{anchor}"


@pytest.mark.parametrize("name", PAGES)
def test_quoted_files_exist(name):
    if name == "docs/changes.md":
        pytest.skip("names files of earlier versions, too")
    folders = "tests|benchmarks|nvnmd|hdl|quantize|mapping|sim|boards"
    text = (ROOT / name).read_text(encoding="utf-8")
    for file in re.findall(rf"`((?:{folders})/[\w/]*(?:\.\w+|/))`", text):
        # rooms that are planned stand in the table of floors before they are built
        planned = name == "docs/architecture.md" and file.endswith("/")
        assert (ROOT / file).exists() or planned, file


@pytest.mark.parametrize("name", PAGES)
def test_commands_exist(name):
    parser = build_parser()
    text = "".join(block.text for block in blocks_of(ROOT / name, "sh"))
    for line in commands_of(text, "nvnmd"):
        try:
            # parsed, not run: a wrong name of a command or of an option raises
            parser.parse_args(shlex.split(line)[1:])
        except SystemExit as ended:
            assert ended.code == 0, line


def test_reference_of_the_commands_is_the_program_s(monkeypatch):
    if sys.version_info >= (3, 13):
        pytest.skip("argparse of Python 3.13 shows options in another form")
    # to renew it: python -m nvnmd.cli.reference > docs/commands.md
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert page == command_reference(), "run: python -m nvnmd.cli.reference > docs/commands.md"


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"]({page.name}" in index, (
            f"docs/README.md has no link to {page.name}")


def test_groups_of_commands_are_those_of_the_index():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    how_to = index.split("## How-to")[1].split("## ")[0]
    rows = re.findall(r"^\| ([^|]+?) \|", how_to, re.MULTILINE)
    assert rows[1:] == list(build_groups()[1])


def test_picture_of_the_floors_is_the_table_s():
    drawing = runpy.run_path(str(ROOT / "docs" / "images" / "floors.py"))["picture"]
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    shown = (ROOT / "docs" / "images" / "floors.svg").read_text(encoding="utf-8")
    assert shown == drawing(page), "run: python docs/images/floors.py > docs/images/floors.svg"


def test_images_are_small():
    for image in (ROOT / "docs" / "images").iterdir():
        assert image.stat().st_size < 200_000, image


def test_what_docs_check_does_not_run_says_why():
    count = 0
    for name in RUN_PAGES:
        page = ROOT / "docs" / f"{name}.md"
        blocks = blocks_of(page, "sh", "python", "text")
        count += sum(not block.reason for block in blocks if block.language != "text")
        # a mark that belongs to no block would silently mark nothing
        marks = page.read_text(encoding="utf-8").count("docs-check: ")
        assert marks == sum(bool(block.reason) or block.output for block in blocks), name
        assert all(block.language == "text" for block in blocks if block.output), name
    assert count > 20


def anchors(page: Path) -> set[str]:
    """Names of the headings of a page, as a browser of the repository makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"),
                  flags=re.MULTILINE | re.DOTALL)
    found = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found
