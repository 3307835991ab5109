"""Energies, forces and virials of frames by one of the three evaluators, and their errors."""

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
    from nvnmd.quantize.forces import Forces
    from nvnmd.quantize.model import Model
    from nvnmd.weights import FloatWeights

Floats = NDArray[np.float64]
Backend = Literal["float", "fixed", "sim"]
# atomic energies and forces of one frame, atoms in the order of its neighbourhood
Evaluator = Callable[[Neighborhood], "tuple[Floats, Forces]"]


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
        Virials in eV: sum over pairs of the force on the neighbour times the displacement to it.
    atom_virial : (f, n, 3, 3)
        The pairs' terms by neighbour, in eV.
    dropped : int
        Neighbours that ``overflow="truncate"`` left out, over all frames.
    """

    energy: Floats
    atom_energy: Floats
    force: Floats
    virial: Floats
    atom_virial: Floats
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
    exclude: tuple[tuple[int, int], ...] = ()

    @property
    def shared_types(self) -> int | None:
        """Number of types that share the neighbour slots (version 1); None in version 0."""
        return self.weights.ntypes if self.weights.version else None

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
                # one number in version 1
                "sel": tuple(int(n) for n in np.atleast_1d(descriptor["sel"])),
                "rcut": float(descriptor["rcut"]), "rcut_smth": float(descriptor["rcut_smth"]),
                "axis_neuron": int(descriptor["axis_neuron"]),
                "exclude": tuple((int(a), int(b))
                                 for a, b in descriptor.get("exclude_types", []))}
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
    from nvnmd.float_fast import float_evaluator as build

    weights = network.weights if isinstance(network, FloatNetwork) else network
    return build(weights, sel=network.sel, rcut=network.rcut, rcut_smth=network.rcut_smth,
                 axis_neuron=network.axis_neuron)


def make_evaluator(network: Model | FloatNetwork, backend: Backend,
                   work_dir: Path | None = None) -> Evaluator:
    """The evaluator of a backend; keep it between frames, it holds what the model implies.

    Parameters
    ----------
    network : Model or FloatNetwork
        The latter has the backend `float` only.
    backend : {"float", "fixed", "sim"}
        The nets before quantization, the integer network, or the simulated hardware.
    work_dir : Path, optional
        Where `sim` builds its simulator; one that is there already is used again.

    Raises
    ------
    InputError
        There is no such backend, or a float network has only `float`.
    """
    if backend == "float":
        return float_evaluator(network)
    if backend not in ("fixed", "sim"):
        raise InputError(f"backend: got {backend!r}, expected float, fixed or sim")
    if isinstance(network, FloatNetwork):
        raise InputError(f"backend: got {backend} with a float network, expected float")
    if backend == "fixed":
        from nvnmd.quantize.fast import evaluator

        return evaluator(network)
    from nvnmd.hdl.export import config_for
    from nvnmd.simulate import sim_evaluator

    if work_dir is None:
        raise ValueError("the backend sim needs a work_dir")
    return sim_evaluator(network, config_for(network), work_dir)


def evaluate_frames(
    network: Model | FloatNetwork,
    evaluate: Evaluator,
    coord: Floats,
    box: Floats | None,
    types: NDArray[np.integer],
    overflow: Overflow = "error",
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

    Raises
    ------
    NvnmdError
        A frame cannot be evaluated; the message names it.
    """
    count, n = coord.shape[:2]
    atom_energy, force = np.empty((count, n)), np.empty((count, n, 3))
    virial, atom_virial = np.empty((count, 3, 3)), np.empty((count, n, 3, 3))
    dropped = 0
    for frame in range(count):
        try:
            hood = build_neighborhood(coord[frame], None if box is None else box[frame], types,
                                      network.sel, network.rcut, overflow=overflow,
                                      type_names=network.type_map,
                                      ntypes=getattr(network, "shared_types", None),
                                      exclude=getattr(network, "exclude", ()))
            energies, forces = evaluate(hood)
        except NvnmdError as error:
            raise type(error)(f"frame {frame}: {error}") from error
        atom_energy[frame, hood.order] = energies
        force[frame, hood.order] = forces.force
        virial[frame] = forces.virial
        atom_virial[frame, hood.order] = forces.atom_virial
        dropped += hood.dropped
    return Prediction(energy=atom_energy.sum(axis=1), atom_energy=atom_energy, force=force,
                      virial=virial, atom_virial=atom_virial, dropped=dropped)


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
    from nvnmd.api import Potential

    count = system.nframes if frames is None else frames
    if count > system.nframes:
        raise InputError(f"{system.path}: got {system.nframes} frames, expected {count}")
    potential = Potential(network, work_dir=work_dir)
    try:
        return potential.evaluate(system.coord[:count],
                                  None if system.box is None else system.box[:count],
                                  system.types, backend, overflow=overflow)
    except NvnmdError as error:
        text = str(error)
        if system.frames is not None and text.startswith("frame "):
            # the number that the frame has in the files
            frame, _, text = text.removeprefix("frame ").partition(":")
            text = f"frame {system.number(int(frame))}:{text}"
        raise type(error)(f"{system.path}: {text}") from error


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
