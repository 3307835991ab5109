"""The tutorial's script: its files are those of a DFT program, and it ends in a report."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "tutorial.py"


def test_its_outcars_hold_the_labels(tmp_path):
    pytest.importorskip("dpdata")
    pytest.importorskip("ase")
    from ase import Atoms
    from ase.calculators.emt import EMT

    from nvnmd.data.convert import convert
    from nvnmd.data.systems import load_system

    spec = importlib.util.spec_from_file_location("tutorial", SCRIPT)
    tutorial = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tutorial)
    tutorial.make_outcar(tmp_path / "dft" / "OUTCAR", 2, seed=1)
    convert([str(tmp_path / "dft" / "OUTCAR")], tmp_path / "data", source="vasp/outcar",
            target="deepmd/npy", type_map=None, labelled=True, warn=print)
    system = load_system(tmp_path / "data", ("Cu", "Au"), require=("energy", "force", "virial"))
    for frame in range(2):
        atoms = Atoms(["CuAu"[2 * t: 2 * t + 2] for t in system.types],
                      positions=system.coord[frame], cell=system.box[frame], pbc=True)
        atoms.calc = EMT()
        assert system.energy[frame] == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
        np.testing.assert_allclose(system.force[frame], atoms.get_forces(), atol=1e-4)
        virial = -atoms.get_stress(voigt=False) * atoms.get_volume()
        np.testing.assert_allclose(system.virial[frame], virial, atol=1e-3)


@pytest.mark.slow
def test_from_dft_output_to_a_report(tmp_path):
    for module in ("dpdata", "ase", "tensorflow", "matplotlib"):
        pytest.importorskip(module)
    done = subprocess.run([sys.executable, "-P", SCRIPT, "-o", tmp_path / "run", "--steps", "20"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split()[2] for line in done.stdout.splitlines() if line.startswith("$ ")] == [
        "convert", "convert", "init", "check", "train-cnn", "train-qnn", "info", "test", "report"]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    for word in ("Learning curves", "Error budget of the quantization", "nvnmd train-cnn",
                 "10 of 10 frames of the validation data"):
        assert word in page, word
