"""Energies, forces and virials of alloys of many elements: a Morse potential per pair of types.

For more elements than the effective medium theory knows. What is learnt matters little to a
comparison of programs; the labels only have to be smooth, the forces the energy's derivative.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

CUTOFF, INNER = 6.0, 4.5
"""Where a pair's energy ends, and from where it is damped, in Å."""


def parameters(ntypes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Well depth (eV), width (1/Å), distance (Å) of every pair of types, each (ntypes, ntypes)."""
    fraction = np.arange(ntypes) / max(ntypes - 1, 1)
    depth, width, distance = 0.2 + 0.3 * fraction, 1.5 - 0.3 * fraction, 2.5 + 0.5 * fraction[::-1]
    return (
        np.sqrt(np.outer(depth, depth)),
        0.5 * np.add.outer(width, width),
        0.5 * np.add.outer(distance, distance),
    )


def label(atoms: Atoms, types: np.ndarray, ntypes: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy (eV), forces (eV/Å) and virial (eV, 3 x 3) of a periodic structure."""
    i, j, r, d = neighbor_list("ijdD", atoms, CUTOFF)
    depth, width, distance = (table[types[i], types[j]] for table in parameters(ntypes))
    decay = np.exp(-width * (r - distance))
    energy, slope = depth * (decay**2 - 2.0 * decay), -2.0 * width * depth * (decay**2 - decay)
    x = np.clip((r - INNER) / (CUTOFF - INNER), 0.0, 1.0)
    switch = 1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x**2)
    bend = -30.0 * x**2 * (1.0 - x) ** 2 / (CUTOFF - INNER)
    slope = slope * switch + energy * bend
    # each pair is listed twice; the force on i is along d = r_j - r_i where the slope is positive
    pull = (slope / r)[:, None] * d
    force = np.zeros((len(atoms), 3))
    np.add.at(force, i, pull)
    return 0.5 * float((energy * switch).sum()), force, -0.5 * pull.T @ d
