"""A continuous stage of a small net, made without training, and runs of the quantized stage."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.small_models import random_weights, small_config

from nvnmd.deepmd.config import deepmd_config
from nvnmd.deepmd.files import write_dict
from nvnmd.deepmd.tables import map_folder, tables_of_weights
from nvnmd.deepmd.weights import to_deepmd
from nvnmd.inputs.config import LearningRateConfig, LossConfig, TrainingConfig
from nvnmd.mapping.freeze import freeze_model
from nvnmd.neighbors.slots import build_neighborhood
from nvnmd.quantize.forces import assemble_forces
from nvnmd.quantize.reference import evaluate_atoms

FRAMES = 6


def write_system(folder, weights, rng):
    """Rattled frames, labelled by the quantized model of other fitting nets."""
    teacher = freeze_model(
        dataclasses.replace(weights, fit_weights=tuple(1.2 * w for w in weights.fit_weights)),
        tables_of_weights(weights, 4.0, 1.0),
        small_config(),
    )
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), -1).reshape(-1, 3)
    types = np.array([0, 1, 1, 0, 1, 0, 0, 0])
    box = np.eye(3) * 6.0
    data = {"coord": [], "box": [], "energy": [], "force": [], "virial": []}
    for _ in range(FRAMES):
        coord = (3.0 * grid + rng.normal(scale=0.2, size=grid.shape)).astype(np.float32)
        nb = build_neighborhood(coord, box, types, teacher.sel, teacher.rcut)
        trace = evaluate_atoms(teacher, nb.center_types, nb.rij, nb.mask)
        forces = assemble_forces(trace.deriv, nb.rij, nb.index)
        unsorted = np.empty((len(types), 3))
        unsorted[nb.order] = forces.force
        rows = coord, box, trace.atom_energy.sum(), unsorted, forces.virial
        for key, value in zip(data, rows, strict=True):
            data[key].append(np.ravel(value))
    (folder / "set.000").mkdir(parents=True)
    (folder / "type.raw").write_text("\n".join(map(str, types)))
    (folder / "type_map.raw").write_text("Cu\nAu\n")
    for key, values in data.items():
        np.save(folder / "set.000" / f"{key}.npy", np.array(values))


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """A continuous stage's folder, a labelled system, and the weights."""
    folder = tmp_path_factory.mktemp("stage")
    rng = np.random.default_rng(8)
    weights = random_weights(rng)
    write_system(folder / "data", weights, rng)
    cnn = folder / "cnn"
    cnn.mkdir()
    write_dict(cnn / "weight.npy", to_deepmd(weights, (12, 12)))
    write_dict(cnn / "config.npy", deepmd_config(small_config(), weights))
    map_folder(cnn)
    return folder, weights


def run_config(folder, steps, lr=2e-3, **changes):
    settings = {
        "training": TrainingConfig(
            systems=(str(folder / "data"),),
            batch_size=(2,),
            numb_steps=steps,
            seed=3,
            disp_freq=1,
            save_freq=4,
        ),
        "learning_rate": LearningRateConfig(start_lr=lr, stop_lr=lr, decay_steps=1000),
        "loss": LossConfig(
            start_pref_e=1.0,
            limit_pref_e=1.0,
            start_pref_f=100.0,
            limit_pref_f=100.0,
            start_pref_v=0.1,
            limit_pref_v=0.1,
        ),
    }
    return small_config(**(settings | changes))


def curve(folder):
    lines = (folder / "lcurve.out").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def quiet(_):
    pass
