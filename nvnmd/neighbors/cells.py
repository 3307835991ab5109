"""Cells of periodic systems: what makes one usable, and positions in it.

Every operation and its order are DeePMD-kit's, because the last bit of a wrapped position decides
bits of the quantized network.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FARTHEST = 2.0**50
"""Largest coordinate and cell vector in Å; beyond it binary64 holds no digits after the point."""


def cell_problem(h: NDArray[np.float64]) -> str:
    """Say what is wrong with the cell vectors (3, 3), or return an empty string."""
    if h.shape != (3, 3):
        return f"expected 3 x 3 numbers, found {h.shape}"
    if not np.isfinite(h).all():
        return "a value is not finite"
    if np.abs(h).max() > FARTHEST:
        return f"a vector is longer than {FARTHEST:.0e} Å"
    volume = _volume(h)
    lengths = np.linalg.norm(h, axis=1)
    if abs(volume) <= 1e-9 * lengths.prod() or lengths.min() < 1e-9:
        return "the vectors span no volume"
    if volume < 0:
        return "the vectors are left-handed; swap two of them"
    return ""


def turned(h: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cell vectors (..., 3, 3) of the same lattice, right-handed: 0 and 1 swapped."""
    left = np.linalg.det(h) < 0
    return np.where(left[..., None, None], h[..., [1, 0, 2], :], h)


def face_distances(h: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distances between opposite faces (3,) of the cell (3, 3), in Å."""
    volume = _volume(h)
    normals = [np.cross(h[1], h[2]), np.cross(h[2], h[0]), np.cross(h[0], h[1])]
    return np.array([volume / np.sqrt(v @ v) for v in normals])


def to_fractional(x: NDArray[np.float64], h: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return fractional coordinates (n, 3): cofactors times 1/volume, sums from left to right."""
    inverse_volume = 1.0 / _volume(h)
    rec = np.empty((3, 3))
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        for a in range(3):
            b, c = (a + 1) % 3, (a + 2) % 3
            rec[i, a] = (h[j, b] * h[k, c] - h[k, b] * h[j, c]) * inverse_volume
    return np.stack(
        [x[:, 0] * rec[i, 0] + x[:, 1] * rec[i, 1] + x[:, 2] * rec[i, 2] for i in range(3)], axis=1
    )


def from_fractional(f: NDArray, h: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return positions ``f0 b0 + f1 b1 + f2 b2`` (n, 3) in Å, summed from left to right."""
    f = f.astype(np.float64)
    return f[:, 0:1] * h[0] + f[:, 1:2] * h[1] + f[:, 2:3] * h[2]


def wrap(x: NDArray[np.float64], box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move positions (n, 3) into the cell, with the operations and order of DeePMD-kit.

    Parameters
    ----------
    x : (n, 3) float64
        Positions in Å.
    box : (3, 3) float64
        Cell vectors in rows.

    Returns
    -------
    (n, 3) float64
    """
    f = np.fmod(to_fractional(x, box), 1.0)
    f = np.where(f < 0.0, f + 1.0, f)
    return from_fractional(f, box)


def _volume(h: NDArray[np.float64]) -> float:
    """Return the signed volume, summed in DeePMD-kit's order."""
    return float(
        h[0, 0] * (h[1, 1] * h[2, 2] - h[2, 1] * h[1, 2])
        - h[0, 1] * (h[1, 0] * h[2, 2] - h[2, 0] * h[1, 2])
        + h[0, 2] * (h[1, 0] * h[2, 1] - h[2, 0] * h[1, 1])
    )
