"""A two-stage run of DeePMD-kit on an alloy of up to 15 elements, and its results for some frames.

    python tests/peer/reference_run.py VERSION CAPACITY NTYPES FOLDER

leaves `nvnmd_cnn/`, `nvnmd_qnn/` and `expected.npz` (two frames in which every type occurs) in the
folder, for golden_data.load_folder; in version 1 also `absent.npz` (one frame without the last
type, with 8 and more types without half of them).

In version 1, stock DeePMD-kit 3.2.0 stops in its table builder: the type embedding has no bias, and
the builder leaves out a layer without one, so that the next net gets vectors of `ntypes` numbers
instead of 8. (With 8 types it goes on, with tables of another net.) Zeros are therefore put in as
that bias, and DeePMD-kit's own table builder is called again; its second stage does the rest.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import alloy
import deepmd_run as run
import numpy as np

# "compared" is the lattice constant of the frames that are compared. In version 1 denser ones can
# bring the descriptor of so briefly trained a model past its limit of 8.
SETTINGS: dict[tuple[int, int], dict[str, Any]] = {
    (0, 128): {"rcut": 6.0, "lattice": (3.7, 4.1), "compared": 3.8,
               "sel": {1: 96, 2: 56, 3: 42, 4: 32}},
    (0, 256): {"rcut": 8.0, "lattice": (3.55, 3.95), "compared": 3.65,
               "sel": {1: 248, 2: 128, 3: 84, 4: 64}},
    (1, 128): {"rcut": 6.0, "lattice": (3.7, 4.1), "compared": 3.9, "sel": 100},
    (1, 256): {"rcut": 8.0, "lattice": (3.55, 3.95), "compared": 3.8, "sel": 240},
}
MISSING = "type_embed_net.bias_1"


def train(version: int, capacity: int, ntypes: int, folder: Path) -> None:
    """Both stages, briefly; in version 1 on two systems, of which the second lacks some types."""
    setting = SETTINGS[version, capacity]
    systems: dict[str, dict[str, Any]] = {"train": {"seed": 3, "frames": 8}}
    sel = setting["sel"]
    if version == 0:
        sel = [sel[ntypes]] * ntypes
    else:
        systems = {"train": {"seed": 3, "frames": 6},
                   "lacking": {"seed": 4, "frames": 6, "present": present(ntypes)}}
    for name, given in systems.items():
        alloy.training_set(folder / name, ntypes, lattice=setting["lattice"], **given)
    for stage, steps, rates in (("cnn", 40, (5e-4, 1e-4)), ("qnn", 5, (1e-5, 1e-6))):
        alloy.write_input(
            folder / f"{stage}.json",
            max_nnei=capacity,
            sel=sel,
            rcut=setting["rcut"],
            ntypes=ntypes,
            system=list(systems),
            steps=steps,
            rates=rates,
        )
    if version == 0:
        run.train_cnn(folder, "cnn.json")
    else:
        train_shared(folder)
    run.train_qnn(folder, "qnn.json")


def train_shared(folder: Path) -> None:
    """The first stage of version 1, brought past the table builder."""
    file = folder / "nvnmd_cnn" / "weight.npy"
    try:
        run.train_cnn(folder, "cnn.json")
    except RuntimeError:
        # the weights are written just before the table builder starts
        if not file.exists():
            raise
    weights = run.load_dict(file)
    if MISSING in weights:
        raise RuntimeError(f"{file}: has {MISSING}, nothing to mend")
    weights[MISSING] = np.zeros(weights["type_embed_net.matrix_1"].shape[1])
    np.save(file, [weights])
    run.map_tables(folder)


def present(ntypes: int) -> int:
    """Of how many types atoms occur in the frames that lack some."""
    return ntypes - 1 if ntypes < 8 else ntypes // 2


def evaluate(version: int, capacity: int, ntypes: int, folder: Path) -> None:
    """What both frozen models give for frames with all types and for one without some."""
    rng = np.random.default_rng(5)
    # 16 atoms when 8 would not hold every type
    cells = (2, 1, 1) if ntypes <= 8 else (2, 2, 1)
    wanted = [("expected", ntypes, 2)]
    if version == 1:
        wanted.append(("absent", present(ntypes), 1))
    for file, kinds, count in wanted:
        types = rng.permutation(np.arange(4 * int(np.prod(cells))) % kinds)
        lattice = SETTINGS[version, capacity]["compared"]
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
    numbers = tuple(int(text) for text in sys.argv[1:4])
    target = Path(sys.argv[4]).resolve()
    target.mkdir(parents=True, exist_ok=True)
    train(*numbers, target)
    evaluate(*numbers, target)
