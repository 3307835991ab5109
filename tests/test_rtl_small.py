"""The whole accelerator at reduced widths: every stage watched, faults, resets, bad input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rtl_cases import random_atoms, small_accelerator, small_model, trace_of

from nvnmd.hdl.core import STATUS_BITS
from nvnmd.hdl.image import build_image
from nvnmd.hdl.taps import STAGES
from nvnmd.sim.accelerator import (
    Atoms,
    compare_taps,
    evaluation_steps,
    fault_step,
    patience,
    play,
)
from nvnmd.sim.compare import compare_outputs
from nvnmd.sim.stages import stage_words
from nvnmd.sim.stimulus import build_stimulus, expected_words

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


def stimulus_of(atoms):
    return build_stimulus(atoms.center_types, atoms.rij, atoms.mask, atoms.neighbor_types)


def outcome(results, name, trace, atoms):
    got = {k: results[f"{name}.{k}"] for k in ("energy", "deriv", "deriv_last")}
    return compare_outputs(
        expected_words(trace, atoms.mask), got["energy"], got["deriv"], got["deriv_last"],
        atoms.mask.sum(axis=1),
    )


def status_of(results, name):
    bits = int(results[f"{name}.status"])
    return {label for i, label in enumerate(STATUS_BITS) if bits >> i & 1}


# which beat of each stage to falsify: well inside the stimulus, in an atom with neighbours
FAULTS = {name: 9 for name in STAGES} | {"energy": 4, "d": 40, "dd": 40, "z": 40, "gr": 20}


@pytest.fixture(scope="module")
def faulty(model, cfg, atoms, builds):
    """One simulation: a clean evaluation, then one per stage with a fault.

    The taps count beats since reset, so a fault in the n-th evaluation lies n rounds further on.
    """
    stimulus = stimulus_of(atoms)
    rounds = {
        name: len(stage.words)
        for name, stage in stage_words(trace_of(model, atoms), atoms.mask, cfg, 1).items()
    }
    script = [{"op": "load", "image": "image"}]
    for n, name in enumerate(("clean", *STAGES)):
        if name != "clean":
            script.append(fault_step(name, n * rounds[name] + FAULTS[name]))
        script += evaluation_steps(stimulus, patience(cfg), name=name)
    arrays = {"image": build_image(model, cfg), "beats": stimulus.beats, "last": stimulus.last}
    found = play(cfg, builds / "faults", builds, script, arrays, {"taps": list(STAGES)})
    assert int(found["clean.tap_words_z"]) == 1
    return found


def taps_of(results, name):
    return {k.removeprefix(f"{name}."): v for k, v in results.items() if k.startswith(f"{name}.")}


def test_every_stage_agrees(model, cfg, atoms, faulty):
    trace = trace_of(model, atoms)
    result = outcome(faulty, "clean", trace, atoms)
    assert result.equal
    assert result.compared == len(COUNTS) + 4 * int(atoms.mask.sum())
    assert compare_taps(trace, atoms.mask, cfg, taps_of(faulty, "clean")) is None
    assert status_of(faulty, "clean") == {"model_valid"}


@pytest.mark.parametrize("stage", STAGES)
def test_a_fault_is_named(model, cfg, atoms, faulty, stage):
    """A wrong last bit in one beat of a stage: that stage, atom, neighbour and word are named."""
    trace = trace_of(model, atoms)
    found = compare_taps(trace, atoms.mask, cfg, taps_of(faulty, stage))
    assert found is not None
    where = stage_words(trace, atoms.mask, cfg, int(faulty["clean.tap_words_z"]))[stage]
    beat = FAULTS[stage]
    assert found.stage == stage
    assert found.atom == where.atom[beat]
    neighbor = None if where.neighbor[beat] < 0 else where.neighbor[beat]
    assert found.neighbor == neighbor
    # the first word of the beat that is not zero (the last bit of a zero is not touched)
    lane = int(np.flatnonzero(where.words[beat])[0])
    assert found.expected == where.words[beat, lane]
    assert found.found != found.expected
    assert f"stage {stage}, atom {found.atom}" in str(found)


def test_stalls(model, cfg, atoms, builds):
    stimulus = stimulus_of(atoms)
    arrays = {"image": build_image(model, cfg), "beats": stimulus.beats, "last": stimulus.last}
    trace = trace_of(model, atoms)
    for idle, stall in ((0.7, 0.0), (0.0, 0.7), (0.4, 0.4)):
        script = [{"op": "load", "image": "image"},
                  *evaluation_steps(stimulus, patience(cfg, 0.2))]
        found = play(cfg, builds / "stalls", builds, script, arrays,
                     {"seed": 3, "idle_in": idle, "stall_out": stall})
        assert outcome(found, "run", trace, atoms).equal
        assert status_of(found, "run") == {"model_valid"}


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
    stimulus = stimulus_of(atoms)
    trace = trace_of(model, atoms)
    script = [{"op": "load", "image": "image"}, *evaluation_steps(stimulus, patience(cfg))]
    arrays = {"image": build_image(model, cfg), "beats": stimulus.beats, "last": stimulus.last}
    found = play(cfg, builds / "corner", builds, script, arrays, {"taps": list(STAGES)})
    assert compare_taps(trace, atoms.mask, cfg, taps_of(found, "run")) is None
    assert outcome(found, "run", trace, atoms).equal
