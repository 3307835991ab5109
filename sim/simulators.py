"""Simulators of the accelerator: built by Verilator, kept, found again, and thrown away."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nvnmd.cache_folder import cache_folder
from nvnmd.errors import NvnmdError, ToolMissingError
from nvnmd.external_tools import FOR_SIMULATION, Tool, find_tools
from nvnmd.hdl.verilog import TOP
from nvnmd.progress import followed

LIMIT = 128 * 2**20
"""Bytes of simulators that one folder keeps; the one used last of all stays in any case."""

# Verilator flags: no lint here (it has a test of its own), optimised C++, and only the ports
# visible to the testbench, which makes build and run several times faster
_BUILD_ARGS = ("-cc", "--exe", "--prefix", "Vtop", "-Wno-fatal", "-Wno-lint",
               "-Wno-style", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert",
               "--timescale", "1ns/1ps")
_BENCH_ARGS = ("--vpi",)
# What runs in every cycle is optimised, what runs once is compiled quickly. Of the accelerator of
# the tests, -Og compiles in half the time of -O1 and runs 4 to 11 % slower, -O0 five times slower.
_PROGRAM_VARIABLES = ("OPT_FAST=-Og", "OPT_SLOW=-O0", "OPT_GLOBAL=-O2")
_BENCH_VARIABLES = ("OPT_FAST=-Og", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1")
_UNIT = "unit_"
_UNIT_BYTES = 8 * 2**20
"""C++ that is compiled at once: takes 0.6 GB of memory and seven seconds."""
HARNESS = Path(__file__).resolve().parent / "harness"
"""C++ sources of programs around a design; `build_simulator` takes one of them as `main`."""
# what make and Verilator's makefile take apart at blanks, and what a shell would read otherwise
_PLAIN = re.compile(r"[\w@%+=:,./-]+", re.ASCII)
# how the programs of a build begin to say that something is wrong
_MISTAKE = re.compile(r"%Error|\berror:|undefined reference|\*\*\*|No space left|not found|"
                      r"\bERROR\b|\bCRITICAL\b|Error: ")


@dataclass(frozen=True)
class Build:
    """One compiled simulator: where it lies and of which Verilog it was made."""

    directory: Path
    digest: str
    waves: bool


@dataclass(frozen=True)
class Program:
    """A C++ program of the folder `harness` that turns the clock of a design.

    Attributes
    ----------
    main : str
        The file with ``main``. The design is its class ``Vtop``.
    headers : mapping of str to str
        Generated headers: name and text.
    """

    main: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def sources(self) -> dict[str, str]:
        """All files: name and text."""
        files = sorted(f for f in HARNESS.iterdir() if f.suffix == ".h" or f.name == self.main)
        return {f.name: f.read_text(encoding="utf-8") for f in files} | dict(self.headers)


def check_simulation_tools(*, bench: bool = False) -> dict[str, Tool]:
    """Check that everything a simulation needs is there, before any work.

    Parameters
    ----------
    bench : bool
        cocotb is needed, too.

    Returns
    -------
    dict of str to Tool
        Verilator, the C++ compiler and so on, see `nvnmd.external_tools`.

    Raises
    ------
    ToolMissingError
        Naming what is missing, or of another version, and how to get it.
    """
    for module, extra in (("cocotb", "sim"), ("amaranth", "hdl"))[0 if bench else 1 :]:
        if importlib.util.find_spec(module) is None:
            raise ToolMissingError(
                f"Python package {module} is not installed, "
                f"expected it from: pip install 'nvnmd[{extra}]'"
            )
    return find_tools(*FOR_SIMULATION)


def tool_lines(tools: dict[str, Tool]) -> list[str]:
    """One line for each program found, for the output of a command."""
    return [f"uses {tool.line}" for tool in tools.values()]


def build_simulator(verilog: str, directory: Path | None = None, *, waves: bool = False,
                    top: str = TOP, program: Program | None = None) -> Build:
    """Compile Verilog to a simulator, once per text of it and versions of the programs.

    What is kept is the simulator and the log of its build; all else is made in a temporary folder
    and thrown away.

    Parameters
    ----------
    verilog : str
        The design.
    directory : Path, optional
        Where simulators are kept; each gets a folder named by its digest. By default the user's
        cache, see `nvnmd.cache_folder`. The folder keeps `LIMIT` bytes; those used longest ago go.
    waves : bool
        Able to record waveforms.
    top : str
        Name of the top module.
    program : Program, optional
        The C++ program that runs it; by default it waits for a cocotb testbench.

    Raises
    ------
    ToolMissingError
        If Verilator or a compiler is missing.
    NvnmdError
        If the build fails; the message quotes the first error, and names the log.
    """
    tools = check_simulation_tools(bench=program is None)
    run_by: list[Any] = ([[_BENCH_ARGS, _BENCH_VARIABLES], importlib.metadata.version("cocotb")]
                         if program is None else
                         [_PROGRAM_VARIABLES, program.main, program.sources()])
    made_of = [verilog, waves, top, _BUILD_ARGS, run_by,
               [[tool.version, tool.origin] for key, tool in tools.items() if key != "perl"]]
    digest = _digest(made_of)
    # an absolute path, so that the simulator finds itself from anywhere
    kept = (cache_folder("simulators") if directory is None else directory).resolve()
    kept.mkdir(parents=True, exist_ok=True)
    folder = kept / digest
    with _alone(kept / f"{digest}.lock"):
        if not (folder / top).exists():
            runtime = kept / _digest(["runtime", waves, _BUILD_ARGS, run_by[:1], made_of[-1]])
            _build(verilog, folder, tools, waves, top, program, runtime)
        os.utime(folder)
    _forget(kept, folder)
    return Build(folder, digest, waves)


def _digest(made_of: list) -> str:
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Hold a lock, so that two processes do not build the same at once."""
    with file.open("ab") as lock:
        # some network file systems have no locks; there, both build, and one result stays
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(verilog: str, folder: Path, tools: dict[str, Tool], waves: bool, top: str,
           program: Program | None, runtime: Path) -> None:
    """Build in a temporary folder; `runtime` keeps the objects that are alike in all designs."""
    with tempfile.TemporaryDirectory(prefix="nvnmd_build_", dir=_plain_folder()) as name:
        place = Path(name)
        (place / f"{top}.v").write_text(verilog, encoding="utf-8")
        by, variables = _add_bench(place, top) if program is None else _add_program(place, program)
        verilator, env = tools["verilator"], tools["verilator"].environment()
        cxx = _plain(tools["c++"].command[0], place / "c++")
        variables += [f"VM_TRACE={int(waves)}", f"CXX={cxx}", f"LINK={cxx}",
                      f"PERL={_plain(tools['perl'].command[0], place / 'perl')}",
                      f"PYTHON3={_plain_python(place / 'python')}"]
        if verilator.packaged:
            root = Path(verilator.command[-1]).parents[1]
            env["VERILATOR_ROOT"] = _plain(str(root), place / "verilator")
            # the package lacks the precompiled-header flags of a configured Verilator
            variables.append("CFG_CXXFLAGS_PCH_I=-include")
        # of the make that may have started this program
        for variable in ("MAKEFLAGS", "MFLAGS", "GNUMAKEFLAGS", "MAKEFILES", "MAKELEVEL"):
            env.pop(variable, None)
        verilate = [*verilator.command, *_BUILD_ARGS, *(["--trace"] if waves else []),
                    "-Mdir", str(place), "--top-module", top, "-o", top, *by, f"{top}.v"]
        compile_ = [*tools["make"].command, "-j", str(min(4, len(os.sched_getaffinity(0)))),
                    "-C", str(place), "-f", "Vtop.mk", *variables]
        log = place / "build.log"
        for command in (verilate, compile_):
            if command is compile_:
                _take_runtime(runtime, place)
                command += _compile_in_units(place)
            title = ("Verilator" if command is verilate else
                     "compiling the simulator, kB of C++")
            with followed(title, lambda: _compiled(place)):
                code = _run(command, place, env, log)
            if code:
                failed = folder.with_name(f"{folder.name}.log")
                shutil.copy(log, failed)
                raise NvnmdError(
                    f"Verilator could not build the simulator (exit code {code}): "
                    f"{first_error(log)}; see {failed}")
        _keep(place, folder, ("build.log", top))
        if not runtime.is_dir():
            # Verilator's own part of a simulator, a third of the work
            _keep(place, runtime, [file.name for file in place.glob("verilated*.o")])


