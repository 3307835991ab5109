"""Tables and frozen models of version 1: DeePMD-kit's map.npy, definitions, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from support.golden_checks import check_shared_map
from support.type_models import RCUT, RCUT_SMTH, SEL, type_config, type_weights

from nvnmd.deepmd.config import deepmd_config
from nvnmd.deepmd.files import read_dict, write_dict
from nvnmd.deepmd.tables import (
    map_folder,
    read_map,
    tables_from_map,
    tables_of_weights,
    tables_to_map,
    write_map,
)
from nvnmd.deepmd.weights import from_deepmd, to_deepmd
from nvnmd.errors import InputError, ModelFileError
from nvnmd.inputs.config import DescriptorConfig, FittingConfig
from nvnmd.mapping.build import hermite
from nvnmd.mapping.embedding import embedding_jet
from nvnmd.mapping.freeze import freeze_model
from nvnmd.quantize.model import Model, to_flt_table


@pytest.fixture
def weights():
    return type_weights(np.random.default_rng(1))


@pytest.mark.shared
def test_deepmd_kits_map(shared, tmp_path):
    check_shared_map(shared / "golden" / "v1_ni128_gete" / "nvnmd_cnn", tmp_path / "map.npy")


def test_tables_hold_no_statistics(weights):
    tables = tables_of_weights(weights, RCUT, RCUT_SMTH)
    assert (tables.version, tables.ntypes) == (1, 3)
    assert tables.u.shape == (1, 512, 2, 4) and tables.g.shape == (1, 512, 8, 4)
    assert tables.s_layout.x0 == 0.0
    assert np.all(tables.u[0, 0, :, 2:] == 0.0)
    # below rcut_smth the switch is 1: s = 1/r, h = 1/r^2
    row = np.flatnonzero(tables.u_layout.row_starts() == 0.75)[0]
    np.testing.assert_allclose(tables.u[0, row, :, 3], [0.75**-0.5, 1 / 0.75], rtol=1e-14)
    starts, ends = tables.s_layout.row_starts(), tables.s_layout.row_ends()
    (y0, p0, _), (y1, p1, _) = (embedding_jet(x, weights.embedding[0]) for x in (starts, ends))
    wanted = hermite(y0, y1, p0, p1, tables.s_layout.row_steps())
    np.testing.assert_allclose(tables.g[0], wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


def test_gains_and_their_order(weights):
    """Row ``centre * (ntypes + 1) + neighbour``, the neighbour's vector first in the net."""
    content = tables_to_map(tables_of_weights(weights, RCUT, RCUT_SMTH))
    vectors = content["t_ebd"]
    ((matrix, bias),) = weights.type_embedding
    np.testing.assert_array_equal(vectors, np.vstack([matrix + bias, np.zeros((1, 8))]))
    (w1, b1), (w2, b2) = weights.type_net
    for c in range(4):
        for nb in range(4):
            y = np.tanh(np.concatenate([vectors[nb], vectors[c]]) @ w1 + b1)
            z = np.tanh(y @ w2 + b2) + np.concatenate([y, y])
            np.testing.assert_allclose(content["gt"][4 * c + nb], 1.0 + z, rtol=1e-12)
    np.testing.assert_array_equal(content["dstd_inv"], 1.0 / weights.dstd[:, [0, 1, 1, 1]])
    assert not content["davg_opp"].any()


def test_map_round_trip_and_refusals(weights, tmp_path):
    tables = tables_of_weights(weights, RCUT, RCUT_SMTH)
    write_map(tmp_path / "map.npy", tables)
    again = read_map(tmp_path / "map.npy")
    for name in ("u", "u_grad", "g", "g_grad"):
        np.testing.assert_array_equal(getattr(again, name), getattr(tables, name))
    for name in ("vectors", "gain", "davg_opp", "dstd_inv"):
        np.testing.assert_array_equal(getattr(again.types, name), getattr(tables.types, name))
    content = tables_to_map(tables)
    for key, value, message in (
        ("gt", content["gt"][:-1], r"gt has shape \(15, 8\), expected \(16, 8\)"),
        ("davg_opp", content["davg_opp"] + 1.0, "the hardware of version 1 has no mean"),
        ("dstd_inv", content["dstd_inv"] * np.nan, "dstd_inv has a value that is not finite"),
        ("dstd_inv", content["dstd_inv"][:2], r"dstd_inv has shape \(2, 4\)"),
    ):
        with pytest.raises(ModelFileError, match=message):
            tables_from_map(content | {key: value})


