"""The terms of the loss: their order, the labels they need, and how the number of atoms enters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nvnmd.data.systems import System
from nvnmd.errors import InputError
from nvnmd.inputs.config import LossConfig

# Energy, force, virial, atomic energy, force weighted per atom, generalised force; every array of
# errors, prefactors and so on is in this order.
TERMS = ("e", "f", "v", "ae", "pf", "gf")
# The order of the learning curve's columns, DeePMD-kit's
COLUMNS = ("e", "ae", "f", "v", "pf", "gf")
# The label of each term, a file of this name in every set
LABELS = {"e": "energy", "f": "force", "v": "virial", "ae": "atom_ener", "pf": "atom_pref",
          "gf": "drdq"}
# Weights of the atoms' energies; 1 for all in a system that lacks them
COEFFICIENT = "atom_ener_coeff"


def starts(loss: LossConfig) -> NDArray[np.float64]:
    """Return the terms' prefactors at the start, (6,)."""
    return np.array([getattr(loss, f"start_pref_{term}") for term in TERMS])


def limits(loss: LossConfig) -> NDArray[np.float64]:
    """Return the terms' prefactors in the limit, (6,)."""
    return np.array([getattr(loss, f"limit_pref_{term}") for term in TERMS])


def active(loss: LossConfig) -> dict[str, bool]:
    """Tell which terms there are: those whose prefactors are not both 0."""
    both = zip(TERMS, starts(loss), limits(loss), strict=True)
    return {term: bool(start or limit) for term, start, limit in both}


def size_factors(natoms: float) -> NDArray[np.float64]:
    """Return the factors (6,) of the terms in the loss: energy and virial count per atom."""
    return np.array([1.0 / natoms if term in "ev" else 1.0 for term in TERMS])


def atom_labels(loss: LossConfig) -> dict[str, tuple[int, ...]]:
    """Return the labels beyond energy, force and virial that the loss asks for.

    Returns
    -------
    dict
        Name -> shape per atom.
    """
    terms = active(loss)
    shapes: dict[str, tuple[int, ...]] = {"ae": (), "pf": (),
                                          "gf": (3, loss.numb_generalized_coord)}
    wanted = {LABELS[term]: shape for term, shape in shapes.items() if terms[term]}
    if loss.enable_atom_ener_coeff:
        wanted[COEFFICIENT] = ()
    return wanted


def required(loss: LossConfig) -> list[str]:
    """Return the labels that every system must have."""
    terms = active(loss)
    forces = terms["f"] or terms["pf"] or terms["gf"]
    return [*(["energy"] if terms["e"] else []), *(["force"] if forces else [])]


def check_labels(loss: LossConfig, systems: Sequence[System]) -> None:
    """Raise unless every term has a label in at least one system.

    Raises
    ------
    InputError
        One has none.
    """
    for term, wanted in active(loss).items():
        name = LABELS[term]
        if wanted and all(label(system, name) is None for system in systems):
            others = "" if len(systems) == 1 else f" and {len(systems) - 1} more"
            raise InputError(
                f"loss: start_pref_{term} or limit_pref_{term} is not 0, "
                f"but no system has the file {name}.npy: {systems[0].path}{others}"
            )


def with_coefficients(loss: LossConfig, systems: Sequence[System]) -> list[System]:
    """Give every atom the factor 1 where the loss weighs energies and a system has no factors.

    A batch may join frames of several systems, so either all of them have factors or none.
    """
    if not loss.enable_atom_ener_coeff:
        return list(systems)
    return [
        system if COEFFICIENT in system.atom_labels else replace(
            system, atom_labels={**system.atom_labels,
                                 COEFFICIENT: np.ones((system.nframes, system.natoms))})
        for system in systems
    ]


def label(system: System, name: str) -> NDArray[np.float64] | None:
    """Return a label of all frames of a system, None if the data have none."""
    if name in ("energy", "force", "virial"):
        return getattr(system, name)
    return system.atom_labels.get(name)


def known_terms(system: System) -> NDArray[np.float64]:
    """Return 1 or 0 for each term, (6,): whether the system has its label."""
    return np.array([label(system, LABELS[term]) is not None for term in TERMS], dtype=np.float64)


def chosen_labels(system: System, frames: NDArray[np.int64],
                  order: NDArray[np.int64]) -> Mapping[str, NDArray[np.float64]]:
    """Return the labels per atom of some frames, (f, n, ...), atoms in the given order."""
    return {name: array[frames][:, order] for name, array in system.atom_labels.items()}
