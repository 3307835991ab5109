"""What DeePMD-kit 3.2.0 takes beyond the contract: read with its meaning."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from support.input_documents import BASE, place

from nvnmd.errors import InputError
from nvnmd.inputs.read import load_input, parse_document
from nvnmd.training.schedule import LearningRate


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Systems of 3, 9 and 33 atoms with 4, 6 and 2 frames, two of them below one folder."""
    for name, atoms, frames in (("all/small", 3, 4), ("all/middle", 9, 6), ("large", 33, 2)):
        folder = tmp_path / name
        (folder / "set.000").mkdir(parents=True)
        (folder / "type.raw").write_text("0\n" * atoms)
        np.save(folder / "set.000" / "coord.npy", np.zeros((frames, 3 * atoms)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(told=None, find=True, **values):
    document = copy.deepcopy(BASE)
    document["training"]["training_data"]["systems"] = ["all", "large"]
    for path, value in values.items():
        place(document, path.replace("__", "/"), value)
    warn = (lambda line: None) if told is None else told.append
    return parse_document(document, "in.json", find_systems=find, warn=warn)


ALL = ("all/middle", "all/small", "large")


def test_parent_folders_in_a_list(data):
    assert run().training.systems == ALL


def test_patterns_choose_systems(data):
    one = run(training__training_data__rglob_patterns=["s*", "mid*"]
              , training__training_data__systems=["all"]).training
    assert one.systems == ("all/middle", "all/small")
    one = run(training__training_data__rglob_patterns=["s*"],
              training__training_data__systems=["all"]).training
    assert one.systems == ("all/small",)
    with pytest.raises(InputError, match=r"systems/0: all: no type\.raw .* one of x\* matches"):
        run(training__training_data__rglob_patterns=["x*"],
            training__training_data__systems=["all"])
    validation = run(training__validation_data={"systems": "all", "rglob_patterns": ["mid*"]})
    assert validation.training.validation_systems == ("all/middle",)


@pytest.mark.parametrize(("size", "systems", "expected"), [
    ("auto:20", ALL, (3, 7, 1)), ("max:20", ALL, (2, 6, 1)),
    ("filter:20", ALL[:2], (2, 6)), ("max:2", ALL, (1, 1, 1)),
])
def test_sizes_of_batches_by_atoms(data, size, systems, expected):
    told: list[str] = []
    found = run(told, training__training_data__batch_size=size).training
    assert found.systems == systems and found.batch_size == expected
    assert any("1 of 3 systems have more than 20 atoms" in line for line in told) == (
        size == "filter:20")


def test_a_filter_that_leaves_nothing(data):
    with pytest.raises(InputError, match=r'batch_size: got "filter:2", .* the smallest has 3'):
        run(training__training_data__batch_size="filter:2")


def test_a_negative_probability_shares_the_rest(data):
    from nvnmd.data.probability import system_probabilities

    given = run(training__training_data__sys_probs=[-1, 0.5, -1]).training.sys_probs
    assert given == (-1, 0.5, -1)
    found = system_probabilities([6, 4, 2], given=given)
    np.testing.assert_allclose(found, [0.5 * 6 / 8, 0.5, 0.5 * 2 / 8])


def test_passes_over_the_data_in_place_of_steps(data):
    document = copy.deepcopy(BASE)
    del document["training"]["numb_steps"]
    document["training"] |= {"numb_epoch": 2.5, "training_data": {
        "systems": ["all", "large"], "batch_size": [2, 2, 1], "auto_prob": "prob_uniform"}}
    # 3, 2 and 2 batches, each system drawn a third of the times: 9 steps for the largest
    config = parse_document(document, "in.json", warn=lambda line: None)
    assert config.training.numb_steps == 23
    document["training"]["numb_steps"] = 3
    with pytest.raises(InputError, match="numb_epoch: got a second value besides training/numb_st"):
        parse_document(document, "in.json")
    for alias in ("num_steps", "num_step", "numb_step", "stop_batch"):
        document = copy.deepcopy(BASE)
        document["training"][alias] = document["training"].pop("numb_steps")
        assert parse_document(document, "in.json", find_systems=False).training.numb_steps == 10


@pytest.mark.parametrize("name", ["num_epoch", "numb_epochs", "num_steps"])
def test_a_wrong_length_is_one_mistake(data, name):
    document = copy.deepcopy(BASE)
    del document["training"]["numb_steps"]
    document["training"][name] = -1
    with pytest.raises(InputError) as caught:
        parse_document(document, "in.json", find_systems=False)
    assert str(caught.value).startswith(f"in.json: training/{name}: got -1")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["model/model_dict", "model/shared_dict", "training/model_prob"])
def test_several_tasks_are_refused(data, path):
    with pytest.raises(InputError, match=f"{path}: refused, expected it left out: one model"):
        run(find=False, **{path.replace("/", "__"): {}})


@pytest.mark.parametrize(("name", "hint"), [
    ("data/*", "patterns belong into rglob_patterns"), ("x.lmdb", "LMDB is not read"),
    ("~/data", "taken as it is"),
])
def test_names_of_no_data(data, name, hint):
    with pytest.raises(InputError, match=hint):
        run(training__training_data__systems=[name])


def test_arrays_that_nothing_is_read_from_are_told(data):
    for name in ALL[:2]:
        np.save(data / name / "set.000/fparam.npy", np.zeros(3))
    np.save(data / "large/set.000/atom_ener.npy", np.zeros(3))
    told: list[str] = []
    run(told)
    (line,) = told
    assert line == ("in.json: nothing is read from these arrays of the data: atom_ener.npy, "
                    "fparam.npy (in 2 systems)")
    told.clear()
    run(told, loss__start_pref_ae=1.0)
    assert "atom_ener" not in told[0]


def test_learning_rates_of_other_words(data):
    def rates(**values):
        config = run(find=False, **{f"learning_rate__{k}": v for k, v in values.items()})
        rate = LearningRate(config.learning_rate, config.training.numb_steps,
                            config.training.warmup_steps)
        return [rate(step) for step in range(10)]

    plain = {"start_lr": 1e-3, "decay_steps": 2}
    np.testing.assert_allclose(rates(**plain, stop_lr_ratio=0.01), rates(**plain, stop_lr=1e-5))
    ratio = rates(**plain, stop_lr=1e-5, warmup_ratio=0.4)
    assert ratio == rates(**plain, stop_lr=1e-5, warmup_steps=4)
    np.testing.assert_allclose(ratio[:5], [0, 2.5e-4, 5e-4, 7.5e-4, 1e-3])
    begin = rates(**plain, stop_lr=1e-5, warmup_steps=4, warmup_start_factor=0.2)
    np.testing.assert_allclose(begin[:5], [2e-4, 4e-4, 6e-4, 8e-4, 1e-3])
    with pytest.raises(InputError, match="warmup_ratio: got a second value besides"):
        rates(**plain, warmup_ratio=0.4, warmup_steps=4)


def test_a_long_stair_with_its_own_rate_stays_as_it_is(data):
    told: list[str] = []
    config = run(told, find=False, training__numb_steps=400, learning_rate__decay_steps=5000,
                 learning_rate__decay_rate=0.5, learning_rate__start_lr=1e-3)
    rate = LearningRate(config.learning_rate, 400)
    assert not told and {rate(step) for step in range(400)} == {1e-3}
    assert config.normalized["learning_rate"]["decay_steps"] == 5000


def test_a_stair_that_is_replaced_is_told_and_written(data):
    told: list[str] = []
    config = run(told, find=False, training__numb_steps=400, learning_rate__decay_steps=5000)
    (line,) = told
    assert "decay_steps: 5000 is not below the 400 steps of the decay, so 5 is used" in line
    assert config.normalized["learning_rate"]["decay_steps"] == 5
    again: list[str] = []
    other = parse_document(copy.deepcopy(config.normalized), "in.json", find_systems=False,
                           warn=again.append)
    assert not again and other.learning_rate == config.learning_rate


def test_documents_of_the_first_release(data):
    (data / "large/type_map.raw").write_text("Cu\nAu\n")
    document = {"nvnmd": {"net_size": 128, "sel": [60, 60], "rcut": 5.0, "rcut_smth": 0.5},
                "training": {"numb_steps": 10, "training_data": {"systems": ["large"]}}}
    told: list[str] = []
    config = parse_document(document, "in.json", warn=told.append)
    assert (config.version, config.max_nnei, config.type_map) == (0, 128, ("Cu", "Au"))
    assert len(told) == 1 and "as in documents of NVNMD's first release" in told[0]
    (data / "large/type_map.raw").unlink()
    config = parse_document(document, "in.json", warn=told.append)
    assert config.type_map == ("Type_0", "Type_1")
    assert "version 0; max_nnei 128; types by their numbers in the data" in told[-1]


def test_net_size_has_its_default(data, tmp_path):
    document = copy.deepcopy(BASE)
    del document["nvnmd"]["net_size"]
    config = parse_document(document, "in.json", find_systems=False)
    assert config.fitting.neuron == (128, 128, 128)
    (tmp_path / "in.json").write_text("{")
    with pytest.raises(InputError):
        load_input(tmp_path / "in.json")


@pytest.mark.parametrize(("values", "message"), [
    ({f"loss__{end}_pref_{term}": 0 for end in ("start", "limit") for term in ("e", "f", "v")},
     "loss: every prefactor is 0, so that nothing is trained"),
    ({"model__fitting_net__trainable": False, "model__descriptor__trainable": False},
     "model/fitting_net/trainable: false like model/descriptor/trainable"),
])
def test_a_document_that_trains_nothing(data, values, message):
    with pytest.raises(InputError, match=message):
        run(find=False, **values)
    assert run(find=False, training__numb_steps=0, **values).training.numb_steps == 0
