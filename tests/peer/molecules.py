"""Water-like molecules: O and H with bonds of about 1 Å, where table rows are coarse.

ASE's EMT labels them (its O-H bond is 1.03 Å); no property of water is meant.
"""

from __future__ import annotations

import numpy as np
from alloy import distort, rounded, write_system
from ase import Atoms

TYPE_MAP = ("O", "H")
BOND, ANGLE = 1.0, np.radians(105.0)
VOLUME = 30.0
"""Volume of a molecule in Å^3."""


def molecule(rng: np.random.Generator) -> np.ndarray:
    """Positions (3, 3) of O, H, H around the origin, turned at random."""
    half = 0.5 * ANGLE
    bonds = BOND * np.array([[np.cos(half), np.sin(half), 0.0], [np.cos(half), -np.sin(half), 0.0]])
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return np.concatenate([np.zeros((1, 3)), bonds @ turn])


def liquid(
    repeat: tuple[int, int, int], rng: np.random.Generator, scale: float = 1.0, rattle: float = 0.03
) -> Atoms:
    """Molecules on a cubic lattice, every atom shifted, all O first.

    `scale` multiplies the distances between molecules, not the bonds.
    """
    edge = scale * VOLUME ** (1.0 / 3.0)
    sites = edge * (np.indices(repeat).reshape(3, -1).T + 0.5)
    positions = np.stack([site + molecule(rng) for site in sites])
    count = len(sites)
    atoms = Atoms(
        ["O"] * count + ["H"] * 2 * count, cell=np.diag(edge * np.array(repeat)), pbc=True
    )
    atoms.positions = np.concatenate([positions[:, 0], positions[:, 1:].reshape(-1, 3)])
    return distort(atoms, rng, strain=0.03, rattle=rattle)


def types_of(atoms: Atoms, type_map: tuple[str, ...] = TYPE_MAP) -> np.ndarray:
    """Types of the atoms as indices into the type map."""
    return np.array([type_map.index(symbol) for symbol in atoms.symbols])


def training_set(folder, frames: int = 8, seed: int = 17) -> None:
    """Write a training system of 8 molecules at densities around that of water."""
    rng = np.random.default_rng(seed)
    made = [liquid((2, 2, 2), rng, scale) for scale in np.linspace(0.97, 1.06, frames)]
    write_system(folder, made, types_of(made[0]), TYPE_MAP)


def pairs(distances: np.ndarray, spacing: float = 14.0) -> Atoms:
    """One O-H pair per distance (Å), out of each other's reach, on a cubic lattice."""
    edge = int(np.ceil(len(distances) ** (1 / 3)))
    sites = spacing * (np.indices((edge,) * 3).reshape(3, -1).T[: len(distances)] + 0.3)
    rng = np.random.default_rng(23)
    direction = rng.normal(size=sites.shape)
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    atoms = Atoms(
        ["O"] * len(sites) + ["H"] * len(sites), cell=np.eye(3) * spacing * edge, pbc=True
    )
    atoms.positions = np.concatenate([sites, sites + distances[:, None] * direction])
    return rounded(atoms)
