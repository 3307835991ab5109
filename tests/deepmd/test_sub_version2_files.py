"""Files of version 1, SUB_VERSION 2: DeePMD-kit's bytes, run folders, short and mixed files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.exchange_models import wide_model
from support.golden_checks import assert_same_bits, neighbours_of
from support.sub2_golden import FOLDER, RUN, arrays, golden_frames, golden_model, part, stored_map
from support.sub2_models import older_file, random_slots, wide_switched

from nvnmd.deepmd.export import export_deepmd
from nvnmd.deepmd.files import read_dict, write_dict
from nvnmd.deepmd.importer import import_model
from nvnmd.deepmd.modelpb import block_sizes, decode_model, encode_model, write_modelpb
from nvnmd.deepmd.tables import tables_of_weights, tables_to_map
from nvnmd.deepmd.weights import from_deepmd
from nvnmd.errors import InputError, ModelFileError
from nvnmd.mapping.build import build_g_tables, least_s
from nvnmd.network.model import predict_float
from nvnmd.quantize.compiled.model import evaluator
from nvnmd.quantize.model import Model
from nvnmd.quantize.reference import evaluate_atoms
from nvnmd.quantize.table_layout import s_layout
from nvnmd.reports.info import describe

HEIGHTS = {
    "vu9p": [128, 12544, 12544, 6144, 6144, 128, 65536, 65536, 32768, 4096],
    "vu13p": [128, 12512, 12512, 6144, 6144, 128, 65536, 65536, 32768, 4096],
}
BYTES = {"vu9p": 1024512, "vu13p": 1023744}


@pytest.fixture
def golden(shared):
    folder = shared / "golden"
    if not (folder / FOLDER).is_dir():
        pytest.skip("no golden run of SUB_VERSION 2")
    return folder


@pytest.mark.shared
def test_bytes_are_deepmd_kits(golden):
    model = golden_model(golden)
    wanted = arrays(golden / FOLDER / f"{RUN}.npz")["model_pb"].tobytes()
    assert encode_model(model) == wanted
    found = decode_model(wanted, type_map=model.type_map)
    assert encode_model(found) == wanted
    for name in ("table_u", "table_u_grad", "table_g", "table_g_grad", "inv_std", "minus_avg",
                 "type_gain"):
        np.testing.assert_array_equal(getattr(found, name), getattr(model, name), err_msg=name)
    assert found.s_layout == model.s_layout and found.sub_version == 2


@pytest.mark.shared
def test_the_decoded_file_lies_where_the_page_says(golden):
    """0.28 meV/atom and 1.6e-4 eV/Å from the run: weights of 16 bits, a machine's products."""
    model, frame = golden_model(golden), golden_frames(golden, RUN)[0]
    near = neighbours_of(model, frame)
    found = decode_model(encode_model(model))
    energy, forces = evaluator(found)(near)
    shift = (energy - frame.qnn["atom_energy"][near.order]).mean()
    error = forces.force - frame.qnn["force"][near.order]
    assert abs(shift - 2.8e-4) < 1e-5
    assert abs(np.sqrt((error**2).mean()) - 1.6e-4) < 5e-6


