"""Forces of the quantized network from dE/dD, and the gradient of a loss by dE/dD.

Bits of the integer reference forward, the surrogate derivative backward; compiled, needs numba.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.quantize.compiled import training as kernels
from nvnmd.quantize.compiled.kernels import scatter
from nvnmd.quantize.compiled.words import cuts
from nvnmd.quantize.model import Model
from nvnmd.quantize.normalize import QUOTIENT, statistics
from nvnmd.quantize.ops import FIX_FRAC, floor_bits
from nvnmd.threads import share_out, threads
from nvnmd.training.quantized.frames import FrameConstants

Floats = NDArray[np.float64]
# what the kernels take of a frame, in this order
_FORWARD = ("gr", "r4", "g", "gs", "r", "h", "slopes", "pair", "rij", "fade", "plain")
_BACKWARD = ("gr", "r4", "g", "gs", "r", "h", "slopes", "index", "pair", "rij", "fade", "plain")
# these have formats of their own
_KEPT = ("index", "pair", "rij")


class QuantizedForces:
    """The stages behind the fitting nets, with a model's tables.

    Parameters
    ----------
    model : Model
        Its statistics and gains count, not its fitting nets.
    """

    def __init__(self, model: Model) -> None:
        self._m2, self._scale = model.m2, 2.0**-model.nix_shift
        self._kind, self._numbers = statistics(model, "graph")
        self._widths = cuts(model.widths)
        # the same as factors, for the derivative
        self._inverse = self._numbers.copy()
        if self._kind == QUOTIENT:
            # the third number is a mean, 0 for a type that no frame has
            self._inverse[:, :2] = 1.0 / self._numbers[:, :2]
        gain = model.type_gain
        self._gain = np.empty((0, model.m1))
        if gain is not None:
            self._gain = np.ascontiguousarray(gain.reshape(-1, model.m1))

    def forward(
        self, constants: FrameConstants, type_counts: tuple[int, ...], dd: Floats
    ) -> tuple[Floats, Floats]:
        """Return forces (f, n, 3) and virials (f, 3, 3).

        Parameters
        ----------
        constants : FrameConstants
            Arrays with a leading axis of frames.
        type_counts : tuple of int
            Atoms of each type in a frame.
        dd : (f, n, M1*M2)
            dE/dD.
        """
        frames, n, m = constants.index.shape
        dd = floor_bits(dd, FIX_FRAC)
        force, virial = np.zeros((frames, n, 3)), np.zeros((frames, 3, 3))
        spare, deriv = np.empty((n, 3, 3)), np.empty((frames, n, m, 4))
        numbers = np.repeat(self._numbers, type_counts, axis=0)
        for k in range(frames):
            arrays = _arrays(constants, k, _FORWARD)

            def part(low: int, high: int, k: int = k, arrays: list[Any] = arrays) -> None:
                kernels.derivatives(low, high, dd[k], self._kind, numbers, self._gain, self._scale,
                                    self._m2, deriv[k], *arrays, self._widths)

            _each(part, n)
            # empty slots have no displacement, no derivative, and add nothing to their atom 0
            scatter(deriv[k], constants.rij[k], constants.index[k], force[k], virial[k], spare,
                    self._widths)
        return force, virial

    def backward(
        self,
        constants: FrameConstants,
        type_counts: tuple[int, ...],
        by_force: Floats,
        by_virial: Floats,
    ) -> Floats:
        """Return the gradient by dE/dD (f, n, M1*M2) of a loss.

        Parameters
        ----------
        constants, type_counts
            As in `forward`.
        by_force, by_virial : (f, n, 3), (f, 3, 3)
            Gradients of the loss by forces and virials.
        """
        frames, n, _ = constants.index.shape
        by_dd = np.empty((frames, n, constants.d.shape[2]))
        inverse = np.repeat(self._inverse, type_counts, axis=0)
        for k in range(frames):
            arrays = _arrays(constants, k, _BACKWARD)

            def part(low: int, high: int, k: int = k, arrays: list[Any] = arrays) -> None:
                kernels.derivatives_backward(
                    low, high, by_force[k], by_virial[k], inverse, self._gain, self._scale,
                    self._m2, by_dd[k], *arrays, self._widths)

            _each(part, n)
        return by_dd


def _arrays(constants: FrameConstants, frame: int, names: tuple[str, ...]) -> list[Any]:
    """The arrays of one frame, in one format.

    One in binary64 makes all so but those that have a format of their own.
    """
    some = [getattr(constants, f.name) for f in fields(constants) if f.name not in _KEPT]
    wide = any(array.dtype == np.float64 for array in some)
    arrays = []
    for name in names:
        array = getattr(constants, name)[frame]
        arrays.append(array.astype(np.float64) if wide and name not in _KEPT else array)
    return arrays


def _each(part: Callable[[int, int], None], rows: int) -> None:
    """Call with ranges of the atoms, one per thread."""
    bounds = np.linspace(0, rows, threads() + 1).astype(int)
    share_out(range(threads()), lambda: lambda k: part(bounds[k], bounds[k + 1]))
