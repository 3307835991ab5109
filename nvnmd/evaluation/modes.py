"""Version 1, SUB_VERSION 2: what lies between the graph's words and the machine's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nvnmd.neighbors.slots import Neighborhood

if TYPE_CHECKING:
    from nvnmd.quantize.model import Model
    from nvnmd.quantize.normalize import Mode


def mode_notes(model: Model, hood: Neighborhood, mode: Mode) -> tuple[str, ...]:
    """Lines that say which mode's words were compared, and how far the other mode's are off.

    Empty where a model has one kind of words only.

    Parameters
    ----------
    model : Model
    hood : Neighborhood
        The frame that was compared.
    mode : {"graph", "machine"}
        The mode of the comparison.
    """
    if model.sub_version == 1:
        return ()
    said = f"mode: the {mode}'s words"
    if not len(model.davg):
        return (f"{said}; the model holds no others (it is one of a model.pb)",)
    energy, force = mode_difference(model, hood)
    other = "machine" if mode == "graph" else "graph"
    return (f"{said}; the {other}'s differ from them by {energy:.1e} eV per atom and {force:.1e} "
            "eV/Å at most, as expected: one divides by the deviations, the other multiplies by "
            "their inverses",)


def mode_difference(model: Model, hood: Neighborhood) -> tuple[float, float]:
    """Largest difference of atomic energies (eV) and of forces (eV/Å) between the two modes."""
    from nvnmd.quantize.compiled.model import evaluator

    (e1, f1), (e2, f2) = (evaluator(model, mode)(hood) for mode in ("graph", "machine"))
    return float(np.abs(e1 - e2).max()), float(np.abs(f1.force - f2.force).max())
