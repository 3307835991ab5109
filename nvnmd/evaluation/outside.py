"""Atoms nearer to each other than any in the training data: a warning in one line, or an error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nvnmd.errors import RangeError
from nvnmd.evaluation.frames import Prediction
from nvnmd.messages import warn

if TYPE_CHECKING:
    from nvnmd.evaluation.backends import FloatNetwork
    from nvnmd.quantize.model import Model


def outside_line(network: Model | FloatNetwork, predictions: Sequence[Prediction]) -> str:
    """Return a line about the atoms outside of the training's range, empty where there are none.

    Parameters
    ----------
    network : Model or FloatNetwork
        The model, which knows the smallest distances of its training data.
    predictions : sequence of Prediction
        What the model computed.
    """
    seen = getattr(network, "seen", None)
    flags = [found.outside for found in predictions if found.outside is not None]
    atoms = sum(int(np.count_nonzero(flag)) for flag in flags)
    if seen is None or not atoms:
        return ""
    total = sum(flag.size for flag in flags)
    return (f"{atoms} of {total} atoms have a neighbour nearer than any in the training, where the "
            f"smallest distances are {_distances(network, seen.distance)}: the model extrapolates "
            "there")


def check_inside(network: Model | FloatNetwork, predictions: Sequence[Prediction],
                 where: str) -> None:
    """Raise RangeError where an atom is outside of the training's range."""
    line = outside_line(network, predictions)
    if line:
        raise RangeError(f"{where}: {line}")


class Watch:
    """Counts evaluations with atoms outside of the training's range, and tells the first.

    Attributes
    ----------
    evaluations, outside : int
        How many there were, and how many of them had such an atom.
    """

    def __init__(self, network: Model | FloatNetwork, say: Callable[[str], None] = warn) -> None:
        self._network, self._say = network, say
        self.evaluations = self.outside = 0

    def see(self, found: Prediction) -> None:
        """Take what the model said of one frame."""
        self.evaluations += 1
        if found.outside is None or not found.outside.any():
            return
        self.outside += 1
        if self.outside == 1:
            self._say(f"evaluation {self.evaluations}: {outside_line(self._network, [found])}; "
                      "said once")


def _distances(network: Model | FloatNetwork, distance: np.ndarray) -> str:
    """The smallest distances of pairs that the training had, by their elements."""
    names = network.type_map
    found = [f"{names[a]}-{names[b]} {distance[a, b]:.3f}" for a in range(len(names))
             for b in range(a, len(names)) if distance[a, b] < network.rcut]
    return ", ".join(found[:6]) + (", ..." if len(found) > 6 else "") + " Å"
