"""The fast path of the fixed backend: every word equal to the integer reference's."""

from __future__ import annotations

import dataclasses
import logging
import tracemalloc

import numpy as np
import pytest
from support.golden_checks import assert_same_bits, neighbours, neighbours_of
from support.golden_data import Frame, load_fixture, load_folder, load_type_folder
from support.random_type_models import random_type_model
from support.small_models import random_model, rattled_crystal

from nvnmd.errors import RangeError
from nvnmd.neighbors.slots import Neighborhood
from nvnmd.quantize.compiled import model as fast
from nvnmd.quantize.forces import assemble_forces
from nvnmd.quantize.model import Model
from nvnmd.quantize.reference import evaluate_atoms
from nvnmd.threads import threads

pytest.importorskip("numba", reason="numba (the extra `fast`) is not installed")


def check_equal(model, center, rij, mask, kinds=None, index=None) -> None:
    """Energies and derivatives, and forces where there is an index, with no differing bit."""
    trace = evaluate_atoms(model, center, rij, mask, kinds)
    energy, deriv = fast.FastModel(model).evaluate(center, rij, mask, kinds)
    assert_same_bits(energy, trace.atom_energy, "atomic energies")
    assert_same_bits(deriv[mask], trace.deriv[mask], "dE/d[u,x,y,z]")
    assert not deriv[~mask].any()
    if index is not None:
        found, expected = fast.fast_forces(deriv, rij, index), assemble_forces(deriv, rij, index)
        for name in ("force", "virial", "atom_virial"):
            assert_same_bits(getattr(found, name), getattr(expected, name), name)


def check_near(model: Model, near: Neighborhood) -> None:
    check_equal(model, near.center_types, near.rij, near.mask, near.neighbor_types, near.index)


def check_run(model: Model, frames: tuple[Frame, ...]) -> None:
    for frame in frames:
        near = neighbours_of(model, frame, "truncate" if frame.name == "crushed" else "error")
        check_near(model, near)
        energy, forces = fast.evaluator(model)(near)
        assert_same_bits(energy, frame.qnn["atom_energy"][near.order], "atomic energies")
        assert_same_bits(forces.force, frame.qnn["force"][near.order], "forces")
        np.testing.assert_allclose(forces.virial, frame.qnn["virial"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("capacity", [128, 256])
def test_fixtures(capacity):
    run = load_fixture(capacity)
    check_run(run.model, run.frames)


@pytest.mark.shared
def test_reference_folders(shared):
    run = load_folder(shared / "golden" / "v0_ni128_gete")
    check_run(run.model, run.frames)
    check_run(*load_type_folder(shared / "golden" / "v1_ni128_gete"))


@pytest.mark.parametrize("ntypes", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_random_models(ntypes, seed):
    rng = np.random.default_rng([ntypes, seed])
    model = random_model(rng, ntypes)
    for cells in (2, 3, 5):
        near = rattled_crystal(rng, model, cells)
        check_near(model, near)


@pytest.mark.parametrize("ntypes", [1, 2, 5, 32])
def test_random_models_of_version_1(ntypes):
    """Neighbours of any type in any slot, gaps between them."""
    rng = np.random.default_rng(ntypes)
    model = random_type_model(rng, ntypes)
    shape = (70, model.nnei)
    kinds = rng.integers(0, ntypes, shape)
    check_equal(model, rng.integers(0, ntypes, shape[0]), rng.normal(scale=2.0, size=(*shape, 3)),
                rng.random(shape) < 0.6, kinds)
    with pytest.raises(ValueError, match="neighbours' types"):
        fast.FastModel(model).evaluate(kinds[:, 0], np.zeros((*shape, 3)), kinds < 0)


def test_any_displacement_and_any_slot():
    """Centres in any order, gaps between filled slots, arguments on and beyond the tables' ends,
    components that are zero, tiny or huge."""
    rng = np.random.default_rng(8)
    model = random_model(rng, 2)
    model = dataclasses.replace(model, table_u=model.table_u * 2.0**-4)
    n, m = 150, model.nnei
    mask = rng.random((n, m)) < 0.5
    mask[0] = False
    mask[1] = True
    rij = rng.normal(size=(n, m, 3)) * rng.choice([0.1, 1.0, 3.0, 8.0, 1e-6], size=(n, m, 1))
    rij[rng.random(rij.shape) < 0.1] = 0.0
    rij[rng.random(rij.shape) < 0.02] = 2.0**-130
    rij[2, :, 0] = np.sqrt(np.arange(m) * 0.125)
    rij[2, :, 1:] = 0.0
    center = rng.integers(0, 2, n)
    check_equal(model, center, rij, mask)


def test_a_pair_at_one_place_is_left_to_the_reference():
    model = random_model(np.random.default_rng(1), 2)
    rij = np.zeros((2, model.nnei, 3))
    rij[0, 0] = 1e-25
    rij[1, 0] = 2.0
    mask = np.zeros(rij.shape[:2], dtype=bool)
    mask[:, 0] = True
    check_equal(model, np.array([0, 1]), rij, mask)


def test_a_steep_fitting_net():
    """dE/dD of more than 8, where the words of the multipliers end."""
    rng = np.random.default_rng(4)
    model = random_model(rng, 2)
    near = rattled_crystal(rng, model, 3)
    first, *others, last = model.fit_weights
    steep = dataclasses.replace(
        model, fit_weights=(first * 24.0, *others, last * 4.0))
    trace = evaluate_atoms(steep, near.center_types, near.rij, near.mask)
    assert 16.0 < np.abs(trace.dd).max() < 256.0
    check_near(steep, near)


def test_no_atoms():
    model = random_model(np.random.default_rng(1), 2)
    energy, deriv = fast.FastModel(model).evaluate(
        np.zeros(0, dtype=int), np.zeros((0, model.nnei, 3)), np.zeros((0, model.nnei), bool))
    assert energy.shape == (0,) and deriv.shape == (0, model.nnei, 4)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda m: {"table_g": m.table_g * 2.0**14}, "GR accumulator"),
        (lambda m: {"table_g": m.table_g * 2.0**6}, "descriptor"),
        (lambda m: {"fit_biases": (m.fit_biases[0] + 9.0, *m.fit_biases[1:])}, "fitting net word"),
        (lambda m: {"fit_weights": (*m.fit_weights[:-1], m.fit_weights[-1] * 2.0**9)},
         "fitting net word"),
        (lambda m: {"fit_biases": (*m.fit_biases[:-1], m.fit_biases[-1] + 300.0)}, "energy word"),
        (lambda m: {"fit_weights": (m.fit_weights[0] * 2.0**9, *m.fit_weights[1:]),
                    "table_g": m.table_g * 2.0**-6}, "dE/dD word"),
    ],
)
def test_what_leaves_its_format_is_an_error(change, word):
    rng = np.random.default_rng(4)
    model = random_model(rng, 2)
    near = rattled_crystal(rng, model, 3)
    model = dataclasses.replace(model, **change(model))
    for evaluate in (evaluate_atoms, fast.FastModel(model).evaluate):
        arguments = (near.center_types, near.rij, near.mask)
        if evaluate is evaluate_atoms:
            arguments = (model, *arguments)
        with pytest.raises(RangeError, match=word):
            evaluate(*arguments)


