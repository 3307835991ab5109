"""An example of each line of docs/deepmd_data.md that speaks of training; see the one of data."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from unittest import mock

import numpy as np
from support.deepmd_data_examples import EXAMPLES, NAMES, line, make

from nvnmd.cli.main import build_parser
from nvnmd.data.probability import system_probabilities
from nvnmd.inputs.read import load_input, parse_document
from nvnmd.threads import threads
from nvnmd.training.lcurve import LearningCurve, read_lcurve
from nvnmd.training.schedule import LearningRate

BASE = {
    "nvnmd": {"version": 0, "max_nnei": 128, "sel": [8, 8], "type_map": list(NAMES)},
    "learning_rate": {"start_lr": 1e-3, "stop_lr": 1e-5, "decay_steps": 2},
    "training": {"numb_steps": 10, "training_data": {"systems": ["all", "large"]}},
}


def run(tmp: Path, told=None, **values):
    """A run on systems of 3, 9 and 33 atoms with 4, 6 and 2 frames, two of them in one folder."""
    if not (tmp / "all").exists():
        make(tmp / "all/small", 4, (0,) * 3)
        make(tmp / "all/middle", 6, (0,) * 9)
        make(tmp / "large", 2, (0,) * 33)
    document = copy.deepcopy(BASE)
    document["training"]["training_data"]["systems"] = [str(tmp / "all"), str(tmp / "large")]
    for path, value in values.items():
        *heads, name = path.split("__")
        section = document
        for head in heads:
            section = section.setdefault(head, {})
        if value is None:
            del section[name]
        else:
            section[name] = value
    return parse_document(document, "in.json",
                          warn=(lambda said: None) if told is None else told.append)


def command(*words):
    return build_parser().parse_args(words)


TRAIN = "Train a model"


@line(TRAIN, "`dp train input.json`")
def _(tmp):
    for name in ("train-cnn", "train-qnn"):
        assert command(name, "input.json").input == Path("input.json")


@line(TRAIN, "`lcurve.out`")
def _(tmp):
    curve = LearningCurve(tmp / "lcurve.out", ("rmse", "rmse_e", "rmse_f"), validation=True)
    curve.add(100, np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0]), 1e-3)
    found = read_lcurve(tmp / "lcurve.out")
    assert found.dtype.names == ("step", "rmse_val", "rmse_trn", "rmse_e_val", "rmse_e_trn",
                                 "rmse_f_val", "rmse_f_trn", "lr")
    assert found.tolist() == [(100, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 1e-3)]
    # DeePMD-kit's page reads it so
    assert np.genfromtxt(tmp / "lcurve.out", names=True)["rmse_f_trn"] == 3.0


@line(TRAIN, "`systems` that are links to folders")
def _(tmp):
    make(tmp / "elsewhere/one")
    (tmp / "data").mkdir()
    os.symlink(tmp / "elsewhere/one", tmp / "data/s1")
    found = run(tmp, training__training_data__systems=str(tmp / "data"))
    assert found.training.systems == (str(tmp / "data/s1"),)


@line(TRAIN, "an input document in YAML")
def _(tmp):
    (tmp / "in.yaml").write_text("nvnmd:\n  version: 0\n")
    load_input(tmp / "in.yaml")


ADVANCED = "Advanced options"


def _systems(found, tmp):
    return [os.path.relpath(name, tmp) for name in found.training.systems]


@line(ADVANCED, "`systems`: a list")
def _(tmp):
    assert _systems(run(tmp), tmp) == ["all/middle", "all/small", "large"]


@line(ADVANCED, "`rglob_patterns`")
def _(tmp):
    run(tmp)
    found = run(tmp, training__training_data__systems=str(tmp),
                training__training_data__rglob_patterns=["s*", "all/mid*"])
    assert _systems(found, tmp) == ["all/middle", "all/small"]


@line(ADVANCED, "`systems`: a string")
def _(tmp):
    run(tmp)
    found = run(tmp, training__training_data__systems=str(tmp))
    assert _systems(found, tmp) == ["all/middle", "all/small", "large"]


def _probability(tmp, batches=(6, 4, 2), **values):
    training = run(tmp, **values).training
    return system_probabilities(list(batches), training.auto_prob, training.sys_probs)


for _style, _expected in (("prob_uniform", [1 / 3] * 3),
                          ("prob_sys_size", [6 / 12, 4 / 12, 2 / 12]),
                          ("prob_sys_size; 0:2:0.6; 2:3:0.4", [0.36, 0.24, 0.4])):
    EXAMPLES[ADVANCED, f"`auto_prob`: `{_style}`"] = (
        lambda tmp, style=_style, expected=_expected: np.testing.assert_allclose(
            _probability(tmp, training__training_data__auto_prob=style), expected))


@line(ADVANCED, "`sys_probs`")
def _(tmp):
    found = _probability(tmp, training__training_data__sys_probs=[0.5, 0.3, 0.2])
    np.testing.assert_allclose(found, [0.5, 0.3, 0.2])
    found = _probability(tmp, training__training_data__sys_probs=[-1, 0.5, -1])
    np.testing.assert_allclose(found, [0.375, 0.5, 0.125])


def _batches(tmp, size):
    return run(tmp, training__training_data__batch_size=size).training.batch_size


# of 9, 3 and 33 atoms
for _words, _size, _sizes in (
        ("a list", [3, 2, 1], (3, 2, 1)), ("an integer", 2, (2, 2, 2)),
        ("`auto`", "auto", (4, 11, 1)), ("`auto:N`", "auto:20", (3, 7, 1)),
        ("`max:N`", "max:20", (2, 6, 1))):
    def _example(tmp, size=_size, sizes=_sizes):
        assert _batches(tmp, size) == sizes
    EXAMPLES[ADVANCED, f"`batch_size`: {_words}"] = _example


@line(ADVANCED, "`batch_size`: `filter:N`")
def _(tmp):
    told: list[str] = []
    found = run(tmp, told, training__training_data__batch_size="filter:20")
    assert _systems(found, tmp) == ["all/middle", "all/small"]
    assert found.training.batch_size == (2, 6)
    assert len(told) == 1 and "1 of 3 systems have more than 20 atoms" in told[0]


@line(ADVANCED, "`batch_size`: `mixed:N`")
def _(tmp):
    found = run(tmp, training__training_data__batch_size="mixed:4").training
    assert found.mixed_batch and set(found.batch_size) == {4}


@line(ADVANCED, "`batch_size`: `mix:N`")
def _(tmp):
    _batches(tmp, "mix:4")


@line(ADVANCED, "`mixed_precision`")
def _(tmp):
    for compute in ("float16", "bfloat16"):
        found = run(tmp, training__mixed_precision={"output_prec": "float32",
                                                    "compute_prec": compute}).precision
        assert (found.descriptor, found.fitting, found.compute) == ("float32", "float32", compute)


@line(ADVANCED, "`--init-model model.ckpt`")
def _(tmp):
    assert str(command("train-cnn", "in.json", "--init-model", "model.ckpt").init_model) == (
        "model.ckpt")


@line(ADVANCED, "`--restart model.ckpt`")
def _(tmp):
    # tests/training/test_train_restart.py and test_restart_property.py compare the bits
    assert str(command("train-cnn", "in.json", "--restart", "model.ckpt").restart) == "model.ckpt"


for _page, _words, _option in (
        (ADVANCED, "`--init-frz-model frozen_model.pb`", ["--init-frz-model", "frozen_model.pb"]),
        (ADVANCED, "`--finetune model`", ["--finetune", "model"]),
        (ADVANCED, "`--skip-neighbor-stat`", ["--skip-neighbor-stat"]),
        ("Parallel training", "`--mpi-log`", ["--mpi-log", "workers"]),
        ("Parallel training", "`--log-path`", ["--log-path", "log"])):
    EXAMPLES[_page, _words] = lambda tmp, option=_option: command("train-cnn", "in.json", *option)


@line(ADVANCED, "`OMP_NUM_THREADS`")
def _(tmp):
    for count in (1, 3):
        with mock.patch.dict(os.environ, OMP_NUM_THREADS=str(count)):
            assert threads() == count


RATE = "Learning rate"


def _rates(tmp, told=None, **values):
    values = {f"learning_rate__{key}": value for key, value in values.items()}
    found = run(tmp, told, **values)
    rate = LearningRate(found.learning_rate, found.training.numb_steps,
                        found.training.warmup_steps)
    return [rate(step) for step in range(10)]


@line(RATE, '`"type": "exp"`')
def _(tmp):
    found = _rates(tmp, type="exp")
    # five stairs of two steps, from start to stop
    np.testing.assert_allclose(found[::2], 1e-3 * 1e-2 ** (np.arange(5) / 5), rtol=1e-12)
    assert found[::2] == found[1::2]


for _kind in ("cosine", "wsd"):
    EXAMPLES[RATE, f'`"type": "{_kind}"`'] = lambda tmp, kind=_kind: _rates(tmp, type=kind)
EXAMPLES[RATE, "`smooth`"] = lambda tmp: _rates(tmp, smooth=True)
EXAMPLES[RATE, "`stop_lr` and `stop_lr_ratio`"] = lambda tmp: _rates(tmp, stop_lr_ratio=0.01)
EXAMPLES[RATE, "`warmup_steps` and `warmup_ratio`"] = lambda tmp: _rates(
    tmp, warmup_steps=4, warmup_ratio=0.4)


@line(RATE, "`stop_lr_ratio`")
def _(tmp):
    np.testing.assert_allclose(_rates(tmp, stop_lr=None, stop_lr_ratio=0.01), _rates(tmp))


@line(RATE, "`decay_rate`")
def _(tmp):
    assert _rates(tmp, decay_rate=0.5, decay_steps=4) == [1e-3] * 4 + [5e-4] * 4 + [2.5e-4] * 2
    assert set(_rates(tmp, decay_rate=0.5, decay_steps=5000)) == {1e-3}


@line(RATE, "`decay_steps` longer than the training")
def _(tmp):
    told: list[str] = []
    found = run(tmp, told, learning_rate__decay_steps=5000, training__numb_steps=400)
    assert found.learning_rate.decay_steps == 5 and len(told) == 1
    assert "decay_steps: 5000" in told[0] and "so 5 is used" in told[0]
    assert found.normalized["learning_rate"]["decay_steps"] == 5


@line(RATE, "`warmup_steps`")
def _(tmp):
    found = _rates(tmp, warmup_steps=4, warmup_start_factor=0.2)
    np.testing.assert_allclose(found[:5], [2e-4, 4e-4, 6e-4, 8e-4, 1e-3])


@line(RATE, "`warmup_ratio`")
def _(tmp):
    assert _rates(tmp, warmup_ratio=0.4) == _rates(tmp, warmup_steps=4)


BOARD = "TensorBoard usage"


@line(BOARD, "`systems`, `batch_size` in `training` itself")
def _(tmp):
    run(tmp)
    found = run(tmp, training__training_data=None, training__systems=str(tmp / "all"),
                training__batch_size=[2, 1]).training
    assert (len(found.systems), found.batch_size) == (2, (2, 1))


@line(BOARD, "`stop_batch`")
def _(tmp):
    assert run(tmp, training__numb_steps=None, training__stop_batch=7).training.numb_steps == 7


@line(BOARD, "`numb_test`")
def _(tmp):
    told: list[str] = []
    run(tmp, told, training__numb_test=1)
    return told


@line(BOARD, "`_comment`")
def _(tmp):
    assert run(tmp, _comment="x", training___comment="y").normalized == run(tmp).normalized


@line("Parallel training", "`scale_by_worker`")
def _(tmp):
    from nvnmd.training.workers import rate_factor

    for name, factor in (("linear", 4.0), ("sqrt", 2.0), ("none", 1.0)):
        found = run(tmp, learning_rate__scale_by_worker=name).learning_rate.scale_by_worker
        assert rate_factor(found, 4) == factor


NVNMD = "NVNMD"


@line(NVNMD, "documents of the first release")
def _(tmp):
    told: list[str] = []
    make(tmp / "s")
    found = parse_document({"nvnmd": {"net_size": 128, "sel": [60, 60]},
                            "training": {"stop_batch": 1, "systems": [str(tmp / "s")]}},
                           "in.json", warn=told.append)
    assert (found.version, found.max_nnei, found.type_map) == (0, 128, NAMES) and len(told) == 1


@line(NVNMD, "`sel`: a list in version 1")
def _(tmp):
    assert run(tmp, nvnmd__version=1).descriptor.sel == (16,)


@line(NVNMD, "`net_size` left out")
def _(tmp):
    assert run(tmp).fitting.neuron == (128, 128, 128)


@line(NVNMD, "more than 4 elements in version 0")
def _(tmp):
    run(tmp, nvnmd__type_map=list("ABCDE"), nvnmd__sel=[8] * 5)


@line(NVNMD, "`rcut` above 8 Å")
def _(tmp):
    run(tmp, nvnmd__rcut=8.5)
