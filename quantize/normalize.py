"""Version 1: from a table's s and h to the network's, and the gradient back.

SUB_VERSION 1 multiplies by the inverse deviations; SUB_VERSION 2 takes off the mean of s as well,
and there are two ways to do so. The *graph*, which is what DeePMD-kit and the trainer compute,
divides by the deviation in binary64 and cuts the quotient once. The *machine*, which is what the
hardware computes, has words of flt only, so it adds the word of minus the mean and multiplies by
the word of the inverse deviation. Their energies differ by some 1e-5 eV per atom.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nvnmd.errors import InputError
from nvnmd.quantize.model_data import ModelData
from nvnmd.quantize.ops import FRAC, add, mul, trunc_flt

Floats = NDArray[np.float64]
Mode = Literal["graph", "machine"]
MODES: tuple[Mode, ...] = ("graph", "machine")
# How s and h are normalised: not at all, by inverses, by quotients, by the words of a machine
NOTHING, INVERSE, QUOTIENT, WORDS = range(4)


def chosen_mode(model: ModelData, mode: Mode | None = None) -> Mode:
    """The mode to compute in: the graph's where the model holds what that takes, unless said.

    Raises
    ------
    InputError
        There is no such mode, or the model, read from a `model.pb` of SUB_VERSION 2, does not hold
        the binary64 statistics that the graph divides by.
    """
    has_modes = model.sub_version == 2
    if mode is None:
        return "machine" if has_modes and not len(model.davg) else "graph"
    if mode not in MODES:
        raise InputError(f"mode: got {mode!r}, expected graph or machine")
    if mode == "graph" and has_modes and not len(model.davg):
        raise InputError("mode: got graph, but the model holds no binary64 mean and deviation (as "
                         "one from a model.pb), expected machine")
    return mode


def statistics(model: ModelData, mode: Mode) -> tuple[int, Floats]:
    """How s and h are normalised, and the three numbers per centre type that it takes.

    Returns
    -------
    kind : int
        NOTHING, INVERSE, QUOTIENT or WORDS.
    numbers : ndarray, shape (ntypes, 3)
        Factor or divisor of s, of h, and what is added to (WORDS) or taken off (QUOTIENT) s.
    """
    if model.inv_std is None:
        return NOTHING, np.ones((model.ntypes, 3))
    if model.minus_avg is None:
        return INVERSE, np.column_stack([model.inv_std, np.zeros(model.ntypes)])
    if mode == "graph":
        return QUOTIENT, np.column_stack([model.dstd, model.davg[:, 0]])
    return WORDS, np.column_stack([model.inv_std, model.minus_avg])


def normalize(
    kind: int, numbers: Floats, s: Floats, h: Floats, frac: int = FRAC
) -> tuple[Floats, Floats]:
    """s and h of the network.

    Parameters
    ----------
    kind, numbers
        From `statistics`; `numbers` broadcasts as (..., 3).
    s, h : ndarray
        Of the table of u, flt values.
    frac : int
        Fraction bits of flt.

    Returns
    -------
    s, h : ndarray
        flt values.
    """
    of_s, of_h, mean = numbers[..., 0], numbers[..., 1], numbers[..., 2]
    if kind == NOTHING:
        return s, h
    if kind == INVERSE:
        return mul(of_s, s, frac) + 0.0, mul(of_h, h, frac) + 0.0
    if kind == QUOTIENT:
        return trunc_flt((s - mean) / of_s, frac) + 0.0, trunc_flt(h / of_h, frac) + 0.0
    return mul(of_s, add(s, mean, frac), frac) + 0.0, mul(of_h, h, frac) + 0.0


def scale_back(
    kind: int, numbers: Floats, ds: Floats, dh: Floats, frac: int = FRAC
) -> tuple[Floats, Floats]:
    """dE/ds and dE/dh by the table's s and h, from those by the network's; see `normalize`."""
    if kind == NOTHING:
        return ds, dh
    of_s, of_h = numbers[..., 0], numbers[..., 1]
    if kind == QUOTIENT:
        return trunc_flt(ds / of_s, frac) + 0.0, trunc_flt(dh / of_h, frac) + 0.0
    return mul(of_s, ds, frac) + 0.0, mul(of_h, dh, frac) + 0.0
