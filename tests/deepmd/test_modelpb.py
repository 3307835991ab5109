"""`model.pb`: DeePMD-kit's bytes, round trips, and refusal of damaged files."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest
from support.exchange_models import CASES, wide_model

from nvnmd.deepmd.export import export_deepmd
from nvnmd.deepmd.importer import import_model
from nvnmd.deepmd.modelpb import (
    decode_model,
    encode_model,
    energy_shifts,
    read_modelpb,
    write_modelpb,
)
from nvnmd.deepmd.modelpb_bits import cut_rows, fit, from_bits, pack_rows, to_bits, unpack_rows
from nvnmd.deepmd.modelpb_blocks import Geometry, quantize
from nvnmd.deepmd.modelpb_head import HEAD_WORDS
from nvnmd.errors import InputError, ModelFileError, RangeError
from nvnmd.quantize.model import Model

GOLDEN = ("v0_ni128_gete", "v1_ni128_gete")
HEIGHTS = {
    (0, 128): [229, 50176, 50176, 4096, 4096, 32768, 32768],
    (0, 256): [229, 50688, 50688, 4096, 4096, 32768, 32768],
    (1, 128): [128, 12544, 12544, 4096, 4096, 64, 65536, 65536, 32768, 4096],
    (1, 256): [128, 12672, 12672, 4096, 4096, 64, 65536, 65536, 32768, 4096],
}
BIG_WEIGHTS = 300.0


@pytest.mark.shared
@pytest.mark.parametrize("name", GOLDEN)
def test_bytes_are_deepmd_kits(shared, name, tmp_path):
    """From the run's weights and tables, and from its own model.pb."""
    wanted = (shared / "golden" / name / "nvnmd_qnn" / "model.pb").read_bytes()
    model = import_model(shared / "golden" / name)
    assert encode_model(model) == wanted
    model.save(tmp_path / "m.nvnmd")
    assert encode_model(Model.load(tmp_path / "m.nvnmd")) == wanted
    again = read_modelpb(shared / "golden" / name / "nvnmd_qnn" / "model.pb", ["Ge", "Te"])
    again.save(tmp_path / "p.nvnmd")
    loaded = Model.load(tmp_path / "p.nvnmd")
    assert encode_model(loaded) == wanted and loaded.digest == again.digest
    assert loaded.origin["format"] == "model.pb" and loaded.origin["weight_fraction_bits"] == 16
    assert loaded.embedding == () and loaded.davg.shape == (0, 2)


@pytest.mark.parametrize(("version", "capacity"), HEIGHTS)
def test_block_heights(version, capacity):
    blocks = Geometry(version, capacity).blocks
    assert [height for height, _ in blocks.values()] == HEIGHTS[version, capacity]


@pytest.mark.parametrize("case", CASES)
def test_round_trip(case, tmp_path):
    """Tables come back whole, weights cut to 16 bits; a second trip changes nothing."""
    model = wide_model(case)
    write_modelpb(tmp_path / "model.pb", model)
    found = read_modelpb(tmp_path / "model.pb", model.type_map)
    for name in ("version", "type_map", "sel", "max_nnei", "rcut", "u_layout", "s_layout"):
        assert getattr(found, name) == getattr(model, name), name
    for name in ("table_u", "table_u_grad", "table_g", "table_g_grad"):
        np.testing.assert_array_equal(getattr(found, name), getattr(model, name), err_msg=name)
    for one, two in zip(model.fit_weights, found.fit_weights, strict=True):
        coarse = 2.0 ** np.maximum(np.ceil(np.log2(np.abs(one).max() + 1e-300)) - 17, -16)
        lost = np.abs(one) - np.abs(two)
        assert lost.min() >= 0 and 0 < lost.max() < coarse
        assert np.all(one * two >= 0)
    for one, two in zip(model.fit_biases[:-1], found.fit_biases[:-1], strict=True):
        assert np.abs(one - two).max() <= 2.0**-24
    total = model.t_bias_atom_e + model.fit_biases[-1][:, 0]
    assert np.abs(found.t_bias_atom_e - total).max() <= 2.0**-24 * 2 ** energy_shifts(model)[1]
    assert not found.fit_biases[-1].any()
    if model.version:
        np.testing.assert_array_equal(found.inv_std, model.inv_std)
        np.testing.assert_array_equal(found.type_gain, model.type_gain)
        np.testing.assert_array_equal(found.type_terms, np.rint(
            model.t_ebd @ model.tweight * 2.0**23) * 2.0**-23)  # fmt: skip
    data = (tmp_path / "model.pb").read_bytes()
    assert encode_model(found) == data
    assert decode_model(data, type_map=model.type_map).digest == found.digest


