"""What the 16 fraction bits of `model.pb` cost: a model against itself, written and read again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nvnmd.data.systems import System
from nvnmd.deepmd.modelpb import decode_model, encode_model
from nvnmd.errors import RangeError
from nvnmd.evaluation.evaluate import evaluate_system
from nvnmd.quantize.model import Model

# atoms along each edge of the crystal that is made where there are no data
_EDGE = 4
_FILL = 0.6
_TRIES = 5


@dataclass(frozen=True, kw_only=True)
class WeightCut:
    """Differences that the weights' steps of 2^-16 make to the integer reference.

    Attributes
    ----------
    atoms : int
        Atoms evaluated.
    what : str
        Which ones.
    energy_max, energy_rms : float
        Of atomic energies, eV.
    force_max, force_rms : float
        Of force components, eV/Å.
    """

    atoms: int
    what: str
    energy_max: float
    energy_rms: float
    force_max: float
    force_rms: float

    @property
    def line(self) -> str:
        """The line that is printed."""
        return (
            f"model.pb: its weights have steps of 2^-16; against this model, {self.atoms} atoms "
            f"({self.what}) differ in energy by {self.energy_max:.1e} eV/atom at most "
            f"({self.energy_rms:.1e} RMS), in force by {self.force_max:.1e} eV/Å at most "
            f"({self.force_rms:.1e} RMS)"
        )


def measure_weight_cut(
    model: Model, system: System | None = None, *, frames: int = 1
) -> WeightCut:
    """Evaluate a model before and after `model.pb`.

    Parameters
    ----------
    model : Model
        To be exported.
    system : System, optional
        Atoms to measure on; a rattled crystal is made by default.
    frames : int
        Frames of the system, from the first.

    Raises
    ------
    RangeError
        The atoms that are made leave the hardware's formats at every density tried.
    NvnmdError
        See `evaluate_system`.
    """
    other = decode_model(encode_model(model), type_map=model.type_map)
    if system is not None:
        return _compare(model, other, system, min(frames, system.nframes), str(system.path))
    for attempt in range(_TRIES):
        made = crystal(model, 1.1**attempt)
        try:
            return _compare(model, other, made, 1, "a rattled crystal made for this")
        except RangeError as error:
            reason = error
    raise RangeError(f"{reason}; name a system of your own with -s to measure on")


def crystal(model: Model, scale: float = 1.0) -> System:
    """A rattled cubic crystal that fills more than half of the model's neighbour slots.

    Parameters
    ----------
    model : Model
        Its types occur in the ratio of `sel` (version 1: equally often).
    scale : float
        What to multiply the spacing by.
    """
    rng = np.random.default_rng(20)
    spacing = model.rcut * (4.0 * math.pi / 3.0 / (_FILL * model.nnei)) ** (1 / 3)
    known = model.extras.get("cnn.min_nbor_dist")
    if known is not None:
        spacing = max(spacing, 1.1 * float(np.ravel(known)[0]))
    spacing *= scale
    grid = np.stack(np.meshgrid(*[np.arange(_EDGE)] * 3, indexing="ij"), -1).reshape(-1, 3)
    coord = spacing * (grid + rng.normal(scale=0.03, size=grid.shape))
    share = np.array(model.sel if model.version == 0 else [1] * model.ntypes, dtype=np.float64)
    types = rng.permutation(
        np.searchsorted(np.cumsum(share / share.sum()), (np.arange(len(grid)) + 0.5) / len(grid))
    )
    return System(
        path=Path("crystal"),
        types=types.astype(np.int64),
        coord=coord[None],
        box=np.eye(3)[None] * spacing * _EDGE,
        energy=None,
        force=None,
        virial=None,
    )


def _compare(model: Model, other: Model, system: System, frames: int, what: str) -> WeightCut:
    one, two = (
        # a model.pb has a machine's words only
        evaluate_system(m, system, frames=frames, overflow="truncate", mode="machine")
        for m in (model, other)
    )
    energy, force = two.atom_energy - one.atom_energy, two.force - one.force
    return WeightCut(
        atoms=energy.size,
        what=what,
        energy_max=float(np.abs(energy).max()),
        energy_rms=float(np.sqrt(np.mean(energy**2))),
        force_max=float(np.abs(force).max()),
        force_rms=float(np.sqrt(np.mean(force**2))),
    )
