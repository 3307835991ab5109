"""The frames of a committed run of DeePMD-kit as a labelled system."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.golden_data import GoldenRun


def write_system(folder: Path, run: GoldenRun, *, stage: str = "qnn", frames: int = 2,
                 virial: bool = True, order: np.ndarray | None = None) -> Path:
    """The fixture's frames as a system, labelled with DeePMD-kit's own results."""
    chosen = run.frames[:frames]
    order = np.arange(len(chosen[0].types)) if order is None else order
    (folder / "set.000").mkdir(parents=True)
    (folder / "type.raw").write_text("\n".join(map(str, chosen[0].types[order])))
    (folder / "type_map.raw").write_text("\n".join(run.model.type_map))
    results = [getattr(frame, stage) for frame in chosen]
    arrays = {"coord": [f.coord[order] for f in chosen], "box": [f.box for f in chosen],
              "energy": [r["energy"] for r in results],
              "force": [r["force"][order] for r in results]}
    if virial:
        arrays["virial"] = [r["virial"] for r in results]
    for key, rows in arrays.items():
        values = np.array([np.ravel(row) for row in rows])
        np.save(folder / "set.000" / f"{key}.npy", values[:, 0] if key == "energy" else values)
    return folder
