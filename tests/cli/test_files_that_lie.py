"""Pipes, devices and folders in the place of files, and files that are whole but not usable."""

from __future__ import annotations

import json
import os
import shutil
import signal
import warnings

import numpy as np
import pytest
from fuzz.formats import FORMATS

from nvnmd.cli.main import main
from nvnmd.deepmd.files import read_dict, write_dict
from nvnmd.deepmd.importer import import_model
from nvnmd.deepmd.plain_pickle import load_plain
from nvnmd.errors import ModelFileError, NvnmdError
from nvnmd.npy_archive import read_entries


@pytest.fixture
def no_hang():
    """Interrupt what waits."""
    def stop(*_):
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


NEEDS = {"hdf5": "h5py", "extxyz": "dpdata", "md-state": "ase"}


@pytest.mark.usefixtures("no_hang")
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
@pytest.mark.parametrize("name", FORMATS)
def test_only_regular_files_are_read(name, kind, tmp_path):
    pytest.importorskip(NEEDS.get(name, "numpy"))
    form = FORMATS[name]
    for file in form.make(tmp_path):
        if file == "pair.in":
            # a line of a script that LAMMPS itself will read
            continue
        path = tmp_path / file
        shutil.move(path, tmp_path / "kept")
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        else:
            path.mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(NvnmdError) as caught:
                form.read(tmp_path)
            assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
        shutil.move(tmp_path / "kept", path)


@pytest.fixture
def run(tmp_path):
    FORMATS["run-folder"].make(tmp_path)
    return tmp_path


def test_more_slots_than_the_hardware_holds(run):
    for stage in ("nvnmd_cnn", "nvnmd_qnn"):
        config = read_dict(run / stage / "config.npy")
        config["dscp"]["sel"] = [120, 120]
        write_dict(run / stage / "config.npy", config)
    with pytest.raises(ModelFileError, match=r"config.npy: sel \[120, 120\] of 240 slots, expected "
                                             r"at most MAX_NNEI = 128"):
        import_model(run)


@pytest.mark.parametrize("value", [np.float64(3.0), np.zeros(2), [1, 2], "text", None, 7])
@pytest.mark.parametrize("section", ["dscp", "ctrl", "dpin", "fitn"])
def test_a_section_that_is_none(run, section, value):
    """NumPy's numbers are indexed otherwise than Python's."""
    config = read_dict(run / "nvnmd_cnn/config.npy")
    config[section] = value
    write_dict(run / "nvnmd_cnn/config.npy", config)
    for name in ("map", "float-folder", "run-folder"):
        try:
            FORMATS[name].read(run)
        except NvnmdError as error:
            assert "config.npy" in str(error) and "\n" not in str(error)
        else:
            # not every reader needs every section
            assert (section, name) in {("fitn", "map"), ("fitn", "float-folder"),
                                       ("fitn", "run-folder"), ("dpin", "map"),
                                       ("ctrl", "float-folder")}


@pytest.mark.parametrize(("name", "value", "words"), [
    ("filter_type_all.matrix", 1e200, "would have a value that is not finite"),
    ("descrpt_attr.t_std", 0.0, "t_std has a value that is not above 0"),
    ("filter_type_all.matrix_1_0", np.nan, "embedding.0.0.weight has a value that is not finite"),
    ("descrpt_attr.t_std", 1e-308, "its statistics give an s that is not finite"),
])
def test_map_writes_no_table_that_is_not_finite(run, capsys, name, value, words):
    folder = run / "nvnmd_cnn"
    weights = read_dict(folder / "weight.npy")
    for key in (key for key in weights if key.startswith(name)):
        weights[key] = np.full_like(weights[key], value)
    write_dict(folder / "weight.npy", weights)
    before = (folder / "map.npy").read_bytes()
    assert main(["map", str(folder)]) == 1
    told = capsys.readouterr().err
    assert "weight.npy" in told and words in told and told.count("\n") == 1
    assert (folder / "map.npy").read_bytes() == before


@pytest.mark.parametrize("value", [np.inf, 1e308])
def test_the_float_backend_says_no_nan(run, capsys, value):
    """Weights that are damaged, and those that only overflow."""
    FORMATS["npy"].make(run)
    folder = run / "nvnmd_cnn"
    weights = read_dict(folder / "weight.npy")
    weights["layer_0_type_0.matrix"] = np.full_like(weights["layer_0_type_0.matrix"], value)
    weights["final_layer_type_0.matrix"] = np.full_like(
        weights["final_layer_type_0.matrix"], value)
    write_dict(folder / "weight.npy", weights)
    assert main(["test", "-m", str(folder), "-s", str(run / "system"), "--backend", "float"]) == 1
    captured = capsys.readouterr()
    assert "nan" not in captured.out and "not finite" in captured.err
    assert captured.err.strip().count("\n") == 0


def test_a_pickle_does_not_multiply_its_arrays(run):
    """Many arrays of one content, which each would have for itself."""
    import pickle

    class Again:
        def __init__(self, content):
            self.content = content

        def __reduce__(self):
            array = np.zeros(len(self.content) // 8)
            make, arguments, state = array.__reduce__()
            return make, arguments, (*state[:-1], self.content)

    content = bytes(80_000)
    whole = pickle.dumps([Again(content)], protocol=4)
    assert load_plain(whole)[0].shape == (10_000,)
    with pytest.raises(pickle.UnpicklingError, match="more bytes than the file has"):
        load_plain(pickle.dumps([Again(content) for _ in range(3)], protocol=4))


def test_an_archive_claims_what_it_can_hold(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros(5_000_000))
    with pytest.raises(ValueError, match="bytes, more than 100 times the"):
        read_entries(tmp_path / "x.npz")


def test_a_learning_curve_names_its_line(tmp_path):
    from nvnmd.errors import InputError
    from nvnmd.training.lcurve import read_lcurve

    (tmp_path / "lcurve.out").write_text("# step rmse lr\n 0 1.0 1e-3\n 5 1.0\n")
    with pytest.raises(InputError, match=r"lcurve\.out: line 3: not one of a learning curve"):
        read_lcurve(tmp_path / "lcurve.out")


def test_a_frame_longer_than_its_file(tmp_path, capsys):
    pytest.importorskip("dpdata")
    pytest.importorskip("ase")
    FORMATS["extxyz"].make(tmp_path)
    file = tmp_path / "frames.extxyz"
    file.write_text(file.read_text().replace("8\nLattice", "80000000000\nLattice", 1))
    assert main(["convert", str(file), "-o", str(tmp_path / "out")]) == 2
    assert "line 1: a frame of 80000000000 atoms, but the file ends after" in (
        capsys.readouterr().err)


def test_a_checkpoint_of_the_format_before_is_read(tmp_path):
    FORMATS["checkpoint"].make(tmp_path)
    file = tmp_path / "model.ckpt-7.npz"
    with np.load(file) as found:
        arrays = dict(found)
    header = json.loads(str(arrays.pop("header")))
    del header["digest"]
    header["format"] = "nvnmd-checkpoint-1"
    np.savez(file, header=np.array(json.dumps(header)), **arrays)
    assert FORMATS["checkpoint"].read(tmp_path)
