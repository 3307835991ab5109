"""Version 1 in hardware: every stage at reduced widths, many types, DeePMD-kit's bits at full."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.exchange_models import random_run
from support.golden_checks import neighbours_of
from support.golden_data import load_type_folder
from support.random_type_models import random_type_model
from support.rtl_cases import (
    Proof,
    corner_displacements,
    many_type_sizes,
    mixed_atoms,
    outcome,
    small_accelerator,
    status_of,
    stimulus_of,
    trace_of,
)
from support.rtl_stages import StageTests
from support.type_models import rattled, type_config, type_weights

from nvnmd.deepmd.tables import tables_of_weights
from nvnmd.evaluation.simulate import choose_atoms, simulate_hood
from nvnmd.hdl.export import config_for
from nvnmd.hdl.host.image import build_image
from nvnmd.hdl.pace import Pace
from nvnmd.hdl.verify.stimulus import expected_words
from nvnmd.hdl.verify.taps import STAGES
from nvnmd.mapping.freeze import freeze_model
from nvnmd.neighbors.slots import build_neighborhood
from nvnmd.sim.accelerator import Atoms, patience, play, run_accelerator

# no neighbour, one, a few, every slot filled
COUNTS = [0, 1, 9, 5, 24, 9, 1, 13]


def proof_of(ntypes, counts, work, nnei=24, **changes):
    model = random_type_model(np.random.default_rng(ntypes), ntypes, nnei=nnei)
    cfg = replace(small_accelerator(model, **changes), trace=True)
    return Proof(model, cfg, mixed_atoms(model, counts, seed=ntypes), work)


@pytest.fixture(scope="module")
def proof(work):
    """One channel per cycle: the accelerator of `test_many_types` with 15."""
    return proof_of(15, COUNTS, work, **many_type_sizes(8))


class TestStages(StageTests):
    """Every stage, faults, stalls, resets and bad loads."""


def test_bad_neighbors(proof):
    """Too many neighbours and types that do not exist: a status, and the atom still ends."""
    stimulus = stimulus_of(proof.atoms)
    full = COUNTS.index(24)
    start = int(stimulus.counts[:full].sum()) + 1  # the atom without neighbours has one beat
    beats, cfg = stimulus.beats, proof.cfg
    alien, alien_center = beats.copy(), beats.copy()
    # type 15: the memories hold it, the model does not
    alien[start, 3] = alien[start, 3] & ~np.uint32(0xFF) | 15
    alien_center[start, 3] |= np.uint32(0xF << 8)
    arrays = {
        "image": build_image(proof.model, cfg), "last": stimulus.last, "beats": beats,
        "extra": np.insert(beats, start, beats[start], axis=0),
        "extra_last": np.insert(stimulus.last, start, False),
        "alien": alien, "alien_center": alien_center,
    }
    script = []
    for name in ("extra", "alien", "alien_center", "beats"):
        last = "extra_last" if name == "extra" else "last"
        script += [{"op": "reset"}, {"op": "load", "image": "image"},
                   {"op": "start", "beats": name, "last": last},
                   {"op": "wait", "atoms": len(COUNTS), "neighbors": 0, "patience": patience(cfg)},
                   {"op": "idle", "cycles": 2000}, {"op": "collect", "name": name}]
    found = play(cfg, proof.work / "bad", None, script, arrays, {})
    assert status_of(found, "extra") == {"too_many", "model_valid"}
    for name in ("alien", "alien_center"):
        assert status_of(found, name) == {"bad_type", "model_valid"}, name
        assert len(found[f"{name}.energy"]) == len(COUNTS)
    trace = trace_of(proof.model, proof.atoms)
    # the duplicate pushes out the last one: only that atom is another
    expected = expected_words(trace, proof.atoms.mask).energy
    assert np.flatnonzero(found["extra.energy"] != expected).tolist() == [full]
    assert outcome(found, "beats", trace, proof.atoms).equal


def test_corner_displacements(proof):
    near = corner_displacements(proof.model.rcut)
    rij = np.zeros((len(near), proof.model.nnei, 3))
    rij[:, :4] = near
    mask = np.zeros(rij.shape[:2], dtype=bool)
    mask[:, :4] = True
    kinds = np.broadcast_to(np.arange(proof.model.nnei) % proof.model.ntypes, mask.shape)
    corner = replace(proof, atoms=Atoms(np.arange(len(near)), rij, mask, kinds))
    corner.check(corner.evaluate("corner", {"taps": list(STAGES)}), "run")


@pytest.mark.parametrize("ntypes, fold", [(15, 8), (32, 1)])
def test_many_types(ntypes, fold, work):
    """Every type as centre and as neighbour; one channel per cycle, and all at once (and atoms
    that take turns in the fitting net)."""
    rng = np.random.default_rng(ntypes)
    proof = proof_of(ntypes, rng.integers(0, 25, 2 * ntypes).tolist(), work,
                     **many_type_sizes(fold))
    assert proof.cfg.ntypes == 1 << (ntypes - 1).bit_length()
    atoms = proof.atoms
    for kinds in (atoms.center_types, atoms.neighbor_types[atoms.mask]):
        assert set(kinds) == set(range(ntypes))
    proof.check(proof.evaluate(f"types{ntypes}", {"taps": list(STAGES)}), "run")
    # the types are used: with all taken as type 0 the words are others
    alike = replace(atoms, neighbor_types=np.zeros_like(atoms.neighbor_types))
    assert (alike.evaluate(proof.model).out != atoms.evaluate(proof.model).out).mean() > 0.5
    # the pace is that of the manifest: neighbours, or the fitting net
    counts = (0, 1, 12, 13, 24)
    pace = Pace.of(proof.cfg)
    assert len({pace.cycles_per_atom(n, n == 0) for n in counts}) == (3 if fold == 8 else 1)
    found = proof.paces({str(n): mixed_atoms(proof.model, [n] * 18) for n in counts})
    for n in counts:
        assert found[str(n)] == pytest.approx(pace.cycles_per_atom(n, n == 0), rel=0.02), n


def test_types_that_are_absent(proof):
    """A frame of one type whose atoms have neighbours of another; the model knows 15."""
    atoms = proof.atoms
    lone = replace(proof, atoms=replace(
        atoms, center_types=np.full_like(atoms.center_types, 2),
        neighbor_types=np.ones_like(atoms.neighbor_types)))
    lone.check(lone.evaluate("absent", {"taps": list(STAGES)}), "run")


def test_simulate_a_system_that_lacks_types(proof, tmp_path):
    """A trained model's file and a frame of two of its 15 types, as `nvnmd simulate` does it."""
    rng = np.random.default_rng(6)
    weights, cell = type_weights(rng, 15), rattled(rng, [0, 2, 2, 0, 2, 0, 2, 0])
    model = freeze_model(weights, tables_of_weights(weights, 4.0, 1.0), type_config(15))
    hood = build_neighborhood(cell.coord, cell.box, cell.types, model.sel, model.rcut, ntypes=15)
    cfg = replace(small_accelerator(model, **many_type_sizes(8)), trace=True)
    assert cfg == proof.cfg
    found = simulate_hood(model, hood, cfg, tmp_path, log=lambda _: None)
    assert found.problems == ()
    assert found.compared == found.expected == 8 + 4 * int(hood.mask.sum())
    assert found.force_max < 2e-3


