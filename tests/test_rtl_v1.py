"""Version 1 in hardware: every stage at reduced widths, many types, DeePMD-kit's bits at full."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from golden_checks import neighbours_of
from golden_data import load_type_folder
from random_type_models import random_type_model
from rtl_cases import Proof, mixed_atoms, small_accelerator

from nvnmd.hdl.export import config_for
from nvnmd.hdl.taps import STAGES
from nvnmd.sim.accelerator import Atoms, run_accelerator
from nvnmd.simulate import choose_atoms

# no neighbour, one, a few, every slot filled
COUNTS = [0, 1, 9, 5, 24, 9, 1, 13]


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    return tmp_path_factory.mktemp("builds")


def proof_of(ntypes, counts, builds, **changes):
    model = random_type_model(np.random.default_rng(ntypes), ntypes)
    cfg = replace(small_accelerator(model, **changes), trace=True)
    return Proof(model, cfg, mixed_atoms(model, counts, seed=ntypes), builds)


@pytest.fixture(scope="module")
def proof(builds):
    return proof_of(3, COUNTS, builds)


@pytest.fixture(scope="module")
def faulty(proof):
    return proof.with_faults()


def test_every_stage_agrees(proof, faulty):
    proof.check(faulty, "clean")


@pytest.mark.parametrize("stage", STAGES)
def test_a_fault_is_named(proof, faulty, stage):
    proof.check_fault(faulty, stage)


def test_stalls(proof):
    proof.check_stalls()


@pytest.mark.parametrize("ntypes, fold", [(15, 8), (32, 1)])
def test_many_types(ntypes, fold, builds):
    """Every type as centre and as neighbour; one channel per cycle, and all at once."""
    rng = np.random.default_rng(ntypes)
    proof = proof_of(ntypes, rng.integers(0, 25, 2 * ntypes).tolist(), builds, fold=fold)
    assert proof.cfg.ntypes == 1 << (ntypes - 1).bit_length()
    atoms = proof.atoms
    for kinds in (atoms.center_types, atoms.neighbor_types[atoms.mask]):
        assert set(kinds) == set(range(ntypes))
    proof.check(proof.evaluate(f"types{ntypes}", {"taps": list(STAGES)}), "run")
    # the types are used: with all taken as type 0 the words are others
    alike = replace(atoms, neighbor_types=np.zeros_like(atoms.neighbor_types))
    assert (alike.evaluate(proof.model).out != atoms.evaluate(proof.model).out).mean() > 0.5


@pytest.mark.shared
def test_gete(shared, builds, tmp_path):
    """Atoms of GeTe with DeePMD-kit's weights of its run of version 1."""
    model, frames = load_type_folder(shared / "golden" / "v1_ni128_gete")
    near = neighbours_of(model, frames[0])
    chosen = choose_atoms(len(near.order), 24)
    atoms = Atoms(near.center_types[chosen], near.rij[chosen], near.mask[chosen],
                  near.neighbor_types[chosen])
    rtl = run_accelerator(model, config_for(model), atoms, tmp_path, build_dir=builds)
    assert rtl.comparison.first is None, str(rtl.comparison.first)
    assert rtl.comparison.equal
    assert rtl.comparison.compared == len(chosen) + 4 * int(atoms.mask.sum())
    assert rtl.status == ()
    energy = rtl.energy + model.t_bias_atom_e[atoms.center_types]
    assert np.array_equal(energy, frames[0].qnn["atom_energy"][near.order[chosen]])
    assert np.array_equal(rtl.deriv, frames[0].slots["net_deriv"][chosen] * atoms.mask[..., None])
