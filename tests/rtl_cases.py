"""Models and atoms for the whole-accelerator tests."""

from __future__ import annotations

import numpy as np
from small_models import random_model

from nvnmd.hdl.export import config_for
from nvnmd.quantize.model import Model
from nvnmd.sim.accelerator import Atoms


def small_model(ntypes: int = 3, seed: int = 5) -> Model:
    """A random model of reduced widths: m1 8, m2 2, two hidden layers of 16, sel 12 per type."""
    return random_model(np.random.default_rng(seed), ntypes)


def small_accelerator(model: Model, **changes):
    """The accelerator for `small_model`: a store of 128 neighbours, 4 fitting multipliers."""
    return config_for(model, **({"fold": 2, "fit_cols": 4} | changes))


def random_atoms(model: Model, counts: list[list[int]], seed: int = 1, low: float = 2.2) -> Atoms:
    """Atoms with `counts[i][t]` neighbours of type t at random places between `low` and rcut."""
    rng = np.random.default_rng(seed)
    n, m = len(counts), model.nnei
    direction = rng.normal(size=(n, m, 3))
    direction /= np.linalg.norm(direction, axis=2, keepdims=True)
    radius = np.cbrt(rng.uniform(low**3, model.rcut**3, (n, m, 1)))
    slot_types = np.repeat(np.arange(model.ntypes), model.sel)
    nth = np.concatenate([np.arange(size) for size in model.sel])
    mask = np.stack([nth < np.asarray(row)[slot_types] for row in counts])
    center = np.arange(n) % model.ntypes
    return Atoms(center, np.where(mask[:, :, None], direction * radius, 0.0), mask,
                 np.broadcast_to(slot_types, mask.shape))


def trace_of(model: Model, atoms: Atoms):
    """The reference's trace."""
    return atoms.evaluate(model)
