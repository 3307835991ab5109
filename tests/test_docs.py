"""The documentation is held against the program."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nvnmd.cli import build_parser
from nvnmd.errors import InputError
from nvnmd.input_doc import reference
from nvnmd.input_schema import parse_document

ROOT = Path(__file__).resolve().parents[1]
INPUT = (ROOT / "docs" / "input.md").read_text(encoding="utf-8")


def test_reference_of_the_keys_is_the_program_s():
    # to renew it: python -m nvnmd.input_doc, below the heading "Keys"
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


@pytest.mark.parametrize("name", ["README.md", *sorted(
    str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md"))])
def test_links_and_commands_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert ((ROOT / name).parent / target).exists(), target
    commands = build_parser()._subparsers._group_actions[0].choices
    for command in re.findall(r"^(?:\$ )?nvnmd ([a-z]+(?:-[a-z]+)?)\b", text, re.MULTILINE):
        assert command in commands, command
