"""One two-stage run of DeePMD-kit on an alloy of 1 to 4 elements, and its results for two frames.

    python tests/peer/reference_run.py CAPACITY NTYPES FOLDER

leaves `nvnmd_cnn/`, `nvnmd_qnn/` and `expected.npz` in the folder, for golden_data.load_folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

import alloy
import deepmd_run as run
import numpy as np

SETTINGS = {
    128: {"rcut": 6.0, "lattice": (3.7, 4.1), "sel": {1: 96, 2: 56, 3: 44, 4: 36}},
    256: {"rcut": 8.0, "lattice": (3.55, 3.95), "sel": {1: 248, 2: 128, 3: 96, 4: 76}},
}


def main(capacity: int, ntypes: int, folder: Path) -> None:
    """Train both stages briefly and evaluate both frozen models."""
    setting = SETTINGS[capacity]
    sel = [setting["sel"][ntypes]] * ntypes
    folder.mkdir(parents=True, exist_ok=True)
    alloy.training_set(folder / "train", ntypes, lattice=setting["lattice"], seed=3, frames=8)
    for stage, steps, rates in (("cnn", 40, (5e-4, 1e-4)), ("qnn", 5, (1e-5, 1e-6))):
        alloy.write_input(
            folder / f"{stage}.json",
            max_nnei=capacity,
            sel=sel,
            rcut=setting["rcut"],
            ntypes=ntypes,
            system="train",
            steps=steps,
            rates=rates,
        )
    run.train_cnn(folder, "cnn.json")
    run.train_qnn(folder, "qnn.json")

    rng = np.random.default_rng(5)
    types = rng.permutation(np.arange(8) % ntypes)
    crystal = alloy.fcc(setting["lattice"][0] + 0.1, (2, 1, 1), types, alloy.TYPE_MAPS[ntypes])
    frames = [alloy.distort(crystal, rng, strain=0.05, rattle=0.15) for _ in range(2)]
    out: dict[str, list] = {}
    for frame in frames:
        for stage in ("cnn", "qnn"):
            model = folder / f"nvnmd_{stage}" / "frozen_model.pb"
            got = run.evaluate(model, frame.positions, frame.cell.array, types)
            for key, value in got.items():
                out.setdefault(f"{stage}_{key}", []).append(value)
    model = folder / "nvnmd_qnn" / "frozen_model.pb"
    inner = run.internals(model, frames[0].positions, frames[0].cell.array, types)
    np.savez(
        folder / "expected.npz",
        coord=np.stack([f.positions for f in frames]),
        box=np.stack([f.cell.array for f in frames]),
        type=types,
        **{key: np.stack(values) for key, values in out.items()},
        **{f"frame0_{key}": value for key, value in inner.items()},
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]).resolve())
