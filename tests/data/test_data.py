"""Reading deepmd/npy systems: layouts, renumbering, and one clear line for every bad file."""

from __future__ import annotations

import numpy as np
import pytest

from nvnmd.data.systems import find_systems, load_system, load_systems
from nvnmd.errors import InputError


def write_system(folder, *, frames=(2, 1), natoms=3, types=(0, 1, 0), names=("Cu", "Au")):
    """Write a small valid system with one set per entry of `frames`."""
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "type.raw").write_text("\n".join(str(t) for t in types))
    if names:
        (folder / "type_map.raw").write_text("\n".join(names) + "\n")
    for k, count in enumerate(frames):
        part = folder / f"set.{k:03d}"
        part.mkdir()
        np.save(part / "coord.npy", rng.uniform(0, 5, (count, 3 * natoms)).astype(np.float32))
        np.save(part / "box.npy", np.tile(np.eye(3).ravel() * 5, (count, 1)))
        np.save(part / "energy.npy", rng.normal(size=count))
        np.save(part / "force.npy", rng.normal(size=(count, 3 * natoms)))
    return folder


@pytest.fixture
def system(tmp_path):
    return write_system(tmp_path / "alloy")


def test_sets_are_joined_and_types_renumbered(system):
    data = load_system(system, ("X", "Au", "Cu"))
    assert data.nframes == 3 and data.natoms == 3
    np.testing.assert_array_equal(data.types, [2, 1, 2])
    second = np.load(system / "set.001/coord.npy").astype(np.float64)
    np.testing.assert_array_equal(data.coord[2].ravel(), second[0])
    assert data.coord.dtype == np.float64
    assert data.virial is None and data.energy.shape == (3,) and data.box.shape == (3, 3, 3)


def test_without_type_map_the_models_numbers_hold(tmp_path):
    folder = write_system(tmp_path / "a", names=())
    np.testing.assert_array_equal(load_system(folder, ("Cu", "Au")).types, [0, 1, 0])


def test_unused_element_of_the_data_is_no_error(tmp_path):
    folder = write_system(tmp_path / "a", names=("Cu", "Au", "Xe"))
    assert load_system(folder, ("Cu", "Au")).natoms == 3


def test_open_system(system):
    (system / "nopbc").touch()
    for part in ("set.000", "set.001"):
        (system / part / "box.npy").unlink()
    data = load_system(system, ("Cu", "Au"))
    assert data.box is None and data.cell(0) is None


def test_virial_and_optional_labels(system):
    for part, count in (("set.000", 2), ("set.001", 1)):
        np.save(system / part / "virial.npy", np.arange(9.0 * count).reshape(count, 9))
        (system / part / "force.npy").unlink()
    data = load_system(system, ("Cu", "Au"), require=("energy", "virial"))
    assert data.force is None
    np.testing.assert_array_equal(data.virial[1, 2], [15, 16, 17])


def test_one_frame_without_frame_axis(tmp_path):
    folder = write_system(tmp_path / "a", frames=(1,))
    coord = np.load(folder / "set.000/coord.npy")
    np.save(folder / "set.000/coord.npy", coord.ravel())
    assert load_system(folder, ("Cu", "Au")).nframes == 1


def test_find_systems(system, tmp_path):
    other = write_system(tmp_path / "deep" / "er")
    assert find_systems(tmp_path) == [system, other]
    with pytest.raises(InputError, match=r"no type\.raw"):
        find_systems(system / "set.000")


def save(name, make):
    return lambda folder: np.save(folder / name, make(np.load(folder / name)))


def cut_short(name):
    def change(folder):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) - 5])

    return change


def with_value(index, value):
    def change(array):
        array = array.copy()
        array[index] = value
        return array

    return change


