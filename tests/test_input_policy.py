"""Every key of the contract is honoured or refused by name; the schema; the keys of a stage."""

from __future__ import annotations

import copy
import importlib
import itertools
import json
import re
import tomllib
import warnings
from pathlib import Path

import pytest

from nvnmd.cli import main
from nvnmd.contract import NO_DEFAULT, Entry, walk
from nvnmd.errors import InputError
from nvnmd.input_data import DATA_KEYS
from nvnmd.input_json_schema import json_schema
from nvnmd.input_policy import DESCRIPTOR, find_rule, table
from nvnmd.input_schema import for_stage, parse_document
from nvnmd.input_tree import dpgui_arguments, sections

BASE = {
    "nvnmd": {"version": 0, "max_nnei": 128, "net_size": 128},
    "training": {"numb_steps": 10, "training_data": {"systems": ["one", "two"]}},
    "model": {"type_map": ["Ge", "Te"], "descriptor": {"sel": [60, 60]}},
}

# A setting of each honoured key that differs from BASE and from the default
SETTINGS = {
    "nvnmd/version": 0, "nvnmd/max_nnei": 256,
    "nvnmd/map_file": "run/map.npy", "nvnmd/config_file": "run/config.npy",
    "nvnmd/weight_file": "run/weight.npy",
    "nvnmd/restore_descriptor": True, "nvnmd/restore_fitting_net": True,
    "nvnmd/quantize_descriptor": True, "nvnmd/quantize_fitting_net": True,
    "nvnmd/sel": [30, 40], "nvnmd/rcut": 7.0, "nvnmd/rcut_smth": 1.0,
    "nvnmd/type_map": ["H", "O"],
    "learning_rate/scale_by_worker": "sqrt",
    "learning_rate[exp]/start_lr": 0.5, "learning_rate[exp]/stop_lr": 1e-6,
    "learning_rate[exp]/decay_steps": 7, "learning_rate[exp]/decay_rate": 0.9,
    "training/warmup_steps": 3, "training/gradient_max_norm": 2.0, "loss[ener]/relative_f": 0.5,
    "training/training_data/auto_prob": "prob_sys_size;0:1:0.3;1:2:0.7",
    "training/training_data/sys_probs": [0.25, 0.75],
    "training/validation_data/auto_prob": "prob_uniform",
    "training/validation_data/sys_probs": [1.0],
    "training/training_data/set_prefix": "part", "training/validation_data/set_prefix": "part",
    "training/set_prefix": "part", "model[standard]/fitting_net[ener]/rcond": 1e-3,
    "training/auto_prob": "prob_uniform", "training/sys_probs": [0.25, 0.75],
    "training/training_data/systems": ["three"], "training/training_data/batch_size": 3,
    "training/numb_steps": 11, "training/seed": 5, "training/disp_file": "out",
    "training/disp_freq": 3, "training/save_freq": 3, "training/save_ckpt": "ckpt",
    "training/max_ckpt_keep": 2, "training/disp_training": False,
    "training/time_training": False,
    "training/systems": ["four"], "training/batch_size": 4,
    "training/validation_data": {"systems": ["five"]},
    "training/validation_data/systems": ["five"], "training/validation_data/batch_size": 2,
    "training/validation_data/numb_btch": 3,
    "model/type_map": ["H", "O"],
    f"{DESCRIPTOR}[se_e2_a]/sel": [30, 40], f"{DESCRIPTOR}[se_e2_a]/rcut": 7.0,
    f"{DESCRIPTOR}[se_e2_a]/rcut_smth": 1.0, f"{DESCRIPTOR}[se_e2_a]/seed": 6,
    "model[standard]/fitting_net[ener]/seed": 6,
    **{f"loss[ener]/{end}_pref_{term}": 3.5 for end in ("start", "limit")
       for term in ("e", "f", "v", "ae", "pf")},
    "model/data_stat_nbatch": 3, "model/data_stat_protect": 0.1, "training/stat_file": "stat.npz",
    f"{DESCRIPTOR}[se_e2_a]/set_davg_zero": True, f"{DESCRIPTOR}[se_e2_a]/trainable": False,
    "model[standard]/fitting_net[ener]/trainable": [True, False, True, True],
    "training/tensorboard": True, "training/tensorboard_log_dir": "board",
    "training/tensorboard_freq": 5, "training/profiling": True,
    "training/profiling_file": "trace.json", "training/enable_profiler": True,
    "model[standard]/fitting_net[ener]/atom_ener": [-1.5, None],
    "training/mixed_precision/compute_prec": "bfloat16",
    f"{DESCRIPTOR}[se_e2_a]/exclude_types": [[1, 0]], "model/pair_exclude_types": [[1, 1]],
    "model[standard]/fitting_net[ener]/precision": "float32",
    f"{DESCRIPTOR}[se_e2_a]/precision": "float32",
    "loss[ener]/enable_atom_ener_coeff": True, "loss[ener]/numb_generalized_coord": 2,
    "loss[ener]/start_pref_gf": 3.5, "loss[ener]/limit_pref_gf": 3.5,
}
# What else a setting needs
WITH = {f"loss[ener]/{end}_pref_gf": ("loss[ener]/numb_generalized_coord", 2)
        for end in ("start", "limit")}
