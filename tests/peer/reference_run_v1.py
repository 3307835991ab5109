"""A two-stage run of DeePMD-kit in version 1 on an alloy of up to 15 elements, and its results.

    python tests/peer/reference_run_v1.py CAPACITY NTYPES FOLDER

leaves `nvnmd_cnn/`, `nvnmd_qnn/`, `expected.npz` (two frames in which every type occurs) and
`absent.npz` (one frame without the last type, with 15 types without half of them).

Stock DeePMD-kit 3.2.0 stops in its table builder: the type embedding has no bias, and the builder
leaves out a layer without one, so that the next net gets vectors of `ntypes` numbers instead of 8.
(With 8 types it goes on, with tables of another net.) Zeros are therefore put in as that bias, and
DeePMD-kit's own table builder is called again; its second stage does the rest.
"""

from __future__ import annotations

import sys
from pathlib import Path

import alloy
import deepmd_run as run
import numpy as np

# "compared" is the lattice constant of the frames that are compared; in denser ones the descriptor
# of so briefly trained a model can pass its limit of 8
SETTINGS = {
    128: {"rcut": 6.0, "lattice": (3.7, 4.1), "sel": 100, "compared": 3.9},
    256: {"rcut": 8.0, "lattice": (3.55, 3.95), "sel": 240, "compared": 3.8},
}
MISSING = "type_embed_net.bias_1"


def mend(folder: Path) -> None:
    """Give the type embedding the bias that the table builder asks for: zeros."""
    file = folder / "nvnmd_cnn" / "weight.npy"
    weights = run.load_dict(file)
    if MISSING in weights:
        raise RuntimeError(f"{file}: has {MISSING}, nothing to mend")
    weights[MISSING] = np.zeros(weights["type_embed_net.matrix_1"].shape[1])
    np.save(file, [weights])


def train(capacity: int, ntypes: int, folder: Path) -> None:
    """Both stages, briefly, on two systems; the second lacks a type, or half of many."""
    setting = SETTINGS[capacity]
    some = present(ntypes)
    for name, seed, kinds in (("train", 3, ntypes), ("lacking", 4, some)):
        alloy.training_set(
            folder / name, ntypes, lattice=setting["lattice"], seed=seed, frames=6, present=kinds
        )
    for stage, steps, rates in (("cnn", 40, (5e-4, 1e-4)), ("qnn", 5, (1e-5, 1e-6))):
        alloy.write_input(
            folder / f"{stage}.json",
            max_nnei=capacity,
            sel=setting["sel"],
            rcut=setting["rcut"],
            ntypes=ntypes,
            system=["train", "lacking"],
            steps=steps,
            rates=rates,
        )
    try:
        run.train_cnn(folder, "cnn.json")
    except RuntimeError:
        # the weights are written just before the table builder starts
        if not (folder / "nvnmd_cnn" / "weight.npy").exists():
            raise
    mend(folder)
    run.map_tables(folder)
    run.train_qnn(folder, "qnn.json")


def present(ntypes: int) -> int:
    """Of how many types atoms occur in the frames that lack some."""
    return ntypes - 1 if ntypes < 8 else ntypes // 2


def evaluate(lattice: float, ntypes: int, folder: Path) -> None:
    """What both frozen models give for frames with all types and for one without some."""
    rng = np.random.default_rng(5)
    # 16 atoms when 8 would not hold every type
    cells = (2, 1, 1) if ntypes <= 8 else (2, 2, 1)
    for file, kinds, count in (("expected", ntypes, 2), ("absent", present(ntypes), 1)):
        types = rng.permutation(np.arange(4 * int(np.prod(cells))) % kinds)
        crystal = alloy.fcc(lattice, cells, types, alloy.TYPE_MAPS[ntypes])
        frames = [alloy.distort(crystal, rng, strain=0.05, rattle=0.15) for _ in range(count)]
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
            folder / f"{file}.npz",
            coord=np.stack([f.positions for f in frames]),
            box=np.stack([f.cell.array for f in frames]),
            type=types,
            **{key: np.stack(values) for key, values in out.items()},
            **{f"frame0_{key}": value for key, value in inner.items()},
        )


if __name__ == "__main__":
    capacity, ntypes, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    train(capacity, ntypes, folder)
    evaluate(SETTINGS[capacity]["compared"], ntypes, folder)
