"""Small alloy data sets that label themselves with ASE's effective medium theory.

Everything follows from one seed. Positions and cells are rounded to binary32, as the files hold
them, before energies, forces and virials are computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.md.langevin import Langevin
from numpy.typing import NDArray

RCUT = 6.0
MELT_KELVIN = 1800.0
MELT_STEP_FS = 4.0
MELT_WARM_UP, MELT_INTERVAL = 100, 10


@dataclass(frozen=True, kw_only=True)
class Alloy:
    """A cell of 32 atoms: lattice constant in Å and number of atoms of each type."""

    name: str
    lattice: float
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Data set of the demo of one NVNMD version.

    Attributes
    ----------
    title : str
        What the data are.
    type_map : tuple of str
        Element names.
    sel : tuple of int
        Slots: one number per type in version 0, one in version 1.
    alloys : tuple of Alloy
        Each becomes one system for training and one for validation.
    arrangements : bool
        Whether every frame of a crystal, and the melt, has the types on sites of its own; else a
        system has one arrangement of them, which tells little of another's energy: of five
        elements the energies of validation frames were then off by 2 to 23 meV/atom, by nearly
        the same in all frames of a system (docs/versions.md).
    """

    title: str
    type_map: tuple[str, ...]
    sel: tuple[int, ...]
    alloys: tuple[Alloy, ...]
    arrangements: bool = False


RECIPES = {
    0: Recipe(
        title="copper-gold",
        type_map=("Cu", "Au"),
        # room for the densest frames; a sum of at most 96 keeps NIX at 64, and with it the
        # descriptor large
        sel=(52, 44),
        alloys=(
            Alloy(name="cu18au14", lattice=3.85, counts=(18, 14)),
            Alloy(name="cu16au16", lattice=3.88, counts=(16, 16)),
        ),
    ),
    1: Recipe(
        title="copper-silver-gold-nickel-palladium",
        type_map=("Cu", "Ag", "Au", "Ni", "Pd"),
        # more than 96, so that NIX is 128: without a mean s is larger than in version 0, and with
        # it the descriptor, which must stay below 8
        sel=(100,),
        # one alloy of all elements, two that lack some
        alloys=(
            Alloy(name="cu8ag6au6ni6pd6", lattice=3.84, counts=(8, 6, 6, 6, 6)),
            Alloy(name="ag12au12pd8", lattice=4.04, counts=(0, 12, 12, 0, 8)),
            Alloy(name="cu12ni12pd8", lattice=3.68, counts=(12, 0, 0, 12, 8)),
        ),
        arrangements=True,
    ),
}


def make_data(
    folder: Path, recipe: Recipe, *, seed: int = 1, training: int = 20, validation: int = 6
) -> None:
    """Write the systems ``training/*`` and ``validation/*`` in deepmd/npy layout.

    Each alloy is one system with three sets: crystals with small displacements, strained cells, and
    frames of a melt.

    Parameters
    ----------
    folder : Path
        Where to write.
    recipe : Recipe
        Which alloys.
    seed : int
        Seed of everything random.
    training, validation : int
        Frames per set.
    """
    for part, frames in (("training", training), ("validation", validation)):
        for alloy in recipe.alloys:
            # a string of integers names a stream of its own for each part and alloy
            rng = np.random.default_rng([seed, part == "validation", *alloy.counts[1:]])
            crystals = [crystal_of(alloy, recipe.type_map, rng)]
            if recipe.arrangements:
                crystals += [crystal_of(alloy, recipe.type_map, rng) for _ in range(2 * frames)]
            starts = cycle(crystals)
            sets = [[displaced(next(starts), rng, strain=0.0, shift=0.03) for _ in range(frames)],
                    [displaced(next(starts), rng, strain=0.03, shift=0.06) for _ in range(frames)],
                    melt(next(starts), rng, frames)]
            write_system(folder / part / alloy.name, recipe.type_map, sets)


def crystal_of(alloy: Alloy, type_map: tuple[str, ...], rng: np.random.Generator) -> Atoms:
    """An fcc cell of 2 x 2 x 2 cubes with the types on random sites."""
    atoms = bulk("Cu", "fcc", a=alloy.lattice, cubic=True).repeat((2, 2, 2))
    kinds = np.zeros(len(atoms), dtype=np.int64)
    free = np.arange(len(atoms))
    for kind, count in enumerate(alloy.counts[1:], start=1):
        sites = rng.choice(free, count, replace=False)
        kinds[sites] = kind
        free = np.setdiff1d(free, sites)
    # atoms of one kind together, so that every frame of a system has the same order of types
    atoms.positions = atoms.positions[np.argsort(kinds, kind="stable")]
    atoms.set_chemical_symbols([type_map[kind] for kind in np.sort(kinds)])
    return atoms


def displaced(atoms: Atoms, rng: np.random.Generator, *, strain: float, shift: float) -> Atoms:
    """Deform the cell by up to `strain` in every component, then move atoms by `shift` Å (RMS)."""
    out = atoms.copy()
    deformation = np.eye(3) + rng.uniform(-strain, strain, (3, 3))
    out.set_cell(out.cell.array @ deformation, scale_atoms=True)
    out.positions += rng.normal(0.0, shift, out.positions.shape)
    return out


def melt(atoms: Atoms, rng: np.random.Generator, frames: int) -> list[Atoms]:
    """Frames of a short Langevin run at 1800 K, started from strongly displaced atoms."""
    out = displaced(atoms, rng, strain=0.0, shift=0.25)
    out.calc = EMT()
    run = Langevin(out, MELT_STEP_FS * units.fs, temperature_K=MELT_KELVIN,
                   friction=0.02 / units.fs, fixcm=False, rng=rng)
    run.run(MELT_WARM_UP)
    taken = []
    for _ in range(frames):
        run.run(MELT_INTERVAL)
        frame = out.copy()
        frame.calc = None
        taken.append(frame)
    return taken


def write_system(folder: Path, type_map: tuple[str, ...], sets: list[list[Atoms]]) -> None:
    """Label frames and write them as the sets of one system."""
    folder.mkdir(parents=True, exist_ok=True)
    types = [type_map.index(symbol) for symbol in sets[0][0].symbols]
    (folder / "type.raw").write_text("".join(f"{t}\n" for t in types), encoding="utf-8")
    (folder / "type_map.raw").write_text("".join(f"{name}\n" for name in type_map),
                                           encoding="utf-8")
    for index, frames in enumerate(sets):
        part = folder / f"set.{index:03d}"
        part.mkdir(exist_ok=True)
        labelled = [label(frame) for frame in frames]
        for key in labelled[0]:
            # positions are binary32 values already; labels keep their digits
            dtype = np.float32 if key in ("coord", "box") else np.float64
            rows = [np.asarray(entry[key]).ravel() for entry in labelled]
            np.save(part / f"{key}.npy", np.array(rows, dtype=dtype) if key != "energy"
                    else np.concatenate(rows))


def label(atoms: Atoms) -> dict[str, NDArray[np.float64]]:
    """Positions, cell (Å), energy (eV), forces (eV/Å) and virial (eV) of one frame."""
    out = atoms.copy()
    out.set_cell(out.cell.array.astype(np.float32))
    out.positions = out.positions.astype(np.float32)
    out.calc = EMT()
    virial = -out.get_stress(voigt=False) * out.get_volume()
    return {"coord": out.positions, "box": out.cell.array,
            "energy": np.array([out.get_potential_energy()]), "force": out.get_forces(),
            "virial": virial}
