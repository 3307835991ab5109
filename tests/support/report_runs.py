"""A small run as the demo leaves it, made in a moment; its names may be hostile."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from support.small_models import random_model

from nvnmd.evaluation.potential import Potential
from nvnmd.quantize.model import Model

HOSTILE = '<script>alert("1")</script>&\'$x^2$'


def make_run(folder: Path, *, names: tuple[str, str] = ("Cu", "Au"), seed: int = 4,
             command: str = "nvnmd demo") -> Model:
    """Write stages, data, export and simulation of a random model; return the model."""
    rng = np.random.default_rng(seed)
    model = replace(random_model(rng, ntypes=2), type_map=names,
                    origin={"command": "train-qnn", "steps": 2})
    for stage in ("nvnmd_cnn", "nvnmd_qnn"):
        (folder / stage).mkdir(parents=True)
        rows = "".join(f"{step:7d} {2 / step:.2e} {1 / step:.2e} {3 / step:.2e} {2 / step:.2e} "
                       f"nan nan 1.0e-03\n" for step in (1, 10, 100))
        (folder / stage / "lcurve.out").write_text(
            "# step rmse_e_val rmse_e_trn rmse_f_val rmse_f_trn rmse_v_val rmse_v_trn lr\n" + rows)
        document = {"training": {"seed": 7, "validation_data": {
            "systems": [str(folder / "data" / "validation")]}}, "note": names[0]}
        (folder / stage / "train.json").write_text(json.dumps(document))
    (folder / "nvnmd_qnn" / "commands.json").write_text(json.dumps(
        {"commands": [{"line": command, "nvnmd": "0.1.0", "ended": "2026-01-01T00:00:00Z"}]}))
    model.save(folder / "nvnmd_qnn" / "model.nvnmd")
    write_data(folder / "data" / "validation" / "made", model, rng)
    (folder / "hdl").mkdir()
    (folder / "hdl" / "manifest.json").write_text(json.dumps({
        "parameters": {"fold": 32, "m1": 8}, "widths": {"flt": 29},
        "latency": {"cycles_per_atom_full_list": 3072}, "model": {"digest": model.digest},
        "memory_map": [{"section": "PARAMS", "number": 0, "first_beat": 1, "beats": 2},
                       {"section": names[0], "number": 1, "first_beat": 3, "beats": 2048}]}))
    (folder / "hdl" / "resources.json").write_text(json.dumps(
        {"units": [{"unit": "front end", "lut4": 120, "multipliers": 3}]}))
    (folder / "sim").mkdir()
    (folder / "sim" / "summary.json").write_text(json.dumps(
        {"atoms": 8, "words_compared": 100, "words_differing": 0, "cycles_per_atom": 3072.0,
         "model_digest": model.digest, "float_difference": {"energy_max": 1e-6}}))
    return model


def write_data(folder: Path, model: Model, rng: np.random.Generator, frames: int = 3) -> None:
    """Frames labelled by the float network, a little off."""
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), -1).reshape(-1, 3)
    coord = 3.0 * grid + rng.normal(scale=0.2, size=(frames, 8, 3))
    types = np.repeat([0, 1], 4)
    box = np.tile(np.eye(3) * 6.0, (frames, 1, 1))
    found = Potential(model).evaluate(coord, box, types, "float")
    part = folder / "set.000"
    part.mkdir(parents=True)
    (folder / "type.raw").write_text("".join(f"{t}\n" for t in types))
    # names that hold spaces or quotes are not words of a type_map.raw, so there is none
    for name, values in (("coord", coord), ("box", box), ("force", found.force + 1e-3),
                         ("virial", found.virial)):
        np.save(part / f"{name}.npy", values.reshape(frames, -1))
    np.save(part / "energy.npy", found.energy + 1e-2)
