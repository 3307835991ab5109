"""What version 1 tabulates per type and per pair of types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvnmd.mapping.embedding import Layer
from nvnmd.network.math import NumpyMath
from nvnmd.network.types import type_gain, type_vectors

Array = NDArray[np.float64]

# Columns of DeePMD-kit's statistics: s, and h once for each axis
_COLUMNS = [0, 1, 1, 1]


@dataclass(frozen=True)
class TypeTables:
    """Type vectors, gains and statistics as binary64, not yet cut to the flt format.

    Attributes
    ----------
    vectors : ndarray, shape (ntypes + 1, width)
        Type vectors; the last row, of zeros, is that of "no atom".
    gain : ndarray, shape (ntypes + 1, ntypes + 1, M1)
        Factors on G by centre and neighbour type, "no atom" included.
    davg_opp, dstd_inv : ndarray, shape (ntypes, 4)
        ``-mean/deviation`` (SUB_VERSION 2: ``-mean``) and ``1/deviation`` of s and, three times,
        of h.
    """

    vectors: Array
    gain: Array
    davg_opp: Array
    dstd_inv: Array

    @property
    def ntypes(self) -> int:
        """Number of atom types."""
        return len(self.dstd_inv)


def build_type_tables(
    type_embedding: Sequence[Layer], type_net: Sequence[Layer], davg: Array, dstd: Array,
    sub_version: int = 1,
) -> TypeTables:
    """Tabulate the nets of the types and the statistics.

    Parameters
    ----------
    type_embedding, type_net : sequence of (W, b)
        See `nvnmd.network.types`.
    davg, dstd : ndarray, shape (ntypes, 2)
        Statistics of the environment, radial and angular.
    sub_version : int
        2 for gains without the 1.

    Returns
    -------
    TypeTables
    """
    xp = NumpyMath()
    known = type_vectors(xp, type_embedding)
    vectors = np.vstack([known, np.zeros((1, known.shape[1]))])
    n = len(vectors)
    pairs = np.hstack([np.tile(vectors, (n, 1)), np.repeat(vectors, n, axis=0)])
    gain = type_gain(xp, type_net, pairs)
    inverse, opposite = 1.0 / dstd[:, _COLUMNS], -davg[:, _COLUMNS]
    if sub_version == 1:
        gain, opposite = 1.0 + gain, opposite * inverse
    return TypeTables(vectors, gain.reshape(n, n, -1), opposite, inverse)
