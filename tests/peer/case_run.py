"""A two-stage run of DeePMD-kit and what its models say of the frames of cases.py.

    python tests/peer/case_run.py molecules|metals|water FOLDER [WATER]

leaves `nvnmd_cnn/`, `nvnmd_qnn/` and `cases.npz` in the folder, for case_data.py. `water` takes the
folder of real water's systems, trains on the first and evaluates a frame of each.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import alloy
import cases
import deepmd_run as run
import molecules
import numpy as np

SETTINGS: dict[str, dict[str, Any]] = {
    # 1 O to 2 H: room for 128 in the same ratio
    "molecules": {"max_nnei": 128, "sel": [44, 84], "rcut": 6.0, "type_map": ("O", "H")},
    "metals": {"max_nnei": 256, "sel": [128, 128], "rcut": 8.0, "type_map": ("Cu", "Au")},
    "water": {"max_nnei": 128, "sel": [42, 84], "rcut": 6.0, "type_map": ("O", "H")},
}


def train(folder: Path, setting: dict[str, Any], system: str, steps: int) -> None:
    """Both stages, briefly."""
    given = {k: v for k, v in setting.items() if k != "type_map"} | {"ntypes": 2, "system": system}
    for stage, count, rates in (("cnn", steps, (5e-4, 1e-4)), ("qnn", 5, (1e-5, 1e-6))):
        file = folder / f"{stage}.json"
        alloy.write_input(file, steps=count, rates=rates, **given)
        document = json.loads(file.read_text())
        document["nvnmd"]["type_map"] = list(setting["type_map"])
        file.write_text(json.dumps(document, indent=1) + "\n")
    run.train_cnn(folder, "cnn.json")
    run.train_qnn(folder, "qnn.json")


def results(folder: Path, frames: cases.Frames, type_map: tuple[str, ...]) -> dict[str, Any]:
    """Frames, both models' results and the quantized one's slots, `<index>.<what>`."""
    out: dict[str, Any] = {"names": np.array([name for name, _ in frames])}
    for index, (_, atoms) in enumerate(frames):
        types = molecules.types_of(atoms, type_map)
        box = atoms.cell.array if atoms.pbc.all() else None
        content = {"coord": atoms.positions, "type": types}
        if box is not None:
            content["box"] = box
        for stage in ("cnn", "qnn"):
            model = folder / f"nvnmd_{stage}" / "frozen_model.pb"
            got = run.evaluate(model, atoms.positions, box, types)
            content |= {f"{stage}_{key}": value for key, value in got.items()}
        inner = run.internals(model, atoms.positions, box, types)
        content |= {f"slots_{key}": value for key, value in inner.items()}
        out |= {f"{index}.{key}": value for key, value in content.items()}
    return out


def main(name: str, folder: Path, water: Path | None) -> None:
    """Train, evaluate and write `cases.npz`."""
    setting = SETTINGS[name]
    folder.mkdir(parents=True, exist_ok=True)
    system, steps, make = "train", 40, cases.molecule_frames
    if name == "molecules":
        molecules.training_set(folder / "train")
    elif name == "metals":
        alloy.training_set(folder / "train", 2, lattice=(3.55, 3.95), seed=3, frames=8)
        make = cases.metal_frames
    elif water is not None:
        system, steps, make = str(water / "data_0"), 20, cases.water_frames(water)
    train(folder, setting, system, steps)
    frames = make(setting["rcut"])
    np.savez(folder / "cases.npz", **results(folder, frames, setting["type_map"]))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).resolve(), Path(sys.argv[3]) if sys.argv[3:] else None)
