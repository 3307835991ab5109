"""How far several models of one system are apart, in DeePMD-kit's columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nvnmd.evaluation.frames import Prediction

COLUMNS = ("step", "max_devi_v", "min_devi_v", "avg_devi_v", "max_devi_f", "min_devi_f",
           "avg_devi_f", "devi_e")


def deviation(predictions: Sequence[Prediction], frequency: int = 1) -> NDArray[np.float64]:
    """Deviations of models from their mean, frame by frame.

    Parameters
    ----------
    predictions : sequence of Prediction
        One of each model, of the same frames.
    frequency : int
        Steps between two frames.

    Returns
    -------
    (frames, 8)
        Step; of the virial per atom in eV, largest, smallest and root mean square standard
        deviation of its nine components; of the forces in eV/Å, largest, smallest and mean over
        atoms of the length of the components' standard deviations; standard deviation of the energy
        per atom in eV. Deviations are those of the population.
    """
    atoms = predictions[0].atom_energy.shape[1]
    spread_v = np.stack([p.virial for p in predictions]).std(axis=0).reshape(-1, 9) / atoms
    forces = np.stack([p.force for p in predictions]).std(axis=0)
    spread_f = np.sqrt(np.square(forces).sum(axis=-1))
    spread_e = np.stack([p.energy for p in predictions]).std(axis=0) / atoms
    return np.column_stack([
        np.arange(len(spread_e)) * frequency,
        spread_v.max(axis=1), spread_v.min(axis=1), np.sqrt(np.square(spread_v).mean(axis=1)),
        spread_f.max(axis=1), spread_f.min(axis=1), spread_f.mean(axis=1), spread_e])


def table_text(title: str, table: NDArray[np.float64]) -> str:
    """The table as DeePMD-kit writes it: a comment with the system, one with the columns, rows."""
    lines = [f"# {title}", "# " + f"{COLUMNS[0]:>10s}" + "".join(f"{c:>19s}" for c in COLUMNS[1:])]
    lines += [f"{int(row[0]):12d}" + "".join(f"{value:19.6e}" for value in row[1:])
              for row in table]
    return "\n".join(lines) + "\n"