def _add_bench(place: Path, top: str) -> tuple[list[str], list[str]]:
    """What makes the simulator wait for a cocotb testbench: arguments, variables for make."""
    from cocotb_tools import config

    (place / "ports.vlt").write_text(
        f'`verilator_config\npublic_flat_rw -module "{top}" -port "*"\n', encoding="utf-8")
    shutil.copy(config.share_dir / "lib" / "verilator" / "verilator.cpp", place)
    libs = _plain(str(config.libs_dir), place / "libs")
    return [*_BENCH_ARGS, "-LDFLAGS", f"-L{libs} -lcocotbvpi_verilator",
            "verilator.cpp", "ports.vlt"], list(_BENCH_VARIABLES)


def _add_program(place: Path, program: Program) -> tuple[list[str], list[str]]:
    """The same for a C++ program."""
    for name, text in program.sources().items():
        (place / name).write_text(text, encoding="utf-8")
    return [program.main], list(_PROGRAM_VARIABLES)


def _run(command: Sequence[str], place: Path, env: dict[str, str], log: Path) -> int:
    with log.open("ab") as out:
        out.write(f"$ {' '.join(command)}\n".encode())
        out.flush()
        return subprocess.run(command, cwd=place, env=env, stdin=subprocess.DEVNULL, stdout=out,
                              stderr=subprocess.STDOUT, check=False).returncode