@pytest.mark.slow
def test_more_than_128_neighbours(work):
    """Every one of 256 slots filled, about half of them, one, none; then the same with stalls."""
    counts = [0, 129, 256, 1, 256, 255, 0, 200]
    proof = proof_of(5, counts, work, nnei=256, fold=4)
    assert (proof.cfg.max_nnei, proof.model.nix) == (256, 256)
    assert proof.atoms.mask.sum(axis=1).tolist() == counts
    proof.check(proof.evaluate("most", {"taps": list(STAGES)}), "run")
    proof.check_stalls()


@pytest.mark.slow
def test_more_than_128_neighbours_at_full_width(tmp_path):
    """32 types at the widths of DeePMD-kit, the folds of `export-hdl`, up to 248 neighbours."""
    model = random_run(1, 256, 32)[0]
    counts = [0, 248, 129, 1, 200, 248, 30, 160, 248, *[2] * 23]
    atoms = mixed_atoms(model, counts, seed=2)
    for kinds in (atoms.center_types, atoms.neighbor_types[atoms.mask]):
        assert set(kinds) == set(range(32))
    rtl = run_accelerator(model, config_for(model), atoms, tmp_path)
    assert rtl.comparison.first is None, str(rtl.comparison.first)
    assert rtl.comparison.equal
    assert rtl.comparison.compared == len(counts) + 4 * sum(counts)
    assert rtl.status == ()


@pytest.mark.shared
def test_gete(shared, tmp_path):
    """Atoms of GeTe with DeePMD-kit's weights of its run of version 1."""
    model, frames = load_type_folder(shared / "golden" / "v1_ni128_gete")
    near = neighbours_of(model, frames[0])
    chosen = choose_atoms(len(near.order), 24)
    atoms = Atoms(near.center_types[chosen], near.rij[chosen], near.mask[chosen],
                  near.neighbor_types[chosen])
    rtl = run_accelerator(model, config_for(model), atoms, tmp_path)
    assert rtl.comparison.first is None, str(rtl.comparison.first)
    assert rtl.comparison.equal
    assert rtl.comparison.compared == len(chosen) + 4 * int(atoms.mask.sum())
    assert rtl.status == ()
    energy = rtl.energy + model.t_bias_atom_e[atoms.center_types]
    assert np.array_equal(energy, frames[0].qnn["atom_energy"][near.order[chosen]])
    assert np.array_equal(rtl.deriv, frames[0].slots["net_deriv"][chosen] * atoms.mask[..., None])
