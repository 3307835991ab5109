"""The fitting net's part of the load image: float weights as the words the hardware multiplies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nvnmd.errors import InputError, RangeError
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.loadbus import LANES, Section
from nvnmd.quantize.fitting import quantize_weight
from nvnmd.quantize.formats import FixFormat, to_fix
from nvnmd.quantize.ops import FIX_FRAC, round_bits

# The hardware keeps the shift ``weight_frac - exponent`` in this many bits.
SHIFT_BITS = 6
# A weight that is kept once: a whole number of 2**-23 (see `quantize_weight`), below 8.
GRID_BITS = FIX_FRAC + 4


def cut_offset(cfg: AcceleratorConfig) -> int:
    """What an exponent lacks to be the shift from a weight's whole number to its mantissa."""
    return FIX_FRAC - cfg.weight_frac


def cut_bits(cfg: AcceleratorConfig) -> int:
    """Bits of that shift: weights are below 2**3, or -8 itself."""
    return (3 + cut_offset(cfg)).bit_length()


def fit_image(
    weights: Sequence[ArrayLike], biases: Sequence[ArrayLike], cfg: AcceleratorConfig,
    type_terms: ArrayLike | None = None,
) -> dict[Section, NDArray[np.int64]]:
    """The beats of the fitting-net sections, in their natural orders.

    Parameters
    ----------
    weights : sequence of hidden+1 arrays, shape (nets, nin, nout)
        Float weights, hidden layers first; nets may be fewer than ``cfg.nets``, absent ones are
        filled with zeros.
    biases : sequence of hidden+1 arrays, shape (nets, nout)
        Float biases.
    cfg : AcceleratorConfig
        Sizes and formats.
    type_terms : array, shape (ntypes, width)
        Version 1: what each centre type adds in the first layer, on the grid of ``fix_frac``
        fraction bits; absent types are filled with zeros.

    Returns
    -------
    dict of Section to ndarray of int64, shape (beats, 4)
        Signed mantissas (``weight_frac`` fraction bits below the exponent), exponents and biases
        (``fix_frac`` fraction bits); see `nvnmd.hdl.pipeline.loadbus.Section`. Where weights are
        kept once, whole numbers of ``2**-23`` in place of the mantissas.

    Raises
    ------
    InputError
        If a shape is not the accelerator's.
    RangeError
        If a bias, a type term, a weight that is kept once, or an exponent leaves its format.
    """
    w, b = _checked(weights, biases, cfg)
    nt, hidden, width = cfg.nets, cfg.hidden, cfg.width
    square = np.stack(w[:-1], axis=1)  # (nets, hidden, nin, nout)
    forward, e_forward = quantize_weight(square, frac=cfg.weight_frac)
    backward, e_backward = quantize_weight(np.swapaxes(square, -1, -2), frac=cfg.weight_frac)
    if cfg.weights_once:
        forward = to_fix(round_bits(square, FIX_FRAC), FixFormat(GRID_BITS, FIX_FRAC),
                         what="fitting net: hidden layers: weight")
    last, e_last = quantize_weight(w[-1], whole=True, frac=cfg.weight_frac)
    columns = np.stack([e_forward, e_backward]).reshape(2, nt, hidden, width)

    final = np.zeros((nt, LANES), dtype=np.int64)
    final[:, 0] = final[:, 1] = _exponents(e_last[:, 0, 0], cfg, "last layer")
    final[:, 2] = _fix(b[-1][:, 0], cfg.energy_bits, cfg, "last layer")
    bias = np.stack([_fix(x, cfg.data_bits, cfg, f"layer {i}") for i, x in enumerate(b[:-1])],
                    axis=1)
    last_words = last.astype(np.int64).reshape(-1, LANES)
    return {
        Section.FIT_FORWARD: forward.astype(np.int64).reshape(-1, LANES),
        **({} if cfg.weights_once else
           {Section.FIT_BACKWARD: backward.astype(np.int64).reshape(-1, LANES)}),
        Section.FIT_LAST_FORWARD: last_words,
        Section.FIT_LAST_BACKWARD: last_words.copy(),
        Section.FIT_COLUMN: _exponents(columns, cfg, "hidden layers").reshape(-1, LANES),
        Section.FIT_BIAS: bias.reshape(-1, LANES),
        Section.FIT_LAST: final,
        **_type_section(type_terms, cfg),
    }


