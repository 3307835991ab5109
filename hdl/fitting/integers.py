"""The fitting net in integers: what the hardware has to give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nvnmd.errors import RangeError
from nvnmd.hdl.arith.fixed import gradient_drop, round_half_away
from nvnmd.hdl.arith.tanh4 import Tanh4
from nvnmd.hdl.fitting.weights import cut_offset
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.loadbus import Section


@dataclass(frozen=True)
class FitResult:
    """Result of the fitting net for one atom, in units of ``2**-fix_frac``.

    z : (hidden, width) int64, before each activation; energy : int; dd : (width,) int64.
    """

    z: NDArray[np.int64]
    energy: int
    dd: NDArray[np.int64]


def compute(
    image: dict[Section, NDArray[np.int64]], d: ArrayLike, ctype: int, cfg: AcceleratorConfig
) -> FitResult:
    """The fitting net in integers, from the words of its load image.

    Parameters
    ----------
    image : dict
        Sections of `nvnmd.hdl.fitting.weights.fit_image`.
    d : array_like of int, shape (width,)
        Descriptor, ``fix_frac`` fraction bits.
    ctype : int
        Type of the atom.

    Raises
    ------
    RangeError
        If a value leaves its format, where the hardware raises `overflow`.
    """
    nt, hidden, width, f = cfg.nets, cfg.hidden, cfg.width, cfg.fix_frac
    net = ctype if cfg.version == 0 else 0
    square = (nt, hidden, width, width)
    forward = image[Section.FIT_FORWARD].reshape(square)[net]
    columns = image[Section.FIT_COLUMN].reshape(2, nt, hidden, width)[:, net]
    if cfg.weights_once:
        cuts = columns[:, :, None, :] + cut_offset(cfg)
        backward = np.swapaxes(forward, 1, 2) >> cuts[1]
        forward = forward >> cuts[0]
    else:
        backward = image[Section.FIT_BACKWARD].reshape(square)[net]
    shift = cfg.weight_frac - columns
    bias = image[Section.FIT_BIAS].reshape(nt, hidden, width)[net].copy()
    if cfg.version:
        bias[0] += image[Section.TYPE_TERM].reshape(cfg.ntypes, width)[ctype]
    last = image[Section.FIT_LAST_FORWARD].reshape(nt, width)[net]
    last_back = image[Section.FIT_LAST_BACKWARD].reshape(nt, width)[net]
    e_last, e_back, last_bias, _ = image[Section.FIT_LAST][net].tolist()
    drop = gradient_drop(f)

    x = np.asarray(d, dtype=np.int64)
    z_all, slopes = [], []
    for layer in range(hidden):
        z = _fits((x @ forward[layer] >> shift[0, layer]) + bias[layer], cfg.data_bits, "z")
        pairs = np.array([Tanh4.compute(v, cfg) for v in z.tolist()], dtype=np.int64)
        z_all.append(z)
        slopes.append(pairs[:, 1])
        x = _fits(pairs[:, 0] + (x if layer else 0), cfg.data_bits, "activation")
    energy = (int(x @ last) >> (cfg.weight_frac - e_last)) + last_bias
    _fits(np.array(energy), cfg.energy_bits, "energy")

    g = _fits((last_back << f) >> (cfg.weight_frac - e_back), cfg.data_bits, "last weight")
    for layer in reversed(range(hidden)):
        through = (slopes[layer] * g >> cfg.short_frac).tolist()
        kept = np.array([round_half_away(v, drop) << drop for v in through], dtype=np.int64)
        _fits(kept, cfg.data_bits, "gradient")
        back = kept @ backward[layer] >> shift[1, layer]
        g = _fits(back + g, cfg.data_bits, "gradient") if layer else back
    _fits(g, cfg.dd_bits, "dE/dD")
    return FitResult(np.array(z_all), energy, g)


def _fits(values: NDArray[np.int64], bits: int, what: str) -> NDArray[np.int64]:
    """The values, if they fit in `bits` signed bits."""
    if np.any((values >= 1 << (bits - 1)) | (values < -(1 << (bits - 1)))):
        raise RangeError(f"fitting net: a {what} leaves its format of {bits} bits")
    return values
