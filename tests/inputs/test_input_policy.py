"""Every key of the contract is honoured or refused by name."""

from __future__ import annotations

import copy
import json
import re

import pytest
from support.input_documents import BASE, SETTINGS, parse, place, without_twin

from nvnmd.cli.main import main
from nvnmd.errors import InputError
from nvnmd.inputs.contract import Entry, walk
from nvnmd.inputs.policy import DESCRIPTOR, find_rule, table
from nvnmd.inputs.tree import sections

# What else a setting needs
WITH = {f"loss[ener]/{end}_pref_gf": ("loss[ener]/numb_generalized_coord", 2)
        for end in ("start", "limit")}
WITH |= {"nvnmd/sub_version": ("nvnmd/version", 1),
         "nvnmd/device": ("nvnmd", {"version": 1, "sub_version": 2, "max_nnei": 128,
                                    "net_size": 128})}
WITH["training/numb_epoch"] = ("training/numb_epoch", 1)
WITH["learning_rate/warmup_start_factor"] = ("training/warmup_steps", 4)
# Honoured keys that change nothing in these runs: the setting is that of BASE, or chooses among
# systems or counts their frames, which are not looked for here
SAME = {"nvnmd/version", "nvnmd/net_size", f"{DESCRIPTOR}[se_e2_a]/axis_neuron",
        "training/numb_epoch", *(f"training/{part}rglob_patterns"
                           for part in ("", "training_data/", "validation_data/"))}
WRONG = {"int": 77, "float": 77.5, "str": "something", "bool": None, "list[int]": [7, 7],
         "list[float]": [7.5], "list[str]": ["x"], "list[list[int]]": [[0, 1]], "list": [[0, 1]],
         "list[bool]": [False], "list[float | None]": [1.5], "dict": {"other": 1}}


def wrong_value(entry: Entry, values: tuple) -> object:
    """A value of the key's type that is none of `values`."""
    for name in sorted(entry.types):
        value = WRONG.get(name)
        if name == "bool":
            value = not values[0]
        if value is not None:
            return value
    raise AssertionError(entry.path)


ENTRIES = list(walk(sections()))
RULES = table(0)
KEYS = [entry for entry in ENTRIES if not entry.choices]


def rule_of(entry: Entry):
    return find_rule(RULES, entry.path)


@pytest.mark.parametrize("path", sorted(SETTINGS))
def test_an_honoured_key_changes_the_run(path):
    assert RULES[path].kind == "honoured"
    before = without_twin(copy.deepcopy(BASE), path)
    if path in WITH:
        place(before, *WITH[path])
    after = copy.deepcopy(before)
    place(after, path, SETTINGS[path])
    base = parse(before if path in WITH
                 else {**copy.deepcopy(BASE), "training": before["training"]})
    run = parse(after)

    def settings(one):
        return one, one.stage, one.cnn_folder, one.switches, one.files

    assert (settings(run) == settings(base)) == (path in SAME)


def test_every_honoured_key_is_shown_to_be():
    honoured = {entry.path for entry in KEYS
                if rule_of(entry).kind == "honoured" and entry.types != {"dict"}}
    assert honoured == set(SETTINGS)


ONLY = [entry for entry in KEYS if rule_of(entry).kind == "only"]


@pytest.mark.parametrize("entry", ONLY, ids=lambda entry: entry.path)
def test_a_key_with_one_setting_refuses_others_by_name(entry):
    values = rule_of(entry).values
    for value in values:
        document = without_twin(copy.deepcopy(BASE), entry.path)
        place(document, entry.path, value)
        parse(document)
    for alias in (entry.path.rpartition("/")[2], *entry.alias):
        document = without_twin(copy.deepcopy(BASE), entry.path)
        path = f"{entry.path.rpartition('/')[0]}/{alias}"
        plain = place(document, path, wrong_value(entry, values))
        with pytest.raises(InputError) as caught:
            parse(document)
        assert str(caught.value).startswith(f"in.json: {plain}: got "), str(caught.value)
        assert "\n" not in str(caught.value)


REFUSED = [entry for entry in KEYS if rule_of(entry).kind == "refused"]


