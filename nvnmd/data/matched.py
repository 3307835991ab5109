"""Energies against forces: a pair potential is fitted to the forces and asked for the energies.

It need not be a good potential. Whatever follows the forces at all gives energies that go up and
down with the data's, by a factor that is near 1 where both have one unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nvnmd.data.neighbor_stat import all_neighbors
from nvnmd.data.system import System

MOST_FRAMES, MOST_ATOMS, MOST_TYPES = 48, 1000, 6
_LEAST_FRAMES = 4
_CLEAR, _MANY, _CLEAR_OF_MANY = 0.9, 12, 0.7
"""Correlation of the data's energies and the fitted potential's from which the factor counts, with
few frames and from `_MANY` on: there is 0.8 for water, 0.99 for GeTe of several phases."""
_BASIS = [(m, p) for m in (1, 2, 4, 6) for p in (2, 3, 4)]


def energy_factor(systems: Sequence[System], ntypes: int, rcut: float,
                  spread: Callable[[int, int], list[int]]) -> float | None:
    """Return how many times the data's energies change as the forces say; None if that is unclear.

    Parameters
    ----------
    systems : sequence of System
        Those with energies and forces count, up to `MOST_ATOMS` atoms. Nothing is said where they
        hold more than `MOST_TYPES` elements.
    ntypes : int
        Number of types.
    rcut : float
        Reach of the pair potential in Å.
    spread : callable
        Gives the numbers of frames to take of so many, at most so many.
    """
    usable = [system for system in systems if system.energy is not None and system.force is not None
              and 1 < system.nframes and system.natoms <= MOST_ATOMS]
    usable = usable[: MOST_FRAMES // 2]
    if not usable:
        return None
    types = np.unique(np.concatenate([system.types for system in usable]))
    if len(types) > MOST_TYPES:
        return None
    # a number for each pair of types that there is
    kinds = np.zeros((ntypes, ntypes), dtype=np.int64)
    rows_of, columns_of = np.triu_indices(len(types))
    kinds[types[rows_of], types[columns_of]] = np.arange(len(rows_of))
    columns = len(rows_of) * len(_BASIS)
    normal, right = np.zeros((columns, columns)), np.zeros(columns)
    rows, energies, owners = [], [], []
    for owner, system in enumerate(usable):
        for frame in spread(system.nframes, max(2, MOST_FRAMES // len(usable))):
            value, slope, force = _terms(system, frame, kinds, rcut)
            normal += slope.T @ slope
            right += slope.T @ force
            rows.append(value)
            energies.append(float(np.asarray(system.energy)[frame]))
            owners.append(owner)
    if len(rows) - len(usable) < _LEAST_FRAMES or not right.any():
        return None
    used = np.diag(normal) > 0.0
    scale = 1.0 / np.sqrt(np.diag(normal)[used])
    matrix = normal[np.ix_(used, used)] * scale[:, None] * scale
    found = scale * np.linalg.solve(matrix + 1e-9 * np.eye(len(scale)), scale * right[used])
    said = _centred(np.array(rows)[:, used] @ found, owners)
    given = _centred(np.array(energies), owners)
    norm = float(np.sqrt((said @ said) * (given @ given)))
    clear = _CLEAR if len(rows) - len(usable) < _MANY else _CLEAR_OF_MANY
    if not norm or not math.isfinite(norm) or abs(said @ given) < clear * norm:
        return None
    return float(said @ given / (said @ said))


def _centred(values: NDArray[np.float64], owners: list[int]) -> NDArray[np.float64]:
    """Each system's values without their mean, which its composition decides."""
    of = np.array(owners)
    means = np.bincount(of, values) / np.bincount(of)
    found: NDArray[np.float64] = values - means[of]
    return found


def _terms(system: System, frame: int, of_pair: NDArray[np.int64], rcut: float
           ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Energy and forces of each term x^-m (1 - x)^p of each pair of types, x = r/rcut; the data's
    forces.
    """
    near = all_neighbors(system, frame, len(of_pair), rcut)
    i, slot = np.nonzero(near.mask)
    rij = near.rij[near.mask]
    kinds = np.sort(np.stack([near.center_types[i], near.neighbor_types[i, slot]]), axis=0)
    kind = of_pair[kinds[0], kinds[1]]
    length = np.sqrt((rij**2).sum(axis=1))
    x = length / rcut
    n, pairs = system.natoms, int(of_pair.max()) + 1
    value = np.zeros((pairs, len(_BASIS)))
    slope = np.zeros((n, 3, pairs, len(_BASIS)))
    for term, (m, p) in enumerate(_BASIS):
        value[:, term] = np.bincount(kind, 0.5 * x**-m * (1.0 - x) ** p, minlength=pairs)
        change = -(x ** (-m - 1)) * (1.0 - x) ** (p - 1) * (m * (1.0 - x) + p * x) / rcut
        for c in range(3):
            slope[:, c, :, term] = np.bincount(
                i * pairs + kind, change / length * rij[:, c], minlength=n * pairs
            ).reshape(n, pairs)
    force = np.asarray(system.force)[frame][near.order].ravel()
    return value.ravel(), slope.reshape(3 * n, -1), force