# The only honoured key that changes nothing in a run: the setting is that of BASE
SAME = {"nvnmd/version"}
WRONG = {"int": 77, "float": 77.5, "str": "something", "bool": None, "list[int]": [7, 7],
         "list[float]": [7.5], "list[str]": ["x"], "list[list[int]]": [[0, 1]], "list": [[0, 1]],
         "list[bool]": [False], "list[float | None]": [1.5], "dict": {}}


def parse(document: dict):
    return parse_document(document, "in.json", find_systems=False)


def place(document: dict, path: str, value: object) -> str:
    """Set a contract path in a document, with the choices that it names; return its plain path."""
    section, plain = document, []
    *heads, name = path.split("/")
    for head in heads:
        key, choice = re.fullmatch(r"(\w+)(?:\[(\w+)\])?", head).groups()
        section = section.setdefault(key, {})
        plain.append(key)
        if choice:
            section["opt_type" if key == "training" else "type"] = choice
    section[name] = value
    return "/".join([*plain, name])


def without_twin(document: dict, path: str) -> dict:
    """Take out of BASE what the path gives in its other place."""
    name = path.rpartition("/")[2]
    if path.startswith("nvnmd/"):
        document["model"].pop(name, None)
        document["model"]["descriptor"].pop(name, None)
    if path in {f"training/{key}" for key in DATA_KEYS}:
        document["training"].pop("training_data")
        document["training"]["systems"] = ["one", "two"]
    if path == "training/mixed_precision/output_prec":
        document["training"]["mixed_precision"] = {"compute_prec": "float16"}
    if path.startswith("training/validation_data/"):
        document["training"]["validation_data"] = {"systems": ["v"]}
    return document


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
    base["nvnmd"]["version"] = 1
    base["model"]["descriptor"] = {"sel": 60}
    inside = [entry for entry in KEYS if entry.path.startswith(f"{DESCRIPTOR}[se_atten]/")]
    changed = {"sel": 70, "rcut": 7.0, "rcut_smth": 1.0, "seed": 6, "trainable": False,
               "precision": "float32", "exclude_types": [[0, 1]]}
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


def test_contradictions_between_the_two_forms():
    for path, value in (("nvnmd/sel", [60, 60]), ("nvnmd/type_map", ["Ge", "Te"])):
        document = copy.deepcopy(BASE)
        place(document, path, value)
        with pytest.raises(InputError, match=f"{path}: got a second value besides model/"):
            parse(document)
    document = copy.deepcopy(BASE)
    document["nvnmd"] |= {"quantize_descriptor": True, "restore_descriptor": False}
    with pytest.raises(InputError, match="nvnmd/restore_descriptor: got false, expected true, as "
                                         "nvnmd/quantize_descriptor is true"):
        parse(document)


