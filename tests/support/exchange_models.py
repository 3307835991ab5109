"""Models of full width for files of DeePMD-kit: the committed fixtures and random ones."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from support.golden_data import load_fixture
from support.small_models import random_weights, small_config
from support.type_models import type_weights

from nvnmd.deepmd.extras import stage_extras
from nvnmd.deepmd.tables import tables_of_weights
from nvnmd.inputs.config import DescriptorConfig, FittingConfig
from nvnmd.mapping.freeze import freeze_model
from nvnmd.network.weights import FloatWeights
from nvnmd.quantize.model import Model

CASES = ("v0-128", "v0-256", "v1-128", "v1-256")
WIDE = {"m1": 32, "axis": 4, "width": 128, "hidden": 3}
NAMES = ("Cu", "Au", "Ag", "Ni", "Pd", "Pt", "Al", "Pb", "Si", *(f"X{k}" for k in range(23)))


@cache
def wide_model(case: str) -> Model:
    """DeePMD-kit's committed models (version 0), random ones of nine types (version 1)."""
    version, capacity = case.split("-")
    if version == "v0":
        run = load_fixture(int(capacity))
        return replace(run.model, extras=stage_extras(run.model, run.cnn))
    return random_run(1, int(capacity), 9)[0]


def random_run(version: int, capacity: int, ntypes: int) -> tuple[Model, FloatWeights]:
    """A model of random weights, its float stage in the extras."""
    rng = np.random.default_rng(10 * capacity + ntypes)
    make = type_weights if version else random_weights
    cnn = make(rng, ntypes, **WIDE)
    sel = (capacity - 8,) if version else (capacity // ntypes,) * ntypes
    config = small_config(
        version=version,
        max_nnei=capacity,
        type_map=NAMES[:ntypes],
        descriptor=DescriptorConfig(
            sel=sel, rcut=6.0, rcut_smth=0.5, neuron=(16, 32), axis_neuron=4
        ),
        fitting=FittingConfig(neuron=(128, 128, 128)),
    )
    tables = tables_of_weights(cnn, 6.0, 0.5)
    qnn = replace(
        cnn, fit_weights=tuple(w + 1e-4 * rng.normal(size=w.shape) for w in cnn.fit_weights)
    )
    model = freeze_model(qnn, tables, config)
    return replace(model, extras=stage_extras(model, cnn)), cnn
