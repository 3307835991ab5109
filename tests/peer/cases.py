"""Frames whose neighbour lists are out of the ordinary: each exercises what decides bits.

The expectations about each frame are in test_cases_peer.py, which checks that it is what its name
says before it compares numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import alloy
import molecules
import numpy as np
from alloy import rounded
from ase import Atoms
from ase.neighborlist import neighbor_list

Frames = list[tuple[str, Atoms]]


def most_neighbours(atoms: Atoms, rcut: float) -> int:
    """Neighbours of the most crowded atom."""
    return int(np.bincount(neighbor_list("i", atoms, rcut), minlength=len(atoms)).max())


def squeezed(atoms: Atoms, rcut: float, wanted: int) -> Atoms:
    """The structure scaled until its most crowded atom has about `wanted` neighbours, not more."""
    low, high = 0.5, 1.5  # scale factors: too dense, too thin
    for _ in range(30):
        middle = 0.5 * (low + high)
        trial = atoms.copy()
        trial.set_cell(atoms.cell.array * middle, scale_atoms=True)
        low, high = (middle, high) if most_neighbours(trial, rcut) > wanted else (low, middle)
    trial.set_cell(atoms.cell.array * high, scale_atoms=True)
    return rounded(trial)


def shifted(atoms: Atoms, seed: int) -> Atoms:
    """Every atom moved by whole lattice vectors: how positions are wrapped decides last bits."""
    out = atoms.copy()
    rng = np.random.default_rng(seed)
    out.positions += rng.integers(-2, 3, (len(out), 3)) @ out.cell.array
    return rounded(out)


def alone(one: str, other: str, rcut: float) -> Atoms:
    """Atoms without neighbours, and pairs at and around the cut-off."""
    edge = 40.0
    atoms = Atoms([one, one, other, one, one, other, other, other], cell=np.eye(3) * edge, pbc=True)
    atoms.positions = [
        [10.0, 10.0, 10.0],  # no neighbour
        [1.0, 30.0, 30.0],  # 1 and 2: across the cell's face
        [39.0, 30.5, 30.0],
        [20.0, 20.0, 20.0],  # 3 and 4: at the cut-off; 5: just inside of 4's
        [20.0 + rcut, 20.0, 20.0],
        [20.0 + rcut, 20.0 + rcut - 2.0**-17, 20.0],
        [20.0, 20.0, 20.0 - rcut - 2.0**-17],  # just outside of 3's
        [30.0, 10.0, 10.0],  # no neighbour
    ]
    return rounded(atoms)


def near_pairs(one: str, other: str, distances: list[float]) -> Atoms:
    """Pairs of the other type at short distances along slanted directions, 20 Å apart."""
    count = len(distances)
    atoms = Atoms([one] * count + [other] * count, cell=[20.0 * count, 21.0, 22.0], pbc=True)
    direction = np.array([0.48, 0.6, 0.64])
    first = np.array([[20.0 * i + 3.0, 5.0, 6.0] for i in range(count)])
    atoms.positions = np.concatenate([first, first + np.outer(distances, direction)])
    return rounded(atoms)


def small_cells(one: str, other: str, edge: float) -> Frames:
    """Cells far smaller than the cut-off: an atom is its own neighbour, many times over."""
    cubic = Atoms([one], cell=np.eye(3) * 1.6 * edge, pbc=True)
    cubic.positions = [[0.3, 0.4, 0.5]]
    slanted = Atoms(
        [one, other], cell=np.array([[2.0, 0.1, 0.0], [0.9, 2.1, 0.2], [-0.3, 0.7, 2.2]]) * edge
    )
    slanted.pbc = True
    slanted.set_scaled_positions([[0.1, 0.2, 0.9], [0.55, 0.6, 0.35]])
    needle = Atoms([one, other, other], cell=np.diag([1.3 * edge, 14.0, 17.0]), pbc=True)
    needle.positions = [[0.2, 1.0, 1.0], [0.9, 2.2, 1.5], [0.4, 13.5, 2.0]]
    return [
        ("one atom", rounded(cubic)),
        ("slanted", shifted(slanted, 3)),
        ("needle", shifted(needle, 4)),
    ]


def unrounded(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """Positions and cell with all digits of binary64, and positions many cells away."""
    out = atoms.copy()
    out.set_cell(out.cell.array @ (np.eye(3) + rng.uniform(-0.05, 0.05, (3, 3))), scale_atoms=True)
    out.positions += rng.normal(0.0, 0.05, out.positions.shape)
    out.positions += rng.integers(-50, 51, out.positions.shape) @ out.cell.array
    return out


def skewed(atoms: Atoms) -> Atoms:
    """The same atoms in a cell whose vectors are far from orthogonal."""
    out = atoms.copy()
    out.set_cell([[6.3, 1e-9, 0.0], [30.0, 6.1, 0.0], [-18.8, 25.0, 6.4]], scale_atoms=True)
    return out


def on_faces() -> Atoms:
    """Atoms on the faces of the cell and of the grid cells that a search would make of it."""
    edges = np.array([12.0, 18.0, 12.0])
    atoms = Atoms("OHHO" * 16, cell=np.diag(edges), pbc=True)
    atoms.positions = np.indices((4, 4, 4)).reshape(3, -1).T * edges / 4.0
    return atoms


def molecule_frames(rcut: float) -> Frames:
    """O and H, 128 neighbours."""
    rng = np.random.default_rng(32)
    liquid = molecules.liquid((2, 2, 2), rng)
    crowd = molecules.liquid((2, 2, 2), rng, scale=0.95)
    # Equal distances where the slots end: which of them stay is a matter of order.
    lattice = Atoms("OHH" * 8, cell=np.eye(3) * 5.0, pbc=True)
    cube = 2.5 * np.indices((2, 2, 2)).reshape(3, -1).T
    lattice.positions = (cube[:, None] + np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]])).reshape(-1, 3)
    cluster = liquid[[0, 1, 8, 9, 10, 11]]
    cluster.pbc = False
    return [
        ("bonds", liquid),
        ("wrapped", shifted(liquid, 5)),
        ("distances", molecules.pairs(np.linspace(0.7, rcut + 0.1, 36))),
        ("crowded", squeezed(crowd, rcut, 124)),
        ("overflow", squeezed(crowd, rcut, 170)),
        ("overflow lattice", rounded(lattice.repeat((3, 1, 3)))),
        ("large", unrounded(molecules.liquid((5, 4, 6), rng), rng)),
        ("unrounded", unrounded(liquid, rng)),
        ("skewed", skewed(liquid)),
        ("on faces", on_faces()),
        ("alone", alone("O", "H", rcut)),
        ("close", near_pairs("O", "H", [0.02, 0.2, 0.45, 0.5, 0.55, 0.62])),
        ("close, alike", near_pairs("H", "H", [0.02, 0.3, 0.5, 0.6])),
        *small_cells("O", "H", 1.9),
        ("open", cluster),
    ]


def metal_frames(rcut: float) -> Frames:
    """Cu and Au, 256 neighbours."""
    rng = np.random.default_rng(37)
    types = rng.permutation(np.arange(8) % 2)
    crystal = alloy.fcc(3.7, (2, 1, 1), types, ("Cu", "Au"))
    melt = alloy.distort(crystal, rng, strain=0.05, rattle=0.2)
    cluster = melt.copy()
    cluster.pbc = False
    return [
        ("melt", melt),
        ("wrapped", shifted(melt, 6)),
        ("crowded", squeezed(melt, rcut, 244)),
        ("overflow", squeezed(melt, rcut, 320)),
        ("overflow lattice", alloy.rounded(alloy.fcc(3.0, (2, 1, 1), types, ("Cu", "Au")))),
        ("alone", alone("Cu", "Au", rcut)),
        ("close", near_pairs("Cu", "Au", [0.02, 0.3, 0.5, 0.7, 1.2])),
        *small_cells("Cu", "Au", 2.4),
        ("open", cluster),
    ]


def water_frames(folder: Path) -> Callable[[float], Frames]:
    """The first frame of each system of a folder of real water."""

    def frames(_: float) -> Frames:
        out = []
        for system in sorted(folder.glob("data_*")):
            names = (system / "type_map.raw").read_text().split()
            kinds = [names[int(t)] for t in (system / "type.raw").read_text().split()]
            cell = np.load(system / "set.000/box.npy")[0].reshape(3, 3)
            positions = np.load(system / "set.000/coord.npy")[0].reshape(-1, 3)
            out.append((system.name, Atoms(kinds, positions, cell=cell, pbc=True)))
        return out

    return frames
