"""What a training saw: kept in the model file, and atoms beyond it counted."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from support.golden_data import load_fixture
from support.golden_systems import write_system
from support.small_models import random_model

from nvnmd.cli.main import main
from nvnmd.errors import ModelFileError, RangeError
from nvnmd.evaluation.potential import Potential
from nvnmd.quantize.model import Model
from nvnmd.quantize.seen import Seen


def seen_of(model: Model, distance: float) -> Seen:
    n, width = model.ntypes, model.m1 * model.m2
    least = np.full((n, n), model.rcut)
    least[0, 1] = least[1, 0] = distance
    return Seen(distance=least, u=np.array([distance**2, model.rcut**2]), s=np.zeros((n, 2)),
                d=np.zeros((n, width, 2)))


@pytest.fixture
def model() -> Model:
    found = random_model(np.random.default_rng(3))
    return replace(found, seen=seen_of(found, 2.0))


def test_it_is_in_the_file_and_in_the_digest(model, tmp_path):
    model.save(tmp_path / "m.nvnmd")
    again = Model.load(tmp_path / "m.nvnmd")
    assert again.seen is not None and again.digest == model.digest
    for name in ("distance", "u", "s", "d"):
        np.testing.assert_array_equal(getattr(again.seen, name), getattr(model.seen, name))
    assert replace(model, seen=None).digest != model.digest
    assert replace(model, seen=seen_of(model, 2.0001)).digest != model.digest


def test_files_of_the_format_before_are_read(model, tmp_path):
    def rewrite(number):
        with zipfile.ZipFile(tmp_path / "m.nvnmd") as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        header = json.loads(entries["header.json"])
        entries["header.json"] = json.dumps(header | {"format": number}).encode()
        with zipfile.ZipFile(tmp_path / "other.nvnmd", "w") as archive:
            for name, data in entries.items():
                archive.writestr(name, data)

    replace(model, seen=None).save(tmp_path / "m.nvnmd")
    rewrite(1)
    assert Model.load(tmp_path / "other.nvnmd").seen is None
    rewrite(4)
    with pytest.raises(ModelFileError, match="model file format 4, this program reads"):
        Model.load(tmp_path / "other.nvnmd")


@pytest.mark.parametrize("name", ["distance", "u", "s", "d"])
def test_a_part_of_another_shape_is_refused(model, tmp_path, name):
    wrong = replace(model.seen, **{name: np.zeros((3, 3, 3))})
    replace(model, seen=wrong).save(tmp_path / "m.nvnmd")
    with pytest.raises(ModelFileError, match=f"seen.{name} has shape"):
        Model.load(tmp_path / "m.nvnmd")


@pytest.mark.parametrize("backend", ["fixed", "float"])
def test_atoms_nearer_than_in_the_training_are_marked(model, backend):
    # 0 and 1 are too near, 2 and 3 (of one type) just as near as no pair of theirs was, 4 is alone
    coord = np.array([[[0, 0, 0], [1.9, 0, 0], [20, 0, 0], [23.9, 0, 0], [40, 0, 0]]], float)
    types = [0, 1, 0, 0, 1]
    potential = Potential(model)
    found = potential.evaluate(coord, None, types, backend)
    assert found.outside.tolist() == [[True, True, True, True, False]]
    coord[0, 1, 0] = 2.1
    coord[0, 3, 0] = 60
    assert not potential.evaluate(coord, None, types, backend, strict=True).outside.any()
    coord[0, 1, 0] = 1.9
    with pytest.raises(RangeError, match=r"2 of 5 atoms .* Cu-Au 2\.000 Å: the model extrapolates"):
        potential.evaluate(coord, None, types, backend, strict=True)
    unknown = Potential(replace(model, seen=None))
    assert unknown.evaluate(coord, None, types, backend).outside is None


def test_the_command_warns_or_refuses(tmp_path, capsys):
    run = load_fixture(128)
    folder = write_system(tmp_path / "s", run)
    for distance, outside in ((1.0, False), (3.5, True)):
        n = run.model.ntypes
        seen = replace(seen_of(run.model, distance), distance=np.full((n, n), distance))
        replace(run.model, seen=seen).save(tmp_path / "m.nvnmd")
        words = ["test", "-m", str(tmp_path / "m.nvnmd"), "-s", str(folder)]
        assert main(words) == 0
        err = capsys.readouterr().err
        assert ("have a neighbour nearer than any in the training" in err) == outside
        assert err.count("\n") == outside
        assert main([*words, "--strict"]) == (1 if outside else 0)
        err = capsys.readouterr().err
        assert err.startswith("nvnmd: error: ") == outside
