"""Energies, forces and virials of a system's frames by one of the three evaluators, and errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from nvnmd.data import System
from nvnmd.errors import InputError, ModelFileError, NvnmdError
from nvnmd.neighbors import Neighborhood, Overflow, build_neighborhood

if TYPE_CHECKING:
    from nvnmd.quantize.model import Model
    from nvnmd.weights import FloatWeights

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


@dataclass(frozen=True, kw_only=True)
class FloatNetwork:
    """The float network of a CNN folder, with what evaluating it needs; see `Model`."""

    weights: FloatWeights
    type_map: tuple[str, ...]
    sel: tuple[int, ...]
    rcut: float
    rcut_smth: float
    axis_neuron: int

    @classmethod
    def load(cls, folder: Path) -> FloatNetwork:
        """Read `config.npy` and `weight.npy`.

        Raises
        ------
        ModelFileError
            A file is missing, damaged or of another version.
        """
        from nvnmd.deepmd_files import read_dict
        from nvnmd.weights import FloatWeights

        file = folder / "config.npy"
        config = read_dict(file)
        try:
            descriptor = config["dscp"]
            settings: dict[str, Any] = {
                "type_map": tuple(str(name) for name in config["dpin"]["type_map"]),
                "sel": tuple(int(n) for n in descriptor["sel"]),
                "rcut": float(descriptor["rcut"]), "rcut_smth": float(descriptor["rcut_smth"]),
                "axis_neuron": int(descriptor["axis_neuron"])}
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"{file}: no usable value of {error}") from None
        weights = FloatWeights.from_deepmd(read_dict(folder / "weight.npy"),
                                           str(folder / "weight.npy"))
        return cls(weights=weights, **settings)


def float_evaluator(network: Model | FloatNetwork) -> Evaluator:
    """Evaluate with the nets before quantization."""
    if not isinstance(network, FloatNetwork) and not network.embedding:
        raise InputError("backend: got float, but the model holds no float network (as one from a "
                         "model.pb), expected fixed or sim")
    from nvnmd.float_model import predict_neighborhood

    weights = network.weights if isinstance(network, FloatNetwork) else network

    def evaluate(hood: Neighborhood) -> Frame:
        result = predict_neighborhood(weights, hood, sel=network.sel, rcut=network.rcut,
                                      rcut_smth=network.rcut_smth,
                                      axis_neuron=network.axis_neuron)
        return result.atom_energy[hood.order], result.force[hood.order], result.virial

    return evaluate


def fixed_evaluator(model: Model) -> Evaluator:
    """Evaluate with the integer reference."""
    from nvnmd.quantize.forces import assemble_forces
    from nvnmd.quantize.reference import evaluate_atoms

    def evaluate(hood: Neighborhood) -> Frame:
        trace = evaluate_atoms(model, hood.center_types, hood.rij, hood.mask,
                               hood.neighbor_types)
        forces = assemble_forces(trace.deriv, hood.rij, hood.index)
        return trace.atom_energy, forces.force, forces.virial

    return evaluate


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
                                  ntypes=getattr(network, "shared_types", None))
    except NvnmdError as error:
        raise type(error)(f"{system.path}: frame {frame}: {error}") from error


def evaluate_system(network: Model | FloatNetwork, system: System, backend: Backend = "fixed", *,
                    frames: int | None = None, overflow: Overflow = "error",
                    work_dir: Path | None = None) -> Prediction:
    """Evaluate the first `frames` frames of a system (all by default).

    Parameters
    ----------
    network : Model or FloatNetwork
        The latter has the backend `float` only.
    backend : {"float", "fixed", "sim"}
        The nets before quantization, the integer reference, or the simulated hardware.
    work_dir : Path, optional
        Where `sim` builds its simulator; one that is there already is used again.

    Raises
    ------
    InputError
        More frames asked for than the system has.
    NvnmdError
        A frame cannot be evaluated; the message names system and frame.
    """
    if backend == "float":
        evaluate = float_evaluator(network)
    elif isinstance(network, FloatNetwork):
        raise InputError(f"backend: got {backend} with a float network, expected float")
    elif backend == "fixed":
        evaluate = fixed_evaluator(network)
    else:
        from nvnmd.hdl.export import config_for
        from nvnmd.simulate import sim_evaluator

        if work_dir is None:
            raise ValueError("the backend sim needs a work_dir")
        evaluate = sim_evaluator(network, config_for(network), work_dir)
    count = system.nframes if frames is None else frames
    if count > system.nframes:
        raise InputError(f"{system.path}: got {system.nframes} frames, expected {count}")
    n = system.natoms
    atom_energy, force = np.empty((count, n)), np.empty((count, n, 3))
    virial = np.empty((count, 3, 3))
    dropped = 0
    for frame in range(count):
        hood = frame_neighborhood(network, system, frame, overflow)
        try:
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
