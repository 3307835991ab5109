"""The same atoms step after step: one evaluator, and a neighbour list that is kept with a skin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from nvnmd.errors import RangeError
from nvnmd.evaluation.arguments import frame_arrays, types_of
from nvnmd.evaluation.backends import Backend, Evaluator
from nvnmd.evaluation.frames import Prediction, evaluate_neighborhood
from nvnmd.evaluation.outside import Watch, check_inside
from nvnmd.evaluation.potential import Potential
from nvnmd.neighbors.skin import SKIN, SkinList
from nvnmd.neighbors.slots import Overflow

if TYPE_CHECKING:
    from nvnmd.quantize.normalize import Mode


class Stepper:
    """Evaluates one system again and again, as molecular dynamics does; the bits of `evaluate`.

    Parameters
    ----------
    potential : Potential
    types : sequence of str or of int, (atoms,)
        Element names, or types as indices into `type_map`.
    backend : str or Evaluator
        See `Potential.evaluate`.
    skin : float
        Å beyond the cut-off up to which pairs are listed; the list lasts until an atom may have
        come nearer. 0 searches at every step.
    overflow, mode, strict
        See `Potential.evaluate`.
    """

    def __init__(self, potential: Potential, types: Sequence[str] | ArrayLike,
                 backend: Backend | Evaluator = "fixed", *, skin: float = SKIN,
                 overflow: Overflow = "error", mode: Mode | None = None,
                 strict: bool = False, work_dir: Path | None = None) -> None:
        network = potential.network
        self.potential, self.overflow, self.strict = potential, overflow, strict
        self.types = types_of(types, potential.type_map)
        self._evaluator = potential.evaluator(backend, mode)
        self.watch = Watch(network)
        self.list = SkinList(
            network.sel, network.rcut, skin=skin, ntypes=getattr(network, "shared_types", None),
            type_names=network.type_map, exclude=getattr(network, "exclude", ()))

    def evaluate(self, coord: ArrayLike, box: ArrayLike | None) -> Prediction:
        """Evaluate one frame: positions (atoms, 3) and cell (3, 3) or None, in Å.

        Raises
        ------
        NvnmdError
            See `Potential.evaluate`.
        """
        x, h, _ = frame_arrays(coord, box, self.types)
        cell = None if h is None else h[0]
        hood = self.list.neighborhood(x[0], cell, self.types, self.overflow)
        volume = None if cell is None else float(np.abs(np.linalg.det(cell)))
        found = evaluate_neighborhood(self.potential.network, self._evaluator, hood, volume)
        if not np.isfinite(found.energy) or not np.isfinite(found.force).all():
            raise RangeError("the model's energy or a force is not finite")
        if self.strict:
            check_inside(self.potential.network, [found], "evaluate")
        self.watch.see(found)
        return found
