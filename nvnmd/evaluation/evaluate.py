"""Systems evaluated by one of the three backends, and their errors against labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nvnmd.data.system import System
from nvnmd.errors import InputError, NvnmdError
from nvnmd.evaluation.backends import Backend, Carrier, FloatNetwork, Floats
from nvnmd.evaluation.frames import Prediction
from nvnmd.evaluation.potential import Potential
from nvnmd.neighbors.slots import Overflow

if TYPE_CHECKING:
    from nvnmd.quantize.model import Model
    from nvnmd.quantize.normalize import Mode


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


def evaluate_system(network: Model | FloatNetwork, system: System,
                    backend: Backend | Carrier = "fixed", *,
                    frames: int | None = None, overflow: Overflow = "error",
                    work_dir: Path | None = None, mode: Mode | None = None,
                    tick: Callable[[], None] | None = None) -> Prediction:
    """Evaluate the first `frames` frames of a system (all by default).

    Parameters
    ----------
    network : Model or FloatNetwork
        The latter has the backend `float` only.
    backend : {"float", "fixed", "sim"}, or a board
        The nets before quantization, the integer reference, or the simulated hardware.
    work_dir : Path, optional
        Where `sim` builds its simulator; one that is there already is used again.
    mode : {"graph", "machine"}, optional
        See `Potential.evaluate`.
    tick : callable, optional
        Called after every frame.

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
    potential = Potential(network, work_dir=work_dir, tick=tick)
    try:
        return potential.evaluate(system.coord[:count],
                                  None if system.box is None else system.box[:count],
                                  system.types, backend, overflow=overflow, mode=mode)
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
