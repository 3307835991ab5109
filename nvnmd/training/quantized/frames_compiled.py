"""The descriptor side of a frame by the compiled stages of `nvnmd.quantize.compiled.kernels`.

The same words as `nvnmd.training.quantized.frames.frame_constants`, some hundred times as fast;
needs numba.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nvnmd.quantize.compiled import kernels
from nvnmd.quantize.compiled.model import CHUNK, FastModel, chunks
from nvnmd.quantize.compiled.words import cuts
from nvnmd.threads import share_out
from nvnmd.training.quantized.frames import FrameConstants, compact, frame_constants, padded_slots


def fast_frame_constants(
    fast: FastModel,
    center_types: NDArray[np.integer],
    rij: NDArray[np.float64],
    index: NDArray[np.integer],
    slots: int,
) -> FrameConstants:
    """Evaluate the descriptor side of a frame; see `frames.frame_constants`.

    Raises
    ------
    RangeError
        A value leaves its format.
    """
    model = fast.model
    mask = index >= 0
    n, m1, width = len(mask), model.m1, model.m1 * model.m2
    filled, switched = mask.sum(axis=1), model.sub_version == 2
    widths = cuts(model.widths)
    kept = padded_slots(max(int(filled.max(initial=0)), slots))
    kinds = center_types[np.where(mask, index, 0)].astype(np.int64)
    slot_of = np.zeros((n, kept), dtype=np.int64)
    near = np.zeros((n, kernels.NEAR_ROWS, kept))
    g = np.zeros((n, kept, fast.g_columns))
    gr, d, suspect = np.empty((n, 4, m1)), np.empty((n, width)), np.zeros(n, dtype=np.bool_)

    def make_worker() -> Callable[[tuple[int, NDArray[np.int64]]], None]:
        tops = np.empty((CHUNK, 2, kept), dtype=np.int64)

        def compute(task: tuple[int, NDArray[np.int64]]) -> None:
            t, atoms = task
            # atoms are sorted by type: those of a task stand together
            here = slice(int(atoms[0]), int(atoms[-1]) + 1)
            kernels.forward(
                atoms, kinds, rij, mask, fast.starts,
                t % len(model.table_u) * model.u_layout.rows, fast.u_bounds, fast.s_bounds,
                fast.table_u, fast.table_g, fast.kind, fast.numbers[t], fast.gain[t],
                fast.empty[t], fast.empty_bound[t], 2.0**-model.nix_shift,
                model.s_layout.rows, model.m2, model.round_descriptor,
                slot_of[here], near[here], g[here], tops, gr[here], d[here], suspect, widths)

        return compute

    share_out(chunks(center_types, model.ntypes), make_worker)
    if suspect.any():
        return frame_constants(model, center_types, rij, index, slots)
    real = np.arange(kept) < filled[:, None]
    neighbor = np.where(real, np.take_along_axis(index, slot_of, axis=1), 0).astype(np.int32)
    far = np.where(real[..., None], np.take_along_axis(rij, slot_of[..., None], axis=1), 0.0)
    pair = np.where(real, center_types[:, None] * model.ntypes + center_types[neighbor], 0)

    def rows(*numbers: int) -> NDArray[np.floating]:
        return compact(np.ascontiguousarray(np.moveaxis(near[:, numbers], 1, 2)))

    return FrameConstants(
        d=compact(d),
        gr=compact(gr),
        r4=rows(kernels._S, kernels._HX, kernels._HY, kernels._HZ),
        g=compact(np.ascontiguousarray(g[..., :m1])),
        gs=compact(np.ascontiguousarray(g[..., m1 : 2 * m1])),
        r=rows(kernels._X, kernels._Y, kernels._Z),
        h=compact(np.ascontiguousarray(near[:, kernels._H])),
        slopes=rows(kernels._DS, kernels._DH, *([kernels._DK] if switched else [])),
        index=neighbor,
        rij=far,
        pair=pair.astype(np.int32),
        fade=rows(*([kernels._K] if switched else [])),
        plain=compact(np.ascontiguousarray(g[..., 2 * m1 :])),
    )
