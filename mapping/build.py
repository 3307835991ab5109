"""Build the tables of u -> (s, h) and s -> G from a float model.

Each row holds the cubic that meets the function's values and slopes at the row's ends (Hermite
interpolation); the derivative has a table of its own, built the same way from first and second
derivatives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvnmd.errors import InputError
from nvnmd.mapping.embedding import Layer, embedding_jet
from nvnmd.mapping.type_tables import TypeTables, build_type_tables
from nvnmd.quantize.table_layout import (
    COARSE_STEP,
    OCTAVE,
    SWITCHED_STEP,
    VENDOR,
    TableLayout,
    layout_name,
    s_layout,
    u_layout,
)

Array = NDArray[np.float64]

NEAREST = 0.75
"""Part of the smallest distance down to which octave tables reach in s."""

SMALLEST_DISTANCE = 1e-6
"""A smallest distance below this (Å) counts as unknown."""


@dataclass(frozen=True)
class Tables:
    """Coefficients of all tables as binary64, not yet cut to the flt format.

    Attributes
    ----------
    u_layout, s_layout : TableLayout
        Where the rows lie.
    u, u_grad : ndarray, shape (ntypes, rows, 2 or 3, 4)
        Cubics a, b, c, d of (s, h) and of (ds/du, dh/du), per centre type; in version 1 one table
        for all types, without mean and deviation. SUB_VERSION 2: of (s, h, k).
    g, g_grad : ndarray, shape (ntypes, rows, M1, 4)
        Cubics of G and dG/ds, per neighbour type; in version 1 one table, before the gains. Both
        tables of derivatives are None where a derivative is that of the stored cubic.
    types : TypeTables or None
        Version 1: what the types contribute.
    """

    u_layout: TableLayout
    s_layout: TableLayout
    u: Array
    u_grad: Array | None
    g: Array
    g_grad: Array | None
    types: TypeTables | None = None

    @property
    def version(self) -> int:
        """NVNMD version."""
        return 0 if self.types is None else 1

    @property
    def sub_version(self) -> int:
        """SUB_VERSION of version 1: 2 where there are tables of k."""
        return 2 if self.u.shape[2] == 3 else 1

    @property
    def ntypes(self) -> int:
        """Number of atom types."""
        return len(self.u) if self.types is None else self.types.ntypes

    @property
    def own_slopes(self) -> bool:
        """Whether derivatives are those of the stored cubics."""
        return self.u_grad is None

    @property
    def name(self) -> str:
        """Name of the layout (`nvnmd.quantize.table_layout.LAYOUTS`), or "other"."""
        return layout_name(self.u_layout, self.s_layout, self.own_slopes) or "other"


def effective_distance(dmin: float, min_nbor_dist: float, rcut_smth: float) -> float:
    """Choose the smallest distance that decides the clamp of r, in Å.

    The statistics' `dmin` counts if known, then the training data's `min_nbor_dist`, then
    `rcut_smth`.
    """
    for distance in (dmin, min_nbor_dist):
        if distance > SMALLEST_DISTANCE:
            return float(distance)
    return float(rcut_smth)


def distance_clamp(dmin: float) -> float:
    """Least r (Å) the tables follow; below it they are constant."""
    return 0.5 if dmin > 0.5 else dmin - 0.1


def radial_jet(
    u: Array, rcut: float, rcut_smth: float, clamp: float
) -> tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]:
    """Evaluate `sw(r)/r` and `sw(r)/r^2` with first and second derivatives by u = r^2.

    Parameters
    ----------
    u : ndarray
        Squared distances in Å², positive.
    rcut, rcut_smth : float
        The quintic switch falls from 1 at `rcut_smth` to 0 at `rcut` (Å).
    clamp : float
        Below this r (Å) values stay those of the clamp and derivatives are 0.

    Returns
    -------
    s, h : tuple of three ndarray
        Value, d/du, d²/du² of each.
    """
    distance = np.sqrt(u)
    r = np.maximum(distance, clamp)
    inside = distance >= clamp
    span = rcut - rcut_smth
    t = np.clip((r - rcut_smth) / span, 0.0, 1.0)
    # Value and derivatives by r; the quintic's first two vanish at both ends of the switch, so
    # the clipped argument needs no case of its own.
    sw0 = t**3 * (-6.0 * t**2 + 15.0 * t - 10.0) + 1.0
    sw1 = -30.0 * t**2 * (1.0 - t) ** 2 / span
    sw2 = -60.0 * t * (1.0 - t) * (1.0 - 2.0 * t) / span**2
    jets = []
    for power in (1, 2):
        f0 = sw0 / r**power
        f1 = sw1 / r**power - power * sw0 / r ** (power + 1)
        f2 = (
            sw2 / r**power
            - 2.0 * power * sw1 / r ** (power + 1)
            + power * (power + 1) * sw0 / r ** (power + 2)
        )
        # d/du = (1/2r) d/dr
        first = f1 / (2.0 * r)
        second = (f2 - f1 / r) / (4.0 * r**2)
        jets.append((f0, np.where(inside, first, 0.0), np.where(inside, second, 0.0)))
    return jets[0], jets[1]


def hermite(y0: Array, y1: Array, slope0: Array, slope1: Array, step: Array) -> Array:
    """Coefficients of the cubics that meet values and slopes at the ends of their rows.

    Parameters
    ----------
    y0, y1, slope0, slope1 : ndarray, shape (rows, outputs)
        Values and slopes at the start and the end of each row.
    step : ndarray, shape (rows,)
        Row widths.

    Returns
    -------
    ndarray, shape (rows, outputs, 4)
        a, b, c, d of `((a x + b) x + c) x + d`, x counted from the row's start.
    """
    dx = step[:, None]
    a = (dx * slope1 - 2.0 * y1 + dx * slope0 + 2.0 * y0) / dx**3
    b = (3.0 * y1 - dx * slope1 - 2.0 * dx * slope0 - 3.0 * y0) / dx**2
    return np.stack([a, b, slope0, y0], axis=-1)


def _nodes(layout: TableLayout) -> Array:
    """Starts of all rows, then their ends, (2*rows,)."""
    return np.concatenate([layout.row_starts(), layout.row_ends()])


def _cubics(jet: Sequence[Array], layout: TableLayout) -> tuple[Array, Array]:
    """Cubics of a function and of its slope, (rows, outputs, 4) each.

    `jet` holds value, first and second derivative at `_nodes`, (2*rows, outputs) each.
    """
    f0, f1, f2 = (np.split(part, 2) for part in jet)
    steps = layout.row_steps()
    return (
        hermite(f0[0], f0[1], f1[0], f1[1], steps),
        hermite(f1[0], f1[1], f2[0], f2[1], steps),
    )


def build_u_tables(
    davg: Array, dstd: Array, rcut: float, rcut_smth: float, dmin: float, name: str = VENDOR
) -> tuple[TableLayout, Array, Array]:
    """Build the tables of (s, h) and of their derivatives by u, one per centre type.

    Parameters
    ----------
    davg, dstd : ndarray, shape (ntypes, 2)
        Mean and deviation of the radial and the angular part of the environment.
    rcut, rcut_smth : float
        Å.
    dmin : float
        Smallest distance, see `effective_distance`.
    name : str
        The layout, one of `nvnmd.quantize.table_layout.LAYOUTS`.

    Returns
    -------
    layout : TableLayout
    values, slopes : ndarray, shape (ntypes, rows, 2, 4)

    Raises
    ------
    InputError
        If `rcut` is beyond the table.
    """
    layout = u_layout(name)
    last = layout.row_ends()[-1]
    if rcut * rcut > last:
        raise InputError(f"rcut: {rcut} Å is beyond the tables, which end at {math.sqrt(last):g} Å")
    clamp = distance_clamp(dmin)
    ends = _nodes(layout)
    at_zero = ends == 0.0
    s, h = radial_jet(np.where(at_zero, 1.0, ends), rcut, rcut_smth, clamp)
    tables = []
    for mean, deviation in zip(davg, dstd, strict=True):
        # The node u = 0 stands for an empty slot: no neighbour, so s is the normalised zero.
        jets = [
            np.stack(
                [
                    np.where(at_zero, 0.0, s_k) / deviation[0],
                    np.where(at_zero, 0.0, h_k) / deviation[1],
                ],
                axis=-1,
            )
            for s_k, h_k in zip(s, h, strict=True)
        ]
        jets[0][:, 0] = (np.where(at_zero, 0.0, s[0]) - mean[0]) / deviation[0]
        tables.append(_cubics(jets, layout))
    values, slopes = (np.stack(parts) for parts in zip(*tables, strict=True))
    return layout, values, slopes


def least_s(davg: Array, dstd: Array) -> float:
    """Origin of the G table: below the least normalised s, on the grid of 1/256."""
    smin = float(np.min(-davg[:, 0] / dstd[:, 0]))
    return math.floor(smin * 256.0 - 1.0) / 256.0


def add_type_switch(
    layout: TableLayout, values: Array, slopes: Array, rcut: float, rcut_smth: float, dmin: float
) -> tuple[Array, Array]:
    """Put k behind s and h in the tables of u: SUB_VERSION 2.

    k is made of the s of the nodes, so it is constant where s is clamped; between the nodes it is
    not kept below 1. The node u = 0 is that of an empty slot: k and its derivatives are 0.

    Parameters
    ----------
    layout : TableLayout
    values, slopes : ndarray, shape (1, rows, 2, 4)
        See `build_u_tables`, of a mean of 0 and a deviation of 1.
    rcut, rcut_smth : float
        Å.
    dmin : float
        Smallest distance, see `effective_distance`.

    Returns
    -------
    values, slopes : ndarray, shape (1, rows, 3, 4)
    """
    ends = _nodes(layout)
    at_zero = ends == 0.0
    (s, s1, s2), _ = radial_jet(
        np.where(at_zero, 1.0, ends), rcut, rcut_smth, distance_clamp(dmin)
    )
    q = np.maximum(1.0 - rcut_smth * s, 0.0)
    jet = (
        np.clip(1.0 - q**3, 0.0, 1.0),
        3.0 * q**2 * rcut_smth * s1,
        3.0 * rcut_smth * (q**2 * s2 - 2.0 * q * rcut_smth * s1**2),
    )
    cubics, grads = _cubics([np.where(at_zero, 0.0, part)[:, None] for part in jet], layout)
    return np.concatenate([values, cubics[None]], 2), np.concatenate([slopes, grads[None]], 2)


def largest_s(
    davg: Array, dstd: Array, rcut: float, rcut_smth: float, dmin: float
) -> float:
    """Largest normalised s down to `NEAREST` of `dmin`, or to the clamp of r if that is above."""
    nearest = max(distance_clamp(dmin), NEAREST * dmin)
    (s, _, _), _ = radial_jet(np.array([nearest**2]), rcut, rcut_smth, 0.0)
    return float(np.max((s[0] - davg[:, 0]) / dstd[:, 0]))


def build_g_tables(
    embedding: Sequence[Sequence[Layer]], s_min: float, coarse: float = COARSE_STEP,
    name: str = VENDOR, reach: float = 0.0,
) -> tuple[TableLayout, Array, Array]:
    """Build the tables of G and dG/ds, one per embedding net.

    Parameters
    ----------
    embedding : sequence over neighbour types of sequences of (W, b)
        The embedding nets.
    s_min : float
        Origin of the table.
    coarse : float
        Step of the vendor's rows behind the first unit.
    name : str
        The layout, one of `nvnmd.quantize.table_layout.LAYOUTS`.
    reach : float
        Largest s, counted from `s_min`, that the table shall hold if it can.

    Returns
    -------
    layout : TableLayout
    values, slopes : ndarray, shape (ntypes, rows, M1, 4)
    """
    layout = s_layout(s_min, coarse, name, reach)
    tables = [_cubics(embedding_jet(_nodes(layout), net), layout) for net in embedding]
    values, slopes = (np.stack(parts) for parts in zip(*tables, strict=True))
    return layout, values, slopes


def build_tables(
    embedding: Sequence[Sequence[Layer]],
    davg: Array,
    dstd: Array,
    rcut: float,
    rcut_smth: float,
    dmin: float,
    name: str = VENDOR,
) -> Tables:
    """Build all tables of a version 0 model.

    Parameters
    ----------
    embedding : sequence over neighbour types of sequences of (W, b)
        The float model's embedding nets.
    davg, dstd : ndarray, shape (ntypes, 2)
        Statistics of the environment, radial and angular.
    rcut, rcut_smth : float
        Å.
    dmin : float
        Smallest distance in Å, see `effective_distance`.
    name : str
        The layout, one of `nvnmd.quantize.table_layout.LAYOUTS`.

    Returns
    -------
    Tables

    Raises
    ------
    InputError
        If `rcut` is beyond the table of u.
    """
    u = build_u_tables(davg, dstd, rcut, rcut_smth, dmin, name)
    s_min = least_s(davg, dstd)
    reach = largest_s(davg, dstd, rcut, rcut_smth, dmin) - s_min
    return _tables(name, u, build_g_tables(embedding, s_min, COARSE_STEP, name, reach))


def build_shared_tables(
    embedding: Sequence[Layer],
    type_embedding: Sequence[Layer],
    type_net: Sequence[Layer],
    davg: Array,
    dstd: Array,
    rcut: float,
    rcut_smth: float,
    dmin: float,
    sub_version: int = 1,
    name: str = VENDOR,
) -> Tables:
    """Build all tables of a version 1 model.

    Parameters
    ----------
    embedding : sequence of (W, b)
        The embedding net of all types.
    type_embedding, type_net : sequence of (W, b)
        See `nvnmd.network.types`.
    davg, dstd : ndarray, shape (ntypes, 2)
        Statistics of the environment; the tables of s and h do not contain them.
    rcut, rcut_smth, dmin : float
        Å, see `build_tables`.
    sub_version : int
        2 for tables of k, too, and a G table from the least normalised s on, in coarse steps of
        1/8.
    name : str
        See `build_tables`; with SUB_VERSION 2 the vendor's.

    Returns
    -------
    Tables

    Raises
    ------
    InputError
        If `rcut` is beyond the table of u, or SUB_VERSION 2 has other tables than the vendor's.
    """
    if sub_version == 2 and name != VENDOR:
        raise InputError(f"nvnmd/tables: got {name}, expected {VENDOR} with SUB_VERSION 2")
    u, u_values, u_slopes = build_u_tables(
        np.zeros((1, 2)), np.ones((1, 2)), rcut, rcut_smth, dmin, name
    )
    if sub_version == 2:
        u_values, u_slopes = add_type_switch(u, u_values, u_slopes, rcut, rcut_smth, dmin)
        s, g_values, g_slopes = build_g_tables([embedding], least_s(davg, dstd), SWITCHED_STEP)
    else:
        reach = largest_s(davg, dstd, rcut, rcut_smth, dmin)
        s, g_values, g_slopes = build_g_tables([embedding], 0.0, COARSE_STEP, name, reach)
    types = build_type_tables(type_embedding, type_net, davg, dstd, sub_version)
    return _tables(name, (u, u_values, u_slopes), (s, g_values, g_slopes), types)


def _tables(
    name: str, u: tuple[TableLayout, Array, Array], g: tuple[TableLayout, Array, Array],
    types: TypeTables | None = None,
) -> Tables:
    """Join both tables; those of the slopes are left out where the cubics give them."""
    own = name == OCTAVE
    return Tables(u[0], g[0], u[1], None if own else u[2], g[1], None if own else g[2], types)
