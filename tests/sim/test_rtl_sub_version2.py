"""SUB_VERSION 2 in hardware: every stage at reduced widths, DeePMD-kit's run at full width."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.golden_checks import neighbours_of
from support.rtl_cases import Proof, corner_displacements, mixed_atoms, small_accelerator
from support.rtl_stages import StageTests
from support.sub2_golden import FOLDER, RUN, golden_frames, golden_model
from support.sub2_models import switched_model, wide_switched
from support.type_models import rattled, type_config

from nvnmd.data.systems import load_system
from nvnmd.errors import InputError
from nvnmd.evaluation.simulate import choose_atoms, simulate_hood
from nvnmd.hdl.export import config_for
from nvnmd.hdl.host.image import build_image
from nvnmd.hdl.verify.taps import STAGES
from nvnmd.neighbors.slots import build_neighborhood
from nvnmd.sim.accelerator import Atoms, run_accelerator

# no neighbour, one, a few, every slot filled
COUNTS = [0, 1, 9, 5, 50, 9, 1, 13]


def proof_of(ntypes, counts, work, **changes):
    model = switched_model(np.random.default_rng(ntypes), ntypes)
    cfg = replace(small_accelerator(model, **changes), trace=True)
    return Proof(model, cfg, mixed_atoms(model, counts, seed=ntypes), work)


@pytest.fixture(scope="module")
def proof(work):
    """One channel per cycle: the accelerator of `test_many_types` with 15."""
    return proof_of(15, COUNTS, work, fold=8)


class TestStages(StageTests):
    """Every stage, faults, stalls, resets and bad loads."""


def test_corner_displacements(proof):
    """k of 1, of nearly 0, of 0; atoms whose slots are nearly all empty."""
    near = corner_displacements(proof.model.rcut)
    rij = np.zeros((len(near), proof.model.nnei, 3))
    rij[:, :4] = near
    mask = np.zeros(rij.shape[:2], dtype=bool)
    mask[:, :4] = True
    kinds = np.broadcast_to(np.arange(proof.model.nnei) % 15, mask.shape)
    corner = replace(proof, atoms=Atoms(np.arange(len(near)) % 15, rij, mask, kinds))
    corner.check(corner.evaluate("corner", {"taps": list(STAGES)}), "run")


@pytest.mark.parametrize(("ntypes", "fold"), [(15, 8), (32, 1)])
def test_many_types(ntypes, fold, work):
    """One channel per cycle, and all at once (and atoms that take turns in the fitting net)."""
    rng = np.random.default_rng(ntypes)
    proof = proof_of(ntypes, rng.integers(0, 51, 2 * ntypes).tolist(), work, fold=fold,
                     **({"fit_rows": 2, "fit_atoms": 2} if fold == 1 else {}))
    proof.check(proof.evaluate(f"types{ntypes}", {"taps": list(STAGES)}), "run")


def test_simulate_says_whose_words_it_holds(proof, tmp_path):
    rng = np.random.default_rng(6)
    model = switched_model(np.random.default_rng(15), 15)
    cell = rattled(rng, [0, 2, 2, 0, 14, 0, 2, 0])
    hood = build_neighborhood(cell.coord, cell.box, cell.types, model.sel, model.rcut, ntypes=15)
    cfg = replace(small_accelerator(model, fold=8), trace=True)
    assert cfg == proof.cfg
    found = simulate_hood(model, hood, cfg, tmp_path, log=lambda _: None)
    assert found.problems == ()
    assert found.compared == found.expected == 8 + 4 * int(hood.mask.sum())
    assert found.summary["mode"] == "machine" and 0 < found.summary["mode_difference"]["force"]
    assert any("mode: the machine's words" in line and "as expected" in line
               for line in found.lines())


def test_a_model_of_the_other_arithmetic_is_refused(proof):
    other = replace(proof.cfg, sub_version=1)
    with pytest.raises(InputError, match="sub_version is 2, the accelerator is built for 1"):
        build_image(proof.model, other)
    assert type_config().sub_version == 1


@pytest.mark.shared
def test_gete(shared, tmp_path):
    """Atoms of GeTe with DeePMD-kit's weights, in the machine's words; the graph's lie near."""
    golden = shared / "golden"
    if not (golden / FOLDER).is_dir():
        pytest.skip("no golden run of SUB_VERSION 2")
    model, frame = golden_model(golden), golden_frames(golden, RUN)[0]
    near = neighbours_of(model, frame)
    chosen = choose_atoms(len(near.order), 8)
    atoms = Atoms(near.center_types[chosen], near.rij[chosen], near.mask[chosen],
                  near.neighbor_types[chosen])
    rtl = run_accelerator(model, config_for(model, max_nnei=128), atoms, tmp_path)
    assert rtl.comparison.first is None, str(rtl.comparison.first)
    assert rtl.comparison.equal and rtl.status == ()
    assert rtl.comparison.compared == len(chosen) + 4 * int(atoms.mask.sum())
    energy = rtl.energy + model.t_bias_atom_e[atoms.center_types]
    error = np.abs(energy - frame.qnn["atom_energy"][near.order[chosen]]).max()
    assert 0 < error < 1e-5


@pytest.mark.slow
@pytest.mark.shared
def test_two_thousand_atoms(shared, tmp_path):
    """The first frames of the GeTe data, with DeePMD-kit's weights: no word differs."""
    golden = shared / "golden"
    if not (golden / FOLDER).is_dir():
        pytest.skip("no golden run of SUB_VERSION 2")
    model = golden_model(golden)
    system = load_system(shared / "data" / "gete", model.type_map)
    hoods = [build_neighborhood(system.coord[f], system.cell(f), system.types, model.sel,
                                model.rcut, ntypes=2) for f in range(10)]
    atoms = Atoms(*(np.concatenate([getattr(hood, name) for hood in hoods])[:2000]
                    for name in ("center_types", "rij", "mask", "neighbor_types")))
    rtl = run_accelerator(model, config_for(model, max_nnei=128), atoms, tmp_path)
    assert rtl.comparison.equal and rtl.status == ()
    assert rtl.comparison.compared == 2000 + 4 * int(atoms.mask.sum()) > 300_000


@pytest.mark.slow
def test_full_width(tmp_path):
    """Nine types at the widths of DeePMD-kit, 256 slots, up to all of them filled."""
    model = wide_switched("vu13p", 256)
    counts = [0, 256, 129, 1, 200, 248, 30, 160, 255]
    atoms = mixed_atoms(model, counts, seed=2)
    rtl = run_accelerator(model, config_for(model), atoms, tmp_path)
    assert rtl.comparison.first is None, str(rtl.comparison.first)
    assert rtl.comparison.equal and rtl.status == ()
    assert rtl.comparison.compared == len(counts) + 4 * sum(counts)