def test_weights_that_need_exponents():
    """Rows and columns with different exponents: of each weight the finer of two copies returns."""
    model = wide_model("v0-128")
    rng = np.random.default_rng(4)
    scale = 2.0 ** rng.integers(0, 7, 128)
    weights = (model.fit_weights[0] * scale[None, :, None] * scale[None, None, ::-1] / 64,)
    big = replace(model, fit_weights=(*weights, *model.fit_weights[1:]))
    found = decode_model(encode_model(big))
    rows, columns = (np.floor(np.log2(np.abs(big.fit_weights[0]).max(axis=a))) for a in (2, 1))
    finer = np.maximum(np.minimum(rows[:, :, None], columns[:, None, :]), 0)
    lost = np.abs(big.fit_weights[0]) - np.abs(found.fit_weights[0])
    assert finer.max() >= 2 and lost.min() >= 0
    assert np.all(lost < 2.0 ** (finer - 16))
    assert encode_model(found) == encode_model(big)


def test_energy_just_above_a_power_of_two():
    """Its stored word is the power itself, which alone would choose a smaller exponent."""
    model = wide_model("v0-256")
    last = (*model.fit_biases[:-1], np.zeros_like(model.fit_biases[-1]))
    model = replace(model, fit_biases=last, t_bias_atom_e=np.array([-256.0 - 1e-9]))
    words, exponent = energy_shifts(model)
    assert exponent == 1 and words.tolist() == [-(2**30)]
    found = decode_model(encode_model(model))
    assert found.t_bias_atom_e.tolist() == [-256.0]
    assert encode_model(found) == encode_model(model)


def test_quantize_against_plain_arithmetic():
    rng = np.random.default_rng(3)
    w = rng.normal(size=(128, 5)) * [1e-6, 0.3, 1.0, 3.9, 60.0]
    mantissa, exponent = quantize(w, 0)
    assert exponent.tolist()[0] == 0 and exponent.max() >= 7
    for column in range(5):
        e = max(0, int(np.floor(np.log2(np.abs(w[:, column]).max()))))
        assert exponent[column] == e
        for row in range(0, 128, 17):
            magnitude = int(abs(w[row, column]) * 2 ** (16 - e))
            assert mantissa[row, column] == (magnitude if w[row, column] > 0 else -magnitude)


@pytest.mark.parametrize("width", [1, 3, 9, 18, 29, 32])
@pytest.mark.parametrize("signed", [False, True])
def test_bits(width, signed):
    rng = np.random.default_rng(width)
    low, high = (-(2 ** (width - 1)), 2 ** (width - 1)) if signed else (0, 2**width)
    values = rng.integers(low, high, (6, 7))
    bits = to_bits(values, width)
    assert bits.shape == (6, 7 * width)
    np.testing.assert_array_equal(from_bits(bits, width, signed=signed), values)
    whole = sum(int(v) % 2**width << width * i for i, v in enumerate(values[2]))
    assert sum(int(b) << i for i, b in enumerate(bits[2])) == whole
    rows = cut_rows(bits, 72)
    data = pack_rows(rows)
    assert len(data) == len(rows) * 12
    assert int.from_bytes(data[:12], "little") == int.from_bytes(pack_rows(rows[:1]), "little")
    np.testing.assert_array_equal(unpack_rows(data, 72), rows)


def test_numbers_that_do_not_fit():
    assert fit([2.5, 3.5, -2.5], 4, what="x").tolist() == [2, 4, -2]
    for values, signed in (([8], True), ([-8], True), ([-1], False), ([np.nan], True)):
        with pytest.raises(RangeError, match=r"x: .* does not fit the 4 bits of model\.pb"):
            fit(values, 4, what="x", signed=signed)
    model = wide_model("v0-256")
    weights, biases = model.fit_weights, model.fit_biases
    cases = {
        "bias of the fitting net": {"fit_biases": (biases[0] + 64, *biases[1:])},
        "exponent of a fitting weight": {"fit_weights": (weights[0] + BIG_WEIGHTS, *weights[1:])},
        "rcut": {"rcut": 600.0},
    }
    for words, change in cases.items():
        with pytest.raises(RangeError, match=words):
            encode_model(replace(model, **change))


def test_models_of_other_sizes(tmp_path):
    model = wide_model("v0-256")
    weights, biases = model.fit_weights, model.fit_biases
    cases = {
        "fitting layers": {"fit_weights": weights[1:], "fit_biases": biases[1:]},
        "axis neurons": {"axis_neuron": 2},
        "256 neighbours, this model has 1 and 64": {"max_nnei": 64},
    }
    for words, change in cases.items():
        for export in (encode_model, lambda other: export_deepmd(other, tmp_path / "run")):
            with pytest.raises(InputError, match=words):
                export(replace(model, **change))
    assert not list(tmp_path.iterdir())