def _type_section(
    terms: ArrayLike | None, cfg: AcceleratorConfig
) -> dict[Section, NDArray[np.int64]]:
    """The terms of the types, padded with zeros; nothing in version 0."""
    if (terms is None) != (cfg.version == 0):
        raise InputError(f"fitting net: version {cfg.version} does not go with these type terms")
    if terms is None:
        return {}
    values = np.asarray(terms, dtype=np.float64)
    if values.ndim != 2 or not 1 <= len(values) <= cfg.ntypes or values.shape[1] != cfg.width:
        raise InputError(
            f"fitting net: type terms {values.shape}, expected (types, {cfg.width}) of at most "
            f"{cfg.ntypes} types"
        )
    words = np.zeros((cfg.ntypes, cfg.width), dtype=np.int64)
    words[: len(values)] = to_fix(
        values, FixFormat(cfg.data_bits, cfg.fix_frac), what="fitting net: type term"
    )
    return {Section.TYPE_TERM: words.reshape(-1, LANES)}


def _checked(
    weights: Sequence[ArrayLike], biases: Sequence[ArrayLike], cfg: AcceleratorConfig
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Weights and biases padded with zeros to the accelerator's nets, shapes verified."""
    layers = cfg.hidden + 1
    if len(weights) != layers or len(biases) != layers:
        raise InputError(
            f"fitting net: {len(weights)} weight and {len(biases)} bias arrays, expected {layers}"
        )
    padded_w, padded_b = [], []
    for layer in range(layers):
        w = np.asarray(weights[layer], dtype=np.float64)
        b = np.asarray(biases[layer], dtype=np.float64)
        nout = 1 if layer == cfg.hidden else cfg.width
        have = len(w)
        if not 1 <= have <= cfg.nets or w.shape[1:] != (cfg.width, nout) \
                or b.shape != (have, nout):
            raise InputError(
                f"fitting net: layer {layer} has weights {w.shape} and biases {b.shape}, expected "
                f"(types, {cfg.width}, {nout}) and (types, {nout}) of at most {cfg.nets} nets"
            )
        if not (np.isfinite(w).all() and np.isfinite(b).all()):
            raise RangeError(f"fitting net: layer {layer} holds a number that is not finite")
        padded_w.append(np.concatenate([w, np.zeros((cfg.nets - have, cfg.width, nout))]))
        padded_b.append(np.concatenate([b, np.zeros((cfg.nets - have, nout))]))
    return padded_w, padded_b


def _fix(
    bias: NDArray[np.float64], bits: int, cfg: AcceleratorConfig, where: str
) -> NDArray[np.int64]:
    return to_fix(round_bits(bias, cfg.fix_frac), FixFormat(bits, cfg.fix_frac),
                  what=f"fitting net: {where}: bias")


def _exponents(e: NDArray, cfg: AcceleratorConfig, where: str) -> NDArray[np.int64]:
    """Exponents as the hardware can hold them: ``weight_frac - e`` in `SHIFT_BITS` bits.

    Only columns of zeros have exponents below the range (a weight is at least 2**-23), and
    shifting zero by less changes nothing. Where weights are kept once, a mantissa has no bits
    below 2**-23 to shift in: the exponent is that of the mantissa which is the weight itself.
    """
    exponents = np.asarray(e).astype(np.int64)
    least = cfg.weight_frac + 1 - (1 << SHIFT_BITS)
    if cfg.weights_once:
        least = max(least, -cut_offset(cfg))
    if exponents.max() > cfg.weight_frac:
        raise RangeError(
            f"fitting net: {where}: a weight of magnitude 2**{exponents.max()}, expected exponents "
            f"up to {cfg.weight_frac}"
        )
    return np.maximum(exponents, least)