@pytest.mark.parametrize(("keys", "line"), [
    ({"map_file": "a/map.bin"},
     'nvnmd/map_file: got "a/map.bin", expected the path of a .npy file, such as map.npy, or none'),
    ({"restore_descriptor": False, "restore_fitting_net": False, "weight_file": "a/weight.npy"},
     'nvnmd/weight_file: got "a/weight.npy", expected none, as nvnmd/restore_descriptor and '
     "nvnmd/restore_fitting_net are false"),
    ({"quantize_descriptor": True, "map_file": "none"},
     'nvnmd/map_file: got "none", expected the map.npy of train-cnn'),
    ({"restore_fitting_net": True, "weight_file": "none"},
     'nvnmd/weight_file: got "none", expected the weights to restore, as '
     "nvnmd/restore_fitting_net is true"),
    ({"quantize_descriptor": False, "map_file": "a/map.npy"},
     'nvnmd/map_file: got "a/map.npy", expected none, as nvnmd/quantize_descriptor is false'),
    ({**dict.fromkeys(("quantize_descriptor", "quantize_fitting_net"), False),
      "config_file": "a/c.npy"},
     'nvnmd/config_file: got "a/c.npy", expected a path that ends in config.npy'),
])
def test_files_that_do_not_fit(keys, line):
    document = copy.deepcopy(BASE)
    document["nvnmd"] |= keys
    with pytest.raises(InputError) as caught:
        parse(document)
    assert str(caught.value).startswith(f"in.json: {line}")


def test_the_document_s_stage_must_be_the_command_s():
    document = copy.deepcopy(BASE)
    document["nvnmd"] |= {"quantize_descriptor": True, "map_file": "run/map.npy"}
    config = parse(document)
    assert for_stage(config, "qnn").cnn_folder == "run"
    assert for_stage(config, "qnn", Path("run/")).normalized["nvnmd"]["map_file"] == "run/map.npy"
    with pytest.raises(InputError, match=r"quantize_descriptor: got true, expected false in train"):
        for_stage(config, "cnn")
    with pytest.raises(InputError, match=r"in\.json: nvnmd/map_file: got a file in run, expect"):
        for_stage(config, "qnn", "other")
    assert for_stage(parse(BASE), "cnn").cnn_folder == "nvnmd_cnn"
    document["nvnmd"] = BASE["nvnmd"] | dict.fromkeys(
        ("quantize_descriptor", "quantize_fitting_net"), False)
    with pytest.raises(InputError, match=r"quantize_descriptor: got false, expected true in train"):
        for_stage(parse(document), "qnn")


SWITCHES = ("restore_descriptor", "restore_fitting_net", "quantize_descriptor",
            "quantize_fitting_net")


def outcome(values, command):
    """What becomes of the switches under a command: the switches of the run, or the message."""
    document = copy.deepcopy(BASE)
    document["nvnmd"] |= {name: value for name, value in zip(SWITCHES, values, strict=True)
                          if value is not None}
    if values[0] or values[1]:
        document["nvnmd"]["weight_file"] = "w/one.npy"
    try:
        run = for_stage(parse(document), command)
    except InputError as error:
        return str(error)
    # what is written back asks for the same again
    again = for_stage(parse(run.normalized), command)
    assert (again.switches, again.files) == (run.switches, run.files)
    assert again.normalized == run.normalized
    return tuple(vars(run.switches).values())


def test_every_combination_of_the_switches():
    for values in itertools.product((False, True), repeat=4):
        descriptor, _, table_lookup, fixed = values
        for command in ("cnn", "qnn"):
            found = outcome(values, command)
            if table_lookup and not descriptor:
                assert "nvnmd/restore_descriptor: got false, expected true, as nvnmd/quant" in found
            elif (command == "qnn") != (table_lookup or fixed):
                assert f"in train-{command}" in found and "nvnmd/quantize_" in found
            else:
                assert found == values
    # left out, a switch is the command's
    assert outcome((None, True, None, None), "cnn") == (False, True, False, False)
    assert outcome((None, None, None, False), "qnn") == (True, True, True, False)
    assert outcome((None, False, None, None), "qnn") == (True, False, True, True)
    assert "nvnmd/restore_descriptor: got false" in outcome((False, None, None, None), "qnn")


