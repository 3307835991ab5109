"""The accelerator of other sizes and widths than the vendor's: every word of every stage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.rtl_cases import Proof, mixed_atoms, random_atoms
from support.sized_models import sized_model

from nvnmd.hdl.export import config_for
from nvnmd.hdl.presets import preset
from nvnmd.hdl.verify.stimulus import expected_words
from nvnmd.hdl.verify.taps import STAGES
from nvnmd.quantize.narrow import narrowed
from nvnmd.quantize.widths import Widths
from nvnmd.sim.accelerator import run_accelerator

ATOMS = 2000


def atoms_of(model, version, count, seed=1):
    """Atoms without neighbours, with every slot filled, and of all between."""
    rng = np.random.default_rng(seed)
    if version:
        return mixed_atoms(model, [0, model.nnei, *rng.integers(0, model.nnei, count - 2)])
    some = [[int(rng.integers(0, size + 1)) for size in model.sel] for _ in range(count - 2)]
    return random_atoms(model, [[0] * model.ntypes, list(model.sel), *some])


@pytest.mark.slow
@pytest.mark.parametrize(("size", "version", "tables", "widths"), [
    ((8, 8, 1, 64), 0, "octave", Widths()), ((16, 2, 4, 32), 1, "octave", Widths()),
    ((8, 2, 2, 32), 0, "vendor", Widths(14, 22, 14, 34)),
    ((8, 2, 2, 32), 1, "octave", Widths(17, 24, 12, 36))])
def test_every_stage_agrees(size, version, tables, widths, work):
    model = narrowed(sized_model(*size, version=version, tables=tables), widths)
    cfg = replace(config_for(model, fold=4, fit_cols=8), trace=True)
    proof = Proof(model, cfg, atoms_of(model, version, 6), work)
    proof.check(proof.evaluate("sizes", {"taps": list(STAGES)}), "run")


@pytest.mark.slow
@pytest.mark.parametrize("tables", ["vendor", "octave"])
@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize(("size", "chosen"), [
    ((8, 2, 1, 32), None), ((16, 4, 3, 64), "tiny"), ((32, 4, 3, 128), "small")])
def test_two_thousand_atoms(size, chosen, version, tables, work):
    """Three sizes; of the larger ones the presets that are meant for them."""
    model = sized_model(*size, version=version, tables=tables)
    cfg = config_for(model, fold=4) if chosen is None else preset(chosen).config(model)
    assert cfg.weights_once == (chosen is not None)
    atoms = atoms_of(model, version, ATOMS)
    trace = atoms.evaluate(model)
    run = run_accelerator(model, cfg, atoms, work, trace=trace)
    words = expected_words(trace, atoms.mask, model.widths).words
    assert words > 8 * ATOMS and run.status == ()
    assert (run.comparison.compared, run.comparison.differing) == (words, 0)
    assert run.comparison.equal
