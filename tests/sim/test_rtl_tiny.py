"""The preset `tiny` with full lists: its neighbour store lacks a place, and no cycle is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("amaranth", reason="Amaranth is not installed")

from support.rtl_cases import Proof, mixed_atoms
from support.sized_models import sized_model

from nvnmd.hdl.pace import Pace
from nvnmd.hdl.presets import preset


@pytest.mark.slow
def test_full_lists_keep_the_pace(tmp_path):
    model = replace(sized_model(16, 4, 3, 128, version=1, ntypes=4, tables="octave"), sel=(128,))
    cfg = preset("tiny").config(model)
    # a little more than 256 neighbours are kept at once by the formula of `buffers_for`
    assert cfg.store_neighbors == 256
    atoms = mixed_atoms(model, [128] * 16)
    found = Proof(model, cfg, atoms, tmp_path).paces({"full": atoms})
    assert found["full"] == pytest.approx(Pace.of(cfg).cycles_per_atom(128), rel=0.01)
