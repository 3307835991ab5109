"""The whole accelerator at reduced widths: every stage watched, faults, resets, bad input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rtl_cases import (
    Proof,
    outcome,
    random_atoms,
    small_accelerator,
    small_model,
    status_of,
    stimulus_of,
    trace_of,
)

from nvnmd.hdl.image import build_image
from nvnmd.hdl.taps import STAGES
from nvnmd.sim.accelerator import Atoms, evaluation_steps, patience, play
from nvnmd.sim.stimulus import expected_words

# no neighbour, one, some of each type, types absent, every slot filled
COUNTS = [[0, 0, 0], [1, 0, 0], [3, 4, 2], [0, 5, 0], [12, 12, 12], [2, 0, 7], [0, 0, 1]]


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    return tmp_path_factory.mktemp("builds")


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def cfg(model):
    return replace(small_accelerator(model), trace=True)


@pytest.fixture(scope="module")
def atoms(model):
    return random_atoms(model, COUNTS)


@pytest.fixture(scope="module")
def proof(model, cfg, atoms, builds):
    return Proof(model, cfg, atoms, builds)


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


def test_resets_and_bad_loads(model, cfg, atoms, builds):
    """Whatever went before, the next good load gives right words; a bad one gives none."""
    stimulus = stimulus_of(atoms)
    image = build_image(model, cfg)
    wrong_crc, wrong_head = image.copy(), image.copy()
    wrong_crc[len(image) // 2, 1] ^= 4
    wrong_head[0, 1] ^= 1
    arrays = {
        "image": image, "beats": stimulus.beats, "last": stimulus.last,
        "wrong_crc": wrong_crc, "wrong_head": wrong_head,
        "long": np.concatenate([image, image[-1:]]),
    }
    good = evaluation_steps(stimulus, patience(cfg))
    refused = [{"op": "start", "beats": "beats", "last": "last"}, {"op": "idle", "cycles": 800}]
    script = []

    def then_good(name):
        return [{"op": "load", "image": "image"}, *good[:-1], {"op": "collect", "name": name}]

    # in the middle of an atom, and of a load
    script += [{"op": "load", "image": "image"},
               {"op": "start", "beats": "beats", "last": "last"}, {"op": "idle", "cycles": 150},
               {"op": "reset"}, {"op": "collect", "name": "drop"}, *then_good("after_atom")]
    script += [{"op": "load", "image": "image", "count": len(image) // 3}, {"op": "reset"},
               {"op": "collect", "name": "drop"}, *then_good("after_load")]
    # loads that must be refused; then no word comes, and the status says why
    for name, step in (
        ("short", {"op": "load", "image": "image", "count": len(image) - 1}),
        ("long", {"op": "load", "image": "long"}),
        ("wrong_crc", {"op": "load", "image": "wrong_crc"}),
        ("wrong_head", {"op": "load", "image": "wrong_head"}),
        ("no_load", {"op": "idle", "cycles": 1}),
    ):
        script += [{"op": "reset"}, {"op": "collect", "name": "drop"}, step, *refused,
                   {"op": "collect", "name": name}, *then_good(f"after_{name}")]
    found = play(cfg, builds / "resets", builds, script, arrays, {"taps": []})
    trace = trace_of(model, atoms)
    for name in ("atom", "load", "short", "long", "wrong_crc", "wrong_head", "no_load"):
        assert outcome(found, f"after_{name}", trace, atoms).equal, name
    for name in ("short", "long", "wrong_crc", "wrong_head"):
        assert status_of(found, name) == {"bad_load", "no_model"}, name
        assert found[f"{name}.energy"].size == 0
        assert found[f"{name}.deriv"].size == 0
    assert status_of(found, "no_load") == {"no_model"}
    assert found["no_load.energy"].size == 0
    assert status_of(found, "after_atom") == {"model_valid"}
    assert status_of(found, "after_load") == {"model_valid"}


def test_bad_neighbors(model, cfg, atoms, builds):
    """Too many neighbours and types that do not exist: a status, and the atom still ends."""
    stimulus = stimulus_of(atoms)
    full = COUNTS.index([12, 12, 12])
    start = int(stimulus.counts[:full].sum()) + 1  # the atom without neighbours has one beat
    beats = stimulus.beats
    extra = np.insert(beats, start, beats[start], axis=0)
    extra_last = np.insert(stimulus.last, start, False)
    alien, alien_center, order = beats.copy(), beats.copy(), beats.copy()
    alien[start, 3] = alien[start, 3] & ~np.uint32(0xFF) | 3  # the memories hold it, the model not
    alien_center[start, 3] |= np.uint32(0x7 << 8)
    mixed = int(stimulus.counts[: COUNTS.index([3, 4, 2])].sum()) + 1
    order[mixed, 3] |= 2  # its neighbours of types 0 and 1 then come too late
    arrays = {
        "image": build_image(model, cfg), "last": stimulus.last, "extra": extra,
        "extra_last": extra_last, "alien": alien, "alien_center": alien_center, "order": order,
        "beats": beats,
    }
    script = []
    for name in ("extra", "alien", "alien_center", "order", "beats"):
        last = "extra_last" if name == "extra" else "last"
        script += [{"op": "reset"}, {"op": "load", "image": "image"},
                   {"op": "start", "beats": name, "last": last},
                   {"op": "wait", "atoms": len(COUNTS), "neighbors": 0, "patience": patience(cfg)},
                   {"op": "idle", "cycles": 2000}, {"op": "collect", "name": name}]
    found = play(cfg, builds / "bad", builds, script, arrays, {})
    assert status_of(found, "extra") == {"too_many", "model_valid"}
    for name in ("alien", "alien_center", "order"):
        assert status_of(found, name) == {"bad_type", "model_valid"}, name
        assert len(found[f"{name}.energy"]) == len(COUNTS)
    trace = trace_of(model, atoms)
    # dropping the one too many leaves the atom as it was: the duplicate pushes out the last
    expected = expected_words(trace, atoms.mask)
    assert np.array_equal(found["extra.energy"][:full], expected.energy[:full])
    assert outcome(found, "beats", trace, atoms).equal


def test_corner_displacements(model, cfg, builds):
    """Just inside rcut, on row edges, along axes, beyond the table's finest rows."""
    rcut = model.rcut
    distances = [np.nextafter(rcut, 0), rcut - 1e-7, rcut - 1e-3, 3.5, np.sqrt(12.125), 2.0, 1.2,
                 np.sqrt(6.25), 1.0]
    rij = np.zeros((len(distances), model.nnei, 3))
    mask = np.zeros(rij.shape[:2], dtype=bool)
    for i, distance in enumerate(distances):
        for k, axis in enumerate(np.eye(3)):
            rij[i, 4 * k] = axis * distance * (-1) ** i
        rij[i, 4 * 2 + 1] = np.array([distance, 1e-30, -1e-39]) * 0.999
        mask[i, [0, 4, 8, 9]] = True
    # slots of a type are filled from the front
    slot_types = np.repeat(np.arange(model.ntypes), model.sel)
    packed_rij, packed_mask = np.zeros_like(rij), np.zeros_like(mask)
    for i in range(len(distances)):
        start = 0
        for t, size in enumerate(model.sel):
            slots = np.flatnonzero(mask[i] & (slot_types == t))
            packed_rij[i, start : start + len(slots)] = rij[i, slots]
            packed_mask[i, start : start + len(slots)] = True
            start += size
    atoms = Atoms(np.arange(len(distances)) % model.ntypes, packed_rij, packed_mask,
                  np.broadcast_to(slot_types, packed_mask.shape))
    proof = Proof(model, cfg, atoms, builds)
    proof.check(proof.evaluate("corner", {"taps": list(STAGES)}), "run")
