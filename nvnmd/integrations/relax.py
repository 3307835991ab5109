"""Relaxation of positions, and of the cell with them, through ASE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE, LBFGS

from nvnmd.errors import InputError
from nvnmd.integrations.ase import NVNMD

OPTIMIZERS = {"FIRE": FIRE, "LBFGS": LBFGS, "BFGS": BFGS}


@dataclass(frozen=True, kw_only=True)
class Relaxed:
    """How a relaxation ended: steps, largest force in eV/Å, whether it is below the limit."""

    steps: int
    force: float
    converged: bool


def relax(atoms: Atoms, calculator: NVNMD, *, fmax: float = 0.05, steps: int = 500,
          cell: bool = False, pressure: float = 0.0, optimizer: str = "FIRE",
          trajectory: Path | None = None, say: Callable[[str], None] = print) -> Relaxed:
    """Move atoms to where the largest force is below `fmax`.

    Parameters
    ----------
    atoms : Atoms
        Moved in place.
    calculator : NVNMD
        The model. Forces of `fixed` are exact derivatives of no energy: their steps set a floor to
        what `fmax` can be reached (some 1e-3 eV/Å).
    fmax : float
        In eV/Å; with `cell` it holds for the cell's generalised forces too.
    cell : bool
        Whether the cell relaxes (ASE's `FrechetCellFilter`).
    pressure : float
        On the cell, in bar.
    optimizer : {"FIRE", "LBFGS", "BFGS"}
    trajectory : Path, optional
        ASE trajectory of all steps.
    say : callable
        Takes a line per step.

    Raises
    ------
    InputError
        A number out of its range; a cell that is to relax and is not periodic.
    EvaluationError
        A step cannot be evaluated.
    """
    if optimizer not in OPTIMIZERS:
        raise InputError(f"optimizer: got {optimizer!r}, expected {', '.join(OPTIMIZERS)}")
    if not fmax > 0:
        raise InputError(f"fmax: got {fmax:g}, expected a number above 0")
    if cell and not atoms.pbc.all():
        raise InputError("cell: only one that is periodic in all directions can relax")
    if pressure and not cell:
        raise InputError("pressure: has an effect on a cell that relaxes only")
    atoms.calc = calculator
    what = FrechetCellFilter(
        atoms, scalar_pressure=pressure * 1e-4 * units.GPa) if cell else atoms
    run = OPTIMIZERS[optimizer](
        what, logfile=None, trajectory=None if trajectory is None else str(trajectory))
    number, largest, converged = 0, np.inf, False
    for done in run.irun(fmax=fmax, steps=steps):
        number = run.nsteps
        largest = float(np.sqrt(np.square(what.get_forces()).sum(axis=1)).max())
        say(f"step {number:5d}  energy {atoms.get_potential_energy():16.6f} eV  "
            f"largest force {largest:.6f} eV/Å")
        converged = bool(done)
    return Relaxed(steps=number, force=largest, converged=converged)
