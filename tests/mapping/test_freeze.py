"""map.npy and the frozen model: round trips, refusals, the reference data."""

from __future__ import annotations

import numpy as np
import pytest
from support.small_models import random_weights, small_config

from nvnmd.deepmd.files import read_dict, write_dict
from nvnmd.deepmd.tables import (
    map_folder,
    read_map,
    tables_from_map,
    tables_of_weights,
    tables_to_map,
    write_map,
)
from nvnmd.deepmd.weights import to_deepmd
from nvnmd.errors import InputError, ModelFileError
from nvnmd.inputs.config import FittingConfig
from nvnmd.mapping.freeze import freeze_model
from nvnmd.quantize.model import Model

TABLES = ("u", "u_grad", "g", "g_grad")


@pytest.fixture
def weights():
    return random_weights(np.random.default_rng(5))


def test_map_round_trip(weights, tmp_path):
    tables = tables_of_weights(weights, 4.0, 1.0)
    write_map(tmp_path / "map.npy", tables)
    again = read_map(tmp_path / "map.npy")
    assert again.u_layout == tables.u_layout and again.s_layout == tables.s_layout
    for name in TABLES:
        np.testing.assert_array_equal(getattr(again, name), getattr(tables, name))


def test_map_refusals(weights):
    content = tables_to_map(tables_of_weights(weights, 4.0, 1.0))
    with pytest.raises(ModelFileError, match="'h_grad' is missing"):
        tables_from_map({k: v for k, v in content.items() if k != "h_grad"})
    with pytest.raises(ModelFileError, match="h has shape"):
        tables_from_map(content | {"h": [t[:-1] for t in content["h"]]})
    with pytest.raises(ModelFileError, match="not finite"):
        tables_from_map(content | {"s": [t * np.nan for t in content["s"]]})
    with pytest.raises(ModelFileError, match="'t_ebd' is missing"):
        tables_from_map(content | {"gt": np.zeros(3)})


def test_map_folder(weights, tmp_path):
    config = {"dscp": {"rcut": 4.0, "rcut_smth": 1.0, "dmin": 0.0}, "ctrl": {"VERSION": 0}}
    write_dict(tmp_path / "config.npy", config)
    write_dict(tmp_path / "weight.npy", to_deepmd(weights, (12, 12)))
    written = map_folder(tmp_path)
    assert written == tmp_path / "map.npy"
    tables, again = tables_of_weights(weights, 4.0, 1.0), read_map(written)
    for name in TABLES:
        np.testing.assert_array_equal(getattr(again, name), getattr(tables, name))
    write_dict(tmp_path / "config.npy", config | {"ctrl": {"VERSION": 1}})
    with pytest.raises(ModelFileError, match=r"but weight\.npy holds weights of version 0"):
        map_folder(tmp_path)
    write_dict(tmp_path / "config.npy", {"ctrl": {"VERSION": 0}})
    with pytest.raises(ModelFileError, match=r"config.npy: no usable value of 'dscp'"):
        map_folder(tmp_path)
    write_dict(tmp_path / "config.npy", config)
    bare = {k: v for k, v in to_deepmd(weights, (12, 12)).items() if "filter_type" not in k}
    write_dict(tmp_path / "weight.npy", bare)
    with pytest.raises(ModelFileError, match="no embedding nets"):
        map_folder(tmp_path)


def test_freeze_round_trip(weights, tmp_path):
    model = freeze_model(weights, tables_of_weights(weights, 4.0, 1.0), small_config())
    assert (model.ntypes, model.m1, model.m2, model.width, model.nnei) == (2, 8, 2, 16, 24)
    model.save(tmp_path / "model.nvnmd")
    again = Model.load(tmp_path / "model.nvnmd")
    assert again.digest == model.digest
    np.testing.assert_array_equal(again.table_g, model.table_g)
    np.testing.assert_array_equal(again.fit_weights[1], weights.fit_weights[1])


def test_freeze_refuses_what_does_not_fit(weights):
    tables = tables_of_weights(weights, 4.0, 1.0)
    with pytest.raises(InputError, match="type_map: names 3 types, but the weights hold 2"):
        freeze_model(weights, tables, small_config(3))
    with pytest.raises(InputError, match="fitting layer 0"):
        freeze_model(weights, tables, small_config(fitting=FittingConfig(neuron=(17, 17))))
    with pytest.raises(InputError, match="fitting_net/neuron: 1 hidden"):
        freeze_model(
            random_weights(np.random.default_rng(0), width=1),
            tables,
            small_config(fitting=FittingConfig(neuron=(1,))),
        )
    with pytest.raises(InputError, match="version: 1, but the weights are of version 0"):
        freeze_model(weights, tables, small_config(version=1))


@pytest.mark.shared
def test_reference_folder_gives_the_same_map_layout(shared, tmp_path):
    folder = shared / "golden" / "v0_ni128_gete" / "nvnmd_cnn"
    written = read_dict(map_folder(folder, tmp_path / "map.npy"))
    reference = read_dict(folder / "map.npy")
    assert list(written) == list(reference)
    for key, value in reference.items():
        if key.startswith("cfg"):
            assert written[key] == value
        else:
            assert [t.shape for t in written[key]] == [t.shape for t in value]
            np.testing.assert_allclose(
                np.stack(written[key])[..., 3::4], np.stack(value)[..., 3::4], rtol=0, atol=1e-11
            )
