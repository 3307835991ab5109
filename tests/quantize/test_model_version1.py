"""The model file of version 1; that of version 0 is as before."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from support.golden_data import load_fixture
from support.random_type_models import random_type_model

from nvnmd.errors import RangeError
from nvnmd.quantize.model import Model


@pytest.fixture
def model():
    return random_type_model(np.random.default_rng(2), 5)


def flatten(value):
    """Arrays within nested tuples, in order."""
    if isinstance(value, tuple):
        return [x for part in value for x in flatten(part)]
    return [value]


def test_file_round_trip(model, tmp_path):
    model.save(tmp_path / "m.nvnmd")
    again = Model.load(tmp_path / "m.nvnmd")
    assert again.digest == model.digest
    for field in fields(Model):
        pairs = zip(
            flatten(getattr(again, field.name)), flatten(getattr(model, field.name)), strict=True
        )
        for found, expected in pairs:
            assert np.array_equal(found, expected), field.name
    assert (again.ntypes, again.nnei, again.m1, again.width) == (5, 24, 8, 16)


@pytest.mark.parametrize("name", ["inv_std", "type_gain", "t_ebd", "tweight"])
def test_every_type_array_counts(model, name):
    changed = getattr(model, name).copy()
    changed.flat[-1] *= 1.5
    assert replace(model, **{name: changed}).digest != model.digest
    with pytest.raises(ValueError, match=name):
        replace(model, **{name: None})


def test_type_terms(model):
    expected = model.t_ebd @ model.tweight
    assert model.type_terms.shape == (5, 16)
    assert np.abs(model.type_terms - expected).max() <= 2.0**-24
    assert np.array_equal(model.type_terms * 2**23, np.rint(expected * 2**23))


def test_gain_out_of_range(model, tmp_path):
    with pytest.raises(RangeError, match="type_gain"):
        replace(model, type_gain=model.type_gain * 2.0**130).save(tmp_path / "m.nvnmd")


def test_version_0_keeps_its_digest():
    """Of a committed fixture, as it was before version 1 existed."""
    model = load_fixture(128).model
    assert model.digest == "2e4a7022531485c65b8630a8074284b0c6c5fad59f6c52b65ccf3bcd40d8e104"
    with pytest.raises(ValueError, match="version 0"):
        replace(model, tweight=np.zeros((8, 128)))
