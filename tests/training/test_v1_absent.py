"""Version 1 on systems that hold only some of the model's types: `test` in both backends.

Training on such systems is in test_v1_training.py, the hardware in test_rtl_v1.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.type_models import NAMES, RCUT, RCUT_SMTH, SETTINGS, rattled, type_config, type_weights

from nvnmd.cli.main import main
from nvnmd.data.systems import load_system
from nvnmd.deepmd.tables import tables_of_weights
from nvnmd.evaluation.evaluate import errors_against_labels, evaluate_system
from nvnmd.mapping.freeze import freeze_model
from nvnmd.network.model import predict_float

NTYPES = 32


@pytest.fixture(scope="module")
def weights():
    return type_weights(np.random.default_rng(3), NTYPES)


@pytest.fixture(scope="module")
def model(weights):
    return freeze_model(weights, tables_of_weights(weights, RCUT, RCUT_SMTH), type_config(NTYPES))


def write_part(folder: Path, weights, present: list[int]) -> Path:
    """Three frames of a system whose own type map names only its elements, in its own order."""
    rng = np.random.default_rng(len(present))
    own = np.resize(np.arange(len(present)), 8)
    cells = [rattled(rng, own) for _ in range(3)]
    types = np.array(present)[own]
    labels = [predict_float(weights, c.coord, c.box, types, **SETTINGS) for c in cells]
    (folder / "set.000").mkdir(parents=True)
    (folder / "type_map.raw").write_text("".join(f"{NAMES[t]}\n" for t in present))
    (folder / "type.raw").write_text("".join(f"{t}\n" for t in own))
    arrays = {"coord": [c.coord for c in cells], "box": [c.box for c in cells],
              **{key: [getattr(p, key) for p in labels] for key in ("energy", "force", "virial")}}
    for key, rows in arrays.items():
        values = np.array([np.ravel(row) for row in rows])
        np.save(folder / "set.000" / f"{key}.npy", values[:, 0] if key == "energy" else values)
    return folder


@pytest.mark.parametrize("present", [[31], [7, 0], [3, 30, 12]])
def test_errors_are_those_of_quantization(present, weights, model, tmp_path):
    """Labels of the float model with the right types: only rounding remains."""
    folder = write_part(tmp_path / "part", weights, present)
    system = load_system(folder, model.type_map)
    assert set(system.types) == set(present)
    for backend, limit in (("float", 1e-10), ("fixed", 2e-3)):
        errors = errors_against_labels(system, evaluate_system(model, system, backend))
        assert max(e.rmse for e in errors.values()) < limit, backend
    # taken as other types, the same atoms have other energies
    other = load_system(folder, [NAMES[(n + 1) % NTYPES] for n in range(NTYPES)])
    errors = errors_against_labels(other, evaluate_system(model, other, "fixed"))
    assert errors["energy_peratom"].rmse > 0.05


def test_from_the_command_line(weights, model, tmp_path, capsys):
    """Systems of different parts of the types, together."""
    model.save(tmp_path / "model.nvnmd")
    for n, present in enumerate(([31], [7, 0])):
        write_part(tmp_path / "data" / str(n), weights, present)
    command = ["test", "-m", str(tmp_path / "model.nvnmd"), "-s", str(tmp_path / "data")]
    assert main([*command, "-d", str(tmp_path / "detail")]) == 0
    assert "force" in capsys.readouterr().out.lower()
    rows = np.loadtxt(tmp_path / "detail.f.out", ndmin=2)
    assert rows.shape == (2 * 3 * 8, 6)
    assert np.abs(rows[:, :3] - rows[:, 3:]).max() < 2e-3
