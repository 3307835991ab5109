"""Beside DeePMD-kit itself: both capacities, 1 to 4 elements, trained and evaluated there and here.

DeePMD-kit runs in a process of its own, with the Python that runs the tests if that has DeePMD-kit,
else with the one of `.venv-peer` (`make peer`). About a minute a case.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from golden_checks import (
    check_continuous,
    check_neighbours,
    check_quantized,
    check_tables,
    neighbours,
)
from golden_data import load_folder

HERE = Path(__file__).resolve().parent

pytestmark = pytest.mark.peer


def peer_python() -> str:
    """A Python that has DeePMD-kit and ASE, or skip."""
    if importlib.util.find_spec("deepmd") is not None:
        return sys.executable
    python = HERE.parents[1] / ".venv-peer" / "bin" / "python"
    if not python.is_file():
        pytest.skip(f"no DeePMD-kit here and no {python}; `make peer` builds it")
    return str(python)


@pytest.mark.parametrize("ntypes", [1, 2, 3, 4])
@pytest.mark.parametrize("capacity", [128, 256])
def test_both_stages(capacity, ntypes, tmp_path):
    command = [peer_python(), str(HERE / "reference_run.py"), str(capacity), str(ntypes)]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    run = load_folder(tmp_path)
    assert run.model.ntypes == ntypes
    assert run.model.max_nnei == capacity
    check_tables(run)
    for frame in run.frames:
        near = neighbours(run, frame)
        if frame.slots:
            check_neighbours(near, frame)
        check_quantized(run.model, frame, near)
        check_continuous(run, frame)
