"""Systems whose frames differ in composition, and systems in HDF5 files."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from support.mixed_data import TYPES, as_hdf5, write_mixed

from nvnmd.data.find import atom_count, is_system
from nvnmd.data.mixed import find_frame, first_frames, pools
from nvnmd.data.systems import find_systems, load_groups, load_system, load_systems
from nvnmd.errors import InputError, ToolMissingError


@pytest.fixture
def mixed(tmp_path):
    return write_mixed(tmp_path / "mixed", virial=True)


def test_frames_are_split_by_composition(mixed):
    groups = load_groups(mixed, ("Au", "Ag", "Cu"))
    assert [group.part for group in groups] == [0, 1]
    first, second = groups
    # Cu2Au without its virtual atom; numbers of the model's map, sorted
    np.testing.assert_array_equal(first.types, [0, 2, 2])
    np.testing.assert_array_equal(first.frames, [0, 2])
    np.testing.assert_array_equal(first.atoms, [[1, 0, 2], [0, 1, 2]])
    np.testing.assert_array_equal(second.types, [0, 0, 1, 2])
    np.testing.assert_array_equal(second.frames, [1, 3])
    force = np.concatenate([np.load(mixed / part / "force.npy") for part in TYPES])
    force = force.reshape(4, 4, 3)
    for group in groups:
        for k, frame in enumerate(group.frames):
            np.testing.assert_array_equal(group.force[k], force[frame][group.atoms[k]])
            assert group.number(k) == frame
    energy = np.concatenate([np.load(mixed / part / "energy.npy") for part in TYPES])
    np.testing.assert_array_equal(second.energy, energy[[1, 3]])
    assert first.virial.shape == (2, 3, 3)


def test_frames_are_found_by_their_number(mixed, tmp_path):
    groups = load_groups(mixed, ("Cu", "Au", "Ag"))
    assert find_frame(groups, 2) == (groups[0], 1)
    assert find_frame(groups, 3) == (groups[1], 1)
    assert first_frames(groups, 3) == [2, 1] and first_frames(groups, 9) == [2, 2]
    with pytest.raises(InputError, match="--frame: got 4, expected 0 to 3"):
        find_frame(groups, 4)
    with pytest.raises(InputError, match=r"2 compositions, expected one here"):
        load_system(mixed, ("Cu", "Au", "Ag"))
    both = load_systems([mixed, mixed], ("Cu", "Au", "Ag"))
    assert pools(both) == [[0, 1], [2, 3]]


def set_types(name, change):
    def do(folder):
        file = folder / name / "real_atom_types.npy"
        types = np.load(file).astype(float)
        np.save(file, change(types))

    return do


def with_value(at, value):
    def change(types):
        types[at] = value
        return types

    return change


BAD = {
    "type range": (set_types("set.001", with_value((1, 2), 3)),
                   r"set\.001/real_atom_types\.npy: frame 1, atom 2 has type 3, but type_map"),
    "below virtual": (set_types("set.000", with_value((0, 3), -2)), r"frame 0, atom 3 has type -2"),
    "fraction": (set_types("set.000", with_value((1, 0), 0.5)), r"has type 0\.5, expected an int"),
    "nan": (set_types("set.000", with_value((1, 0), np.nan)), r"frame 1, atom 0 has a value that"),
    "only virtual": (set_types("set.001", with_value((0,), -1)), r"frame 0 has virtual atoms"),
    "frames": (set_types("set.000", lambda t: t[:1]), r"1 frames, but coord\.npy has 2"),
    "atoms": (set_types("set.000", lambda t: t[:, :3]), r"types\.npy: expected an array"),
    "cut short": (lambda f: (f / "set.000/real_atom_types.npy").write_bytes(b"\x93NUMPY"),
                  r"real_atom_types\.npy: not a readable"),
    "element": (lambda f: (f / "type_map.raw").write_text("Cu Au Xe"),
                r"element 'Xe' is not in type_map"),
    "one set": (lambda f: (f / "set.001/real_atom_types.npy").unlink(),
                r"set\.001/real_atom_types\.npy: missing, but .*set\.000 has it"),
    "no force": (lambda f: (f / "set.000/force.npy").unlink(), r"set\.000/force\.npy: missing"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("hdf5", [False, True], ids=["folder", "hdf5"])
def test_bad_mixed_system(mixed, tmp_path, case, hdf5):
    change, words = BAD[case]
    change(mixed)
    name = str(mixed)
    if hdf5:
        if case == "cut short":
            pytest.skip("a member of an HDF5 file has no end of its own")
        name = as_hdf5(mixed, tmp_path / "data.hdf5", "/deep/mixed")
    with pytest.raises(InputError, match=words) as error:
        load_groups(name, ("Cu", "Au", "Ag"))
    assert "\n" not in str(error.value) and name in str(error.value)


@pytest.mark.parametrize("group", ["/", "/water/one"])
def test_hdf5_holds_what_the_folder_holds(mixed, tmp_path, group):
    name = as_hdf5(mixed, tmp_path / "data.hdf5", group)
    for one, other in zip(load_groups(name, ("Cu", "Au", "Ag")),
                          load_groups(mixed, ("Cu", "Au", "Ag")), strict=True):  # fmt: skip
        for key in ("types", "coord", "box", "energy", "force", "virial", "frames", "atoms"):
            np.testing.assert_array_equal(getattr(one, key), getattr(other, key))
    assert is_system(name) and atom_count(name) == 4


def test_systems_are_found_in_an_hdf5_file(mixed, tmp_path):
    file = tmp_path / "data.hdf5"
    names = [as_hdf5(mixed, file, group) for group in ("/b/one", "/a", "/b/two")]
    found = find_systems(file)
    assert [str(path) for path in found] == sorted(names)
    assert [str(path) for path in find_systems(f"{file}#/b")] == [names[0], names[2]]
    assert not is_system(file) and is_system(names[1])
    load_groups(found[0], ("Cu", "Au", "Ag"))
    with pytest.raises(InputError, match=r"no type\.raw"):
        find_systems(f"{file}#/c")
    with pytest.raises(InputError, match=r"has no group /c"):
        load_groups(f"{file}#/c", ("Cu",))


def test_sets_of_another_prefix_in_hdf5(mixed, tmp_path):
    before = load_groups(as_hdf5(mixed, tmp_path / "a.hdf5"), ("Cu", "Au", "Ag"))
    name = as_hdf5(mixed, tmp_path / "b.hdf5", "/s")
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "b.hdf5", "a") as file:
        for number in ("000", "001"):
            file.move(f"s/set.{number}", f"s/part.{number}")
    with pytest.raises(InputError, match=r"b\.hdf5#/s: no set\.\* folder"):
        load_groups(name, ("Cu", "Au", "Ag"))
    after = load_groups(name, ("Cu", "Au", "Ag"), set_prefix="part")
    np.testing.assert_array_equal(after[0].coord, before[0].coord)


def test_open_system_in_hdf5(mixed, tmp_path):
    (mixed / "nopbc").touch()
    name = as_hdf5(mixed, tmp_path / "data.hdf5")
    assert all(group.box is None for group in load_groups(name, ("Cu", "Au", "Ag")))


def test_hdf5_without_h5py(mixed, tmp_path, monkeypatch):
    name = as_hdf5(mixed, tmp_path / "data.hdf5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ToolMissingError, match=r"h5py not installed.*pip install 'nvnmd\[data\]'"):
        load_groups(name, ("Cu", "Au", "Ag"))


def test_damaged_hdf5(mixed, tmp_path):
    name = as_hdf5(mixed, tmp_path / "data.hdf5")
    file = Path(name.partition("#")[0])
    whole = file.read_bytes()
    for data in (b"", b"no HDF5 at all", whole[: len(whole) // 2]):
        file.write_bytes(data)
        with pytest.raises(InputError, match=r"data\.hdf5: not a readable HDF5 file") as error:
            load_groups(name, ("Cu", "Au", "Ag"))
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="no such folder"):
        load_groups(tmp_path / "none.hdf5#/a", ("Cu",))
