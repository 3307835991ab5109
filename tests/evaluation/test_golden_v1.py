"""DeePMD-kit's own run of version 1, reproduced without a differing bit."""

from __future__ import annotations

import numpy as np
import pytest
from support.golden_checks import check_neighbours, check_quantized, neighbours_of
from support.golden_data import load_type_folder

from nvnmd.quantize.reference import evaluate_atoms

pytestmark = pytest.mark.shared


@pytest.fixture
def run(shared):
    return load_type_folder(shared / "golden" / "v1_ni128_gete")


def test_neighbour_list(run):
    """One list over all types, ordered by distance."""
    model, frames = run
    near = neighbours_of(model, frames[0])
    check_neighbours(near, frames[0])
    kinds = np.where(near.mask, near.neighbor_types, 0)
    assert (np.diff(kinds, axis=1)[near.mask[:, 1:]] < 0).any()
    assert near.counts.sum() == near.mask.sum()


@pytest.mark.parametrize("f", [0, 1])
def test_quantized_network(run, f):
    model, frames = run
    check_quantized(model, frames[f], neighbours_of(model, frames[f]))


@pytest.mark.parametrize("change", ["order", "type"])
def test_types_count(run, change):
    """Another order of the neighbours changes nothing but their rows; another type does."""
    model, frames = run
    near = neighbours_of(model, frames[0])
    some = slice(0, 6)
    trace = evaluate_atoms(model, near.center_types[some], near.rij[some], near.mask[some],
                           near.neighbor_types[some])
    if change == "order":
        turned = [np.flip(x[some], 1) for x in (near.rij, near.mask, near.neighbor_types)]
        other = evaluate_atoms(model, near.center_types[some], *turned)
        assert np.array_equal(other.out, trace.out)
        assert np.array_equal(np.flip(other.deriv, 1), trace.deriv)
    else:
        wrong = evaluate_atoms(model, near.center_types[some], near.rij[some], near.mask[some],
                               1 - near.neighbor_types[some])
        assert (wrong.out != trace.out).all()
