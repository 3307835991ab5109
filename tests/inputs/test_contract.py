"""The tree of the input contract against the contract's text."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

import pytest

from nvnmd.inputs.contract import NO_DEFAULT, contract_tree, walk


@dataclass
class Written:
    """A key as the text has it."""

    types: frozenset[str]
    optional: bool
    default: str | None
    alias: tuple[str, ...]
    flag: bool
    choices: dict[str, tuple[str, ...]] = field(default_factory=dict)


def read_contract(text: str) -> dict[str, Written]:
    """Parse the text: path -> key."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found: dict[str, Written] = {}
    aliases: dict[str, tuple[str, ...]] = {}
    for index, line in enumerate(lines):
        named = re.fullmatch(r"When \w+ is set to (\w+)(?: \(or its alias(?:es)? (.*)\))?:", line)
        if named and named[2]:
            aliases[named[1]] = tuple(named[2].split(", "))
        if not line.startswith("argument path: "):
            continue
        path = line.removeprefix("argument path: ")
        assert lines[index - 2] == path.rpartition("/")[2] + ":"
        found[path] = _read_type(lines[index - 1].removeprefix("type: "))
        listed = re.fullmatch("possible choices: (.*)", lines[index + 1])
        if listed:
            found[path].choices = dict.fromkeys(listed[1].split(", "), ())
    for path in found:
        for match in re.finditer(r"\[(\w+)\]", path):
            flag = "opt_type" if path[:match.start()] == "training" else "type"
            owner = found[f"{path[:match.start()]}/{flag}"]
            owner.choices[match[1]] = aliases.get(match[1], ())
    return found


def _read_type(text: str) -> Written:
    head, _, alias = text.partition(", alias: ")
    head, _, default = head.partition(", default: ")
    optional = head.endswith(", optional")
    head = head.removesuffix(", optional")
    flag = head.endswith(" (flag key)")
    head = head.removesuffix(" (flag key)")
    head = head.replace("typing.Optional[float]", "float?").replace("typing.List", "list")
    types = frozenset(one.replace("NoneType", "None").replace("float?", "float | None")
                      for one in head.split(" | "))
    return Written(types, optional or (flag and bool(default)), default or None,
                   tuple(alias.split(", ")) if alias else (), flag)


def same_default(written: str | None, default: object, types: frozenset[str]) -> bool:
    if written is None:
        return default is NO_DEFAULT
    if isinstance(default, str):
        return default == written and types & {"str"} != set()
    value = ast.literal_eval(written)
    return value == default and type(value) is type(default)


@pytest.fixture(scope="module")
def written(shared):
    folder = shared / "seed"
    if not folder.is_dir():
        pytest.skip(f"no text of the contract at {folder}")
    return read_contract("\n".join(file.read_text(encoding="utf-8")
                                   for file in sorted(folder.glob("*.txt"))))


@pytest.mark.shared
def test_tree_is_the_contract(written):
    ours = {entry.path: entry for entry in walk()}
    assert len(written) > 300
    assert list(ours) and set(ours) == set(written)
    for path, theirs in written.items():
        entry = ours[path]
        assert entry.types == theirs.types, path
        assert entry.optional == theirs.optional, path
        assert same_default(theirs.default, entry.default, entry.types), path
        assert entry.alias == theirs.alias, path
        assert entry.choices == theirs.choices, path
        assert bool(entry.choices) == theirs.flag, path


@pytest.mark.shared
def test_descriptions_are_our_own(written, shared):
    text = " ".join(" ".join(file.read_text(encoding="utf-8").split())
                    for file in (shared / "seed").glob("*.txt")).lower()
    for entry in walk():
        words = entry.doc.lower().rstrip(".").split()
        runs = [" ".join(words[i:i + 9]) for i in range(len(words) - 8)]
        assert not [run for run in runs if run in text], entry.path


def test_every_key_of_the_contract_is_described():
    for entry in walk():
        assert entry.doc.endswith("."), entry.path
    assert len({entry.path for entry in walk()}) == len(list(walk()))


def test_tree_is_one_that_dargs_takes():
    # dargs' own text of the tree holds every path of the walk
    text = contract_tree().gen_doc(make_anchor=False, make_link=False, use_sphinx_domain=False)
    for entry in walk():
        assert f"``nvnmd/{entry.path}``" in text, entry.path
