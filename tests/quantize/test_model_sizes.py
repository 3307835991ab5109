"""Sizes of the nets: compiled words are the reference's; files and accelerator take them."""

from __future__ import annotations

import numpy as np
import pytest
from quantize.test_fast import check_near
from support.sized_models import SIZES, sized_model
from support.small_models import rattled_crystal

from nvnmd.hdl.export import config_for, example_stimulus
from nvnmd.hdl.host.image import build_image, section_beats
from nvnmd.quantize.model import Model

CASES = [(size, version, tables) for k, size in enumerate(SIZES) for version in (0, 1)
         for tables in ("vendor", "octave") if (k + version + len(tables)) % 2]


@pytest.mark.parametrize(("size", "version", "tables"), CASES)
def test_words_files_and_hardware_of_a_size(size, version, tables, tmp_path):
    model = sized_model(*size, version=version, tables=tables)
    assert (model.m1, model.m2, model.hidden, model.max_nnei) == size
    check_near(model, rattled_crystal(np.random.default_rng(3), model, 3))
    model.save(tmp_path / "model.nvnmd")
    assert Model.load(tmp_path / "model.nvnmd").digest == model.digest
    cfg = config_for(model)
    assert (cfg.m1, cfg.m2, cfg.hidden, cfg.max_nnei) == size
    assert len(build_image(model, cfg)) == 1 + sum(section_beats(cfg).values())
    example_stimulus(model)
