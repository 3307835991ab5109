"""Version 1, SUB_VERSION 2: DeePMD-kit's own run, the compiled form, two modes, and its traps."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from support.golden_checks import (
    assert_same_bits,
    check_neighbours,
    check_quantized,
    neighbours_of,
)
from support.sub2_golden import EXTREME, RUN, golden_frames, golden_model
from support.sub2_models import random_slots, switched_model

from nvnmd.errors import InputError, RangeError
from nvnmd.quantize import normalize, reference, type_factor
from nvnmd.quantize.compiled.model import FastModel, evaluator
from nvnmd.quantize.forces import assemble_forces
from nvnmd.quantize.model import Model
from nvnmd.quantize.ops import add, dot, mul, trunc_flt
from nvnmd.quantize.reference import evaluate_atoms
from nvnmd.threads import installed


@pytest.fixture
def golden(shared):
    folder = shared / "golden"
    if not (folder / "v1_sub2").is_dir():
        pytest.skip("no golden run of SUB_VERSION 2")
    return folder


@pytest.mark.shared
@pytest.mark.parametrize(("name", "f"), [(RUN, 0), (RUN, 1), (EXTREME, 0)])
def test_bits_of_deepmd_kit(golden, name, f):
    """Neighbours, descriptor, atomic energies, dE/d[u,x,y,z], forces and virial."""
    model, frame = golden_model(golden), golden_frames(golden, name)[f]
    near = neighbours_of(model, frame)
    if frame.slots:
        check_neighbours(near, frame)
    check_quantized(model, frame, near)
    if installed():
        energy, forces = evaluator(model)(near)
        assert_same_bits(energy, frame.qnn["atom_energy"][near.order], "atomic energies")
        assert_same_bits(forces.force, frame.qnn["force"][near.order], "forces")
        assert_same_bits(forces.virial, frame.qnn["virial"], "virial")


@pytest.mark.shared
def test_the_graph_goes_beyond_the_formats(golden, caplog):
    """Pairs from 0.05 Å: the graph computes on and says so, the machine's words end there."""
    model, frame = golden_model(golden), golden_frames(golden, EXTREME)[0]
    near = neighbours_of(model, frame)
    atoms = near.center_types, near.rij, near.mask, near.neighbor_types
    with caplog.at_level(logging.WARNING):
        evaluate_atoms(model, *atoms)
    assert "descriptor 16.0599 leaves its format" in caplog.text
    with pytest.raises(RangeError, match="descriptor"):
        evaluate_atoms(model, *atoms, "machine")


@pytest.mark.shared
def test_modes_lie_where_the_page_says(golden):
    """Quotients or products: 1e-5 eV/Å between them, and not nothing."""
    model, frame = golden_model(golden), golden_frames(golden, RUN)[0]
    near = neighbours_of(model, frame)
    atoms = near.center_types, near.rij, near.mask, near.neighbor_types
    graph, machine = (evaluate_atoms(model, *atoms, mode) for mode in ("graph", "machine"))
    energy = np.abs(graph.atom_energy - machine.atom_energy).max()
    force = np.abs(assemble_forces(graph.deriv, near.rij, near.index).force
                   - assemble_forces(machine.deriv, near.rij, near.index).force).max()
    assert 1e-6 < energy <= 7e-6 and 1e-6 < force <= 1.2e-5


@pytest.mark.skipif(not installed(), reason="numba (the extra `fast`) is not installed")
@pytest.mark.parametrize("mode", ["graph", "machine"])
@pytest.mark.parametrize("ntypes", [1, 3, 32])
def test_compiled_words(ntypes, mode):
    """Random models, atoms and gaps: no differing bit."""
    rng = np.random.default_rng([ntypes, 7])
    model = switched_model(rng, ntypes)
    for scale in (2.0, 3.0):
        center, rij, mask, kinds = random_slots(rng, model, scale=scale)
        trace = evaluate_atoms(model, center, rij, mask, kinds, mode)
        energy, deriv = FastModel(model, mode).evaluate(center, rij, mask, kinds)
        assert_same_bits(energy, trace.atom_energy, "atomic energies")
        assert_same_bits(deriv[mask], trace.deriv[mask], "dE/d[u,x,y,z]")


def test_an_empty_slot_has_a_price(monkeypatch):
    """s'(0)*G(s'(0)) in row 0 of GR, the same whatever its type; the other rows are as before."""
    rng = np.random.default_rng(1)
    model = switched_model(rng)
    center, rij, mask, kinds = random_slots(rng, model, 20)
    mask[:, -1] = False
    trace = evaluate_atoms(model, center, rij, mask, kinds)
    other = evaluate_atoms(model, center, rij, mask, np.where(mask, kinds, 2 - kinds))
    assert_same_bits(other.gr, trace.gr, "GR")
    # one slot fewer: the difference is that of one product, cut by itself to 23 bits
    fewer = replace(model, sel=(model.nnei - 1,))
    assert fewer.nix_shift == model.nix_shift
    less = evaluate_atoms(fewer, center, rij[:, :-1], mask[:, :-1], kinds[:, :-1])
    last = trace.s[:, -1, None] * trace.g[:, -1]
    price = np.trunc(last * 2.0**23) * 2.0**-23 * 2.0**-model.nix_shift
    unit = 2.0**-20 * np.maximum(np.abs(trace.gr[:, 0]), 1e-30) * 2
    assert (np.abs(trace.gr[:, 0] - less.gr[:, 0] - price) <= unit).all()
    assert np.abs(price).max() > 0 and not trace.h[:, -1].any()
    assert_same_bits(less.gr[:, 1:], trace.gr[:, 1:], "rows of h")
    mean = trunc_flt((0.0 - model.davg[center, 0]) / model.dstd[center, 0])
    assert_same_bits(trace.s[:, -1], mean, "s of an empty slot")