def test_folder_of_either_version(weights, tmp_path):
    write_dict(tmp_path / "weight.npy", to_deepmd(weights, SEL))
    config = deepmd_config(type_config(), weights)
    write_dict(tmp_path / "config.npy", config)
    assert read_map(map_folder(tmp_path)).version == 1
    write_dict(tmp_path / "config.npy", config | {"ctrl": {"VERSION": 0}})
    with pytest.raises(ModelFileError, match=r"0, but weight\.npy holds weights of version 1"):
        map_folder(tmp_path)
    far = {**config, "dscp": {**config["dscp"], "rcut": 9.0}}
    write_dict(tmp_path / "config.npy", far)
    with pytest.raises(InputError, match=r"config\.npy: rcut: 9\.0 Å is beyond the tables"):
        map_folder(tmp_path)
    write_dict(tmp_path / "config.npy", config)
    bare = {k: v for k, v in to_deepmd(weights, SEL).items() if "filter_type" not in k}
    write_dict(tmp_path / "weight.npy", bare)
    with pytest.raises(ModelFileError, match=r"no embedding nets \(filter_type_all.matrix_1\)"):
        map_folder(tmp_path)


@pytest.mark.shared
def test_config_npy_equals_deepmd_kits(shared):
    folder = shared / "golden" / "v1_ni128_gete" / "nvnmd_cnn"
    config = type_config(
        2,
        type_map=("Ge", "Te"),
        descriptor=DescriptorConfig(sel=(128,), rcut=6.0, rcut_smth=0.5),
        fitting=FittingConfig(),
    )
    found = deepmd_config(config, from_deepmd(read_dict(folder / "weight.npy")))
    wanted = read_dict(folder / "config.npy")
    assert found == wanted and list(found) == list(wanted)
    for name, part in wanted.items():
        if isinstance(part, dict):
            assert set(found[name]) == set(part)
            assert all(type(found[name][key]) is type(value) for key, value in part.items())


def test_freeze(weights, tmp_path):
    tables = tables_of_weights(weights, RCUT, RCUT_SMTH)
    model = freeze_model(weights, tables, type_config())
    assert (model.version, model.ntypes, model.nnei, model.sel) == (1, 3, 50, SEL)
    assert model.table_u.shape[0] == model.table_g.shape[0] == model.fit_weights[0].shape[0] == 1
    np.testing.assert_array_equal(model.inv_std, to_flt_table(1.0 / weights.dstd, "inv_std"))
    np.testing.assert_array_equal(
        model.type_gain, to_flt_table(tables.types.gain[:3, :3], "type_gain")
    )
    np.testing.assert_array_equal(model.t_ebd, tables.types.vectors[:3])
    np.testing.assert_array_equal(model.tweight, weights.tweight)
    model.save(tmp_path / "model.nvnmd")
    again = Model.load(tmp_path / "model.nvnmd")
    assert again.digest == model.digest
    np.testing.assert_array_equal(again.type_net[1][0], weights.type_net[1][0])


def test_freeze_refuses_what_does_not_fit(weights):
    tables = tables_of_weights(weights, RCUT, RCUT_SMTH)
    with pytest.raises(InputError, match="type_map: names 4 types, but the weights hold 3"):
        freeze_model(weights, tables, type_config(4))
    with pytest.raises(InputError, match="version: 0, but the weights are of version 1"):
        freeze_model(weights, tables, type_config(version=0))
    per_type = DescriptorConfig(sel=(9, 9, 9), rcut=RCUT, rcut_smth=RCUT_SMTH, neuron=(4, 8))
    with pytest.raises(InputError, match="sel: 3 entries, expected one number"):
        freeze_model(weights, tables, type_config(descriptor=per_type))
    other = tables_of_weights(type_weights(np.random.default_rng(2), 2), RCUT, RCUT_SMTH)
    with pytest.raises(ModelFileError, match="tables of 2 types with weights of 3"):
        freeze_model(weights, other, type_config())