@pytest.mark.shared
def test_a_run_folder_of_deepmd_kit(golden, tmp_path):
    """The run's arrays under the names it has them, then evaluated, and written again."""
    data = arrays(golden / FOLDER / f"{RUN}.npz")
    setting = {name: value.item() for name, value in part(data, "cfg_").items()}
    dscp = ("sel", "rcut", "rcut_smth", "dmin", "smin", "smax", "ntype", "NIX", "NSTEP", "NI",
            "NIDP")
    ctrl = ("MAX_NNEI", "NSTDM", "VERSION", "SUB_VERSION")
    config = {
        "dscp": {"neuron": [8, 16, 32], "axis_neuron": 4} | {k: setting[k] for k in dscp},
        "ctrl": {k: setting[k] for k in ctrl}, "dpin": {"type_map": ["Ge", "Te"]},
    }
    for stage in ("cnn", "qnn"):
        folder = tmp_path / f"nvnmd_{stage}"
        folder.mkdir()
        weights = part(data, f"{stage}_w_")
        for name in ("descrpt_attr.t_avg", "descrpt_attr.t_std"):
            # one row of four columns stands for all slots in the golden file
            weights[name] = np.tile(weights[name], (1, setting["sel"]))
        write_dict(folder / "weight.npy", weights)
        write_dict(folder / "config.npy", config)
    write_dict(tmp_path / "nvnmd_cnn" / "map.npy", stored_map(data))
    model = import_model(tmp_path)
    frame = golden_frames(golden, RUN)[0]
    near = neighbours_of(model, frame)
    energy, forces = evaluator(model)(near)
    assert_same_bits(energy, frame.qnn["atom_energy"][near.order], "atomic energies")
    assert_same_bits(forces.force, frame.qnn["force"][near.order], "forces")
    assert encode_model(model) == data["model_pb"].tobytes()
    model.save(tmp_path / "m.nvnmd")
    assert Model.load(tmp_path / "m.nvnmd").digest == model.digest
    export_deepmd(model, tmp_path / "again")
    for stage in ("cnn", "qnn"):
        one, two = (read_dict(root / f"nvnmd_{stage}" / "weight.npy")
                    for root in (tmp_path, tmp_path / "again"))
        assert list(one) == list(two)
        for name, values in one.items():
            np.testing.assert_array_equal(two[name], values, err_msg=name)
    one, two = (read_dict(root / "nvnmd_cnn" / "map.npy")
                for root in (tmp_path, tmp_path / "again"))
    for name, values in one.items():
        np.testing.assert_array_equal(np.asarray(two[name]), np.asarray(values), err_msg=name)


@pytest.mark.shared
def test_tables_and_float_network(golden):
    """Tables from the run's nets; the float graph's energies, forces and virials."""
    data = arrays(golden / FOLDER / f"{RUN}.npz")
    model, stored = golden_model(golden), stored_map(data)
    weights = from_deepmd(part(data, "cnn_w_"), sub_version=2)
    made = tables_to_map(tables_of_weights(weights, model.rcut, model.rcut_smth))
    assert list(made) == list(stored)
    assert made["cfg_s2g"] == stored["cfg_s2g"] and made["cfg_u2s"] == stored["cfg_u2s"]
    for key in ("t_ebd", "gt", "davg_opp", "dstd_inv"):
        assert np.abs(made[key] - stored[key]).max() <= 1e-14, key
    for key in ("s", "s_grad", "h", "h_grad", "k", "k_grad", "g", "g_grad"):
        for column in (2, 3):
            one, two = (table[key][0][:, column::4] for table in (made, stored))
            assert np.abs(one - two).max() <= 4e-15 * np.abs(two).max(), (key, column)
    for frame in golden_frames(golden, RUN):
        found = predict_float(weights, frame.coord, frame.box, frame.types, sel=model.sel,
                              rcut=model.rcut, rcut_smth=model.rcut_smth)
        assert np.abs(found.atom_energy - frame.cnn["atom_energy"]).max() <= 3e-13
        assert np.abs(found.force - frame.cnn["force"]).max() <= 1e-12


@pytest.mark.parametrize(("device", "sel"), [("vu9p", 128), ("vu13p", 160), ("vu13p", 256)])
def test_files_of_random_models(device, sel, tmp_path):
    """Heights, bytes, the words of `cfg`, and a second trip that changes nothing."""
    model = wide_switched(device, sel)
    assert [rows for rows, _ in block_sizes(model).values()] == HEIGHTS[device]
    data = encode_model(model)
    assert len(data) == BYTES[device]
    found = decode_model(data, type_map=model.type_map)
    assert encode_model(found) == data
    word = int.from_bytes(data[512:516], "little")
    units = {"vu9p": 64, "vu13p": 32}[device]
    assert word & 0x1FF == round(-256 * model.s_layout.x0)
    assert word >> 9 & 0xFF == -model.nix_shift & 0xFF
    assert word >> 17 & 0xFF == (sel - 128) * units // 128
    atoms = random_slots(np.random.default_rng(0), model, 4, 3.5)
    trace = evaluate_atoms(found, *atoms)
    mine = evaluate_atoms(model, *atoms, "machine")
    assert_same_bits(trace.gr, mine.gr, "GR from the file's words")
    write_modelpb(tmp_path / "model.pb", model)
    facts = describe(tmp_path / "model.pb")
    assert (facts["sub_version"], facts["layout"], facts["device"]) == (2, "full", device)
    assert facts["tables"]["s"]["segments"][1]["step"] == 0.125