def test_threads(monkeypatch):
    run = load_fixture(128)
    near = neighbours(run, run.frames[0])
    repeated = [np.concatenate([x] * 40) for x in (near.center_types, near.rij, near.mask)]
    net = fast.FastModel(run.model)
    results = []
    for count in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", count)
        assert threads() == int(count)
        results.append(net.evaluate(*repeated))
    monkeypatch.setenv("OMP_NUM_THREADS", "none")
    assert threads() >= 1
    for a, b in zip(*results, strict=True):
        assert_same_bits(a, b, "results")


def test_memory_grows_by_so_many_bytes_per_atom(monkeypatch):
    """What docs/python.md says: 70 bytes a slot, lists included."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run = load_fixture(128)
    near = neighbours(run, run.frames[0])
    net = fast.FastModel(run.model)
    peaks, atoms = [], []
    for copies in (100, 300):
        lists = [np.concatenate([x] * copies)
                 for x in (near.center_types, near.rij, near.mask, near.neighbor_types)]
        tracemalloc.start()
        net.evaluate(*lists)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        atoms.append(len(lists[0]))
    per_atom = (peaks[1] - peaks[0]) / (atoms[1] - atoms[0])
    # index, displacements and neighbour types of the list itself
    per_atom += (4 + 24 + 8) * run.model.nnei
    assert per_atom < 70 * run.model.nnei + 400


def test_without_numba_the_reference_answers_and_says_so(monkeypatch, caplog):
    run = load_fixture(128)
    near = neighbours(run, run.frames[0])
    energy, forces = fast.evaluator(run.model)(near)
    monkeypatch.setattr(fast, "installed", lambda: False)
    fast.available.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            slow = fast.evaluator(run.model)
            fast.evaluator(run.model)
    finally:
        fast.available.cache_clear()
    assert caplog.text.count("numba is not installed") == 1
    slow_energy, slow_forces = slow(near)
    assert_same_bits(energy, slow_energy, "atomic energies")
    assert_same_bits(forces.force, slow_forces.force, "forces")
