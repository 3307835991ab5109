"""A small alloy data set that labels itself: copper-gold with ASE's effective medium theory.

Everything follows from one seed. Positions and cells are rounded to binary32, as the files hold
them, before energies, forces and virials are computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.md.langevin import Langevin
from numpy.typing import NDArray

TYPE_MAP = ("Cu", "Au")
RCUT = 6.0
# room for the densest frames; a sum of at most 96 keeps NIX at 64, and with it the descriptor large
SEL = (52, 44)
MELT_KELVIN = 1800.0
MELT_STEP_FS = 4.0
MELT_WARM_UP, MELT_INTERVAL = 100, 10


@dataclass(frozen=True, kw_only=True)
class Alloy:
    """A cell of 32 atoms: lattice constant in Å and number of gold atoms."""

    name: str
    lattice: float
    gold: int


ALLOYS = (
    Alloy(name="cu18au14", lattice=3.85, gold=14),
    Alloy(name="cu16au16", lattice=3.88, gold=16),
)


def make_data(folder: Path, *, seed: int = 1, training: int = 20, validation: int = 6) -> None:
    """Write the systems ``training/*`` and ``validation/*`` in deepmd/npy layout.

    Each alloy is one system with three sets: crystals with small displacements, strained cells, and
    frames of a melt.

    Parameters
    ----------
    folder : Path
        Where to write.
    seed : int
        Seed of everything random.
    training, validation : int
        Frames per set.
    """
    for part, frames in (("training", training), ("validation", validation)):
        for alloy in ALLOYS:
            # a string of integers names a stream of its own for each part and alloy
            rng = np.random.default_rng([seed, part == "validation", alloy.gold])
            crystal = crystal_of(alloy, rng)
            sets = [[displaced(crystal, rng, strain=0.0, shift=0.03) for _ in range(frames)],
                    [displaced(crystal, rng, strain=0.03, shift=0.06) for _ in range(frames)],
                    melt(crystal, rng, frames)]
            write_system(folder / part / alloy.name, sets)


def crystal_of(alloy: Alloy, rng: np.random.Generator) -> Atoms:
    """An fcc cell of 2 x 2 x 2 cubes with gold on random sites."""
    atoms = bulk("Cu", "fcc", a=alloy.lattice, cubic=True).repeat((2, 2, 2))
    sites = rng.choice(len(atoms), alloy.gold, replace=False)
    symbols = np.array(["Cu"] * len(atoms), dtype=object)
    symbols[sites] = "Au"
    # atoms of one kind together, so that every frame of a system has the same order of types
    atoms.positions = atoms.positions[np.argsort(symbols == "Au", kind="stable")]
    atoms.set_chemical_symbols(sorted(symbols, key=TYPE_MAP.index))
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


def write_system(folder: Path, sets: list[list[Atoms]]) -> None:
    """Label frames and write them as the sets of one system."""
    folder.mkdir(parents=True, exist_ok=True)
    types = [TYPE_MAP.index(symbol) for symbol in sets[0][0].symbols]
    (folder / "type.raw").write_text("".join(f"{t}\n" for t in types))
    (folder / "type_map.raw").write_text("".join(f"{name}\n" for name in TYPE_MAP))
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
