"""Layouts of what `neighbor.backward` hands out, and the same values from the definitions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from amaranth.lib import data
from numpy.typing import NDArray

from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.quantize import ops
from nvnmd.quantize.type_factor import back_through_switched


def deriv_layout(cfg: AcceleratorConfig) -> data.StructLayout:
    """dE/du, dE/dx, dE/dy, dE/dz of one neighbour as flt words; `last`: the atom's last one."""
    word = cfg.flt_bits
    return data.StructLayout({"u": word, "x": word, "y": word, "z": word, "last": 1})


def tap_layout(cfg: AcceleratorConfig, n: int) -> data.StructLayout:
    """`n` words of one stage, where `valid`."""
    return data.StructLayout({"valid": 1, "words": data.ArrayLayout(cfg.flt_bits, n)})


@dataclass(frozen=True)
class NeighborGrad:
    """What `NeighborBackward` computes for the m neighbours of an atom, as flt values.

    `dr4` (m, 4), `dg` (m, m1), `ds` and `dh` (m,) are dE/dR4, dE/dG, dE/ds and dE/dh; `deriv`
    (m, 4) is dE/d[u, x, y, z].
    """

    dr4: NDArray[np.float64]
    dg: NDArray[np.float64]
    ds: NDArray[np.float64]
    dh: NDArray[np.float64]
    deriv: NDArray[np.float64]


def neighbor_grad(
    cfg: AcceleratorConfig,
    dgr: NDArray[np.float64],
    g: NDArray[np.float64],
    slope: NDArray[np.float64],
    r: NDArray[np.float64],
    h: NDArray[np.float64],
    r4: NDArray[np.float64],
    slopes_u: NDArray[np.float64],
    gain: NDArray[np.float64] | None = None,
    inverse: NDArray[np.float64] | None = None,
    factor: NDArray[np.float64] | None = None,
    plain: NDArray[np.float64] | None = None,
) -> NeighborGrad:
    """What `NeighborBackward` computes for one atom with m neighbours, by `nvnmd.quantize.ops`.

    Parameters
    ----------
    cfg : AcceleratorConfig
        Sizes and formats.
    dgr : ndarray, shape (4, m1)
        dE/dGR.
    g, slope : ndarray, shape (m, m1)
        G and dG/ds.
    r, h, r4 : ndarray, shapes (m, 3), (m,), (m, 4)
        Displacement, h, and [s, h x, h y, h z].
    slopes_u : ndarray, shape (m, 2 or 3)
        ds/du, dh/du and, in SUB_VERSION 2, dk/du.
    gain : ndarray, shape (m, m1)
        Version 1: gains of G.
    inverse : ndarray, shape (2,)
        Version 1: inverse deviations of the centre's type.
    factor, plain : ndarray, shape (m, m1)
        SUB_VERSION 2, of 20 fraction bits: what has not faded of the gains, and G before them.
    """
    frac = cfg.frac
    dr4 = ops.matmul_flt(dgr, g.T, 1, frac).T
    dg = ops.matmul_flt(r4, dgr, 1, frac)
    by_table = []
    if gain is not None and factor is not None and plain is not None:
        dg, dk = back_through_switched(dg, plain, gain, factor, "machine")
        by_table = [dk]
    elif gain is not None:
        dg = ops.mul(dg, gain, frac) + 0.0
    ds = ops.add(ops.dot(slope, dg, frac), dr4[:, 0], frac)
    dh = ops.dot(r, dr4[:, 1:], frac)
    if inverse is not None:
        ds, dh = (ops.mul(inverse[k], x, frac) + 0.0 for k, x in enumerate((ds, dh)))
    du = ops.dot(slopes_u, np.stack([ds, dh, *by_table], -1), frac)
    xyz = ops.mul(h[:, None], dr4[:, 1:], frac)
    return NeighborGrad(dr4, dg, ds, dh, np.concatenate([du[:, None], xyz], 1) + 0.0)
