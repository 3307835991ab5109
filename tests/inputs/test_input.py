"""Input documents: what is read, and one line for each mistake."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from nvnmd.errors import InputError
from nvnmd.inputs.read import for_stage, load_input, parse_document
from nvnmd.inputs.tree import document_tree


def short_form() -> dict:
    return {
        "_comment": "the short form",
        "nvnmd": {"version": 0, "max_nnei": 128, "net_size": 128, "sel": [60, 60], "rcut": 7.0,
                  "rcut_smth": 0.5, "type_map": ["Ge", "Te"]},
        "learning_rate": {"type": "exp", "start_lr": 1e-3, "stop_lr": 3e-8, "decay_steps": 5},
        "loss": {"start_pref_e": 0.02, "limit_pref_e": 1, "start_pref_f": 1000, "limit_pref_f": 2},
        "training": {"seed": 7, "stop_batch": 20, "_why": "short", "disp_file": "a/lcurve.out",
                     "training_data": {"systems": ["d/one", "d/two"], "batch_size": [1, 3]}},
    }


def parse(document: dict, find_systems: bool = False):
    return parse_document(document, "in.json", find_systems=find_systems)


def test_short_form():
    config = parse(short_form())
    assert config.type_map == ("Ge", "Te") and config.ntypes == 2 and config.max_nnei == 128
    assert config.descriptor.sel == (60, 60) and config.descriptor.rcut == 7.0
    assert config.descriptor.seed == config.fitting.seed == config.training.seed == 7
    assert config.training.numb_steps == 20 and config.training.batch_size == (1, 3)
    assert config.training.disp_file == "lcurve.out"
    assert config.loss.limit_pref_f == 2.0 and config.loss.start_pref_v == 0.0
    assert config.learning_rate.decay_steps == 5
    assert config.training.validation_systems == ()


def test_long_form_is_what_is_written_back():
    config = parse(short_form())
    assert "sel" not in config.normalized["nvnmd"]
    again = parse(json.loads(json.dumps(config.normalized)))
    assert again == config and again.normalized == config.normalized
    second = for_stage(config, "qnn", "elsewhere").normalized
    assert second["nvnmd"]["map_file"] == "elsewhere/map.npy"
    assert second["nvnmd"]["quantize_descriptor"] is True
    assert parse(second) == config


def test_defaults():
    document = short_form()
    del document["learning_rate"], document["loss"]
    del document["nvnmd"]["rcut"], document["nvnmd"]["rcut_smth"]
    config = parse(document)
    assert (config.descriptor.rcut, config.descriptor.rcut_smth) == (6.0, 0.5)
    assert config.learning_rate.start_lr == 1e-3 and config.learning_rate.stop_lr == 1e-8
    assert (config.loss.start_pref_f, config.loss.limit_pref_v) == (1000.0, 0.0)
    assert (config.training.disp_freq, config.training.max_ckpt_keep) == (1000, 5)


def test_data_named_in_the_old_place():
    document = short_form()
    data = document["training"].pop("training_data")
    document["training"] |= {"systems": data["systems"], "batch_size": 2, "set_prefix": "set"}
    config = parse(document)
    assert config.training.systems == ("d/one", "d/two")
    assert config.training.batch_size == (2, 2)


def test_validation_data():
    document = short_form()
    document["training"]["validation_data"] = {"systems": ["v"], "batch_size": 4, "numb_batch": 3}
    config = parse(document)
    assert config.training.validation_systems == ("v",)
    assert config.training.validation_batch_size == (4,)
    assert config.training.validation_numb_btch == 3
    assert parse(config.normalized) == config


def make_system(folder: Path, atoms: int) -> Path:
    folder.mkdir(parents=True)
    (folder / "type.raw").write_text("0\n" * atoms)
    return folder


@pytest.mark.parametrize(
    ("size", "expected"), [("auto", (4, 1)), ("auto:100", (10, 3)), (5, (5, 5))])
def test_batch_sizes(tmp_path, monkeypatch, size, expected):
    make_system(tmp_path / "data" / "a", 10)
    make_system(tmp_path / "data" / "b", 40)
    monkeypatch.chdir(tmp_path)
    document = short_form()
    # one folder stands for all the systems below it, relative to the working directory
    document["training"]["training_data"] = {"systems": "data", "batch_size": size}
    config = parse(document, find_systems=True)
    assert config.training.systems == ("data/a", "data/b")
    assert config.training.batch_size == expected


@pytest.mark.parametrize("version", [0, 1])
def test_mixed_batches(version):
    document = changed("training/training_data/batch_size", "mixed:4")
    document["nvnmd"] |= {"version": version, "sel": [20] if version else [12, 20]}
    config = parse(document)
    assert config.training.mixed_batch and config.training.batch_size == (4, 4)
    assert config.normalized["training"]["training_data"]["batch_size"] == "mixed:4"
    assert parse(config.normalized) == config
    document["training"]["validation_data"] = {"systems": ["v"], "batch_size": "mixed:4"}
    with pytest.raises(InputError, match=r'validation_data/batch_size: got "mixed:4", expected a'):
        parse(document)


def test_systems_in_an_hdf5_file(tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py")
    monkeypatch.chdir(tmp_path)
    with h5py.File("data.hdf5", "w") as file:
        for name, atoms in (("a", 10), ("deep/b", 40)):
            file[f"{name}/type.raw"] = [0] * atoms
    document = changed("training/training_data", {"systems": "data.hdf5"})
    config = parse(document, find_systems=True)
    assert config.training.systems == ("data.hdf5#/a", "data.hdf5#/deep/b")
    assert config.training.batch_size == (4, 1)
    document = changed("training/training_data", {
        "systems": ["data.hdf5#/deep/b", "data.hdf5#/a"], "batch_size": [2, 3],
        "sys_probs": [0.25, 0.75]})
    config = parse(document, find_systems=True)
    assert config.training.systems == ("data.hdf5#/deep/b", "data.hdf5#/a")
    assert config.training.batch_size == (2, 3) and config.training.sys_probs == (0.25, 0.75)
    with pytest.raises(InputError, match=r'systems/0: data\.hdf5#/c: no type\.raw'):
        parse(changed("training/training_data/systems", ["data.hdf5#/c", "data.hdf5#/a"]),
              find_systems=True)
    Path("bad.hdf5").write_bytes(Path("data.hdf5").read_bytes()[:700])
    for systems in ("bad.hdf5", ["bad.hdf5#/a", "bad.hdf5#/b"]):
        with pytest.raises(InputError, match=r"bad\.hdf5: not a readable HDF5 file"):
            parse(changed("training/training_data/systems", systems), find_systems=True)


def test_numb_test_warns():
    document = short_form()
    document["training"]["numb_test"] = 1
    with pytest.warns(UserWarning, match="training/numb_test: has no effect"):
        parse(document)


def changed(path: str, value: object) -> dict:
    """The short form with one key set (or, for `...`, removed)."""
    document = copy.deepcopy(short_form())
    *sections, key = path.split("/")
    section = document
    for name in sections:
        section = section.setdefault(name, {})
    if value is ...:
        del section[key]
    else:
        section[key] = value
    return document


MISTAKES = [
    ("training/numb_stesp", 3,
     'training/numb_stesp: got an unknown key, expected a key of training; the nearest is '
     '"numb_steps"'),
    ("lerning_rate", {}, 'lerning_rate: got an unknown key, expected a section; the nearest is '
                         '"learning_rate"'),
    ("training/stop_batch", ..., "training/numb_steps: missing key, expected an integer"),
    ("nvnmd/sel", ..., "nvnmd/sel: missing key, expected a list of integers"),
    ("nvnmd", ..., "nvnmd: missing key, expected a section {...}"),
    ("nvnmd", 3, "nvnmd: got 3, expected a section {...}"),
    ("training/training_data", ...,
     "training/training_data/systems: missing key, expected a list of strings or a string"),
    ("nvnmd/max_nnei", True, "nvnmd/max_nnei: got true, expected an integer"),
    ("nvnmd/max_nnei", 100, "nvnmd/max_nnei: got 100, expected 32, 64, 128 or 256"),
    ("nvnmd/rcut", "6", 'nvnmd/rcut: got "6", expected a number'),
    ("nvnmd/rcut", True, "nvnmd/rcut: got true, expected a number"),
    ("nvnmd/rcut", 8.5, "nvnmd/rcut: got 8.5, expected a radius above 0 and at most 8 Å, where "
                        "the tables end"),
    ("nvnmd/rcut", 10**400, "nvnmd/rcut: got 1000000000"),
    ("nvnmd/rcut_smth", 7, "nvnmd/rcut_smth: got 7, expected a distance below nvnmd/rcut = 7.0"),
    ("nvnmd/rcut_smth", 0, "nvnmd/rcut_smth: got 0, expected a distance above 0 Å"),
    ("nvnmd/sel", [60, True], "nvnmd/sel/1: got true, expected an integer"),
    ("nvnmd/sel", 128, "nvnmd/sel: got 128, expected a list of integers"),
    ("nvnmd/sel", "auto:0.5", 'nvnmd/sel: got "auto:0.5", expected positive integers, "auto"'),
    ("nvnmd/sel", "most", 'nvnmd/sel: got "most", expected positive integers, "auto"'),
    ("nvnmd/sel", [60, 69], "nvnmd/sel: got a sum of 129, expected at most nvnmd/max_nnei = 128"),
    ("nvnmd/sel", [0, 6], "nvnmd/sel: got [0, 6], expected positive integers"),
    ("nvnmd/sel", [60], "nvnmd/sel: got [60], expected 2 integers, one for each of nvnmd/type_map"),
    ("nvnmd/net_size", 64, "nvnmd/net_size: got 64, expected 128 = 32 features times 4"),
    ("nvnmd", {"version": 1, "max_nnei": 128, "net_size": 128, "sel": [60, 60, 4],
               "type_map": ["A", "B"]},
     "nvnmd/sel: got [60, 60, 4], expected one integer, the slots of all types, or one for each"),
    ("nvnmd/version", 2, "nvnmd/version: got 2, expected 0 or 1"),
    ("nvnmd/enable", False, "nvnmd/enable: got false, expected true"),
    ("nvnmd/type_map", ["Ge", "Ge"], 'nvnmd/type_map: got "Ge", expected every element named'),
    ("model/type_map", ["Ge", "Te"], "nvnmd/type_map: got a second value besides model/type_map"),
    ("model/descriptor/sel", [60, 60], "nvnmd/sel: got a second value besides model/descriptor"),
    ("model/descriptor/neuron", [25, 50, 100],
     "model/descriptor/neuron: got [25, 50, 100], expected three widths"),
    ("model/descriptor/axis_neuron", 16, "model/descriptor/axis_neuron: got 16, expected 2 or 4"),
    ("model/descriptor/activation_function", "gelu",
     'model/descriptor/activation_function: got "gelu", expected "tanh"'),
    ("model/descriptor/type", "se_e3",
     'model/descriptor/type: got "se_e3", expected "se_a" or "se_e2_a"'),
    ("model/descriptor/type_one_side", False,
     "model/descriptor/type_one_side: got false, expected true"),
    ("model/fitting_net/neuron", [240, 240, 240],
     "model/fitting_net/neuron: got [240, 240, 240], expected 1 to 4 widths of 128"),
    ("model/fitting_net/resnet_dt", True, "model/fitting_net/resnet_dt: got true, expected false"),
    ("learning_rate/stop_lr", 0, "learning_rate/stop_lr: got 0, expected a number above 0 and at "
                                 "most start_lr = 0.001"),
    ("learning_rate/stop_lr", 1, "learning_rate/stop_lr: got 1, expected a number above 0"),
    ("learning_rate/decay_steps", 0, "learning_rate/decay_steps: got 0, expected an integer above"),
    ("loss/start_pref_e", -1, "loss/start_pref_e: got -1, expected a number of at least 0"),
    ("model/descriptor/exclude_types", [[0, 2]],
     "model/descriptor/exclude_types: got [[0, 2]], expected pairs of type indices from 0 to 1"),
    ("model/pair_exclude_types", [[0, True]],
     "model/pair_exclude_types: got [[0, true]], expected pairs of type indices"),
    ("model/descriptor/exclude_types", [[0]],
     "model/descriptor/exclude_types: got [[0]], expected pairs of type indices"),
    ("model/descriptor/precision", "float16",
     'model/descriptor/precision: got "float16", expected "default", "float64" or "float32" (in'),
    ("training/mixed_precision", {"compute_prec": "float32"},
     'training/mixed_precision/compute_prec: got "float32", expected "float16" or "bfloat16"'),
    ("model/fitting_net/atom_ener", [-1.0],
     "model/fitting_net/atom_ener: got [-1.0], expected 2 numbers or nulls, one for each type"),
    ("model/fitting_net/trainable", [True, False],
     "model/fitting_net/trainable: got [true, false], expected 4 truth values, one for each"),
    ("loss/start_pref_ae", -1, "loss/start_pref_ae: got -1, expected a number of at least 0"),
    ("loss/start_pref_gf", 1.0, "loss/numb_generalized_coord: got 0, expected an integer above 0"),
    ("training/numb_steps", 5, 'training/stop_batch: got the same as "numb_steps" a second time'),
    ("training/stop_batch", 1.5, "training/stop_batch: got 1.5, expected an integer"),
    ("training/stop_batch", -1, "training/stop_batch: got -1, expected an integer of at least 0"),
    ("training/seed", -1, "training/seed: got -1, expected null or an integer from 0 to"),
    ("training/systems", ["x"], "training/systems: got a second value besides training/training_"),
    *[("training/training_data/batch_size", value,
       f'training/training_data/batch_size: got "{value}", expected a positive integer, one per')
      for value in ("mixed", "mixed:", "mixed:0", "mixed:2.5", "mix:4", "auto:")],
    ("training/training_data/batch_size", [1],
     "training/training_data/batch_size: got [1], expected 2 integers, one for each system"),
    ("training/training_data/batch_size", 0,
     "training/training_data/batch_size: got 0, expected a positive integer"),
    ("training/training_data/auto_prob", "prob_sys_size;1:1:1",
     'training/training_data/auto_prob: got "prob_sys_size;1:1:1", expected "prob_uniform", "prob'),
    ("training/training_data/auto_prob", "uniform",
     'training/training_data/auto_prob: got "uniform", expected "prob_uniform", "prob_sys_size"'),
    ("training/training_data/sys_probs", [0.5, 0.6],
     "training/training_data/sys_probs: got [0.5, 0.6], expected numbers whose sum, without"),
    ("training/warmup_steps", 20,
     "training/warmup_steps: got 20, expected fewer than training/numb_steps = 20"),
    ("learning_rate/decay_rate", 1.5,
     "learning_rate/decay_rate: got 1.5, expected null or a factor above 0 and at most 1"),
    ("training/tensorboard_freq", 0,
     "training/tensorboard_freq: got 0, expected an integer above 0"),
]


@pytest.mark.parametrize(("path", "value", "line"), MISTAKES)
def test_each_mistake_is_one_line(path, value, line):
    with pytest.raises(InputError) as caught:
        parse(changed(path, value))
    message = str(caught.value)
    assert message.startswith(f"in.json: {line}"), message
    assert "\n" not in message


# what depends on how many systems there are is told once they are looked for
@pytest.mark.parametrize(("key", "value", "expected"), [
    ("auto_prob", "prob_sys_size;0:3:1", "blocks within the 2"),
    ("auto_prob", "prob_sys_size;0:2:1;1:2:1", "every system in"),
    ("auto_prob", "prob_sys_size;0:1:0;1:2:0", "a weight above"),
    ("sys_probs", [1.0], "2 numbers, one for each system"),
    ("sys_probs", [0.5, 0.4], "numbers whose sum is 1, or a negative one"),
    ("sys_probs", [1.0, -1.0], "numbers whose sum leaves something"),
])
def test_probabilities_that_do_not_fit_the_systems(tmp_path, monkeypatch, key, value, expected):
    monkeypatch.chdir(tmp_path)
    make_system(tmp_path / "d/one", 33)
    make_system(tmp_path / "d/two", 9)
    path = f"training/training_data/{key}"
    with pytest.raises(InputError) as caught:
        parse(changed(path, value), find_systems=True)
    message = str(caught.value)
    assert message.startswith(f"in.json: {path}: got ") and f"expected {expected}" in message
    assert "\n" not in message


def test_more_types_than_version_0_has():
    document = changed("nvnmd/type_map", ["A", "B", "C", "D", "E"])
    document["nvnmd"]["sel"] = [9] * 5
    with pytest.raises(InputError, match="nvnmd/type_map: got 5 types, expected at most 4"):
        parse(document)


def test_every_mistake_is_reported_once():
    document = changed("nvnmd/max_nnei", 1)
    document["trainign"] = {}
    document["training"]["sede"] = 1
    with pytest.raises(InputError) as caught:
        parse(document)
    assert [line.split(": ")[1] for line in str(caught.value).split("\n")] == [
        "trainign", "nvnmd/max_nnei", "training/sede"]


def test_systems_drawn_by_two_rules_at_once():
    document = changed("training/training_data/auto_prob", "prob_uniform")
    document["training"]["training_data"]["sys_probs"] = [0.5, 0.5]
    with pytest.raises(InputError, match="auto_prob: got a second choice besides training/traini"):
        parse(document)


def test_excluded_pairs_of_both_places():
    document = changed("model/pair_exclude_types", [[1, 0], [0, 1]])
    document["model"]["descriptor"] = {"exclude_types": [[1, 1]]}
    config = parse(document)
    assert config.descriptor.exclude_types == ((0, 1), (1, 1))
    assert config.normalized["model"]["descriptor"]["exclude_types"] == [[0, 1], [1, 1]]
    assert parse(config.normalized) == config


def test_formats_of_the_nets():
    document = changed("training/mixed_precision", {"compute_prec": "bfloat16"})
    config = parse(document)
    assert vars(config.precision) == {"descriptor": "float32", "fitting": "float32",
                                      "compute": "bfloat16"}
    assert parse(config.normalized) == config
    document["model"] = {"fitting_net": {"precision": "float64"}}
    with pytest.raises(InputError, match='fitting_net/precision: got "float64", expected float32'):
        parse(document)


def test_how_systems_are_drawn_is_written_back():
    document = changed("training/training_data/sys_probs", [0.25, 0.75])
    document["training"] |= {"warmup_steps": 5, "validation_data": {
        "systems": ["v", "w"], "auto_prob_style": "prob_sys_size;0:1:1;1:2:3"}}
    document["learning_rate"]["decay_rate"] = 0.5
    config = parse(document)
    assert config.training.sys_probs == (0.25, 0.75) and config.training.warmup_steps == 5
    assert config.training.validation_auto_prob == "prob_sys_size;0:1:1;1:2:3"
    assert config.learning_rate.decay_rate == 0.5
    assert parse(json.loads(json.dumps(config.normalized))) == config


def test_zero_learning_rate_is_a_run_that_changes_nothing():
    document = short_form()
    document["learning_rate"] = {"start_lr": 0, "stop_lr": 0}
    assert parse(document).learning_rate.start_lr == 0.0


def test_missing_systems(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r'systems/0: got "d/one", expected a system or a folder'):
        parse(short_form(), find_systems=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r'systems: got "empty", expected a system or a folder'):
        parse(changed("training/training_data/systems", "empty"), find_systems=True)
    make_system(tmp_path / "none", 0)
    document = changed("training/training_data", {"systems": ["none"]})
    with pytest.raises(InputError, match=r"none/type\.raw: got no atoms"):
        parse(document, find_systems=True)


def test_reads_the_documents_of_deepmd_kit(shared):
    for stage in ("cnn", "qnn"):
        path = shared / f"golden/v0_ni128_gete/nvnmd_{stage}/train.json"
        told: list[str] = []
        config = load_input(path, find_systems=False, warn=told.append)
        assert "numb_test" in told[-1]
        if stage == "cnn":
            assert len(told) == 2 and "decay_steps: 5000 is not below the 20 steps" in told[0]
            assert config.normalized["learning_rate"]["decay_steps"] == 1
        assert config.descriptor.sel == (60, 60) and config.training.numb_steps == 20


def test_every_key_is_described():
    def walk(argument):
        for field in argument.sub_fields.values():
            assert field.doc, field.name
            assert field.extra_check is None or field.extra_check_errmsg, field.name
            walk(field)

    walk(document_tree())
