"""The same network with tables of another layout, and what the data's nearest pair costs in one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nvnmd.errors import ModelFileError
from nvnmd.mapping.build import (
    Tables,
    build_shared_tables,
    build_tables,
    build_u_tables,
    effective_distance,
    radial_jet,
)
from nvnmd.quantize.model import Model, to_flt_table
from nvnmd.quantize.ops import trunc_flt
from nvnmd.quantize.table_layout import OCTAVE
from nvnmd.quantize.table_lookup import evaluate_both, locate

Floats = NDArray[np.float64]

SLOPE_BOUND = 1e-4
"""Largest error of a tabulated slope of s or h, as a part of it, that no warning names."""
_POINTS = 256


def with_layout(model: Model, name: str, smallest: float) -> Model:
    """Build a frozen model's tables anew in another layout, from the network it holds.

    Parameters
    ----------
    model : Model
        With its float network.
    name : str
        One of `nvnmd.quantize.table_layout.LAYOUTS`.
    smallest : float
        Smallest distance of the data in Å, where the model does not know it.

    Returns
    -------
    Model
        The model itself where it has that layout.

    Raises
    ------
    ModelFileError
        The model holds no float network.
    InputError
        There are no such tables for the model's SUB_VERSION.
    """
    if name == model.tables:
        return model
    if not model.embedding:
        raise ModelFileError("the model holds no continuous network, so that no other tables can "
                             "be built")
    known = model.extras.get("cnn.min_nbor_dist")
    near = effective_distance(0.0 if known is None else float(np.ravel(known)[0]), smallest,
                              model.rcut_smth)
    radii = model.rcut, model.rcut_smth, near
    if model.version == 0:
        tables = build_tables(model.embedding, model.davg, model.dstd, *radii, name)
    else:
        tables = build_shared_tables(model.embedding[0], model.type_embedding, model.type_net,
                                     model.davg, model.dstd, *radii, model.sub_version, name)
    return _with_tables(model, tables)


def _with_tables(model: Model, tables: Tables) -> Model:
    slopes: tuple[Floats | None, Floats | None] = (None, None)
    if tables.u_grad is not None and tables.g_grad is not None:
        slopes = (to_flt_table(tables.u_grad, "table u_grad"),
                  to_flt_table(tables.g_grad, "table g_grad"))
    return replace(
        model, u_layout=tables.u_layout, s_layout=tables.s_layout,
        table_u=to_flt_table(tables.u, "table u"), table_g=to_flt_table(tables.g, "table g"),
        table_u_grad=slopes[0], table_g_grad=slopes[1], round_descriptor=tables.own_slopes)


def slope_error(name: str, rcut: float, rcut_smth: float, smallest: float) -> float:
    """Largest error of ds/du and dh/du in the row of the data's nearest pair, as a part of them.

    Parameters
    ----------
    name : str
        The layout, one of `nvnmd.quantize.table_layout.LAYOUTS`.
    rcut, rcut_smth : float
        Å.
    smallest : float
        Smallest distance of the data in Å.

    Returns
    -------
    float
        Over the width of a row from `smallest` on. The mean and deviation of s do not matter.
    """
    layout, values, slopes = build_u_tables(
        np.zeros((1, 2)), np.ones((1, 2)), rcut, rcut_smth, smallest, name)
    own = None if name == OCTAVE else to_flt_table(slopes, "table u_grad")[0]
    row, _ = locate(np.array([smallest**2]), layout)
    u = trunc_flt(smallest**2 + layout.row_steps()[row[0]] * np.arange(_POINTS) / _POINTS)
    _, found = evaluate_both(to_flt_table(values, "table u")[0], own, *locate(u, layout))
    exact = np.stack([jet[1] for jet in radial_jet(u, rcut, rcut_smth, 0.0)], axis=-1)
    # beyond the switch both are 0
    size = np.abs(exact)
    return float(np.max(np.abs(found - exact)[size > 0] / size[size > 0], initial=0.0))


def nearest_warning(name: str, rcut: float, rcut_smth: float, smallest: float, *,
                    octave: bool = True) -> str | None:
    """Say what a layout costs at the data's smallest distance, where that is above `SLOPE_BOUND`.

    Parameters as of `slope_error`; `octave` says whether octave tables are an answer. The bound is
    a part of the force between two such atoms.
    """
    if not 0.0 < smallest < rcut:
        return None
    cost = slope_error(name, rcut, rcut_smth, smallest)
    if cost <= SLOPE_BOUND:
        return None
    cure = ""
    if octave and name != OCTAVE:
        cure = f"; octave: {slope_error(OCTAVE, rcut, rcut_smth, smallest):.1e}"
    return (f"nvnmd/tables: slopes of the layout {name} are off by {cost:.1e} of themselves at the "
            f"data's smallest distance, {smallest:.3f} Å, more than {SLOPE_BOUND:.0e}{cure}")
