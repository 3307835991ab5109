"""Version 1 beside DeePMD-kit itself: both capacities, 2 to 15 elements.

reference_run.py says how stock DeePMD-kit is brought past its table builder. About a minute of
one core a case.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.file_checks import OTHER_FILES, STAGE_FILES, same
from support.golden_checks import (
    check_float,
    check_neighbours,
    check_quantized,
    check_shared_map,
    neighbours_of,
)
from support.golden_data import folder_frames, load_type_folder

from nvnmd.deepmd.export import export_deepmd
from nvnmd.deepmd.files import read_dict
from nvnmd.deepmd.importer import import_model
from nvnmd.deepmd.weights import from_deepmd
from nvnmd.quantize.model import Model

pytestmark = pytest.mark.peer


# with 8 types the layer of the type embedding keeps its width and adds its input
CASES = [(128, 2), (128, 5), (128, 8), (128, 15), (256, 2), (256, 5), (256, 15)]


@pytest.mark.parametrize("capacity, ntypes", CASES)
def test_both_stages(capacity, ntypes, reference, tmp_path):
    folder = reference(1, capacity, ntypes)
    compare(folder, capacity, ntypes, tmp_path)


def compare(folder: Path, capacity: int, ntypes: int, tmp_path: Path) -> None:
    """Everything that both programs compute from the run's weights."""
    model, frames = load_type_folder(folder)
    frames += folder_frames(folder, "absent.npz")
    assert (model.version, model.ntypes, model.max_nnei) == (1, ntypes, capacity)
    check_shared_map(folder / "nvnmd_cnn", tmp_path / "map.npy")
    check_run_folder(folder, model, tmp_path)
    weights = from_deepmd(read_dict(folder / "nvnmd_cnn" / "weight.npy"))
    most = 0
    for frame, kinds in zip(frames, (ntypes, ntypes, None), strict=True):
        near = neighbours_of(model, frame)
        most = max(most, int(near.mask.sum(axis=1).max()))
        if frame.slots:
            check_neighbours(near, frame)
        check_quantized(model, frame, near)
        check_float(weights, model, frame)
        here = len(np.unique(frame.types))
        assert here == kinds or (kinds is None and here < ntypes)
    assert capacity // 2 < most <= model.nnei


def check_run_folder(folder: Path, model: Model, tmp_path: Path) -> None:
    """The folder becomes a model file, and the file the same folder and `model.pb` again."""
    found = import_model(folder)
    for name in ("table_u", "table_u_grad", "table_g", "table_g_grad", "type_gain", "inv_std",
                 "t_ebd", "tweight"):
        np.testing.assert_array_equal(getattr(found, name), getattr(model, name), err_msg=name)
    found.save(tmp_path / "model.nvnmd")
    export_deepmd(Model.load(tmp_path / "model.nvnmd"), tmp_path / "again")
    for file in STAGE_FILES:
        same(read_dict(folder / file), read_dict(tmp_path / "again" / file), file)
    file = OTHER_FILES[-1]
    assert (tmp_path / "again" / file).read_bytes() == (folder / file).read_bytes()