BAD = {
    "nan coordinate": (save("set.001/coord.npy", with_value((0, 7), np.nan)),
                       r"set\.001/coord\.npy: frame 0, atom 2"),
    "inf force": (save("set.000/force.npy", with_value((1, 0), np.inf)),
                  r"force\.npy: frame 1, atom 0"),
    "nan energy": (save("set.000/energy.npy", with_value(1, np.nan)), r"energy\.npy: frame 1 has"),
    "flat cell": (save("set.000/box.npy", with_value((1, slice(0, 3)), 0.0)),
                  r"box\.npy: frame 1: the vectors span no volume"),
    "frames differ": (save("set.000/force.npy", lambda a: a[:1]),
                      r"force\.npy: 1 frames, but coord\.npy has 2"),
    "atoms differ": (save("set.000/coord.npy", lambda a: a[:, :6]), r"coord\.npy: expected .* 9\)"),
    "no frames": (save("set.000/coord.npy", lambda a: a[:0]), "no frames"),
    "cut short": (cut_short("set.000/coord.npy"), r"coord\.npy: not a readable NumPy array"),
    "empty file": (lambda f: (f / "set.000/box.npy").write_bytes(b""), r"box\.npy: not a readable"),
    "no array": (lambda f: (f / "set.000/box.npy").write_text("5 0 0"), r"box\.npy: not a read"),
    "objects": (lambda f: np.save(f / "set.000/energy.npy", np.array([{}, {}])),
                r"energy\.npy: not a readable"),
    "text array": (lambda f: np.save(f / "set.000/energy.npy", np.array(["a", "b"])),
                   r"energy\.npy: expected an array of numbers"),
    "no energy": (lambda f: (f / "set.000/energy.npy").unlink(), r"energy\.npy: missing"),
    "no force": (lambda f: (f / "set.000/force.npy").unlink(), r"force\.npy: missing"),
    "no box": (lambda f: (f / "set.001/box.npy").unlink(), r"box\.npy: missing.*nopbc"),
    "virial in one set": (lambda f: np.save(f / "set.001/virial.npy", np.zeros((1, 9))),
                          r"set\.000/virial\.npy: missing, but"),
    "mixed types in one set": (
        lambda f: np.save(f / "set.000/real_atom_types.npy", np.zeros((2, 3))),
        r"set\.001/real_atom_types\.npy: missing, but .*/set\.000 has it"),
    "no types": (lambda f: (f / "type.raw").unlink(), r"type\.raw: missing"),
    "no atoms": (lambda f: (f / "type.raw").write_text("\n"), r"type\.raw: .* has no atoms"),
    "type word": (lambda f: (f / "type.raw").write_text("0 Cu 0"), "'Cu'"),
    "type range": (lambda f: (f / "type.raw").write_text("0 1 2"), "atom 2 has type 2"),
    "element": (lambda f: (f / "type_map.raw").write_text("Cu Ag"),
                r"type_map\.raw: element 'Ag' is not in type_map \(Cu, Au\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_file(system, case):
    change, words = BAD[case]
    change(system)
    with pytest.raises(InputError, match=words) as error:
        load_system(system, ("Cu", "Au"))
    message = str(error.value)
    assert "\n" not in message and str(system) in message


def test_no_folder_no_sets_no_systems(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        load_system(tmp_path / "nowhere", ("Cu",))
    folder = write_system(tmp_path / "a", frames=())
    with pytest.raises(InputError, match=r"no set\.\* folder"):
        load_system(folder, ("Cu", "Au"))
    with pytest.raises(InputError, match="the list is empty"):
        load_systems([], ("Cu",))


def test_sets_of_another_prefix(system):
    before = load_system(system, ["Au", "Cu"])
    for folder in sorted(system.glob("set.*")):
        folder.rename(folder.with_name(f"part{folder.suffix}"))
    with pytest.raises(InputError, match=r"no set\.\* folder"):
        load_system(system, ["Au", "Cu"])
    after = load_system(system, ["Au", "Cu"], set_prefix="part")
    np.testing.assert_array_equal(after.coord, before.coord)
