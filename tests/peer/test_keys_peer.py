"""The tables of keys in docs/deepmd_data.md against DeePMD-kit's own list."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).resolve().parents[2] / "docs/deepmd_data.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([^`]+)` \| (\w+) \| `[^`]+` \| ?(.*?) ?\|$", re.MULTILINE)

pytestmark = pytest.mark.peer


def test_every_key_of_deepmd_kit_has_a_line(made_by):
    theirs = dict(json.loads((made_by("keys_run.py") / "keys.json").read_text()))
    rows = {path: (here, set(re.findall(r"`(\w+)`", names)))
            for path, here, names in ROW.findall(TEXT.split("\n## Keys\n")[1])}
    # sections as such, and what is chosen where nothing is said
    plain = {"training", "learning_rate", "loss", "validating", "nvnmd", "learning_rate[exp]",
             "optimizer[Adam]", "loss[ener]"}
    whole = {path for path, (here, _) in rows.items() if here == "refused" and path[-1] == "]"}
    for path, names in theirs.items():
        if path in plain or any(path.startswith(f"{above}/") for above in whole):
            continue
        assert path in rows, path
        assert rows[path][1] == set(names), path
    assert set(rows) <= set(theirs)
