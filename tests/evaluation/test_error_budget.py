"""Stages quantized one by one: all are the reference, none the float network, and costs add up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.small_models import (
    random_model,
    random_weights,
    rattled_crystal,
    small_config,
)
from support.sub2_models import switched_model
from support.type_models import type_config, type_weights

from nvnmd.data.system import System
from nvnmd.data.systems import load_system
from nvnmd.deepmd.importer import import_model
from nvnmd.deepmd.tables import tables_of_weights
from nvnmd.errors import ModelFileError
from nvnmd.evaluation.backends import make_evaluator
from nvnmd.evaluation.error_budget import Budget, error_budget, evaluations
from nvnmd.evaluation.half_quantized import STAGES, HalfQuantized
from nvnmd.mapping.freeze import freeze_model
from nvnmd.network.compiled import pair_forces
from nvnmd.quantize.reference import evaluate_atoms


def model_of(version: int):
    """A small random model; 2 stands for SUB_VERSION 2, 3 for octave tables."""
    rng = np.random.default_rng(21 + version)
    if version == 3:
        weights = random_weights(rng)
        tables = tables_of_weights(weights, 4.0, 1.0, name="octave")
        return freeze_model(weights, tables, small_config())
    if version != 1:
        return switched_model(rng) if version else random_model(rng)
    weights = type_weights(rng)
    return freeze_model(weights, tables_of_weights(weights, 4.0, 1.0), type_config())


@pytest.fixture(params=[0, 1, 2, 3])
def case(request):
    """A model, a neighbourhood, and its arguments for an evaluator."""
    model = model_of(request.param)
    rng = np.random.default_rng(3)
    if model.version == 0:
        hood = rattled_crystal(rng, model)
    else:
        from nvnmd.neighbors.slots import build_neighborhood

        grid = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), -1).reshape(-1, 3)
        coord = 3.0 * grid + rng.normal(scale=0.25, size=(8, 3))
        hood = build_neighborhood(coord, np.eye(3) * 6.0, np.arange(8) % 3, model.sel, model.rcut,
                                  ntypes=3)
    return model, hood, (hood.center_types, hood.rij, hood.mask, hood.neighbor_types)


def test_all_stages_are_the_reference_word_by_word(case):
    model, _, arguments = case
    found, trace = HalfQuantized(model, STAGES).evaluate(*arguments), evaluate_atoms(
        model, *arguments)
    assert np.array_equal(found.atom_energy, trace.atom_energy)
    assert np.array_equal(found.deriv, trace.deriv)


def test_no_stage_is_the_float_network(case):
    model, hood, arguments = case
    found = HalfQuantized(model, ()).evaluate(*arguments)
    energy, forces = make_evaluator(model, "float")(hood)
    assert found.atom_energy == pytest.approx(energy, abs=1e-12)
    force = pair_forces(found.pair, hood.rij, hood.index).force
    assert force == pytest.approx(forces.force, abs=1e-12)


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_is_small_and_its_own(case, stage):
    model, _, arguments = case
    exact = HalfQuantized(model, ()).evaluate(*arguments)
    found = HalfQuantized(model, [stage]).evaluate(*arguments)
    difference = np.abs(found.deriv - exact.deriv)
    assert 0.0 < difference.max() < 1e-3
    # what only the reverse pass does leaves the energies alone
    reverse = stage.endswith("gradient")
    assert np.array_equal(found.atom_energy, exact.atom_energy) == reverse


def frame_of(model) -> System:
    """A labelled frame for a model of `random_model`."""
    rng = np.random.default_rng(5)
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), -1).reshape(-1, 3)
    coord = (3.0 * grid + rng.normal(scale=0.25, size=(8, 3)))[None]
    return System(path=Path("made"), types=np.sort(np.arange(8) % model.ntypes), coord=coord,
                  box=np.eye(3)[None] * 6.0, energy=None, force=None, virial=None)


def check(budget: Budget) -> None:
    """Shares and means add up, and the remainder is as small as a difference of roundings."""
    costs = [*budget.stages.values(), budget.remainder]
    assert list(budget.stages) == list(STAGES)
    assert sum(cost.share for cost in costs) == pytest.approx(1.0, abs=1e-9)
    assert sum(cost.mean for cost in costs) == pytest.approx(budget.mean, abs=1e-15)
    assert abs(budget.remainder.share) < 1e-6 and budget.remainder.rms < 1e-6 * budget.rms


def test_costs_add_up():
    model = model_of(0)
    ticks: list[int] = []
    found = error_budget(model, [(frame_of(model), 0)], tick=lambda: ticks.append(1))
    assert len(ticks) == evaluations(1)
    for budget, count in ((found["energy"], 8), (found["force"], 24)):
        check(budget)
        assert budget.count == count and budget.rms > 0.0


def test_a_coarse_stage_costs_most():
    model = model_of(0)
    table = model.table_u.copy()
    table[:, :, 0, 3] += 1e-3
    found = error_budget(replace(model, table_u=table), [(frame_of(model), 0)])
    for budget in found.values():
        check(budget)
        assert budget.stages["table u"].share == max(c.share for c in budget.stages.values())
        assert budget.stages["table u"].share > 0.9


def test_no_float_network_no_budget():
    with pytest.raises(ModelFileError, match="no continuous network"):
        HalfQuantized(replace(model_of(0), embedding=()), ())


@pytest.mark.shared
@pytest.mark.parametrize("version", [0, 1])
def test_models_of_deepmd(shared, version):
    model = import_model(shared / "golden" / f"v{version}_ni128_gete")
    system = load_system(shared / "data" / "gete", model.type_map)
    for budget in error_budget(model, [(system, 0)]).values():
        check(budget)
        # the bound, with room
        assert abs(budget.remainder.share) <= 0.2
