"""docs/deepmd_data.md, line by line: what DeePMD-kit's pages say, run here."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import pytest
from support import deepmd_training_examples  # noqa: F401
from support.deepmd_data_examples import EXAMPLES
from support.input_documents import BASE, parse, place, without_twin

from nvnmd.errors import InputError
from nvnmd.inputs.contract import walk
from nvnmd.inputs.tree import document_tree

TEXT = (Path(__file__).resolve().parents[2] / "docs/deepmd_data.md").read_text(encoding="utf-8")
PAGES, KEYS = TEXT.split("\n## Keys\n")
ROWS = [(page, *re.split(r" *\| *", row)[1:3])
        for page, body in re.findall(r'## Page "(.*?)"\n(.*?)(?=\n## |\Z)', PAGES, re.DOTALL)
        for row in body.splitlines() if row.startswith("| ") and "| here |" not in row]
# What a message names where the line has no name of it
NAMED = {"a label that the loss asks for, missing in one set": "virial.npy",
         "an array whose shape could mean two things": "force.npy",
         "an input document in YAML": "in.yaml", '`"type": "cosine"`': "learning_rate/type",
         "more than 4 elements in version 0": "nvnmd/type_map"}
KEY_ROWS = re.findall(r"^\| `([^`]+)` \| (\w+) \| `([^`]+)` \| ?(.*?) ?\|$", KEYS, re.MULTILINE)


def first_name(words):
    """The first name in the code of a line: of a key, a file or an option."""
    return re.search(r"[\w-]+", words.split("`")[1]).group()


def test_every_line_has_its_example():
    assert {row[:2] for row in ROWS} == set(EXAMPLES) and len(ROWS) == len(EXAMPLES)
    assert {row[2] for row in ROWS} == {"read", "refused", "not used"}


@pytest.mark.parametrize(("page", "words", "here"), ROWS, ids=[f"{p}-{w}" for p, w, _ in ROWS])
def test_line(page, words, here, tmp_path):
    example = EXAMPLES[page, words]
    if here == "refused":
        with pytest.raises(InputError) as caught:
            example(tmp_path)
        assert "\n" not in str(caught.value)
        assert (NAMED.get(words) or first_name(words)) in str(caught.value)
    elif here == "not used":
        (told,) = example(tmp_path)
        assert re.search(r"\w+", words).group() in told
    else:
        example(tmp_path)


def test_every_key_of_the_sections_is_there():
    shown = {path for path, *_ in KEY_ROWS}
    assert len(shown) == len(KEY_ROWS) > 100
    known = {entry.path for entry in walk(list(document_tree().sub_fields.values()))}
    known |= {path.replace("[exp]", "") for path in known if path.startswith("learning_rate")}
    for path in shown:
        plain = re.sub(r"^optimizer\[Adam\]", "optimizer", path)
        assert plain in known or re.fullmatch(r"\w+\[\w+\]", path), path


@pytest.mark.parametrize(("path", "here", "example", "names"), KEY_ROWS,
                         ids=[row[0] for row in KEY_ROWS])
def test_key(path, here, example, names):
    value = json.loads(example)
    for name in (path.rpartition("/")[2], *re.findall(r"`(\w+)`", names)):
        document = copy.deepcopy(BASE)
        if path.startswith("training/mixed_precision/output"):
            document["training"]["mixed_precision"] = {"compute_prec": "float16"}
        if path == "training/numb_steps":
            del document["training"]["numb_steps"]
        if path.endswith("_pref_gf"):
            document["loss"] = {"numb_generalized_coord": 2}
        expected = parse(BASE if path == "training/numb_steps" else document)
        chosen = re.fullmatch(r"(\w+)\[(\w+)\]", path)
        where = f"{path}/type" if chosen else f"{path.rpartition('/')[0]}/{name}".lstrip("/")
        plain = place(without_twin(document, path), where.replace("[Adam]", "").replace(
            chosen.group(0), chosen.group(1)) if chosen else where.replace("[Adam]", ""),
            chosen.group(2) if chosen else value)
        if here == "refused":
            with pytest.raises(InputError, match=re.escape(f"in.json: {plain}: ")) as caught:
                parse(document)
            assert "\n" not in str(caught.value)
        else:
            assert here == "read"
            found = parse(document)
            # a section alone says nothing yet, and patterns nothing without data
            assert isinstance(value, dict) or name == "rglob_patterns" or (
                vars(found) != vars(expected))
