"""Frames through an evaluator: neighbours, then energies, forces and virials in their order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nvnmd.data.system import System
from nvnmd.errors import InputError, NvnmdError, RangeError
from nvnmd.evaluation.backends import Evaluator, FloatNetwork, Floats
from nvnmd.neighbors.slots import Neighborhood, Overflow, build_neighborhood

if TYPE_CHECKING:
    from nvnmd.quantize.forces import Forces
    from nvnmd.quantize.model import Model
    from nvnmd.quantize.seen import Seen


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Predictions for `f` frames of `n` atoms, atoms in the order of the system.

    Attributes
    ----------
    Of one frame given without a leading axis the arrays have none either.

    energy : (f,)
        Total energies in eV.
    atom_energy : (f, n)
        Atomic energies in eV.
    force : (f, n, 3)
        Forces in eV/Å.
    virial : (f, 3, 3)
        Virials in eV: sum over pairs of the force on the neighbour times the displacement to it.
    atom_virial : (f, n, 3, 3)
        The pairs' terms by neighbour, in eV.
    dropped : int
        Neighbours that ``overflow="truncate"`` left out, over all frames.
    outside : (f, n) or None
        Which atoms have a neighbour nearer than any pair of its types in the training, so that the
        model extrapolates; None where the model does not know what its training saw.
    volume : (f,) or None
        Volumes of the cells in Å³; None for open boundaries.
    """

    energy: Floats
    atom_energy: Floats
    force: Floats
    virial: Floats
    atom_virial: Floats
    dropped: int
    outside: NDArray[np.bool_] | None = None
    volume: Floats | None = None

    @property
    def stress(self) -> Floats:
        """Stress (f, 6) in eV/Å³ with ASE's sign and order: xx, yy, zz, yz, xz, xy.

        Raises
        ------
        InputError
            The system has open boundaries.
        """
        if self.volume is None:
            raise InputError("stress: the system has open boundaries and with them no volume")
        return voigt(self.virial, self.volume)

    @property
    def atom_stress(self) -> Floats:
        """Atoms' shares of the stress (f, n, 6), summing up to it."""
        if self.volume is None:
            raise InputError("stress: the system has open boundaries and with them no volume")
        return voigt(self.atom_virial, np.asarray(self.volume)[..., None])

    def frame(self, number: int) -> Prediction:
        """One frame, without the leading axis."""
        return replace(
            self, energy=self.energy[number], atom_energy=self.atom_energy[number],
            force=self.force[number], virial=self.virial[number],
            atom_virial=self.atom_virial[number],
            outside=None if self.outside is None else self.outside[number],
            volume=None if self.volume is None else self.volume[number])


def voigt(virial: Floats, volume: ArrayLike) -> Floats:
    """Stress (..., 6) of virials (..., 3, 3), symmetrised: xx, yy, zz, yz, xz, xy."""
    half = 0.5 * (virial + np.swapaxes(virial, -1, -2))
    rows, columns = [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]
    return -half[..., rows, columns] / np.asarray(volume)[..., None]


