"""What each step of the quantization costs: stages quantized one after the other along the data.

The first network of the sequence is exact, the last one is the integer network; between two
neighbours one more stage is quantized, in the order of the data flow, so that each stage has the
inputs that it has in hardware and everything behind it is exact. The changes add up to the whole
difference, number by number.

Stages quantized alone would not do: their words are then cut from other numbers, and errors of
rounding are those of other samples. On GeTe the changes of stages alone left 25 to 59 % of the mean
square of the force error unexplained (`benchmarks/error_budget.py`), because cuts toward zero in
one stage are partly compensated by those of a later one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvnmd.data.system import System
from nvnmd.evaluation.backends import make_evaluator
from nvnmd.evaluation.frames import frame_neighborhood
from nvnmd.evaluation.half_quantized import STAGES, HalfQuantized
from nvnmd.network.compiled import pair_forces
from nvnmd.quantize.model import Model

Floats = NDArray[np.float64]
REMAINDER = "remainder"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Change that one stage makes, over all numbers of one quantity.

    Attributes
    ----------
    rms : float
        Root of the mean square of its change.
    mean : float
        Mean of its change.
    share : float
        Part of the whole difference's mean square: mean of (change times whole difference) over
        that mean square. Negative where the stage takes back what others do; all shares and that of
        the remainder add up to 1.
    """

    rms: float
    mean: float
    share: float


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Costs of all stages for one quantity.

    Attributes
    ----------
    unit : str
        Of rms and mean.
    count : int
        How many numbers the means are over.
    rms, mean : float
        Of the whole difference: backend `fixed` less backend `float`.
    stages : dict of str to Cost
        By the names of `STAGES`.
    remainder : Cost
        What of the whole difference the stages leave unexplained.
    """

    unit: str
    count: int
    rms: float
    mean: float
    stages: dict[str, Cost]
    remainder: Cost


def error_budget(model: Model, frames: Sequence[tuple[System, int]], *,
                 tick: Callable[[], None] = lambda: None) -> dict[str, Budget]:
    """Measure the costs on some frames.

    Parameters
    ----------
    model : Model
        With its float network.
    frames : sequence of (System, int)
        The frames, by system and number within it.
    tick : callable
        Called after every evaluation of a frame; there are `evaluations` of them.

    Returns
    -------
    dict
        "energy": over atomic energies, in eV; "force": over components, in eV/Å.

    Raises
    ------
    ModelFileError
        The model holds no float network.
    NvnmdError
        A frame cannot be evaluated.
    """
    names = list(STAGES)
    sequence = [HalfQuantized(model, names[:k]) for k in range(len(names) + 1)]
    exact, fixed = make_evaluator(model, "float"), make_evaluator(model, "fixed")
    steps: list[list[Floats]] = [[] for _ in sequence]
    forces: list[list[Floats]] = [[] for _ in sequence]
    whole: list[Floats] = []
    whole_force: list[Floats] = []
    for system, frame in frames:
        hood = frame_neighborhood(model, system, frame)
        arguments = hood.center_types, hood.rij, hood.mask, hood.neighbor_types
        for k, network in enumerate(sequence):
            found = network.evaluate(*arguments)
            steps[k].append(found.atom_energy)
            forces[k].append(pair_forces(found.pair, hood.rij, hood.index).force.ravel())
            tick()
        (ea, fa), (eb, fb) = exact(hood), fixed(hood)
        whole.append(eb - ea)
        whole_force.append((fb.force - fa.force).ravel())
    return {"energy": _budget(names, steps, whole, "eV"),
            "force": _budget(names, forces, whole_force, "eV/Å")}


def evaluations(frames: int) -> int:
    """How many evaluations of a frame a budget takes."""
    return frames * (len(STAGES) + 1)


def _budget(names: list[str], steps: list[list[Floats]], whole: list[Floats],
            unit: str) -> Budget:
    values = [np.concatenate(parts) for parts in steps]
    difference = np.concatenate(whole)
    changes = {name: values[k + 1] - values[k] for k, name in enumerate(names)}
    square = float(np.mean(difference**2))

    def cost(change: Floats) -> Cost:
        # a model whose integer network is exact has nothing to share
        share = float(np.mean(change * difference)) / square if square else 0.0
        return Cost(rms=float(np.sqrt(np.mean(change**2))), mean=float(change.mean()), share=share)

    rest = difference - np.sum(list(changes.values()), axis=0)
    return Budget(unit=unit, count=difference.size, rms=float(np.sqrt(square)),
                  mean=float(difference.mean()),
                  stages={name: cost(change) for name, change in changes.items()},
                  remainder=cost(rest))
