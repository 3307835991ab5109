"""What case_run.py left in a folder: the run, and its frames with DeePMD-kit's results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from support.golden_data import Frame, GoldenRun, load_folder


@dataclass(frozen=True)
class CaseFrame(Frame):
    """A frame with DeePMD-kit's atomic virials (n, 3, 3) of both models, in eV."""

    cnn_atom_virial: NDArray[np.float64]
    qnn_atom_virial: NDArray[np.float64]


def load_cases(folder: Path) -> GoldenRun:
    """The run of a folder with the frames of its `cases.npz`."""
    with np.load(folder / "cases.npz", allow_pickle=False) as file:
        data = {key: file[key] for key in file.files}
    frames = []
    for index, name in enumerate(data.pop("names")):
        part = {k.split(".", 1)[1]: v for k, v in data.items() if k.startswith(f"{index}.")}
        n = len(part["type"])
        results = {
            stage: {
                "energy": part[f"{stage}_energy"].reshape(()),
                "atom_energy": part[f"{stage}_atom_energy"].reshape(n),
                "force": part[f"{stage}_force"].reshape(n, 3),
                "virial": part[f"{stage}_virial"].reshape(3, 3),
            }
            for stage in ("cnn", "qnn")
        }
        virials = {
            f"{stage}_atom_virial": part[f"{stage}_atom_virial"].reshape(n, 3, 3)
            for stage in ("cnn", "qnn")
        }
        slots = {k.removeprefix("slots_"): v for k, v in part.items() if k.startswith("slots_")}
        frames.append(
            CaseFrame(
                str(name), part["coord"], part.get("box"), part["type"].astype(np.int64),
                results["cnn"], results["qnn"], slots, **virials,
            )
        )
    return load_folder(folder, tuple(frames))
