"""The first run after an installation, which compiles the passes, computes the bits of later ones.

A training may be interrupted in the first run and continued in another.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="numba is not installed")

PROGRAM = Path(__file__).resolve().parents[1] / "support" / "fresh_kernels.py"


def test_compiled_anew_and_from_disk_give_the_same_bits(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run([sys.executable, PROGRAM], env=environment, text=True, check=True,
                       stdout=subprocess.PIPE).stdout.splitlines()
        for _ in range(2))
    assert len(first) == 5 and any(tmp_path.rglob("*.nbc"))
    assert first == second
