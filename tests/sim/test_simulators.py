"""Simulators are built whatever lies about on the machine, kept, found again, and forgotten."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("cocotb")
pytest.importorskip("amaranth")

from nvnmd import cache_folder
from nvnmd.errors import NvnmdError
from nvnmd.external_tools import PROGRAMS
from nvnmd.sim import simulators
from nvnmd.sim.simulators import build_simulator

INVERTER = "module {top}(input wire a, output wire b); assign b = ~a; endmodule\n"
SITE = str(Path(cache_folder.__file__).parents[1])


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    """No setting of a user."""
    for program in PROGRAMS.values():
        monkeypatch.delenv(program.setting, raising=False)


def program(folder: Path, name: str, script: str) -> Path:
    """A shell script."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    file.chmod(0o755)
    return file


def test_build_among_other_programs_and_blanks(tmp_path, monkeypatch):
    """Old programs first on PATH, files of another Verilator, names with blanks, flags of make."""
    old = tmp_path / "old"
    for name in ("verilator", "verilator_bin", "yosys", "python", "python3", "ccache"):
        program(old, name, f"echo {name} of old; exit 1")
    monkeypatch.setenv("PATH", f"{old}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("VERILATOR_ROOT", "/usr/share/verilator")
    monkeypatch.setenv("MAKEFLAGS", "n")
    blank = tmp_path / "a folder"
    blank.mkdir()
    monkeypatch.setenv("TMPDIR", str(blank))
    monkeypatch.setattr("tempfile.tempdir", None)
    # a C++ compiler, and a Python, in a folder with a blank
    log = blank / "calls"
    monkeypatch.setenv("NVNMD_CXX", str(program(
        blank, "my g++", f'echo call >> "{log}"; exec g++ "$@"')))
    monkeypatch.setattr("sys.executable", str(program(
        blank, "my python", f'exec {sys.executable} "$@"')))
    kept = blank / "kept"
    text = INVERTER.format(top="inverter")
    build = build_simulator(text, kept, top="inverter")
    assert build.directory.parent == kept
    # the simulator and the log of its build, nothing else
    assert {file.name for file in build.directory.iterdir()} == {"inverter", "build.log"}
    assert os.access(build.directory / "inverter", os.X_OK)
    assert not [name for name in blank.iterdir() if name.name.startswith("nvnmd_build_")]
    calls = log.read_text().count("call")
    assert calls > 3
    again = build_simulator(text, kept, top="inverter")
    # once more for its version
    assert again == build and log.read_text().count("call") == calls + 1
    # Verilator's own part is not compiled again for another design
    other = build_simulator(text.replace("~a", "a"), kept, top="inverter")
    assert other.directory != build.directory
    compiled = (other.directory / "build.log").read_text()
    assert "unit_fast_0.cpp" in compiled and "verilated_vpi.cpp" not in compiled
    assert "verilated_vpi.cpp" in (build.directory / "build.log").read_text()
    assert os.access(other.directory / "inverter", os.X_OK)


def test_first_error_of_verilator_is_quoted(tmp_path):
    with pytest.raises(NvnmdError) as caught:
        build_simulator("module broken(input a); assign b = ; endmodule\n", tmp_path, top="broken")
    (log,) = tmp_path.glob("*.log")
    assert str(caught.value).startswith(
        "Verilator could not build the simulator (exit code 1): %Error: broken.v:1:36: syntax")
    assert str(caught.value).endswith(f"; see {log}")
    assert "\n" not in str(caught.value)
    assert not [folder for folder in tmp_path.iterdir() if folder.is_dir()]


def test_first_error_of_the_compiler_is_quoted(tmp_path, monkeypatch):
    cxx = program(tmp_path, "g++", '[ "$1" = --version ] && echo "g++ (GCC) 12.2.0" && exit\n'
                                   'echo "x.h:1:1: warning: odd"; echo "x.h:2:1: error: no disk"\n'
                                   'echo "x.h:3:1: error: later"; exit 1')
    monkeypatch.setenv("NVNMD_CXX", str(cxx))
    with pytest.raises(NvnmdError, match=r"\(exit code 2\): x.h:2:1: error: no disk; see /"):
        build_simulator(INVERTER.format(top="inverter"), tmp_path / "kept", top="inverter")


def test_log_without_an_error(tmp_path):
    log = tmp_path / "log"
    assert simulators.first_error(log).startswith("[Errno 2]")
    log.write_text("$ make error: no\n\n")
    assert simulators.first_error(log) == "its log is empty"
    log.write_text("$ make error: no\nall\nKilled\n")
    assert simulators.first_error(log) == "Killed"


def simulator(kept: Path, digest: str, size: int, age: int) -> Path:
    """A folder as a build leaves it."""
    folder = kept / digest
    folder.mkdir()
    (folder / "top").write_bytes(bytes(size))
    (kept / f"{digest}.lock").touch()
    os.utime(folder, (1e9 - age, 1e9 - age))
    return folder


def test_simulators_used_longest_ago_are_forgotten(tmp_path, monkeypatch):
    """Within the limit, and never the one that was just asked for, however large."""
    monkeypatch.setattr(simulators, "LIMIT", 1000)
    names = [f"{n:016x}" for n in range(5)]
    folders = [simulator(tmp_path, name, 300, age)
               for name, age in zip(names, (5, 1, 4, 2, 3), strict=True)]
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis").write_bytes(bytes(5000))
    # the eldest of all is the one in use
    simulators._forget(tmp_path, folders[0])
    assert [folder.exists() for folder in folders] == [True, True, False, True, False]
    assert {file.name for file in tmp_path.glob("*.lock")} == {
        f"{names[n]}.lock" for n in (0, 1, 3)}
    simulators._forget(tmp_path, simulator(tmp_path, "f" * 16, 2000, 9))
    assert [path.name for path in sorted(tmp_path.iterdir()) if path.is_dir()] == ["f" * 16, "mine"]


def test_folder_of_the_cache(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("NVNMD_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder.cache_folder("simulators") == tmp_path / "xdg" / "nvnmd" / "simulators"
    # relative paths are to be ignored there
    monkeypatch.setenv("XDG_CACHE_HOME", "xdg")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder.cache_folder("x") == tmp_path / ".cache" / "nvnmd" / "x"
    monkeypatch.setenv("NVNMD_CACHE", str(tmp_path / "mine"))
    assert cache_folder.cache_folder("x") == tmp_path / "mine" / "x"
    assert capsys.readouterr().err == ""


def test_no_place_for_a_cache(tmp_path):
    """A temporary folder that goes at the end; said once."""
    code = ("from nvnmd.cache_folder import cache_folder\n"
            "for name in 'ab': print(cache_folder(name).parent)")
    env = {**os.environ, "NVNMD_CACHE": "/proc/nonesuch"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True,
                          check=True, cwd=tmp_path)
    first, second = done.stdout.splitlines()
    assert first == second and not Path(first).exists()
    assert done.stderr == ("nvnmd: warning: /proc/nonesuch cannot be written, nothing is cached; "
                           "set NVNMD_CACHE to a folder that can\n")


def test_kept_files_can_be_read_by_others(tmp_path):
    """A cache of a group of users: what is kept has usual permissions."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "top").write_text("x")
    simulators._keep(tmp_path / "work", tmp_path / "kept", ("top",))
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o777 & ~mask