def evaluate_frames(
    network: Model | FloatNetwork,
    evaluate: Evaluator,
    coord: Floats,
    box: Floats | None,
    types: NDArray[np.integer],
    overflow: Overflow = "error",
    tick: Callable[[], None] | None = None,
) -> Prediction:
    """Evaluate frames of the same atoms.

    Parameters
    ----------
    network : Model or FloatNetwork
        Whose cut-off, slots and names count.
    evaluate : callable
        From `make_evaluator`.
    coord : (f, n, 3)
        Positions in Å.
    box : (f, 3, 3) or None
        Cells in Å, vectors in rows; None for open boundaries.
    types : (n,)
        Types of the atoms.
    overflow : {"error", "truncate"}
        See `build_neighborhood`.
    tick : callable, optional
        Called after every frame.

    Raises
    ------
    NvnmdError
        A frame cannot be evaluated; the message names it.
    """
    count, n = coord.shape[:2]
    atom_energy, force = np.empty((count, n)), np.empty((count, n, 3))
    virial, atom_virial = np.empty((count, 3, 3)), np.empty((count, n, 3, 3))
    dropped = 0
    seen: Seen | None = getattr(network, "seen", None)
    outside = None if seen is None else np.zeros((count, n), dtype=np.bool_)
    for frame in range(count):
        try:
            hood = build_neighborhood(coord[frame], None if box is None else box[frame], types,
                                      network.sel, network.rcut, overflow=overflow,
                                      type_names=network.type_map,
                                      ntypes=getattr(network, "shared_types", None),
                                      exclude=getattr(network, "exclude", ()))
            with np.errstate(over="ignore", invalid="ignore"):
                energies, forces = evaluate(hood)
            _check_finite(energies, forces)
        except NvnmdError as error:
            raise type(error)(f"frame {frame}: {error}") from error
        atom_energy[frame, hood.order] = energies
        force[frame, hood.order] = forces.force
        virial[frame] = forces.virial
        atom_virial[frame, hood.order] = forces.atom_virial
        dropped += hood.dropped
        if tick is not None:
            tick()
        if seen is not None and outside is not None:
            outside[frame, hood.order] = seen.too_near(
                hood.center_types, hood.rij, hood.mask, hood.neighbor_types)
    with np.errstate(over="ignore"):
        energy = atom_energy.sum(axis=1)
    if not np.isfinite(energy).all():
        raise RangeError(f"frame {int(np.argmin(np.isfinite(energy)))}: the model gives an energy "
                         "that is not finite, expected weights of a training that ended well")
    return Prediction(energy=energy, atom_energy=atom_energy, force=force,
                      virial=virial, atom_virial=atom_virial, dropped=dropped,
                      outside=outside,
                      volume=None if box is None else np.abs(np.linalg.det(box)))


def evaluate_neighborhood(network: Model | FloatNetwork, evaluate: Evaluator, hood: Neighborhood,
                          volume: float | None = None) -> Prediction:
    """Evaluate one frame of which the neighbours are known; the result has no leading axis.

    Parameters
    ----------
    network : Model or FloatNetwork
        Whose training tells which atoms are outside of it.
    evaluate : callable
        From `make_evaluator`.
    hood : Neighborhood
        Rows beyond its centres, ghosts, get forces and atomic virials too; they come last.
    volume : float, optional
        Of the cell in Å³.
    """
    energies, forces = evaluate(hood)
    _check_finite(energies, forces)
    n = len(hood.center_types)
    atom_energy, outside = np.empty(n), None
    atom_energy[hood.order] = energies
    force, atom_virial = forces.force.copy(), forces.atom_virial.copy()
    force[hood.order], atom_virial[hood.order] = forces.force[:n], forces.atom_virial[:n]
    seen: Seen | None = getattr(network, "seen", None)
    if seen is not None:
        outside = np.empty(n, dtype=np.bool_)
        outside[hood.order] = seen.too_near(
            hood.center_types, hood.rij, hood.mask, hood.neighbor_types)
    return Prediction(energy=atom_energy.sum(), atom_energy=atom_energy, force=force,
                      virial=forces.virial, atom_virial=atom_virial, dropped=hood.dropped,
                      outside=outside, volume=None if volume is None else np.asarray(volume))


def _check_finite(energies: Floats, forces: Forces) -> None:
    """Raise RangeError where a network has overflown, as that of damaged weights does."""
    for name, values in (("energy", energies), ("force", forces.force),
                         ("virial", forces.virial)):
        if not np.isfinite(values).all():
            raise RangeError(f"the model gives a value of the {name} that is not finite, expected "
                             "weights of a training that ended well")


def frame_neighborhood(network: Model | FloatNetwork, system: System, frame: int,
                       overflow: Overflow = "error") -> Neighborhood:
    """Neighbours of one frame of a system as the network wants them.

    Raises
    ------
    NvnmdError
        See `build_neighborhood`; the message names system and frame.
    """
    try:
        return build_neighborhood(system.coord[frame], system.cell(frame), system.types,
                                  network.sel, network.rcut, overflow=overflow,
                                  type_names=network.type_map,
                                  ntypes=getattr(network, "shared_types", None),
                                  exclude=getattr(network, "exclude", ()))
    except NvnmdError as error:
        raise type(error)(f"{system.path}: frame {system.number(frame)}: {error}") from error
