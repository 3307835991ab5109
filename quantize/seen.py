"""What a training saw of its data, beyond which a model extrapolates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """Ranges over all frames that a model was trained on.

    Attributes
    ----------
    distance : (ntypes, ntypes)
        Smallest distance of each pair of types in Å; the cut-off where no pair was within it.
    u : (2,)
        Least and largest squared distance in Å², of neighbours.
    s : (ntypes, 2)
        Least and largest s, normalised, by centre type; zeros for a type without a neighbour.
    d : (ntypes, M1*M2, 2)
        Least and largest value of each component of the descriptor D by centre type; zeros for a
        type that no frame has. Told, not judged: of some hundred components one or the other
        leaves its range in almost every new frame.
    """

    distance: Floats
    u: Floats
    s: Floats
    d: Floats

    def too_near(self, center_types: NDArray[np.integer], rij: Floats, mask: NDArray[np.bool_],
                 neighbor_types: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Tell which atoms (n,) have a neighbour nearer than any of its types in the training.

        u and s leave their ranges upwards with it: both are monotonic in the distance.

        Parameters
        ----------
        center_types : (n,)
            Types of the centres.
        rij : (n, m, 3)
            Displacements in Å.
        mask : (n, m)
            Which slots hold a neighbour.
        neighbor_types : (n, m)
            Types of the neighbours; anything in empty slots.
        """
        kinds = np.where(mask, neighbor_types, 0)
        least = self.distance[np.asarray(center_types)[:, None], kinds]
        return np.asarray((mask & (lengths(rij) < least)).any(axis=1))


def lengths(rij: Floats) -> Floats:
    """Return the lengths (...) of displacements (..., 3), always of the same bits."""
    x, y, z = rij[..., 0], rij[..., 1], rij[..., 2]
    return np.asarray(np.sqrt(x * x + y * y + z * z))
