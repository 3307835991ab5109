"""Data files that claim sizes they do not have: one line, and no memory for the claim."""

from __future__ import annotations

import resource

import numpy as np
import pytest
from support.npy_bytes import npy

from nvnmd.data.systems import load_groups
from nvnmd.errors import InputError, ModelFileError
from nvnmd.npy_archive import MAX_BYTES
from nvnmd.quantize.model import Model

ATOMS, FRAMES = 2, 3


@pytest.fixture
def system(tmp_path):
    """A whole system in the deepmd/npy layout."""
    part = tmp_path / "data" / "set.000"
    part.mkdir(parents=True)
    (tmp_path / "data" / "type.raw").write_text("0 1")
    (tmp_path / "data" / "type_map.raw").write_text("Cu Au")
    np.save(part / "coord.npy", np.arange(6.0 * FRAMES).reshape(FRAMES, 6))
    np.save(part / "box.npy", np.tile(np.eye(3).ravel() * 9, (FRAMES, 1)))
    assert load_groups(tmp_path / "data", ("Cu", "Au"), require=())[0].nframes == FRAMES
    return tmp_path / "data"


def refuse(path, *words: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError) as caught:
        load_groups(path, ("Cu", "Au"), require=())
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    message = str(caught.value)
    assert "\n" not in message and grown < 64 << 10  # KiB
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    "shape", ["(1000000000000, 6)", "(100000000, 6)", "(4, 6)", "(-1, 6)", "(-3, -6)"]
)
@pytest.mark.parametrize("name", ["coord", "box"])
def test_claimed_shapes(system, name, shape):
    file = system / "set.000" / f"{name}.npy"
    file.write_bytes(npy(shape, bytes(FRAMES * 6 * 8)))
    refuse(system, f"{name}.npy: not a readable NumPy array", "claims the shape")


@pytest.mark.parametrize("descr", ["|O", "<U9", "<c16"])
def test_arrays_that_are_no_numbers(system, descr):
    size = np.dtype(descr).itemsize
    (system / "set.000/coord.npy").write_bytes(npy("(3, 6)", bytes(18 * size), descr))
    refuse(system, "coord.npy")


@pytest.mark.parametrize("text", ["0 99999999999999999999", "0 1.5", "0 \u00b2", "0 " + "9" * 5000])
def test_types_that_are_no_integers(system, text):
    (system / "type.raw").write_text(text, encoding="utf-8")
    refuse(system, "type.raw: expected one integer per atom, found ")


def test_datasets_that_were_never_written(system):
    """HDF5 gives fill values of any size for what is not stored."""
    h5py = pytest.importorskip("h5py")
    name = system.parent / "data.hdf5"
    with h5py.File(name, "w") as file:
        group = file.create_group("whole")
        group["type.raw"], group["type_map.raw"] = np.array([0, 1]), [b"Cu", b"Au"]
        coord = np.load(system / "set.000/coord.npy")
        group["set.000/box.npy"] = np.load(system / "set.000/box.npy")
        group.create_dataset("set.000/coord.npy", data=coord, compression="gzip")
        file.copy("whole", "bad")
        del file["bad/set.000/coord.npy"]
        file["bad"].create_dataset("set.000/coord.npy", (10**11, 6), "f8", chunks=(100, 6))
    groups = load_groups(f"{name}#/whole", ("Cu", "Au"), require=())
    assert groups[0].nframes == FRAMES
    refuse(f"{name}#/bad", "its datasets claim 4800000000", "times the")


def test_a_model_file_of_a_terabyte(tmp_path):
    """Sparse: the disk holds nothing of it."""
    path = tmp_path / "m.nvnmd"
    with open(path, "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ModelFileError, match=f"more than {MAX_BYTES} bytes"):
        Model.load(path)


def test_a_label_wider_than_any_file(system):
    np.save(system / "set.000/drdq.npy", np.zeros((FRAMES, 6 * ATOMS)))
    with pytest.raises(InputError, match=r"drdq\.npy: expected .*\(frames, 27670116110564327424\)"):
        load_groups(system, ("Cu", "Au"), require=(), atom_labels={"drdq": (3, 2**62)})
