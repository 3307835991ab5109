"""Octave tables with slopes of their own in DeePMD-kit's second stage and its quantized graph."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from peer_env import peer_python
from support.golden_checks import check_neighbours, check_quantized, neighbours
from support.golden_data import load_folder

from nvnmd.deepmd.importer import import_model
from nvnmd.deepmd.tables import map_folder

HERE = Path(__file__).resolve().parent

pytestmark = pytest.mark.peer


def test_octave8_in_deepmd_kit(reference, tmp_path):
    """Every bit of its quantized graph, which takes eight segments of u and one of s."""
    own = reference(0, 128, 2)
    folder = tmp_path / "run"
    shutil.copytree(own, folder, ignore=shutil.ignore_patterns("nvnmd_qnn", "*.npz"))
    map_folder(folder / "nvnmd_cnn", name="octave8")
    done = subprocess.run([peer_python(), str(HERE / "octave_run.py"), str(folder)],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    model, run = import_model(folder), load_folder(folder)
    assert model.tables == "octave8" and model.u_layout.rows == 256
    assert model.s_layout.rows == 256
    vendor = load_folder(own)
    for frame, other in zip(run.frames, vendor.frames, strict=True):
        near = neighbours(run, frame)
        if frame.slots:
            check_neighbours(near, frame)
        check_quantized(model, frame, near)
        # other tables, so other words for the same atoms
        np.testing.assert_array_equal(frame.coord, other.coord)
        assert (frame.qnn["force"] != other.qnn["force"]).any()
