"""ASE: a calculator that evaluates with any backend.

>>> from nvnmd.integrations.ase import NVNMD
>>> atoms.calc = NVNMD("nvnmd_qnn/model.nvnmd")
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.calculators.calculator import (
    Calculator,
    CalculatorError,
    InputError,
    PropertyNotImplementedError,
    all_changes,
)

from nvnmd.errors import NvnmdError
from nvnmd.evaluation.potential import Potential, load_model
from nvnmd.evaluation.stepper import Stepper
from nvnmd.neighbors.skin import SKIN

if TYPE_CHECKING:
    from ase import Atoms

    from nvnmd.evaluation.backends import Backend, Evaluator
    from nvnmd.neighbors.slots import Overflow
    from nvnmd.quantize.normalize import Mode


class EvaluationError(CalculatorError, NvnmdError):
    """What the calculator raises: an error of ASE's and of this program."""


class NVNMD(Calculator):
    """ASE calculator of a model: energy, free_energy, energies, forces, stress and stresses.

    Units are ASE's: eV, Å, eV/Å, eV/Å³. The energies are atomic energies that sum up to the energy;
    there is no entropy, so that the free energy is the energy. Systems are periodic in all
    directions or in none; where some are, the others need room in the cell beyond the cut-off,
    and the numbers are those of an infinite slab or wire.

    Parameters
    ----------
    model : path-like or Potential
        What `nvnmd.load_model` reads.
    backend : {"fixed", "float", "sim"} or Evaluator or Board
        See `Potential.evaluate`; a board is what `nvnmd.connect` gives. Finite differences of
        `fixed`, whose energy is a staircase of small steps, want displacements of 1e-2 Å and
        strains of 1e-2; smaller ones measure the steps.
    skin : float
        Å beyond the cut-off up to which neighbours are listed and kept from step to step; results
        have the same bits with any.
    overflow : {"error", "truncate"}
        What happens if an atom has more neighbours than the model has slots.
    mode : {"graph", "machine"}, optional
        See `Potential.evaluate`.
    strict : bool
        Whether an atom with a neighbour nearer than any in the training data is an error.

    Raises
    ------
    EvaluationError
        On evaluation: an element that the model does not know, too many neighbours, a value beyond
        a number format. It is ASE's `CalculatorError` and an `NvnmdError`, one line.
    """

    implemented_properties = [  # noqa: RUF012
        "energy", "free_energy", "energies", "forces", "stress", "stresses"]
    default_parameters: dict[str, Any] = {  # noqa: RUF012
        "model": None, "backend": "fixed", "skin": SKIN, "overflow": "error", "mode": None,
        "strict": False}
    ignored_changes = {"initial_magmoms", "initial_charges"}  # noqa: RUF012
    discard_results_on_any_change = True

    def __init__(self, model: str | os.PathLike[str] | Potential | None = None,
                 backend: Backend | Evaluator = "fixed", *, skin: float = SKIN,
                 overflow: Overflow = "error", mode: Mode | None = None, strict: bool = False,
                 **settings: Any) -> None:
        if model is None:
            raise NvnmdError("NVNMD: no model, expected a path or what load_model returns")
        self._potential = model if isinstance(model, Potential) else load_model(model)
        self._stepper: Stepper | None = None
        self._symbols: list[str] = []
        source: Any = model if isinstance(model, Potential) else os.fspath(model)
        super().__init__(model=source, backend=backend, skin=skin, overflow=overflow, mode=mode,
                         strict=strict, **settings)

    @property
    def potential(self) -> Potential:
        """The model."""
        return self._potential

    @property
    def type_map(self) -> tuple[str, ...]:
        """Element names; a type is an index into them."""
        return self._potential.type_map

    @property
    def rcut(self) -> float:
        """Cut-off radius in Å."""
        return self._potential.rcut

    @property
    def searches(self) -> int:
        """How often the neighbours of the present atoms have been searched."""
        return 0 if self._stepper is None else self._stepper.list.searches

    @property
    def outside(self) -> int:
        """How many evaluations of the present atoms had one outside of what the training saw."""
        return 0 if self._stepper is None else self._stepper.watch.outside

    def set(self, **settings: Any) -> dict[str, Any]:
        """Change parameters; the model is that of the constructor."""
        unknown = sorted(set(settings) - set(self.default_parameters))
        if unknown:
            raise InputError(f"NVNMD: unknown parameter {unknown[0]}, expected one of "
                             f"{', '.join(self.default_parameters)}")
        changed = super().set(**settings)
        if changed:
            self._stepper = None
            self.reset()
        return changed

    def todict(self, skip_default: bool = True) -> dict[str, Any]:
        """Parameters that a file can hold: the model's path, none where it was given as an object.

        """
        kept = {name: value for name, value in self.parameters.items()
                if value is None or isinstance(value, (str, float, int, bool))}
        return {name: value for name, value in kept.items()
                if not skip_default or value != self.default_parameters.get(name, value)
                or name == "model"}

    def __repr__(self) -> str:
        return f"<NVNMD backend={self.parameters['backend']!r} {self._potential!r}>"

    def __getstate__(self) -> dict[str, Any]:
        """A copy holds the model and builds its evaluator and list anew."""
        return self.__dict__ | {"_stepper": None}

    def calculate(self, atoms: Atoms | None = None, properties: Any = None,
                  system_changes: Any = all_changes) -> None:
        """Evaluate the atoms; see ASE's `Calculator.calculate`."""
        super().calculate(atoms, properties or ["energy"], system_changes)
        try:
            self._evaluate(self.atoms)
        except NvnmdError as error:
            self.results: dict[str, Any] = {}
            raise EvaluationError(str(error)) from error

    def _evaluate(self, atoms: Atoms) -> None:
        symbols = atoms.get_chemical_symbols()
        cell, open_axes = _cell(atoms, self.rcut)
        if self._stepper is None or self._symbols != symbols:
            known = self.parameters
            self._stepper = Stepper(
                self._potential, symbols, known["backend"], skin=known["skin"],
                overflow=known["overflow"], mode=known["mode"], strict=known["strict"])
            self._symbols = symbols
        found = self._stepper.evaluate(atoms.positions, cell)
        self.results = {
            "energy": float(found.energy), "free_energy": float(found.energy),
            "energies": found.atom_energy, "forces": found.force}
        if cell is not None and not open_axes:
            self.results |= {"stress": found.stress, "stresses": found.atom_stress}

    def get_property(self, name: str, atoms: Atoms | None = None,
                     allow_calculation: bool = True) -> Any:
        """See ASE; a stress needs a cell that is periodic in all directions."""
        where = self.atoms if atoms is None else atoms
        if name in ("stress", "stresses") and where is not None and not where.pbc.all():
            raise PropertyNotImplementedError(
                f"{name}: the system is not periodic in all directions, and has no volume")
        return super().get_property(name, atoms, allow_calculation)


def _cell(atoms: Atoms, rcut: float) -> tuple[np.ndarray | None, bool]:
    """The cell to evaluate in, and whether an axis of it is open.

    An open axis of a partly periodic system gets room beyond the cut-off, perpendicular to the
    others, so that no image along it is a neighbour.
    """
    pbc = atoms.pbc
    if not pbc.any():
        return None, True
    cell = np.array(atoms.cell[:], dtype=np.float64)
    for axis in np.flatnonzero(pbc):
        if not cell[axis].any():
            raise NvnmdError(f"cell: vector {axis} is zero, expected one as pbc is set along it")
    if pbc.all():
        return cell, False
    # directions of the open axes: perpendicular to the periodic ones and to each other
    periodic = cell[pbc]
    _, _, rows = np.linalg.svd(periodic)
    free = rows[len(periodic):]
    spread = np.ptp(atoms.positions @ free.T, axis=0) if len(atoms) else np.zeros(len(free))
    # two atoms are never neighbours of each other's images: a margin of the cut-off and an Å
    cell[~pbc] = free * (np.ceil(spread + rcut + 1.0))[:, None]
    return cell, True