def _compiled(place: Path) -> tuple[int, int]:
    """Kilobytes of Verilator's C++ that are compiled, and in all; nothing before it is written."""
    done = total = 0
    # what the folder holds changes meanwhile
    with contextlib.suppress(OSError):
        # the makefile comes last
        if (place / "Vtop.mk").exists():
            for unit in place.glob(f"{_UNIT}*.cpp"):
                files = re.findall(r'"(.+)"', unit.read_text(encoding="ascii"))
                size = sum((place / name).stat().st_size for name in files)
                total += size
                done += size * unit.with_suffix(".o").exists()
    return done // 1000, total // 1000


def _compile_in_units(place: Path) -> list[str]:
    """Have Verilator's C++ compiled in a few large files; variables for make.

    Each file reads the headers first, which takes as long as 1 MB of C++; to precompile them, as
    Verilator's makefile does, takes three times that for each of two levels of optimisation.
    """
    files = sorted(place.glob("Vtop*.cpp"))
    slow = [file for file in files if file.stem.endswith("Slow")]
    units: dict[str, list[str]] = {}
    for name, some in (("fast", [file for file in files if file not in slow]), ("slow", slow)):
        total = sum(file.stat().st_size for file in some)
        most = max(min(_UNIT_BYTES, total // max(len(os.sched_getaffinity(0)) // 2, 1)), 1)
        units[name], filled = [], most
        for file in some:
            if filled >= most:
                units[name].append(f"{_UNIT}{name}_{len(units[name])}")
                filled = 0
            filled += file.stat().st_size
            with (place / f"{units[name][-1]}.cpp").open("a", encoding="ascii") as out:
                out.write(f'#include "{file.name}"\n')
    for level in ("fast", "slow"):
        # there already, for make; the compiler takes it for no header of this name
        (place / f"Vtop__pch.h.{level}.gch").touch()
    header = "-include Vtop__pch.h"
    return [f"VM_CLASSES_FAST={' '.join(units['fast'])}",
            f"VM_CLASSES_SLOW={' '.join(units['slow'])}", "VM_SUPPORT_FAST=", "VM_SUPPORT_SLOW=",
            f"VK_PCH_I_FAST={header}", f"VK_PCH_I_SLOW={header}"]


def _take_runtime(runtime: Path, place: Path) -> None:
    """Copy the objects of earlier builds, newer than what make compares them with."""
    try:
        for file in runtime.iterdir():
            shutil.copyfile(file, place / file.name)
        os.utime(runtime)
    except OSError:
        # not there yet, or just forgotten by another process: make compiles what is missing
        return


def _keep(place: Path, folder: Path, names: Sequence[str]) -> None:
    """Copy files to a folder that appears at once and whole."""
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as name:
        half = Path(name) / "new"
        half.mkdir()
        for file in names:
            shutil.copy(place / file, half)
        # what another process has made meanwhile is the same
        shutil.rmtree(folder, ignore_errors=True)
        half.rename(folder)


def _forget(kept: Path, last: Path) -> None:
    """Remove simulators used longest ago until the others fit in `LIMIT`."""
    found = []
    for folder in kept.iterdir():
        # other processes remove folders, too
        with contextlib.suppress(OSError):
            if re.fullmatch(r"[0-9a-f]{16}", folder.name) and folder != last:
                size = sum(file.stat().st_size for file in folder.iterdir())
                found.append((folder.stat().st_mtime, size, folder))
    room = LIMIT - sum(file.stat().st_size for file in last.iterdir())
    for _, size, folder in sorted(found, reverse=True):
        room -= size
        if room < 0:
            shutil.rmtree(folder, ignore_errors=True)
            folder.with_name(f"{folder.name}.lock").unlink(missing_ok=True)


def _plain_folder() -> Path:
    """A folder for temporary files whose name make can read."""
    for text in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        if _PLAIN.fullmatch(text) and os.access(text, os.W_OK | os.X_OK):
            return Path(text)
    raise NvnmdError(f"{tempfile.gettempdir()}: Verilator's makefile cannot build in a folder with "
                     "blanks or special signs in its name, expected another in TMPDIR")


def _plain(path: str, link: Path) -> str:
    """A name that make can read: the path itself, or a link to it."""
    if _PLAIN.fullmatch(path):
        return path
    link.symlink_to(path)
    return str(link)


def _plain_python(script: Path) -> str:
    """The same of this Python; a link to it would lose its virtual environment."""
    if _PLAIN.fullmatch(sys.executable):
        return sys.executable
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    return str(script)


def first_error(log: Path) -> str:
    """The first line of a log that tells of an error, else its last line."""
    try:
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace")
                 .splitlines() if line.strip() and not line.startswith("$ ")]
    except OSError as error:
        return str(error)
    for line in lines:
        if _MISTAKE.search(line):
            return line
    return lines[-1] if lines else "its log is empty"
