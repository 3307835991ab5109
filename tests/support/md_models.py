"""Potentials and structures for molecular dynamics in tests: the committed run of DeePMD-kit."""

from __future__ import annotations

from functools import cache

import numpy as np
from support.golden_data import load_fixture
from support.small_models import random_model

from nvnmd.evaluation.potential import Potential


@cache
def fixture_potential() -> Potential:
    """The model of the committed run."""
    return Potential(load_fixture(128).model)


def fixture_frame(number: int = 0):
    """One of its frames: coord, box, types."""
    frame = load_fixture(128).frames[number]
    return frame.coord, frame.box, frame.types


@cache
def small_potential() -> Potential:
    """A random model of Cu and Au; harmless at 3 Å."""
    return Potential(random_model(np.random.default_rng(11)))


def small_crystal(cells: int = 3, seed: int = 3):
    """`small_frame` as ASE's Atoms."""
    from ase import Atoms

    coord, box, symbols = small_frame(cells, seed)
    return Atoms(symbols, positions=coord, cell=box, pbc=True)


def small_frame(cells: int = 3, seed: int = 3):
    """A rattled crystal for `small_potential`: coord, box, symbols."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), -1).reshape(-1, 3)
    symbols = np.array(["Cu", "Au"])[rng.permutation(len(grid)) % 2]
    coord = 3.0 * grid + rng.normal(scale=0.1, size=grid.shape)
    return coord, np.eye(3) * 3.0 * cells, [str(symbol) for symbol in symbols]


def write_lammps(path, coord, box, types, names) -> None:
    """LAMMPS's data file of an orthogonal cell, types counted from 0, all digits."""
    lines = ["data", "", f"{len(coord)} atoms", f"{len(names)} atom types", ""]
    lines += [f"0 {box[a, a]:.17g} {'xyz'[a]}lo {'xyz'[a]}hi" for a in range(3)]
    lines += ["", "Masses", "", *(f"{k + 1} {60 + 70 * k}" for k in range(len(names)))]
    lines += ["", "Atoms # atomic", ""]
    lines += [f"{k + 1} {t + 1} {x:.17g} {y:.17g} {z:.17g}"
              for k, (t, (x, y, z)) in enumerate(zip(types, coord, strict=True))]
    path.write_text("\n".join(lines) + "\n")
