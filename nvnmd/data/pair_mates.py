"""Which entries of a neighbour list are one pair of atoms seen from either side; needs numba."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nvnmd.compiling import njit

# Å; different images of an atom are much farther from each other
_SAME = 1e-6


def pair_mates(
    types: NDArray[np.int64],
    counts: NDArray[np.int64],
    center: NDArray[np.int32],
    neighbor: NDArray[np.int32],
    kind: NDArray[np.int32],
    rij: NDArray[np.float64],
) -> NDArray[np.int32]:
    """Find the other side of every pair of atoms of one type.

    Parameters
    ----------
    types : (n,) int64
        Types of the atoms.
    counts, center, neighbor, kind, rij
        See `nvnmd.data.frame_pairs.FramePairs`: atom after atom, block after block.

    Returns
    -------
    (p,) int32
        The entry that is the same pair the other way round; -1 for two types, or if there is none.
    """
    mates = np.full(len(center), -1, dtype=np.int32)
    ends = np.cumsum(counts).reshape(counts.shape)
    _find(types, ends - counts, ends, center, neighbor, kind, rij, mates)
    return mates


@njit(cache=True)
def _find(types, begin, end, center, neighbor, kind, rij, mates):
    for p in range(len(center)):
        one, other = center[p], neighbor[p]
        if mates[p] >= 0 or types[one] != types[other]:
            continue
        for q in range(begin[other, kind[p]], end[other, kind[p]]):
            if (
                neighbor[q] == one
                and mates[q] < 0
                and q != p
                and abs(rij[p, 0] + rij[q, 0]) < _SAME
                and abs(rij[p, 1] + rij[q, 1]) < _SAME
                and abs(rij[p, 2] + rij[q, 2]) < _SAME
            ):
                mates[p], mates[q] = q, p
                break
