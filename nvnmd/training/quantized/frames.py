"""The descriptor side of a frame, computed once and kept for training.

Stage by stage the arithmetic of the integer reference, on filled slots only; a test compares
the two for equality.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from nvnmd.quantize import ops
from nvnmd.quantize.formats import DATA, SUM, to_fix
from nvnmd.quantize.model import Model
from nvnmd.quantize.normalize import normalize, statistics
from nvnmd.quantize.table_lookup import evaluate_both, locate
from nvnmd.quantize.type_factor import apply_switched, switched_gain

SLOT_STEP = 8
"""Filled slots are padded to a multiple of this, so that few shapes occur."""

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class FrameConstants:
    """The part of a frame that the fitting weights do not change; `n` atoms sorted by type.

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
    slopes : (n, k, 2 or 3)
    index : (n, k) int32
    rij : (n, k, 3)
    pair : (n, k) int32
    fade : (n, k, 0 or 1)
    plain : (n, k, 0 or M1)
        See `nvnmd.quantize.tensorflow.network.FrameTensors`.
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
    pair: NDArray[np.int32]
    fade: Floats
    plain: Floats

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


def frame_constants(
    model: Model,
    center_types: NDArray[np.integer],
    rij: NDArray[np.float64],
    index: NDArray[np.integer],
    slots: int | None = None,
) -> FrameConstants:
    """Evaluate the descriptor side of a frame.

    Parameters
    ----------
    model : Model
        Its tables decide; its fitting nets do not enter.
    center_types : (n,)
        Types of the atoms, sorted.
    rij : (n, m, 3)
        Displacements to the neighbours in Å; in version 0 in slots by type.
    index : (n, m)
        Neighbours as indices into the sorted atoms, -1 in empty slots.
    slots : int, optional
        How many slots to keep at least.

    Returns
    -------
    FrameConstants

    Raises
    ------
    RangeError
        A value leaves its format.
    """
    mask = index >= 0
    kept_slots = padded_slots(max(int(mask.sum(axis=1).max(initial=0)), slots or 0))
    # filled slots first, in their order
    choice = np.argsort(~mask, axis=1, kind="stable")
    extra = max(kept_slots - choice.shape[1], 0)
    choice = np.pad(choice, ((0, 0), (0, extra)))[:, :kept_slots]
    kept = np.arange(kept_slots) < mask.sum(axis=1)[:, None]
    neighbor = np.where(kept, np.take_along_axis(index, choice, axis=1), 0).astype(np.int32)
    # the block of slots, whose embedding table counts
    block = np.repeat(np.arange(len(model.sel)), model.sel)[choice]

    far = np.where(kept[..., None], np.take_along_axis(rij, choice[..., None], axis=1), 0.0)
    r = ops.trunc_flt(far) + 0.0
    center = np.broadcast_to(center_types[:, None], kept.shape)
    s, h, fade, slopes = _radial(model, center, ops.dot(r, r))
    r4 = np.concatenate([s[..., None], ops.mul(h[..., None], r)], axis=-1)
    g, gs = _embedding(model, block, s)
    pair = center * model.ntypes + center_types[neighbor]
    plain = g[..., :0]
    if model.type_gain is not None:
        gain = model.type_gain.reshape(-1, model.m1)[pair]
        if model.sub_version == 2:
            plain, g = g, apply_switched(g, switched_gain(gain, fade[..., 0]))
        else:
            g = ops.mul(g, gain) + 0.0
    gr = _sum_neighbors(model, center_types, r4, g, block, kept)
    d = _descriptor(model, gr)

    def pick(x: NDArray) -> Floats:
        return compact(np.where(kept.reshape(*kept.shape, *(1,) * (x.ndim - 2)), x, 0.0))

    return FrameConstants(
        d=compact(d),
        gr=compact(gr),
        r4=pick(r4),
        g=pick(g),
        gs=pick(gs),
        r=compact(r),
        h=pick(h),
        slopes=pick(slopes),
        index=neighbor,
        rij=far,
        pair=np.where(kept, pair, 0).astype(np.int32),
        fade=pick(fade),
        plain=pick(plain),
    )


def _radial(
    model: Model, center: NDArray[np.integer], u: NDArray[np.float64]
) -> tuple[NDArray[np.float64], ...]:
    """s, h (both of u's shape), k (one more axis, empty without it), slopes of their tables by u.
    """
    row, offset = locate(u, model.u_layout)
    if model.version == 0:
        row = row + center * model.u_layout.rows
    value, slopes = evaluate_both(model.table_u, model.table_u_grad, row, offset)
    kind, numbers = statistics(model, "graph")
    s, h = normalize(kind, numbers[center], value[..., 0], value[..., 1])
    return s, h, value[..., 2:] + 0.0, slopes


def _embedding(
    model: Model, block: NDArray[np.integer], s: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """G and dG/ds of the tables for slots of the blocks `block`."""
    row, offset = locate(s, model.s_layout)
    row = row + block * model.s_layout.rows
    return evaluate_both(model.table_g, model.table_g_grad, row, offset)


def _sum_neighbors(
    model: Model,
    center_types: NDArray[np.integer],
    r4: NDArray[np.float64],
    g: NDArray[np.float64],
    block: NDArray[np.integer],
    kept: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """GR (n, 4, M1).

    Sums of whole numbers may be taken in any order, so the empty slots, which all give the same
    product (in the row of s only, as h is 0), enter as that product times their number. In
    version 1, SUB_VERSION 1, they give nothing.
    """
    product = ops.product_to_fix(r4[..., :, None], g[..., None, :])
    gr = np.zeros((len(center_types), 4, model.m1))
    for t, sel in enumerate(model.sel):
        here = kept & (block == t)
        total = np.einsum("nkal,nk->nal", product, here.astype(np.float64))
        if model.version == 0 or model.sub_version == 2:
            none = np.full(center_types.shape, t)
            s, _, _, _ = _radial(model, center_types, np.zeros(center_types.shape))
            empty = ops.product_to_fix(s[:, None], _embedding(model, none, s)[0])
            total[:, 0] += empty * (sel - here.sum(axis=1))[:, None]
        to_fix(total * 2.0**-ops.FIX_FRAC, SUM, what="GR accumulator")
        gr += ops.fix_to_flt(total)
    return ops.trunc_flt(gr * 2.0**-model.nix_shift) + 0.0


def _descriptor(model: Model, gr: NDArray[np.float64]) -> NDArray[np.float64]:
    """D (n, M1*M2) of GR."""
    m1, m2 = model.m1, model.m2
    column = (np.arange(m1)[:, None] + np.arange(m2)) % m1
    products = ops.matmul_flt(np.swapaxes(gr, 1, 2), gr, norm=0)
    to_grid = ops.round_bits if model.round_descriptor else ops.floor_bits
    d = to_grid(np.take_along_axis(products, column[None], axis=2), ops.FIX_FRAC)
    to_fix(d, DATA, what="descriptor")
    return d.reshape(len(gr), m1 * m2)


def padded_slots(filled: int) -> int:
    """Slots kept where an atom has at most `filled` neighbours."""
    return max(1, -(-filled // SLOT_STEP)) * SLOT_STEP


def compact(x: NDArray[np.float64]) -> Floats:
    """The array as binary32 where that changes no value."""
    with np.errstate(over="ignore", under="ignore"):
        small = x.astype(np.float32)
    return small if np.array_equal(small.astype(np.float64), x) else x