def test_files_of_a_stage():
    document = copy.deepcopy(BASE)
    document["nvnmd"] |= {"restore_descriptor": True, "config_file": "out/config.npy"}
    with pytest.raises(InputError, match="nvnmd/weight_file: missing key, expected the weights to "
                                         "restore, as nvnmd/restore_descriptor is true"):
        for_stage(parse(document), "cnn")
    document["nvnmd"]["weight_file"] = "in/old.npy"
    run = for_stage(parse(document), "cnn")
    assert run.cnn_folder == "out" and run.files.weight_file == "in/old.npy"
    assert for_stage(parse(document), "cnn", "other").files.config_file == "other/config.npy"
    document["nvnmd"] |= {"quantize_descriptor": True, "map_file": "tables/one.npy"}
    run = for_stage(parse(document), "qnn")
    assert vars(run.files) == {"config_file": "out/config.npy", "weight_file": "in/old.npy",
                               "map_file": "tables/one.npy"}
    # a quantized fitting net from the beginning needs no file at all
    document["nvnmd"] = BASE["nvnmd"] | {"restore_descriptor": False, "restore_fitting_net": False,
                                         "quantize_descriptor": False}
    assert set(vars(for_stage(parse(document), "qnn").files).values()) == {None}


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


def test_reference_in_every_form(capsys):
    for form in ("rst", "json_schema", "markdown"):
        assert main(["doc-train-input", "--out-type", form]) == 0
        text = capsys.readouterr().out
        for entry in KEYS:
            assert entry.path.rpartition("/")[2] in text, entry.path
    assert "Refused: the hardware knows no spins" in text


def test_entry_point_of_dpgui():
    file = Path(__file__).resolve().parents[1] / "pyproject.toml"
    project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    module, _, name = project["entry-points"]["dpgui"]["NVNMD"].partition(":")
    assert getattr(importlib.import_module(module), name) is dpgui_arguments
    names = [argument.name for argument in dpgui_arguments()]
    assert names == ["nvnmd", "learning_rate", "learning_rate_dict", "loss", "loss_dict",
                     "training", "model"]


@pytest.fixture(scope="module")
def valid():
    jschon = pytest.importorskip("jschon")
    with warnings.catch_warnings():
        # its own use of its dependencies
        warnings.simplefilter("ignore", DeprecationWarning)
        schema = jschon.JSONSchema(json_schema(), catalog=jschon.create_catalog("2020-12"))
    return lambda document: schema.evaluate(jschon.JSON(document)).valid


def test_schema_takes_what_the_program_takes(valid):
    assert valid(BASE)
    for path, value in SETTINGS.items():
        document = without_twin(copy.deepcopy(BASE), path)
        place(document, path, value)
        assert valid(document), path
    assert valid({**BASE, "_comment": "as here"})


@pytest.mark.parametrize(("path", "value"), [
    ("trainign", {}), ("training/numb_stesp", 1), ("model/descriptor/rkut", 6.0),
    ("training/training_data/system", ["a"]), ("loss/start_pref_fr", 1.0),
    ("training/disp_freq", True), ("training/disp_freq", "1"), ("nvnmd/sel", [60, True]),
    ("model/type", "standart"), ("training/stop_batch", 10),
    ("training/training_data/systems", 1),
])
def test_schema_refuses(valid, path, value):
    document = copy.deepcopy(BASE)
    place(document, path, value)
    assert not valid(document)


def test_schema_asks_for_required_keys(valid):
    for section, name in (("nvnmd", "max_nnei"), ("training", "numb_steps")):
        document = copy.deepcopy(BASE)
        del document[section][name]
        assert not valid(document)


def test_schema_holds_every_default():
    text = json.dumps(json_schema())
    for entry in KEYS:
        if entry.default is not NO_DEFAULT:
            assert f'"default": {json.dumps(entry.default)}' in text, entry.path
