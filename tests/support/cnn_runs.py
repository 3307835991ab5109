"""A small labelled alloy and short trainings of the continuous stage, for several test files."""

from __future__ import annotations

import numpy as np
import pytest
from support.float_cases import RCUT, RCUT_SMTH, SEL, alloy

from nvnmd.inputs.config import (
    DescriptorConfig,
    FittingConfig,
    LearningRateConfig,
    LossConfig,
    RunConfig,
    TrainingConfig,
)
from nvnmd.neighbors.slots import build_neighborhood
from nvnmd.network.math import NumpyMath
from nvnmd.network.nets import switch

HIDDEN = (24, 24, 24)
DESCRIPTOR = DescriptorConfig(
    sel=SEL, rcut=RCUT, rcut_smth=RCUT_SMTH, neuron=(4, 8, 16), seed=1
)


def pair_labels(coord, box, types):
    """Energy, forces and virial of a switched Morse potential whose depth depends on the types."""
    near = build_neighborhood(coord, box, types, SEL, RCUT)
    mask = near.mask
    r = np.linalg.norm(np.where(mask[..., None], near.rij, 1.0), axis=-1)
    depth = np.array([[0.3, 0.5], [0.5, 0.2]])[near.center_types[:, None], near.slot_types]
    fall = np.exp(-1.2 * (r - 2.6))
    well, slope = fall * (fall - 2.0), -2.4 * fall * (fall - 1.0)
    sw, dsw = switch(NumpyMath(), r, RCUT_SMTH, RCUT)
    energy = np.where(mask, depth * well * sw, 0.0)
    along = np.where(mask, depth * (slope * sw + well * dsw) / r, 0.0)
    gradient = along[..., None] * near.rij
    # Every pair is listed from both ends: half an energy each, and equal and opposite forces.
    force = np.empty_like(coord)
    force[near.order] = gradient.sum(axis=1)
    return 0.5 * energy.sum(), force, -0.5 * np.einsum("ima,imb->ab", gradient, near.rij)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two systems of different composition, labelled with a pair potential."""
    folders = []
    for name, frames, repeats in (("large", 6, (2, 2, 1)), ("small", 4, (2, 1, 1))):
        folder = tmp_path_factory.mktemp("data") / name
        (folder / "set.000").mkdir(parents=True)
        many = [alloy(seed, repeats) for seed in range(frames)]
        types = many[0][2]
        labels = [pair_labels(c, b, types) for c, b, _ in many]
        arrays = {
            "coord": [c.ravel() for c, _, _ in many],
            "box": [b.ravel() for _, b, _ in many],
            "energy": [energy for energy, _, _ in labels],
            "force": [force.ravel() for _, force, _ in labels],
            "virial": [virial.ravel() for _, _, virial in labels],
        }
        for key, rows in arrays.items():
            np.save(folder / "set.000" / f"{key}.npy", np.array(rows))
        (folder / "type.raw").write_text(" ".join(str(t) for t in types))
        (folder / "type_map.raw").write_text("Cu Au")
        folders.append(str(folder))
    return tuple(folders)


def make_config(data, **changes):
    settings = {
        "systems": data,
        "batch_size": (2, 3),
        "numb_steps": 12,
        "seed": 3,
        "disp_freq": 2,
        "save_freq": 4,
        "time_training": False,
    }
    return RunConfig(
        version=0,
        max_nnei=128,
        type_map=("Cu", "Au"),
        descriptor=DESCRIPTOR,
        fitting=FittingConfig(neuron=HIDDEN, seed=2),
        learning_rate=changes.pop(
            "learning_rate", LearningRateConfig(start_lr=5e-3, stop_lr=1e-4, decay_steps=3)
        ),
        loss=changes.pop("loss", LossConfig()),
        training=TrainingConfig(**(settings | changes)),
        normalized={"nvnmd": {"version": 0}},
    )


def train(config, folder, **options):
    from nvnmd.training.continuous.train import train_cnn

    lines = []
    result = train_cnn(config, folder, log=lines.append, **options)
    return result, lines


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "nvnmd_cnn"
    config = make_config(data, validation_systems=data[1:], validation_batch_size=(2,),
                         validation_numb_btch=2)  # fmt: skip
    result, lines = train(config, folder)
    return config, folder, result, lines