@pytest.mark.parametrize("entry", REFUSED, ids=lambda entry: entry.path)
def test_a_refused_key_is_refused_by_name(entry):
    document = copy.deepcopy(BASE)
    place(document, entry.path, wrong_value(entry, (True,)))
    with pytest.raises(InputError) as caught:
        parse(document)
    (line,) = str(caught.value).splitlines()
    rule = rule_of(entry)
    assert line.endswith(rule.note), line
    # the key itself is named, or the section or the type that it belongs to
    named = line.removeprefix("in.json: ").partition(": ")[0]
    plain = re.sub(r"\[\w+\]", "", entry.path)
    owner, _, flag = named.rpartition("/")
    assert plain == named or plain.startswith(f"{named}/") or (
        flag in ("type", "opt_type") and plain.startswith(f"{owner}/")), line


def test_keys_of_the_descriptor_of_version_1():
    rules = table(1)
    base = copy.deepcopy(BASE)
    base["nvnmd"] = {"version": 1, "max_nnei": 128}
    base["model"]["descriptor"] = {"sel": 60}
    inside = [entry for entry in KEYS if entry.path.startswith(f"{DESCRIPTOR}[se_atten]/")]
    changed = {"sel": 70, "rcut": 7.0, "rcut_smth": 1.0, "seed": 6, "trainable": False,
               "precision": "float32", "exclude_types": [[0, 1]], "neuron": [4, 8, 16],
               "axis_neuron": 2}
    for entry in inside:
        rule, name = find_rule(rules, entry.path), entry.path.rpartition("/")[2]
        document = copy.deepcopy(base)
        if rule.kind == "honoured":
            place(document, entry.path, changed.pop(name))
            assert parse(document) != parse(base), name
            continue
        for value in rule.values:
            place(document, entry.path, value)
            parse(document)
        place(document, entry.path, wrong_value(entry, rule.values))
        with pytest.raises(InputError, match=f"model/descriptor/{name}: "):
            parse(document)
    assert len(inside) > 20 and not changed
    for name in ("se_e2_a", "se_a", "se_e3", "se_atten_v2"):
        document = copy.deepcopy(base)
        document["model"]["descriptor"]["type"] = name
        with pytest.raises(InputError, match=f'type: got "{name}", expected "se_atten" or "dpa1"'):
            parse(document)


def test_every_type_but_the_one_is_refused_by_name():
    count = 0
    for entry in ENTRIES:
        if not entry.choices or rule_of(entry).kind == "refused":
            continue
        for choice, alias in entry.choices.items():
            for name in (choice, *alias):
                document = copy.deepcopy(BASE)
                plain = place(document, entry.path, name)
                if name in RULES[entry.path].values:
                    parse(document)
                    continue
                count += 1
                with pytest.raises(InputError, match=f'in.json: {plain}: got "{name}", expected'):
                    parse(document)
    assert count > 25


def test_no_key_is_without_a_rule_and_no_rule_without_a_key():
    paths = {entry.path for entry in ENTRIES}
    choices = {f"{entry.path.rpartition('/')[0]}[{choice}]"
               for entry in ENTRIES for choice in entry.choices}
    for version in (0, 1):
        rules = table(version)
        assert all(find_rule(rules, path) for path in paths)
        assert set(rules) <= paths | choices


def test_check_reports_every_mistake(tmp_path, capsys):
    document = copy.deepcopy(BASE)
    document["training"]["dispfreq"] = 1
    document["training"]["max_ckpt_keep"] = True
    document["model"]["spin"] = {"use_spin": [True, False]}
    file = tmp_path / "in.json"
    file.write_text(json.dumps(document))
    assert main(["check", str(file), "--no-data"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[3] for line in lines] == [
        "training/dispfreq", "training/max_ckpt_keep", "model/spin"]
    assert 'the nearest is "disp_freq"' in lines[0]
    assert "got true, expected an integer" in lines[1]
    file.write_text(json.dumps(BASE))
    assert main(["check", str(file), "--no-data"]) == 0
    assert "valid; NVNMD version 0, 2 types, 2 systems, 10 steps" in capsys.readouterr().out
    # with the data, folders that do not exist are mistakes
    assert main(["check", str(file)]) == 2