def edited(data: bytes, word: int, value: int) -> bytes:
    return data[: 4 * word] + struct.pack("<I", value & 0xFFFFFFFF) + data[4 * word + 4 :]


def refuse(tmp_path, data: bytes, *words: str) -> None:
    path = tmp_path / "model.pb"
    path.write_bytes(data)
    for read in (read_modelpb, import_model):
        with pytest.raises(ModelFileError) as caught:
            read(path)
        message = str(caught.value)
        assert "\n" not in message and message.startswith(f"{path}: ")
        for word in words:
            assert word in message


def test_damaged_files(tmp_path):
    """Cut, changed, or of another kind: one line each."""
    model = wide_model("v0-256")
    data = encode_model(model)
    first = data[:4]
    assert first == struct.pack("<I", 0 + 256 + 65536 * 256)
    refuse(tmp_path, b"", "too short")
    refuse(tmp_path, data[:500], "too short")
    refuse(tmp_path, data[:-1], "its head asks for")
    refuse(tmp_path, data[:600], "its head asks for")
    refuse(tmp_path, data + b"\0", "its head asks for")
    refuse(tmp_path, b"\n\x10" + b"graph" * 1000, "not a model.pb")
    refuse(tmp_path, edited(data, 0, 2 + 256 + (256 << 16)), "not a model.pb")
    refuse(tmp_path, edited(data, 0, 256 + (64 << 16)), "not a model.pb")
    refuse(tmp_path, edited(data, 1, 129), "not a model.pb")
    refuse(tmp_path, edited(data, 0, 512 + (256 << 16)), "SUB_VERSION 2")
    refuse(tmp_path, edited(data, 0, 768 + (256 << 16)), "SUB_VERSION 3")
    # claims of the head: heights, widths, types, sel, exponent
    refuse(tmp_path, edited(data, 2, 1 << 30), "block sizes")
    refuse(tmp_path, edited(data, 9, 1 << 30), "block sizes")
    refuse(tmp_path, edited(data, 17, 0), "0 types")
    refuse(tmp_path, edited(data, 17, 5), "5 types")
    refuse(tmp_path, edited(data, 18, 512), "sel [512]")
    refuse(tmp_path, edited(data, 18, 0), "sel [0]")
    refuse(tmp_path, edited(data, 20, 1 << 20), "energy exponent")
    refuse(tmp_path, edited(data, 100, 1), "head, word 100")
    refuse(tmp_path, edited(data, 18, 200), "cfg, row 0")
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_modelpb(tmp_path / "none.pb")
    with pytest.raises(InputError, match="holds 1 types, the type map names 2"):
        decode_model(data, type_map=["A", "B"])


def test_a_newer_file_of_version_1_is_recognised(tmp_path):
    """SUB_VERSION 2 at 256 neighbours has other heights; its number is looked at first."""
    heights = [128, 12544, 12544, 4096, 4096, 64, 65536, 65536, 32768, 4096]
    words = [1 + (2 << 8) + (256 << 16), 128, *heights]
    head = np.zeros(HEAD_WORDS, dtype="<u4")
    head[: len(words)] = words
    refuse(tmp_path, head.tobytes() + bytes(1000), "SUB_VERSION 2", "arithmetic differs")


@pytest.mark.parametrize("case", ["v0-256", "v1-128"])
def test_contradictions_are_found(case, tmp_path):
    """Bits that the format does not use, and copies that disagree: the block is named."""
    model = wide_model(case)
    data = encode_model(model)
    position = HEAD_WORDS * 4
    seen = []
    for name, (height, width) in Geometry(model.version, model.max_nnei).blocks.items():
        row = -(-width // 32) * 4
        broken = bytearray(data)
        broken[position + row - 1] |= 0x80  # above the row's top bit
        refuse(tmp_path, bytes(broken), f"block {name}, row 0")
        position += height * row
        seen.append(name)
    assert position == len(data) and len(seen) == (10 if model.version else 7)
    # the backward copy of one weight differs from the forward one
    before = list(Geometry(model.version, model.max_nnei).blocks.values())[:2]
    position = HEAD_WORDS * 4 + sum(h * -(-w // 32) * 4 for h, w in before)
    broken = bytearray(data)
    broken[position] ^= 1
    refuse(tmp_path, bytes(broken), "contradicts the rest of the file")