def test_weights_above_two(tmp_path):
    """The last layer's exponent stands as often as a unit has columns; older files hold it once."""
    model = wide_switched("vu13p", 160)
    last = model.fit_weights[-1] * 40.0
    model = replace(model, fit_weights=(*model.fit_weights[:-1], last))
    data = encode_model(model)
    once = encode_model(replace(model, origin={**model.origin, "last_exponents": 1}))
    assert once != data and len(once) == len(data)
    for file in (data, once):
        assert encode_model(decode_model(file)) == file


def test_slots_that_the_format_has_not():
    with pytest.raises(InputError, match=r"128, 160, 192, 224, 256 slots, this model has 150"):
        encode_model(wide_switched("vu9p", 150))


def test_run_folder(tmp_path):
    """Out and in again: tables, weights, settings, words."""
    model = wide_switched("vu13p", 160)
    export_deepmd(model, tmp_path)
    config = read_dict(tmp_path / "nvnmd_qnn" / "config.npy")
    assert (config["ctrl"]["VERSION"], config["ctrl"]["SUB_VERSION"]) == (1, 2)
    assert (config["ctrl"]["MAX_NNEI"], config["ctrl"]["NSTDM"]) == (256, 32)
    assert (config["dscp"]["NSTEP"], config["dscp"]["NI"], config["fitn"]["seed"]) == (8, 160, 1)
    assert config["nbit"]["NBIT_NSTEP"] == 8 and config["size"]["NH_DATA"] == HEIGHTS["vu13p"]
    again = import_model(tmp_path)
    assert again.origin["device"] == "vu13p" and again.sub_version == 2
    atoms = random_slots(np.random.default_rng(1), model, 6, 3.5)
    for mode in ("graph", "machine"):
        one, two = (evaluate_atoms(m, *atoms, mode) for m in (model, again))
        assert_same_bits(two.deriv, one.deriv, mode)
        assert_same_bits(two.atom_energy, one.atom_energy, mode)
    assert (tmp_path / "nvnmd_qnn" / "model.pb").read_bytes() == encode_model(again)
    tables = read_dict(tmp_path / "nvnmd_cnn" / "map.npy")
    assert list(tables)[2:10] == ["s", "s_grad", "h", "h_grad", "k", "k_grad", "g", "g_grad"]
    np.testing.assert_array_equal(tables["davg_opp"][:, 0], -model.davg[:, 0])


@pytest.mark.parametrize("kind", ["short", "mixed"])
def test_files_that_lack_something(kind, tmp_path):
    """Named, listed, and not computed with."""
    model = wide_switched()
    path = tmp_path / "model.pb"
    path.write_bytes(older_file(model, kind))
    with pytest.raises(ModelFileError) as caught:
        import_model(path)
    text = str(caught.value)
    assert "\n" not in text and f"a {kind} model.pb of SUB_VERSION 2" in text
    for word in ("tables of k", "means of s", "info"):
        assert word in text
    assert ("start of its G table" in text) == (kind == "short")
    facts = describe(path)
    assert facts["layout"] == kind and facts["types"] == 9 and facts["sel"] == [128]
    assert facts["ranges"]["table G"] == np.abs(model.table_g).max()
    assert facts["ranges"]["statistics"] == np.abs(model.inv_std).max()
    assert ("start_of_g" in facts) == (kind == "mixed")
    if kind == "mixed":
        assert facts["start_of_g"] == model.s_layout.x0


def test_the_start_of_the_g_table():
    """floor(256*smin - 1)/256: one step below the node, not on it."""
    model = wide_switched()
    smin = float(np.min(-model.davg[:, 0] / model.dstd[:, 0]))
    assert model.s_layout.x0 == np.floor(256 * smin - 1) / 256 < np.floor(256 * smin) / 256 < 0


def test_version_0_with_coarse_rows_of_an_eighth():
    """The newest programs write such files of version 0; nothing in the head says so."""
    model = wide_model("v0-128")
    layout, g, g_grad = build_g_tables(model.embedding, least_s(model.davg, model.dstd), 0.125)
    wide = replace(model, s_layout=layout, table_g=_words(g), table_g_grad=_words(g_grad))
    data = encode_model(wide)
    assert data[:512] == encode_model(model)[:512]
    assert decode_model(data).s_layout == s_layout(layout.x0, 0.125)
    assert decode_model(encode_model(model)).s_layout == model.s_layout


def _words(table):
    from nvnmd.quantize.model import to_flt_table

    return to_flt_table(table, "G")
