"""Octave tables in hardware: every stage at reduced widths, against the reference's words."""

from __future__ import annotations

import numpy as np
import pytest
from support.rtl_cases import (
    Proof,
    corner_displacements,
    mixed_atoms,
    octave_accelerator,
    octave_model,
    random_atoms,
)

from nvnmd.hdl.verify.taps import STAGES
from nvnmd.sim.accelerator import Atoms


def near_and_far(model, atoms):
    """The atoms, the same at three quarters of the distance, and on row edges."""
    corner = corner_displacements(model.rcut)
    edges = np.sqrt(model.u_layout.row_starts()[model.u_layout.row_starts() > 0.25])
    for k, row in enumerate(corner):
        row[3] = np.array([edges[(7 * k) % len(edges)] % model.rcut, 0.0, 0.0])
    places = [0, model.sel[0], model.nnei - 1, 1] if len(model.sel) > 1 else [0, 1, 2, 3]
    rij = np.zeros((len(corner), model.nnei, 3))
    mask = np.zeros(rij.shape[:2], dtype=bool)
    rij[:, places], mask[:, places] = corner, True
    if len(model.sel) > 1:
        # slots of a type are filled from its first
        last = model.nnei - model.sel[-1]
        rij[:, last], mask[:, last] = rij[:, -1], True
        rij[:, -1], mask[:, -1] = 0.0, False
    n = len(atoms.mask)
    kinds = np.broadcast_to(atoms.neighbor_types[:1], mask.shape)
    return Atoms(
        np.concatenate([np.tile(atoms.center_types, 2), np.arange(len(corner)) % model.ntypes]),
        np.concatenate([atoms.rij, 0.75 * atoms.rij, rij]),
        np.concatenate([np.tile(atoms.mask, (2, 1)), mask]),
        np.concatenate([np.broadcast_to(atoms.neighbor_types, (n, model.nnei))] * 2 + [kinds]))


@pytest.mark.parametrize("version", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_every_stage_agrees(version, work):
    model = octave_model(version)
    cfg = octave_accelerator(model)
    assert cfg.octave and len(cfg.u_segments) == 9 and cfg.s_segments == ((-5, 256),)
    atoms = (random_atoms(model, [[0, 0, 0], [1, 0, 0], [3, 4, 2], [0, 5, 0], [9, 12, 5]])
             if version == 0 else mixed_atoms(model, [0, 1, 9, 5, model.nnei]))
    proof = Proof(model, cfg, near_and_far(model, atoms), work)
    proof.check(proof.evaluate("run", {"taps": list(STAGES)}), "run")
