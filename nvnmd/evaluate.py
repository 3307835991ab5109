"""Energies, forces and virials of a system's frames by one of the three evaluators, and errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from nvnmd.data import System
from nvnmd.errors import InputError, NvnmdError
from nvnmd.neighbors import Neighborhood, Overflow, build_neighborhood

if TYPE_CHECKING:
    from nvnmd.quantize.model import Model

Floats = NDArray[np.float64]
Backend = Literal["float", "fixed", "sim"]
# atomic energies, forces and virial of one frame, atoms in the order of its neighbourhood
Frame = tuple[Floats, Floats, Floats]
Evaluator = Callable[[Neighborhood], Frame]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model says of `f` frames of `n` atoms, atoms in the order of the system.

    Attributes
    ----------
    energy : (f,)
        Total energies in eV.
    atom_energy : (f, n)
        Atomic energies in eV.
    force : (f, n, 3)
        Forces in eV/Å.
    virial : (f, 3, 3)
        Virials in eV.
    dropped : int
        Neighbours that ``overflow="truncate"`` left out, over all frames.
    """

    energy: Floats
    atom_energy: Floats
    force: Floats
    virial: Floats
    dropped: int


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Mean absolute and root mean square error of one quantity, and how many numbers they cover."""

    mae: float
    rmse: float
    count: int

    @classmethod
    def of(cls, difference: Floats) -> Errors:
        """Errors of an array of differences."""
        return cls(mae=float(np.abs(difference).mean()),
                   rmse=float(np.sqrt(np.square(difference).mean())), count=difference.size)


def frame_evaluator(model: Model, backend: Backend) -> Evaluator:
    """Return the function that evaluates one neighbourhood.

    `float`: the unquantized nets. `fixed`: the integer reference. `sim`: the simulated hardware.
    """
    if backend == "float":
        from nvnmd.float_model import predict_neighborhood

        def by_float(hood: Neighborhood) -> Frame:
            result = predict_neighborhood(model, hood, sel=model.sel, rcut=model.rcut,
                                          rcut_smth=model.rcut_smth,
                                          axis_neuron=model.axis_neuron)
            return result.atom_energy[hood.order], result.force[hood.order], result.virial

        return by_float
    from nvnmd.quantize.forces import assemble_forces

    if backend == "fixed":
        from nvnmd.quantize.reference import evaluate_atoms

        def by_reference(hood: Neighborhood) -> Frame:
            trace = evaluate_atoms(model, hood.center_types, hood.rij, hood.mask)
            forces = assemble_forces(trace.deriv, hood.rij, hood.index)
            return trace.atom_energy, forces.force, forces.virial

        return by_reference
    raise InputError(f"backend: got {backend}, expected float, fixed or sim")


def evaluate_system(model: Model, system: System, backend: Backend = "fixed", *,
                    frames: int | None = None, overflow: Overflow = "error") -> Prediction:
    """Evaluate the first `frames` frames of a system (all by default).

    Raises
    ------
    InputError
        More frames asked for than the system has.
    NvnmdError
        A frame cannot be evaluated; the message names system and frame.
    """
    count = system.nframes if frames is None else frames
    if count > system.nframes:
        raise InputError(f"{system.path}: got {system.nframes} frames, expected {count}")
    evaluate = frame_evaluator(model, backend)
    n = system.natoms
    atom_energy, force = np.empty((count, n)), np.empty((count, n, 3))
    virial = np.empty((count, 3, 3))
    dropped = 0
    for frame in range(count):
        try:
            hood = build_neighborhood(system.coord[frame], system.cell(frame), system.types,
                                      model.sel, model.rcut, overflow=overflow,
                                      type_names=model.type_map)
            energies, forces, virial[frame] = evaluate(hood)
        except NvnmdError as error:
            raise type(error)(f"{system.path}: frame {frame}: {error}") from error
        atom_energy[frame, hood.order] = energies
        force[frame, hood.order] = forces
        dropped += hood.dropped
    return Prediction(energy=atom_energy.sum(axis=1), atom_energy=atom_energy, force=force,
                      virial=virial, dropped=dropped)


def errors_against_labels(system: System, prediction: Prediction) -> dict[str, Errors]:
    """Errors of energy, energy per atom, force, virial and virial per atom, where labels exist."""
    count, n = prediction.atom_energy.shape
    found: dict[str, Errors] = {}
    if system.energy is not None:
        difference = prediction.energy - system.energy[:count]
        found["energy"] = Errors.of(difference)
        found["energy_peratom"] = Errors.of(difference / n)
    if system.force is not None:
        found["force"] = Errors.of(prediction.force - system.force[:count])
    if system.virial is not None:
        difference = prediction.virial - system.virial[:count]
        found["virial"] = Errors.of(difference)
        found["virial_peratom"] = Errors.of(difference / n)
    return found


def combine(parts: list[dict[str, Errors]]) -> dict[str, Errors]:
    """Errors over several systems: each system counts by its numbers."""
    combined: dict[str, Errors] = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        some = [part[name] for part in parts if name in part]
        count = sum(errors.count for errors in some)
        combined[name] = Errors(
            mae=sum(errors.mae * errors.count for errors in some) / count,
            rmse=float(np.sqrt(sum(errors.rmse**2 * errors.count for errors in some) / count)),
            count=count)
    return combined
