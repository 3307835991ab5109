"""The descriptor side of a frame, computed once by the integer reference and kept for training."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from nvnmd.neighbors import Neighborhood
from nvnmd.quantize.model import Model
from nvnmd.quantize.reference import evaluate_atoms

SLOT_STEP = 8
"""Filled slots are padded to a multiple of this, so that few shapes occur."""

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class FrameConstants:
    """What the fitting weights do not change in one frame of `n` atoms sorted by type.

    Only filled slots are kept, in their order, padded with zeros to `k`. Numbers that binary32
    holds exactly, as it does flt values of ordinary size, are kept as such.

    Attributes
    ----------
    d : (n, M1*M2)
    gr : (n, 4, M1)
    r4 : (n, k, 4)
    g, gs : (n, k, M1)
    r : (n, k, 3)
    h : (n, k)
    slopes : (n, k, 2)
    index : (n, k) int32
    rij : (n, k, 3)
        See `nvnmd.quantize.tf_network.FrameTensors`.
    """

    d: Floats
    gr: Floats
    r4: Floats
    g: Floats
    gs: Floats
    r: Floats
    h: Floats
    slopes: Floats
    index: NDArray[np.int32]
    rij: Floats

    @property
    def slots(self) -> int:
        """Number k of slots kept."""
        return self.index.shape[1]

    @property
    def nbytes(self) -> int:
        """Memory taken."""
        return sum(getattr(self, f.name).nbytes for f in fields(self))

    def padded(self, slots: int) -> FrameConstants:
        """The same with `slots` slots, the further ones zero."""
        extra = slots - self.slots
        if extra == 0:
            return self

        def pad(name: str) -> NDArray:
            x = getattr(self, name)
            if name in ("d", "gr"):
                return x
            return np.pad(x, [(0, 0), (0, extra)] + [(0, 0)] * (x.ndim - 2))

        return FrameConstants(*(pad(f.name) for f in fields(self)))


def frame_constants(model: Model, neighborhood: Neighborhood) -> FrameConstants:
    """Evaluate the descriptor of a frame with the integer reference.

    Parameters
    ----------
    model : Model
        Its tables decide; its fitting nets do not enter.
    neighborhood : Neighborhood
        Neighbours of every atom.

    Returns
    -------
    FrameConstants

    Raises
    ------
    RangeError
        A value leaves its format.
    """
    mask = neighborhood.mask
    trace = evaluate_atoms(model, neighborhood.center_types, neighborhood.rij, mask)
    filled = int(mask.sum(axis=1).max(initial=0))
    slots = max(SLOT_STEP, -(-filled // SLOT_STEP) * SLOT_STEP)
    # filled slots first, in their order
    choice = np.argsort(~mask, axis=1, kind="stable")[:, :slots]
    kept = np.take_along_axis(mask, choice, axis=1)
    if kept.shape[1] < slots:
        missing = slots - kept.shape[1]
        choice = np.pad(choice, ((0, 0), (0, missing)))
        kept = np.pad(kept, ((0, 0), (0, missing)))

    def pick(x: NDArray) -> NDArray:
        tail = (1,) * (x.ndim - 2)
        rows = np.take_along_axis(x, choice.reshape(*choice.shape, *tail), axis=1)
        return np.where(kept.reshape(*kept.shape, *tail), rows, 0).astype(x.dtype)

    return FrameConstants(
        d=_compact(trace.d),
        gr=_compact(trace.gr),
        r4=_compact(pick(trace.r4)),
        g=_compact(pick(trace.g)),
        gs=_compact(pick(trace.gs)),
        r=_compact(pick(trace.r)),
        h=_compact(pick(trace.h)),
        slopes=_compact(pick(np.stack([trace.su, trace.hu], axis=-1))),
        index=pick(neighborhood.index),
        rij=pick(neighborhood.rij),
    )


def _compact(x: NDArray[np.float64]) -> Floats:
    """The array as binary32 where that changes no value."""
    with np.errstate(over="ignore", under="ignore"):
        small = x.astype(np.float32)
    return small if np.array_equal(small.astype(np.float64), x) else x
