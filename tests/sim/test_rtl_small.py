"""The whole accelerator at reduced widths: every stage watched, faults, resets, bad input."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import pytest
from support.rtl_cases import (
    Proof,
    corner_displacements,
    outcome,
    random_atoms,
    small_accelerator,
    small_model,
    status_of,
    stimulus_of,
    trace_of,
)
from support.rtl_stages import StageTests

from nvnmd.hdl.host.image import NEAR_BIT, build_image
from nvnmd.hdl.pace import Pace
from nvnmd.hdl.verify.stimulus import expected_words
from nvnmd.hdl.verify.taps import STAGES
from nvnmd.quantize.formats import encode_flt
from nvnmd.quantize.table_start import near_exponent
from nvnmd.sim.accelerator import Atoms, patience, play

# no neighbour, one, some of each type, types absent, every slot filled
COUNTS = [[0, 0, 0], [1, 0, 0], [3, 4, 2], [0, 5, 0], [12, 12, 12], [2, 0, 7], [0, 0, 1]]


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
def proof(model, cfg, atoms, work):
    return Proof(model, cfg, atoms, work)


class TestStages(StageTests):
    """Every stage, faults, stalls, resets and bad loads."""


def test_pace(proof, cfg):
    """Atoms that lack types take a beat for each; the fitting net sets this accelerator's pace."""
    pace = Pace.of(cfg)
    rows = {"none": [0, 0, 0], "one": [0, 1, 0], "two": [3, 0, 5], "full": [12, 12, 12]}
    found = proof.paces({name: random_atoms(proof.model, [row] * 14) for name, row in rows.items()})
    for name, row in rows.items():
        expected = pace.cycles_per_atom(sum(row), row.count(0))
        assert found[name] == pytest.approx(expected, rel=0.02), name


def test_bad_neighbors(model, cfg, atoms, work):
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
    # 0.3 Å away, by an image that says from where on tables begin (2^-2 Å^2), and by one that does
    # not, as those before
    close = beats.copy()
    close[start, :3] = encode_flt([0.3, 0.0, 0.0])
    silent = arrays["image"].copy()
    assert silent[1, 1] >> NEAR_BIT == near_exponent(model) == 2
    silent[1, 1] &= (1 << NEAR_BIT) - 1
    silent[0, 3] = zlib.crc32(silent[1:].astype("<u4").tobytes())
    arrays |= {"silent": silent, "close": close, "close_silent": close}
    script = []
    for name in ("extra", "alien", "alien_center", "order", "close", "close_silent", "beats"):
        last = "extra_last" if name == "extra" else "last"
        script += [{"op": "reset"},
                   {"op": "load", "image": "silent" if name.endswith("_silent") else "image"},
                   {"op": "start", "beats": name, "last": last},
                   {"op": "wait", "atoms": len(COUNTS), "neighbors": 0, "patience": patience(cfg)},
                   {"op": "idle", "cycles": 2000}, {"op": "collect", "name": name}]
    found = play(cfg, work / "bad", None, script, arrays, {})
    assert status_of(found, "extra") == {"too_many", "model_valid"}
    for name in ("alien", "alien_center", "order"):
        assert status_of(found, name) == {"bad_type", "model_valid"}, name
        assert len(found[f"{name}.energy"]) == len(COUNTS)
    for name in ("close", "close_silent", "beats"):
        near = {"too_near"} if name == "close" else set()
        assert status_of(found, name) == {"model_valid"} | near, name
    trace = trace_of(model, atoms)
    # dropping the one too many leaves the atom as it was: the duplicate pushes out the last
    expected = expected_words(trace, atoms.mask)
    assert np.array_equal(found["extra.energy"][:full], expected.energy[:full])
    assert outcome(found, "beats", trace, atoms).equal


def test_steep_nets(model, cfg, atoms, work):
    """dE/dD between 8 and 256: more than the multipliers' words hold, within its own format."""
    first, *others, last = model.fit_weights
    steep = replace(model, fit_weights=(first * 24.0, *others, last * 8.0))
    largest = np.abs(trace_of(steep, atoms).dd).max()
    assert 32.0 < largest < 256.0
    proof = Proof(steep, cfg, atoms, work)
    proof.check(proof.evaluate("steep", {"taps": list(STAGES)}), "run")


def test_corner_displacements(model, cfg, work):
    """Just inside rcut, on row edges, along axes, beyond the table's finest rows."""
    # three neighbours of type 0, 1 and 2, and a second one of type 2
    near = corner_displacements(model.rcut)
    starts = np.cumsum([0, *model.sel[:-1]])
    places = np.array([starts[0], starts[1], starts[2], starts[2] + 1])
    rij = np.zeros((len(near), model.nnei, 3))
    mask = np.zeros(rij.shape[:2], dtype=bool)
    rij[:, places], mask[:, places] = near, True
    slot_types = np.repeat(np.arange(model.ntypes), model.sel)
    atoms = Atoms(np.arange(len(near)) % model.ntypes, rij, mask,
                  np.broadcast_to(slot_types, mask.shape))
    proof = Proof(model, cfg, atoms, work)
    proof.check(proof.evaluate("corner", {"taps": list(STAGES)}), "run")
