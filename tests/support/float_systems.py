"""A system of random alloy frames."""

from __future__ import annotations

import numpy as np
from support.float_cases import alloy

from nvnmd.data.systems import System


def make_system(frames=2, repeats=(2, 2, 1), energy=None, types=None):
    many = [alloy(seed, repeats) for seed in range(frames)]
    return System(
        path="random",
        types=many[0][2] if types is None else types,
        coord=np.stack([c for c, _, _ in many]),
        box=np.stack([b for _, b, _ in many]),
        energy=np.zeros(frames) if energy is None else np.asarray(energy),
        force=None,
        virial=None,
    )
