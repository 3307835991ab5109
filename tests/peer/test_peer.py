"""Beside DeePMD-kit itself: both capacities, 1 to 4 elements, trained and evaluated there and here.

DeePMD-kit runs in a process of its own, with the Python that runs the tests if that has DeePMD-kit,
else with the one of `.venv-peer` (`make peer`). Less than a minute of one core a case.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.file_checks import OTHER_FILES, STAGE_FILES, same
from support.golden_checks import (
    check_continuous,
    check_neighbours,
    check_quantized,
    check_tables,
    neighbours,
)
from support.golden_data import load_folder

from nvnmd.deepmd.export import export_deepmd
from nvnmd.deepmd.files import read_dict
from nvnmd.deepmd.importer import import_model
from nvnmd.quantize.model import Model

pytestmark = pytest.mark.peer


@pytest.mark.parametrize("ntypes", [1, 2, 3, 4])
@pytest.mark.parametrize("capacity", [128, 256])
def test_both_stages(capacity, ntypes, reference, tmp_path):
    folder = reference(0, capacity, ntypes)
    run = load_folder(folder)
    assert run.model.ntypes == ntypes
    assert run.model.max_nnei == capacity
    check_tables(run)
    for frame in run.frames:
        near = neighbours(run, frame)
        if frame.slots:
            check_neighbours(near, frame)
        check_quantized(run.model, frame, near)
        check_continuous(run, frame)
    check_exchange(folder, run.model, tmp_path)


def check_exchange(folder: Path, model: Model, tmp_path: Path) -> None:
    """The folder becomes a model file, and the file the same folder and `model.pb` again."""
    found = import_model(folder)
    for name in ("table_u", "table_u_grad", "table_g", "table_g_grad"):
        np.testing.assert_array_equal(getattr(found, name), getattr(model, name), err_msg=name)
    found.save(tmp_path / "model.nvnmd")
    export_deepmd(Model.load(tmp_path / "model.nvnmd"), tmp_path / "again")
    for file in STAGE_FILES:
        same(read_dict(folder / file), read_dict(tmp_path / "again" / file), file)
    file = OTHER_FILES[-1]
    assert (tmp_path / "again" / file).read_bytes() == (folder / file).read_bytes()
