"""Systems as DeePMD-kit's users have them: links, texts of numpy.savetxt, copies of frames."""

from __future__ import annotations

import os

import numpy as np
import pytest

from nvnmd.data.find import find_systems
from nvnmd.data.sampler import BatchSampler
from nvnmd.data.systems import load_groups, load_system
from nvnmd.errors import InputError


def make(folder, frames=4, atoms=2):
    rng = np.random.default_rng(1)
    (folder / "set.000").mkdir(parents=True)
    (folder / "type.raw").write_text("0\n1\n" * (atoms // 2))
    (folder / "type_map.raw").write_text("Cu Au")
    arrays = {"coord": rng.normal(size=(frames, 3 * atoms)), "energy": rng.normal(size=frames),
              "force": rng.normal(size=(frames, 3 * atoms)),
              "box": np.tile(9 * np.eye(3).ravel(), (frames, 1))}
    for name, array in arrays.items():
        np.save(folder / "set.000" / f"{name}.npy", array)
    return folder


def test_links_that_a_copy_has_lost(tmp_path, capsys):
    make(tmp_path / "elsewhere/one")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/s1").write_text("../elsewhere/one")
    (tmp_path / "data/README").write_text("../elsewhere/none")
    (tmp_path / "data/notes").write_text("about ../elsewhere/one\nand more")
    for _ in range(2):
        (found,) = find_systems(tmp_path / "data")
    assert load_system(found, ("Cu", "Au")).natoms == 2
    told = capsys.readouterr().err
    assert "data/s1: a text file that names the folder ../elsewhere/one" in told
    assert told.count("\n") == 1


def test_links_to_folders_are_systems(tmp_path, capsys):
    make(tmp_path / "elsewhere/one")
    (tmp_path / "data").mkdir()
    os.symlink(tmp_path / "elsewhere/one", tmp_path / "data/s1")
    os.symlink("../elsewhere", tmp_path / "data/all")
    # in a circle, to a file, to nothing
    os.symlink("..", tmp_path / "data/up")
    os.symlink("nowhere", tmp_path / "data/broken")
    found = find_systems(tmp_path / "data")
    names = [str(path.relative_to(tmp_path / "data")) for path in found]
    assert "s1" in names and "all/one" in names
    assert "data/broken: a link to nowhere, which is not there: left out" in capsys.readouterr().err
    assert load_system(tmp_path / "data/s1", ("Cu", "Au")).natoms == 2


@pytest.mark.parametrize("text", ["0.000000000000000000e+00\n1.0e+00\n", "# types\n0\n1 # Au\n",
                                  "0 1"])
def test_types_as_numpy_writes_them(tmp_path, text):
    folder = make(tmp_path / "s")
    (folder / "type.raw").write_text(text)
    np.testing.assert_array_equal(load_system(folder, ("Cu", "Au")).types, [0, 1])


@pytest.mark.parametrize("text", ["0.5\n1\n", "0\nnan\n", "0\n1e30\n", "0\nx\n"])
def test_types_that_are_no_whole_numbers(tmp_path, text):
    folder = make(tmp_path / "s")
    (folder / "type.raw").write_text(text)
    with pytest.raises(InputError, match=r"type\.raw: "):
        load_system(folder, ("Cu", "Au"))


def test_one_frame_as_raw_to_set_leaves_it(tmp_path):
    folder = make(tmp_path / "s", frames=1)
    for name in ("coord", "force", "box"):
        file = folder / "set.000" / f"{name}.npy"
        np.save(file, np.load(file)[0])
    np.save(folder / "set.000/energy.npy", np.array(-1.5))
    system = load_system(folder, ("Cu", "Au"))
    assert system.nframes == 1 and system.energy.tolist() == [-1.5]


@pytest.mark.parametrize("shape", [(6, 4), (2, 12), (4, 3, 2), (24,), (2, 4, 3)])
def test_a_shape_that_could_mean_another_thing_is_refused(tmp_path, shape):
    folder = make(tmp_path / "s", frames=4)
    file = folder / "set.000/force.npy"
    np.save(file, np.load(file).reshape(shape))
    with pytest.raises(InputError, match=r"force\.npy: "):
        load_system(folder, ("Cu", "Au"))


def test_copies_of_frames_are_drawn_as_often(tmp_path):
    folder = make(tmp_path / "s", frames=4)
    np.save(folder / "set.000/numb_copy.npy", np.array([1, 1, 50, 1]))
    (system,) = load_groups(folder, ("Cu", "Au"))
    np.testing.assert_array_equal(system.copies, [1, 1, 50, 1])
    sampler = BatchSampler([4], [1], 3, copies=[system.copies])
    drawn = np.concatenate([sampler.draw()[1] for _ in range(530)])
    assert np.bincount(drawn).tolist() == [10, 10, 500, 10]
    state = sampler.state()
    again = BatchSampler([4], [1], 5, copies=[system.copies])
    again.restore(state)
    assert [sampler.draw()[1][0] for _ in range(60)] == [again.draw()[1][0] for _ in range(60)]


@pytest.mark.parametrize(("copies", "message"), [
    ([1, 1], "2 frames, but coord.npy has 4"),
    ([1, -1, 1, 1], "frame 1 has -1, expected how often"),
    ([1, 1.5, 1, 1], r"frame 1 has 1\.5"), ([0, 0, 0, 0], "draws no frame"),
    ([1, 1e9, 1, 1], "draws in all"),
])
def test_copies_that_make_no_sense(tmp_path, copies, message):
    folder = make(tmp_path / "s", frames=4)
    np.save(folder / "set.000/numb_copy.npy", np.array(copies))
    with pytest.raises(InputError, match=message):
        load_groups(folder, ("Cu", "Au"))


@pytest.mark.parametrize(("name", "message"), [
    ("forces.npy", "force.npy: missing, .*; there is forces.npy"),
    ("force.raw", "force.npy: missing, .*; there is force.raw"),
    ("other.npy", "force.npy: missing, the label force is needed here$"),
])
def test_an_array_of_nearly_the_name_is_named(tmp_path, name, message):
    folder = make(tmp_path / "s")
    (folder / "set.000/force.npy").rename(folder / "set.000" / name)
    with pytest.raises(InputError, match=message):
        load_system(folder, ("Cu", "Au"))


def test_texts_of_windows_editors(tmp_path):
    folder = make(tmp_path / "s")
    (folder / "type.raw").write_bytes(b"\xef\xbb\xbf0\r\n1\r\n")
    (folder / "type_map.raw").write_bytes(b"\xef\xbb\xbfAu\r\nCu\r\n")
    np.testing.assert_array_equal(load_system(folder, ("Cu", "Au")).types, [1, 0])


def test_arrays_are_regular_files(tmp_path):
    folder = make(tmp_path / "s")
    (folder / "set.000/energy.npy").unlink()
    os.mkfifo(folder / "set.000/energy.npy")
    with pytest.raises(InputError, match=r"energy\.npy: .*pipe"):
        load_system(folder, ("Cu", "Au"))
    (folder / "type.raw").unlink()
    os.symlink("/dev/zero", folder / "type.raw")
    with pytest.raises(InputError):
        load_system(folder, ("Cu", "Au"))
