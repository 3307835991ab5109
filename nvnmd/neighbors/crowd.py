"""Whether atoms are so close together that listing their neighbours would not end."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

MOST_NEAR = 2048
"""Neighbours of an atom beyond which a search is not begun. Diamond, the densest of solids at
ordinary pressure, has 377 within 8 Å; the hardware holds at most 256."""


def crowd_problem(x: NDArray[np.float64], h: NDArray[np.float64] | None, rcut: float) -> str:
    """Say how crowded the atoms are, or return an empty string.

    Parameters
    ----------
    x : (n, 3) float64
        Positions in Å, wrapped where there is a cell.
    h : (3, 3) float64 or None
        Cell vectors in rows, in Å; None for an open system.
    rcut : float
        Cut-off radius in Å.
    """
    if h is not None:
        density = len(x) / abs(float(np.linalg.det(h)))
        near = density * 4.0 / 3.0 * math.pi * rcut**3
        if near > MOST_NEAR:
            return _line(near, density, rcut)
    if len(x) <= MOST_NEAR:
        return ""
    # 27 cubes of this edge have the volume of the sphere, nearly
    edge = rcut / 2.0
    places, counts = np.unique(np.floor(x / edge).astype(np.int64), axis=0, return_counts=True)
    if counts.max() <= MOST_NEAR // 8:
        return ""
    held = {tuple(place): count for place, count in zip(places.tolist(), counts.tolist(),
                                                        strict=True)}
    steps = list(itertools.product((-1, 0, 1), repeat=3))
    full = [place for place, count in held.items() if count > MOST_NEAR // 64]
    most = max(sum(held.get((a + i, b + j, c + k), 0) for i, j, k in steps) for a, b, c in full)
    return _line(float(most), most / (3.0 * edge) ** 3, rcut) if most > MOST_NEAR else ""


def _line(near: float, density: float, rcut: float) -> str:
    return (f"about {near:.0f} neighbours within {rcut:g} Å of an atom, {density:.3g} atoms per "
            f"cubic Å, expected at most {MOST_NEAR}, and 0.2 in dense solids; are the positions "
            "in nm, or in units of the cell?")
