"""Data of version 1, of which no system holds every type, and runs on them."""

from __future__ import annotations

import numpy as np
import pytest
from support.type_models import rattled, type_config, type_weights, write_system

from nvnmd.inputs.config import LearningRateConfig, LossConfig, TrainingConfig

COMPOSITIONS = ([0, 2, 2, 0, 2, 0, 2, 0], [1, 0, 1, 1, 1, 1, 0, 0, 1, 1, 0, 0])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two systems, neither of which holds all three types."""
    rng = np.random.default_rng(9)
    teacher = type_weights(rng)
    root = tmp_path_factory.mktemp("v1")
    for number, types in enumerate(COMPOSITIONS):
        write_system(root / f"data{number}", teacher, [rattled(rng, types) for _ in range(5)])
    return root


def run_config(root, steps, lr=3e-3, **changes):
    settings = {
        "training": TrainingConfig(
            systems=tuple(str(root / f"data{n}") for n in range(2)),
            batch_size=(2, 1), numb_steps=steps, seed=3, disp_freq=steps or 1, save_freq=6,
        ),
        "learning_rate": LearningRateConfig(start_lr=lr, stop_lr=lr, decay_steps=1000),
        "loss": LossConfig(start_pref_e=1.0, start_pref_f=100.0, limit_pref_f=100.0,
                           start_pref_v=0.1, limit_pref_v=0.1),
    }
    return type_config(**(settings | changes))
