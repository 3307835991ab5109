"""Several mistakes in one document: all at once, each once."""

from __future__ import annotations

import copy

import pytest
from support.input_documents import BASE, parse, place

from nvnmd.errors import InputError
from nvnmd.inputs.read import parse_document


def mistakes(document: dict, **options) -> list[str]:
    """Path of each mistake."""
    with pytest.raises(InputError) as caught:
        parse_document(document, "in.json", **{"find_systems": False, **options})
    lines = str(caught.value).splitlines()
    assert all(line.startswith("in.json: ") for line in lines)
    return [line.split(": ")[1] for line in lines]


def document_with(**values) -> dict:
    document = copy.deepcopy(BASE)
    for path, value in values.items():
        place(document, path.replace("__", "/"), value)
    return document


def test_wrong_keys_and_keys_that_do_not_go_together():
    document = document_with(
        trainign={}, training__disp_freq=0, model__spin={},
        nvnmd__restore_descriptor=False, nvnmd__quantize_descriptor=True,
        nvnmd__rcut_smth=7.0, model__descriptor__sel=[60],
        model__descriptor__exclude_types=[[0, 9]], learning_rate__stop_lr=1.0,
        loss__start_pref_gf=1.0, model__fitting_net__atom_ener=[1.0],
        model__fitting_net__trainable=[True], training__warmup_steps=50,
        training__training_data__batch_size=[1], training__training_data__sys_probs=[1.0],
        training__validation_data={"systems": ["v"], "auto_prob": "prob_sys_size;0:2:1"})
    assert mistakes(document) == [
        "trainign", "training/disp_freq", "model/spin", "nvnmd/restore_descriptor",
        "model/descriptor/sel", "nvnmd/rcut_smth", "model/descriptor/exclude_types",
        "learning_rate/stop_lr", "loss/numb_generalized_coord", "model/fitting_net/atom_ener",
        "model/fitting_net/trainable", "training/training_data/batch_size",
        "training/warmup_steps"]


@pytest.mark.parametrize(("values", "paths"), [
    # what hangs on a wrong value is not a second mistake
    ({"learning_rate__start_lr": "x", "learning_rate__stop_lr": 1.0}, ["learning_rate/start_lr"]),
    ({"learning_rate__type": "cos", "learning_rate__stop_lr": 1.0}, ["learning_rate/type"]),
    ({"nvnmd__version": 3, "model__descriptor__sel": [9]}, ["nvnmd/version"]),
    ({"nvnmd__max_nnei": 1}, ["nvnmd/max_nnei"]),
    ({"model__descriptor__sel": "x"}, ["model/descriptor/sel"]),
    ({"model__type_map": "x"}, ["model/type_map"]),
    ({"model__descriptor": {"type": "dpa2", "sel": 3}}, ["model/descriptor/type"]),
    ({"training__numb_steps": "x", "training__warmup_steps": 5}, ["training/numb_steps"]),
    ({"training__training_data__systems": 3}, ["training/training_data/systems"]),
    ({"training__training_data": 3}, ["training/training_data"]),
    ({"training__mixed_precision": {}}, ["training/mixed_precision/compute_prec"]),
    ({"nvnmd__map_file": 3, "nvnmd__quantize_descriptor": False}, ["nvnmd/map_file"]),
    ({"nvnmd": 1, "learning_rate": 2, "loss": 3, "training": 4, "model": 5},
     ["nvnmd", "learning_rate", "loss", "training", "model"]),
])
def test_one_mistake_gives_one_line(values, paths):
    assert mistakes(document_with(**values)) == paths


def test_systems_that_are_not_there_in_both_parts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    document = document_with(training__validation_data={"systems": "nowhere"}, trainign=1,
                             training__training_data__sys_probs=[1.0])
    assert mistakes(document, find_systems=True) == [
        "trainign", "training/training_data/systems/0", "training/training_data/systems/1",
        "training/validation_data/systems"]


@pytest.mark.parametrize(("path", "hint"), [
    ("numb_steps", "it is one of training"), ("sel", "it is one of model/descriptor or nvnmd"),
    ("training/start_lr", "it is one of learning_rate"),
    ("training/numb_stesp", 'the nearest is "numb_steps"'),
    ("training/training_data/seed",
     "it is one of model/descriptor, model/fitting_net, nvnmd or training"),
    ("stop_batch", r"stop_batch \(another name of numb_steps\) is one of training"),
    ("systems", "it is one of training/training_data, training/validation_data or training"),
    ("training/decay_stesp", 'the nearest is "decay_steps", one of learning_rate'),
])
def test_an_unknown_key_is_told_where_it_belongs(path, hint):
    document = copy.deepcopy(BASE)
    place(document, path, 1)
    with pytest.raises(InputError, match=f"{path}: got an unknown key, .*; {hint}$"):
        parse(document)


@pytest.mark.parametrize(("path", "value"), [
    *[(f"training/{key}", value) for key in ("disp_file", "profiling_file", "save_ckpt")
      for value in ("..", "run/.", "train.json", "run/checkpoint", "weights.npz", "model.nvnmd")],
    ("training/disp_file", "model.ckpt-12.npz"), ("training/stat_file", "run/.."),
    ("training/numb_steps", 2**63), ("training/seed", -(10**30)),
    ("loss/numb_generalized_coord", 10**30),
    ("training/training_data/auto_prob", "prob_sys_size;0:1:1e999;1:2:1"),
    ("training/training_data/auto_prob", "prob_sys_size;0:1:1e308;1:2:1e308"),
    ("training/training_data/batch_size", "mixed:1000000000000"),
    ("training/training_data/batch_size", "auto:" + "1" * 5000),
    ("model/descriptor/sel", "auto:1e308"), ("model/descriptor/sel", "auto:257"),
])
def test_settings_that_would_fail_later(path, value):
    document = copy.deepcopy(BASE)
    place(document, path, value)
    assert mistakes(document) == [path]


def test_a_profile_over_the_learning_curve():
    document = document_with(training__profiling=True, training__profiling_file="lcurve.out")
    assert mistakes(document) == ["training/profiling_file"]
    parse(document_with(training__profiling_file="lcurve.out"))
