"""Data of the accuracy benchmark: held-back frames of a system, and alloys labelled with EMT."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# Every so many frames of a system one is held back.
HOLD_EVERY = 4


@dataclass(frozen=True)
class Case:
    """What both versions train on.

    Attributes
    ----------
    type_map : tuple of str
        Element names.
    sel : dict
        Slots by version: a list for 0, a number for 1. Their sums give the same divisor NIX.
    rcut : float
        Å.
    versions : tuple of int
        Versions that can hold the types.
    """

    type_map: tuple[str, ...]
    sel: dict[int, Any]
    rcut: float = 6.0
    versions: tuple[int, ...] = (0, 1)


CASES = {
    "gete": Case(("Ge", "Te"), {0: [60, 60], 1: 120}),
    "alloy": Case(("Cu", "Ag", "Au", "Pd"), {0: [31, 32, 32, 32], 1: 127}),
    # that of the demo of version 1
    "alloy5": Case(("Cu", "Ag", "Au", "Ni", "Pd"), {1: 100}, versions=(1,)),
    # seven elements, each under two or three names: 15 types
    "alloy15": Case(
        tuple(f"{element}{k}" for element in ("Al", "Cu", "Ag", "Au", "Ni", "Pd", "Pt")
              for k in ((1, 2, 3) if element == "Cu" else (1, 2))),
        {1: 128}, versions=(1,)),
}


def prepare(name: str, source: Path | None, folder: Path) -> None:
    """Write ``training/*`` and ``held/*`` below the folder, unless they are there.

    Parameters
    ----------
    name : str
        A key of `CASES`.
    source : Path or None
        The system `gete` is taken from; the alloys are made here.
    folder : Path
        Where to write.
    """
    done = folder / "complete"
    if done.exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    if name == "gete":
        if source is None or not (source / "type.raw").is_file():
            raise SystemExit(f"--data: got {source}, expected the folder of the GeTe system")
        split(source, folder)
    elif name == "alloy":
        make_alloy(folder)
    elif name == "alloy5":
        from nvnmd.demo.data import RECIPES, make_data

        make_data(folder, RECIPES[1])
        (folder / "validation").rename(folder / "held")
    else:
        make_many(folder)
    done.touch()


def split(source: Path, folder: Path) -> None:
    """Hold back every fourth frame of a system."""
    for part in ("training", "held"):
        for folder_of_set in sorted(source.glob("set.*")):
            target = folder / part / source.name / folder_of_set.name
            target.mkdir(parents=True)
            for file in folder_of_set.glob("*.npy"):
                frames = np.load(file)
                held = np.arange(len(frames)) % HOLD_EVERY == HOLD_EVERY // 2
                np.save(target / file.name, frames[held if part == "held" else ~held])
        for file in source.glob("*.raw"):
            shutil.copy(file, folder / part / source.name / file.name)


def make_alloy(folder: Path) -> None:
    """Three alloys of 32 atoms of four elements, one of which lacks one of them.

    Every crystal has an arrangement of its own: one per alloy says little of the energies of those
    that are held back (docs/versions.md).
    """
    from nvnmd.demo.data import Alloy, Recipe, make_data

    recipe = Recipe(
        title="accuracy", type_map=CASES["alloy"].type_map, sel=(),
        alloys=(Alloy(name="equal", lattice=3.92, counts=(8, 8, 8, 8)),
                Alloy(name="unequal", lattice=3.92, counts=(10, 6, 7, 9)),
                Alloy(name="three", lattice=3.90, counts=(11, 11, 0, 10))),
        arrangements=True)
    make_data(folder, recipe)
    (folder / "validation").rename(folder / "held")


def make_many(folder: Path, frames: int = 24, held: int = 8) -> None:
    """Four random alloys of 15 types, two or three atoms of each, displaced and strained."""
    from ase import Atoms
    from ase.build import bulk

    from nvnmd.demo.data import displaced, label

    type_map = CASES["alloy15"].type_map
    elements = [name.rstrip("123") for name in type_map]
    for alloy in range(4):
        rng = np.random.default_rng([15, alloy])
        types = np.sort(np.concatenate([np.arange(15), rng.permutation(15), rng.choice(15, 2)]))
        atoms: Atoms = bulk("Cu", "fcc", a=3.95, cubic=True).repeat((2, 2, 2))
        atoms.positions = rng.permutation(atoms.positions)
        atoms.set_chemical_symbols([elements[t] for t in types])
        for part, count in (("training", frames), ("held", held)):
            system = folder / part / f"alloy{alloy}"
            (system / "set.000").mkdir(parents=True)
            (system / "type.raw").write_text("".join(f"{t}\n" for t in types))
            (system / "type_map.raw").write_text("".join(f"{name}\n" for name in type_map))
            labels = [label(displaced(atoms, rng, strain=0.03, shift=shift))
                      for shift in rng.uniform(0.03, 0.2, count)]
            for key in labels[0]:
                rows = np.array([np.asarray(one[key]).ravel() for one in labels])
                # positions are binary32 values already
                kind = np.float32 if key in ("coord", "box") else np.float64
                np.save(system / "set.000" / f"{key}.npy", rows.astype(kind))
