"""A continued training on other data than before: told system by system, and only on request."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.cnn_runs import data, make_config, train  # noqa: F401

from nvnmd.errors import InputError
from nvnmd.training.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def begun(data, tmp_path_factory):
    """A training of two steps, and a copy of its data that may be changed."""
    root = tmp_path_factory.mktemp("begun")
    config = make_config(data, numb_steps=2, save_freq=1)
    train(config, root / "run")
    return config, root / "run"


def changed(config, folder: Path, change) -> tuple:
    """The same run on copies of its systems, the second of them changed."""
    copies = [Path(shutil.copytree(one, folder / Path(one).name))
              for one in config.training.systems]
    change(copies[1])
    systems = tuple(map(str, copies))
    training = replace(config.training, systems=systems, numb_steps=3)
    return replace(config, training=training), systems


def on_file(name, function):
    def change(folder):
        file = folder / "set.000" / f"{name}.npy"
        np.save(file, function(np.load(file)))

    return change


def swap_types(folder):
    text = (folder / "type.raw").read_text()
    (folder / "type.raw").write_text(text.translate(str.maketrans("01", "10")))


@pytest.mark.parametrize(("change", "named"), [
    (on_file("energy", lambda e: e + 100.0), "energy"),
    (on_file("force", np.negative), "force"),
    (on_file("virial", lambda v: 2 * v), "virial"),
    (on_file("coord", lambda x: x + 0.5), "coord"),
    (swap_types, "type"),
])
def test_each_change_is_named_by_system(begun, tmp_path, change, named):
    config, folder = begun
    other, systems = changed(config, tmp_path, change)
    with pytest.raises(InputError) as caught:
        train(other, tmp_path / "out", restart=folder)
    message = str(caught.value)
    assert f"not those it was trained on: {systems[1]}: {named}; expected" in message
    assert systems[0] not in message and "--allow-changed-data" in message
    assert not (tmp_path / "out").exists()
    result, lines = train(other, tmp_path / "out", restart=folder, allow_changed_data=True)
    assert result.step == 3
    assert any(line.startswith("warning: ") and f"{systems[1]}: {named}" in line for line in lines)


def test_data_that_only_moved_are_the_same(begun, tmp_path):
    config, folder = begun
    other, _ = changed(config, tmp_path, lambda folder: None)
    result, lines = train(other, tmp_path / "out", restart=folder)
    assert result.step == 3 and not any("warning" in line for line in lines)


def test_a_checkpoint_that_does_not_know_its_data(begun, tmp_path):
    config, folder = begun
    with np.load(folder / "model.ckpt-1.npz") as file:
        arrays = dict(file)
    header = json.loads(str(arrays["header"]))
    # as the program wrote them once
    del header["state"]["data"], header["digest"]
    header["format"] = "nvnmd-checkpoint-1"
    np.savez(tmp_path / "model.ckpt-1.npz", **arrays | {"header": np.array(json.dumps(header))})
    assert Checkpoint.load(tmp_path / "model.ckpt-1.npz", "cnn").step == 1
    _, lines = train(config, tmp_path / "out", restart=tmp_path / "model.ckpt-1.npz")
    assert any("does not say what data it was trained on" in line for line in lines)