def changed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the mistakes that the arithmetic invites."""

    def times_one_plus(g, factor, frac):
        return mul(g, trunc_flt(1.0 + factor)) + 0.0

    def back_by_add(dg, g, gain, factor, mode, frac):
        _, of_k = type_factor.back_through_switched(dg, g, gain, factor)
        return add(dg, mul(factor, dg)) + 0.0, of_k

    def back_by_dot(dg, g, gain, factor, mode, frac):
        of_table, _ = type_factor.back_through_switched(dg, g, gain, factor)
        return of_table, dot(mul(g, dg), gain)

    def without_k(dg, g, gain, factor, mode, frac):
        of_table, of_k = type_factor.back_through_switched(dg, g, gain, factor)
        return of_table, 0.0 * of_k

    seen = []

    def remembered(gain, k, frac):
        seen[:] = [gain, k]
        return type_factor.switched_gain(gain, k)

    def in_turn(g, factor, frac):
        return add(g, mul(mul(g, seen[0]), seen[1][..., None])) + 0.0

    changes = {"apply_switched": times_one_plus}
    if name == "in turn":
        changes = {"switched_gain": remembered, "apply_switched": in_turn}
    elif name != "apply_switched":
        changes = {"back_through_switched": {
            "add": back_by_add, "dot": back_by_dot, "no k": without_k}[name]}
    for attribute, function in changes.items():
        monkeypatch.setattr(reference, attribute, function)


@pytest.mark.parametrize(("name", "least"), [
    ("apply_switched", 0.5), ("in turn", 0.5), ("add", 0.001), ("dot", 0.1), ("no k", 0.5)])
def test_traps(name, least, monkeypatch):
    """Each of these mistakes changes words; the share that it changes at least."""
    rng = np.random.default_rng(3)
    model = switched_model(rng)
    center, rij, mask, kinds = random_slots(rng, model, 20)
    right = evaluate_atoms(model, center, rij, mask, kinds)
    changed(name, monkeypatch)
    wrong = evaluate_atoms(model, center, rij, mask, kinds)
    near = mask & (np.linalg.norm(rij, axis=-1) < model.rcut)
    differ = (right.deriv != wrong.deriv)[near].any(axis=-1).mean()
    assert differ > least
    if name in ("dot", "no k"):
        assert_same_bits(wrong.atom_energy, right.atom_energy, "energies")


def test_k_is_of_the_plain_s(monkeypatch):
    """The table's k is made of s before mean and deviation: 1 inside rcut_smth, 0 at rcut."""
    model = switched_model(np.random.default_rng(4), 1)
    r = np.array([0.9, 0.999, 2.0, 3.99, 4.0, 5.0])
    rij = np.zeros((1, model.nnei, 3))
    rij[0, : len(r), 0] = r
    mask = np.zeros((1, model.nnei), bool)
    mask[0, : len(r)] = True
    k = evaluate_atoms(model, np.zeros(1, int), rij, mask, np.zeros_like(mask, int)).k[0]
    x = np.clip((r - 1.0) / 3.0, 0.0, 1.0)
    s = (x**3 * (-6 * x**2 + 15 * x - 10) + 1) / r
    expected = np.clip(1 - (1 - 1.0 * s) ** 3, 0, 1)
    np.testing.assert_allclose(k[: len(r)], expected, atol=5e-5)
    assert k[0] == 1.0 and not k[len(r):].any() and not np.signbit(k).any()


def test_modes_by_name():
    rng = np.random.default_rng(6)
    model = switched_model(rng)
    assert normalize.chosen_mode(model) == "graph"
    bare = replace(model, davg=np.zeros((0, 2)), dstd=np.zeros((0, 2)), embedding=())
    assert normalize.chosen_mode(bare) == "machine"
    with pytest.raises(InputError, match="no binary64 mean"):
        normalize.chosen_mode(bare, "graph")
    with pytest.raises(InputError, match="expected graph or machine"):
        normalize.chosen_mode(model, "both")  # type: ignore[arg-type]
    center, rij, mask, kinds = random_slots(rng, model, 8)
    by_words = evaluate_atoms(model, center, rij, mask, kinds, "machine")
    assert_same_bits(evaluate_atoms(bare, center, rij, mask, kinds).deriv, by_words.deriv, "words")
    s = add(*np.broadcast_arrays(_plain_s(model, by_words), model.minus_avg[center][:, None]))
    assert_same_bits(by_words.s, mul(model.inv_std[center][:, None, 0], s) + 0.0, "s")


def _plain_s(model: Model, trace: reference.Trace) -> np.ndarray:
    from nvnmd.quantize.table_lookup import evaluate, locate

    return evaluate(model.table_u[0], *locate(trace.u, model.u_layout))[..., 0]


def test_model_file(tmp_path):
    model = switched_model(np.random.default_rng(2), 5)
    model.save(tmp_path / "m.nvnmd")
    again = Model.load(tmp_path / "m.nvnmd")
    assert again.digest == model.digest and again.sub_version == 2 and again.radial == 3
    np.testing.assert_array_equal(again.minus_avg, model.minus_avg)
    with pytest.raises(ValueError, match="minus_avg"):
        replace(model, minus_avg=None)
    with pytest.raises(ValueError, match="SUB_VERSION"):
        replace(model, sub_version=3)
    assert replace(model, minus_avg=model.minus_avg * 1.5).digest != model.digest
