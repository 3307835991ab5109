"""Model files, weight files and checkpoints that claim what they do not hold: one line each."""

from __future__ import annotations

import json
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from support.npy_bytes import npy
from support.random_type_models import random_type_model
from support.small_models import random_model, random_weights

from nvnmd.errors import ModelFileError
from nvnmd.network.weights import FloatWeights
from nvnmd.npy_archive import MAX_BYTES, MAX_ENTRY_BYTES, parse_npy
from nvnmd.quantize.model import Model
from nvnmd.quantize.model_parts import digest_of
from nvnmd.training.checkpoint import Checkpoint


@pytest.fixture(params=[0, 1])
def file(request, tmp_path):
    rng = np.random.default_rng(1)
    model = random_type_model(rng, 3) if request.param else random_model(rng)
    model.save(tmp_path / "m.nvnmd")
    return tmp_path / "m.nvnmd"


def refuse(path, *words, load=Model.load) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError) as caught:
            load(path)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert "\n" not in message and message.startswith(f"{path}: ")
    for word in words:
        assert word in message


def entries_of(path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path, entries: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


def forge(path, edit) -> None:
    """Edit header and arrays, and give the file a digest that fits them."""
    entries = entries_of(path)
    document = json.loads(entries.pop("header.json"))
    arrays = {name[:-4]: parse_npy(data, name) for name, data in entries.items()}
    edit(document["model"], arrays)
    document["digest"] = digest_of(document["model"], arrays)
    write(path, {"header.json": json.dumps(document).encode()})
    with zipfile.ZipFile(path, "a") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as entry:
                np.lib.format.write_array(entry, array)




@pytest.mark.parametrize(
    ("data", "words"),
    [
        (npy("(1000000000000,)"), "claims the shape (1000000000000,) of float64, but 0 bytes"),
        (npy("(4294967296, 4294967296)", bytes(8)), "claims the shape"),
        (npy("(-1,)"), "claims the shape"),
        (npy("(1,)", bytes(8), "|O"), "holds object"),
        (npy("(1,)", bytes(8), "|V8"), "holds"),
        (npy("(2,)", bytes(15)), "but 15 bytes follow"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f", "EOF"),
        (b"text", "magic"),
    ],
)
def test_claims_of_an_array(file, data, words):
    entries = entries_of(file)
    write(file, entries | {"davg.npy": data})
    refuse(file, "not a whole model file", words)


def test_the_forge_itself(file):
    """Nothing edited, nothing refused."""
    before = Model.load(file).digest
    forge(file, lambda header, arrays: None)
    assert Model.load(file).digest == before


def put(name, value):
    def edit(header, arrays):
        target = header if name in header else arrays
        if value is None:
            del target[name]
        else:
            target[name] = value

    return edit


def more_rows(header, arrays):
    header["layouts"]["u"]["segments"][0][2] = 10**12


@pytest.mark.parametrize(
    "edit",
    [
        more_rows,
        put("version", 3),
        put("version", "0"),
        put("type_map", []),
        put("type_map", [1, 2]),
        put("type_map", ["Cu"] * 10**5),
        put("sel", [10**12]),
        put("sel", []),
        put("sel", [0.5, 1]),
        put("rcut", "nan"),
        put("rcut", "0x1p9999"),
        put("rcut", 5),
        put("axis_neuron", -1),
        put("layouts", {}),
        put("layouts", []),
        put("fitting_layers", 10**9),
        put("fitting_layers", "x"),
        put("embedding_layers", [9]),
        put("origin", None),
        put("table_u", None),
        put("table_g", np.zeros((2, 2), np.uint32)),
        put("t_bias_atom_e", np.zeros(9)),
        put("fit_w0", np.zeros((2, 3, 4))),
        put("fit_b1", np.full((2, 16), np.nan)),
        put("davg", np.zeros((1, 2))),
    ],
)
def test_forged_files(file, edit):
    """A digest that fits does not make a model."""
    forge(file, edit)
    refuse(file, "expected")


def test_archives(file, tmp_path):
    whole = file.read_bytes()
    for cut in (0, 10, 1000, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:cut])
        refuse(file, "not a whole model file")
    # the directory claims more for the header than the limit; the entry itself is small
    file.write_bytes(whole)
    place = whole.index(b"PK\x01\x02") + 24
    for claim in (MAX_ENTRY_BYTES + 1, 0xFFFFFFFE):
        file.write_bytes(whole[:place] + struct.pack("<I", claim) + whole[place + 4 :])
        refuse(file, f"claim more than {MAX_ENTRY_BYTES} bytes each or {MAX_BYTES} in all")
    # encrypted, or compressed in an unknown way
    for offset, value in ((8, 1), (10, 99)):
        place = whole.index(b"PK\x01\x02") + offset
        file.write_bytes(whole[:place] + struct.pack("<H", value) + whole[place + 2 :])
        refuse(file, "not a whole model file")
    write(file, {"header.json": b"[" * 100000})
    refuse(file, "not a whole model file")
    write(file, {"header.json": b'{"magic": "nvnmd-model", "format": 1}'})
    refuse(file, "NVNMD version None, expected 0 or 1")
    write(file, {"other": b""})
    refuse(file, "no 'header.json'")


def test_bombs(file):
    """Entries that blow up are counted before they are read."""
    entries = entries_of(file)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
        with archive.open("bomb.npy", "w", force_zip64=True) as entry:
            block = bytes(16 << 20)
            for _ in range(MAX_ENTRY_BYTES // len(block) + 1):
                entry.write(block)
    assert file.stat().st_size < 4 << 20
    refuse(file, "claim more than")


def test_weight_files_and_checkpoints(tmp_path):
    path = tmp_path / "weights.npz"
    random_weights(np.random.default_rng(1)).save(path)
    entries = entries_of(path)
    write(path, entries | {"davg.npy": npy("(1000000000000,)")})
    refuse(path, "not a readable weight file", load=FloatWeights.load)
    arrays = {"a": np.arange(3.0)}
    saved = Checkpoint(kind="cnn", step=1, state={}, arrays=arrays).save(
        tmp_path, "model.ckpt", 0
    )
    assert Checkpoint.load(saved, "cnn").arrays["a"].tolist() == [0, 1, 2]
    entries = entries_of(saved)
    write(saved, entries | {"a.npy": npy("(1000000000000,)")})
    refuse(saved, "not a readable checkpoint", load=lambda file: Checkpoint.load(file, "cnn"))
