"""Where DeePMD-kit is."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def peer_python() -> str:
    """A Python that has DeePMD-kit and ASE, or skip."""
    # with a file of its own: a folder of tests is called deepmd, too
    found = importlib.util.find_spec("deepmd")
    if found is not None and found.origin is not None:
        return sys.executable
    python = HERE.parents[1] / ".venv-peer" / "bin" / "python"
    if not python.is_file():
        pytest.skip(f"no DeePMD-kit here and no {python}; `make peer` builds it")
    return str(python)
