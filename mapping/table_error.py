"""How far the tables of a frozen model are from the functions that they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nvnmd.errors import ModelFileError
from nvnmd.mapping.build import radial_jet
from nvnmd.mapping.embedding import embedding_jet
from nvnmd.network.math import NumpyMath
from nvnmd.network.nets import type_switch
from nvnmd.quantize.model import Model
from nvnmd.quantize.ops import trunc_flt
from nvnmd.quantize.table_layout import TableLayout
from nvnmd.quantize.table_lookup import evaluate_both, locate

Floats = NDArray[np.float64]

SMALLEST = 0.5
"""Where the tables' functions begin if the data's smallest distance is not known, in Å."""


@dataclass(frozen=True, kw_only=True)
class TableError:
    """Error of one tabulated function along its argument.

    Attributes
    ----------
    name : str
        "s", "h", "ds/du", "dh/du", "G" or "dG/ds"; of SUB_VERSION 2 "k" and "dk/du", too.
    argument : str
        "u" (Å²) or "s".
    x : (points,)
        Arguments, ascending.
    error : (points,)
        Largest magnitude of table minus function over types and outputs.
    square : (points,)
        Mean of its square over types and outputs.
    """

    name: str
    argument: str
    x: Floats
    error: Floats
    square: Floats

    @property
    def largest(self) -> float:
        """Largest error."""
        return float(self.error.max())

    @property
    def where(self) -> float:
        """Argument of the largest error."""
        return float(self.x[int(np.argmax(self.error))])

    @property
    def rms(self) -> float:
        """Root of the mean square over the points, which lie evenly in every row."""
        return float(np.sqrt(self.square.mean()))


def table_errors(model: Model, smallest: float | None = None, points: int = 4) -> list[TableError]:
    """Compare the stored tables, evaluated as the hardware does, with the functions themselves.

    Parameters
    ----------
    model : Model
        With its float network.
    smallest : float, optional
        Smallest distance that matters, in Å (default: `SMALLEST`).
    points : int
        Arguments per row of a table, evenly spread, its start included.

    Returns
    -------
    list of TableError
        s, h, ds/du, dh/du, G, dG/ds (SUB_VERSION 2: s, h, k, their slopes, ...); in version 1
        before mean, deviations and type gains, as tabulated.

    Raises
    ------
    ModelFileError
        The model holds no float network.
    """
    if not model.embedding:
        raise ModelFileError("the model holds no continuous network, so there is nothing to "
                             "compare its tables with")
    near = SMALLEST if smallest is None else smallest
    return [*_u_errors(model, near, points), *_s_errors(model, near, points)]


def s_limits(model: Model, smallest: float) -> tuple[float, float]:
    """Least and largest s of any type that a pair at `smallest` Å or farther, or none, has."""
    mean, deviation = _statistics(model)
    (s, _, _), _ = radial_jet(np.array([smallest**2]), model.rcut, model.rcut_smth, 0.0)
    return (float((-mean[:, 0] / deviation[:, 0]).min()),
            float(((s[0] - mean[:, 0]) / deviation[:, 0]).max()))


def _statistics(model: Model) -> tuple[Floats, Floats]:
    """Mean and deviation of s and h by type, of the argument of G."""
    if model.version == 1 and model.sub_version == 1:
        return np.zeros_like(model.dstd), model.dstd
    return model.davg, model.dstd


def _u_errors(model: Model, near: float, points: int) -> list[TableError]:
    u = _arguments(model.u_layout, near**2, model.rcut**2, points)
    row, offset = locate(u, model.u_layout)
    jets = list(radial_jet(u, model.rcut, model.rcut_smth, 0.0))
    names = [("s", "ds/du"), ("h", "dh/du")]
    if model.sub_version == 2:
        jets.append((*type_switch(NumpyMath(), *jets[0][:2], model.rcut_smth), u))
        names.append(("k", "dk/du"))
    found = []
    tables = [_both(model.table_u, model.table_u_grad, t, row, offset)
              for t in range(len(model.table_u))]
    for order in range(2):
        exact = np.stack([jet[order] for jet in jets], axis=-1)
        differences = []
        for t, looked_up in enumerate(tables):
            expected = exact
            if model.version == 0:
                mean = np.array([model.davg[t, 0], 0.0]) if order == 0 else 0.0
                expected = (exact - mean) / model.dstd[t]
            differences.append(looked_up[order] - expected)
        for column, both in enumerate(names):
            found.append(_error(both[order], "u", u, np.stack(differences)[:, :, column, None]))
    return found


def _s_errors(model: Model, near: float, points: int) -> list[TableError]:
    s = _arguments(model.s_layout, *s_limits(model, near), points)
    row, offset = locate(s, model.s_layout)
    jets = [embedding_jet(s, net) for net in model.embedding]
    tables = [_both(model.table_g, model.table_g_grad, t, row, offset) for t in range(len(jets))]
    return [
        _error(name, "s", s, np.stack([looked_up[order] - jet[order]
                                       for looked_up, jet in zip(tables, jets, strict=True)]))
        for order, name in enumerate(("G", "dG/ds"))
    ]


def _both(values: Floats, slopes: Floats | None, t: int, row: NDArray[np.int64], offset: Floats
          ) -> tuple[Floats, Floats]:
    """Values and slopes of one type's tables."""
    return evaluate_both(values[t], None if slopes is None else slopes[t], row, offset)


def _error(name: str, argument: str, x: Floats, difference: Floats) -> TableError:
    """From differences (types, points, outputs)."""
    return TableError(name=name, argument=argument, x=x,
                      error=np.abs(difference).max(axis=(0, 2)),
                      square=np.square(difference).mean(axis=(0, 2)))


def _arguments(layout: TableLayout, low: float, high: float, points: int) -> Floats:
    """Arguments between two limits, `points` in every row that is looked up there, as flt values.

    Where segments overlap, the first that holds an argument is looked up.
    """
    edges = np.unique(np.concatenate([layout.row_starts(), layout.row_ends()]))
    inside = np.concatenate([[low], edges[(edges > low) & (edges < high)], [high]])
    row, _ = locate(0.5 * (inside[1:] + inside[:-1]), layout)
    # one row may lie between several edges of the finer segments
    kept = np.concatenate([[True], row[1:] != row[:-1], [True]])
    steps = [np.linspace(a, b, points, endpoint=False) for a, b in pairwise(inside[kept])]
    x = trunc_flt(np.concatenate([*steps, [high]]))
    return np.unique(x[(x >= low) & (x <= high)])
