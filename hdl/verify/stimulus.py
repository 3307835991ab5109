"""Stimulus for the accelerator and the words it must answer with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvnmd.quantize.formats import encode_flt, to_fix
from nvnmd.quantize.ops import trunc_flt
from nvnmd.quantize.reference import Trace
from nvnmd.quantize.widths import VENDOR_WIDTHS, Widths

NONE_BIT = 1 << 16
CENTER_SHIFT = 8


@dataclass(frozen=True)
class Stimulus:
    """Beats of the neighbour stream.

    Attributes
    ----------
    beats : (k, 4) uint32
        Lanes x, y, z (flt words in Å) and control (neighbour type in bits 0-7, centre type in bits
        8-15, bit 16: the atom has no neighbour).
    last : (k,) bool
        The atom's last beat.
    counts : (n,) int
        Neighbours of each atom.
    """

    beats: NDArray[np.uint32]
    last: NDArray[np.bool_]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Expected:
    """The words that come back, in order.

    Attributes
    ----------
    energy : (n,) int64
        Energy words (23 fraction bits, or those of `widths`), without the atomic bias.
    deriv : (k, 4) uint32
        dE/d[u,x,y,z] as flt words, of each real neighbour.
    last : (k,) bool
        The atom's last neighbour.
    widths : Widths
        Of the words.
    """

    energy: NDArray[np.int64]
    deriv: NDArray[np.uint32]
    last: NDArray[np.bool_]
    widths: Widths = VENDOR_WIDTHS

    @property
    def words(self) -> int:
        """Number of words there are to compare."""
        return self.energy.size + self.deriv.size


def build_stimulus(
    center_types: NDArray[np.integer],
    rij: NDArray[np.float64],
    mask: NDArray[np.bool_],
    neighbor_types: NDArray[np.integer],
    widths: Widths = VENDOR_WIDTHS,
) -> Stimulus:
    """The neighbour stream of some atoms.

    Parameters
    ----------
    center_types : (n,)
        Types of the centre atoms.
    rij : (n, m, 3)
        Displacements, in Å.
    mask : (n, m)
        Which slots hold a neighbour.
    neighbor_types : (n, m)
        Neighbour type of each slot, ascending in version 0; anything where the slot is empty.
    widths : Widths
        The model's.
    """
    beats, last = [], []
    for i, center in enumerate(center_types):
        slots = np.flatnonzero(mask[i])
        control = np.uint32(int(center) << CENTER_SHIFT)
        if slots.size == 0:
            beats.append(np.array([[0, 0, 0, control | NONE_BIT]], dtype=np.uint32))
        else:
            words = encode_flt(trunc_flt(rij[i, slots], widths.flt_frac), widths.flt,
                               what=f"displacement of atom {i}")
            types = neighbor_types[i, slots].astype(np.uint32) | control
            beats.append(np.concatenate([words, types[:, None]], axis=1).astype(np.uint32))
        marks = np.zeros(len(beats[-1]), dtype=bool)
        marks[-1] = True
        last.append(marks)
    if not beats:
        return Stimulus(np.zeros((0, 4), np.uint32), np.zeros(0, bool), np.zeros(0, np.int64))
    return Stimulus(np.concatenate(beats), np.concatenate(last), mask.sum(axis=1))


def expected_words(trace: Trace, mask: NDArray[np.bool_],
                   widths: Widths = VENDOR_WIDTHS) -> Expected:
    """The words that the hardware must return, from the reference's trace of the same atoms."""
    counts = mask.sum(axis=1)
    ends = np.cumsum(counts[counts > 0]) - 1
    last = np.zeros(int(counts.sum()), dtype=bool)
    last[ends] = True
    return Expected(
        energy=to_fix(trace.out, widths.fix, what="energy word"),
        deriv=encode_flt(trace.deriv[mask], widths.flt, what="dE/d[u,x,y,z]"),
        last=last,
        widths=widths,
    )
