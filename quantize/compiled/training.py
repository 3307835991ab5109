"""The linear side of the quantized network for training, compiled.

From dE/dD to dE/d[u,x,y,z] in the words of the reference, and the surrogate derivative of that
chain and of the forces, which is linear in dE/dD: see docs/surrogates.md.
"""

from __future__ import annotations

import numpy as np

from nvnmd.compiling import njit
from nvnmd.quantize.compiled.kernels import _gradient_of_gr, align_gradient
from nvnmd.quantize.compiled.newer import back_through_switched, scaled_back
from nvnmd.quantize.compiled.words import (
    add,
    align_scale,
    aligned,
    cut,
    dot2,
    dot3,
    exponent_floor,
    flushed,
    largest,
    magnitude,
    mul,
    pow2,
    whole_dot,
    whole_dots,
)

_ANY_ORDER = {"reassoc", "contract", "nsz"}


@njit(nogil=True, cache=True, error_model="numpy")
def derivatives(low, high, dd, kind, numbers, gain, scale, m2, deriv, gr, r4, g, gs, r, h, slopes,
                pair, rij, fade, plain, w):
    """dE/d[u,x,y,z] (n, k, 4) of the atoms `low` to `high` from dE/dD (n, M1*M2).

    The arrays from `gr` on are those of `nvnmd.training.quantized.frames.FrameConstants`,
    binary64 or binary32; a slot of displacement 0 is empty. `kind` and `numbers` (n, 3) are of
    `nvnmd.quantize.normalize.statistics`; `gain` (pairs, M1) has no rows in version 0.
    """
    m1 = gr.shape[2]
    m = rij.shape[1]
    typed, switched, no_words = len(gain) > 0, plain.shape[2] > 0, np.empty(0)
    own = np.empty((4, m1))
    dgr, by_row, by_column = np.empty((4, m1)), np.empty((4, m1)), np.empty((4, m1))
    sums, column_back = np.empty((2, m1)), np.empty(m1)
    wide, wide_column = np.empty(m1 + 2 * m2), np.empty((m2, m1 + 2 * m2))
    row_back = np.empty(4, dtype=np.int64)
    features, slope, dg, dr4 = np.empty(m1), np.empty(m1), np.empty(m1), np.empty(4)
    for atom in range(low, high):
        for i in range(4):
            for j in range(m1):
                own[i, j] = gr[atom, i, j]
        _gradient_of_gr(own, dd[atom], m2, scale, sums, wide, wide_column, dgr, w)
        align_gradient(dgr, by_row, row_back, by_column, column_back, w)
        c0, c1, c2, c3 = by_column[0], by_column[1], by_column[2], by_column[3]
        for k in range(m):
            if rij[atom, k, 0] == 0.0 and rij[atom, k, 1] == 0.0 and rij[atom, k, 2] == 0.0:
                for i in range(4):
                    deriv[atom, k, i] = 0.0
                continue
            for j in range(m1):
                features[j], slope[j] = g[atom, k, j], gs[atom, k, j]
            e = largest(features)
            # these lines stand in `kernels.backward` too: as functions of both they cost that
            # pass 18 to 37 percent
            t0, t1, t2, t3 = whole_dots(
                features, align_scale(e, w), by_row[0], by_row[1], by_row[2], by_row[3])
            dr4[0] = cut(t0 * pow2(e + row_back[0]), w)
            dr4[1] = cut(t1 * pow2(e + row_back[1]), w)
            dr4[2] = cut(t2 * pow2(e + row_back[2]), w)
            dr4[3] = cut(t3 * pow2(e + row_back[3]), w)
            s, x = np.float64(r4[atom, k, 0]), np.float64(r4[atom, k, 1])
            y, z = np.float64(r4[atom, k, 2]), np.float64(r4[atom, k, 3])
            e = exponent_floor(max(magnitude(s), magnitude(x), magnitude(y), magnitude(z)))
            factor, unit = align_scale(e, w), pow2(e)
            a0, a1 = aligned(s, factor), aligned(x, factor)
            a2, a3 = aligned(y, factor), aligned(z, factor)
            for j in range(m1):
                whole = (a0 * c0[j] + a1 * c1[j]) + (a2 * c2[j] + a3 * c3[j])
                dg[j] = cut(whole * (unit * column_back[j]), w)
            dk = 0.0
            if switched:
                dk = back_through_switched(
                    dg, plain[atom, k], gain[pair[atom, k]], np.float64(fade[atom, k, 0]), no_words,
                    w)
            elif typed:
                factors = gain[pair[atom, k]]
                for j in range(m1):
                    dg[j] = mul(dg[j], factors[j], w)
            e, e_slope = largest(dg), largest(slope)
            whole = whole_dot(slope, align_scale(e_slope, w), dg, align_scale(e, w))
            ds = add(cut(whole * pow2(e + e_slope - w.frac2), w), dr4[0], w)
            x, y, z = np.float64(r[atom, k, 0]), np.float64(r[atom, k, 1]), np.float64(
                r[atom, k, 2])
            dh = dot3(x, y, z, dr4[1], dr4[2], dr4[3], w)
            ds, dh = scaled_back(kind, numbers[atom], ds, dh, w)
            su, hu = np.float64(slopes[atom, k, 0]), np.float64(slopes[atom, k, 1])
            if switched:
                total = dot3(su, hu, np.float64(slopes[atom, k, 2]), ds, dh, dk, w)
            else:
                total = dot2(su, hu, ds, dh, w)
            deriv[atom, k, 0] = flushed(total) + 0.0
            for i in range(1, 4):
                deriv[atom, k, i] = flushed(mul(np.float64(h[atom, k]), dr4[i], w)) + 0.0


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def derivatives_backward(low, high, by_force, by_virial, inverse, gain, scale, m2, by_dd, gr, r4, g,
                         gs, r, h, slopes, index, pair, rij, fade, plain, w):
    """Gradient of a loss by dE/dD (n, M1*M2), from those by forces (n, 3) and virial (3, 3).

    Neighbours are atoms of the same frame; see `derivatives` for the arrays.
    """
    m1 = gr.shape[2]
    m = rij.shape[1]
    typed, switched = len(gain) > 0, plain.shape[2] > 0
    total, of_slope = np.empty((4, m1)), np.empty(m1)
    t0, t1, t2, t3 = total[0], total[1], total[2], total[3]
    for atom in range(low, high):
        total[:] = 0.0
        for k in range(m):
            far_x, far_y, far_z = rij[atom, k, 0], rij[atom, k, 1], rij[atom, k, 2]
            if far_x == 0.0 and far_y == 0.0 and far_z == 0.0:
                continue
            other = index[atom, k]
            # by the force on the neighbour, which is that on the centre turned round
            wx = by_force[other, 0] - by_force[atom, 0]
            wy = by_force[other, 1] - by_force[atom, 1]
            wz = by_force[other, 2] - by_force[atom, 2]
            wx += by_virial[0, 0] * far_x + by_virial[0, 1] * far_y + by_virial[0, 2] * far_z
            wy += by_virial[1, 0] * far_x + by_virial[1, 1] * far_y + by_virial[1, 2] * far_z
            wz += by_virial[2, 0] * far_x + by_virial[2, 1] * far_y + by_virial[2, 2] * far_z
            x, y, z = r[atom, k, 0], r[atom, k, 1], r[atom, k, 2]
            by_u = -2.0 * (wx * x + wy * y + wz * z)
            by_s, by_h = slopes[atom, k, 0] * by_u, slopes[atom, k, 1] * by_u
            if typed:
                by_s, by_h = by_s * inverse[atom, 0], by_h * inverse[atom, 1]
            near = h[atom, k]
            bx, by, bz = x * by_h - near * wx, y * by_h - near * wy, z * by_h - near * wz
            es, ex = by_s * r4[atom, k, 0], by_s * r4[atom, k, 1]
            ey, ez = by_s * r4[atom, k, 2], by_s * r4[atom, k, 3]
            features, slope = g[atom, k], gs[atom, k]
            if switched:
                factors, before = gain[pair[atom, k]], plain[atom, k]
                left = np.float64(fade[atom, k, 0])
                by_k = slopes[atom, k, 2] * by_u
                es, ex, ey, ez = r4[atom, k, 0], r4[atom, k, 1], r4[atom, k, 2], r4[atom, k, 3]
                for j in range(m1):
                    of_slope[j] = by_s * slope[j] * (1.0 + mul(factors[j], left, w)) + (
                        by_k * before[j] * factors[j])
            elif typed:
                factors = gain[pair[atom, k]]
                for j in range(m1):
                    of_slope[j] = slope[j] * factors[j]
            else:
                for j in range(m1):
                    of_slope[j] = slope[j]
            for j in range(m1):
                t0[j] += by_s * features[j] + es * of_slope[j]
                t1[j] += bx * features[j] + ex * of_slope[j]
                t2[j] += by * features[j] + ey * of_slope[j]
                t3[j] += bz * features[j] + ez * of_slope[j]
        for j in range(m1):
            for k in range(m2):
                other = (j + k) % m1
                value = 0.0
                for i in range(4):
                    value += total[i, j] * gr[atom, i, other] + total[i, other] * gr[atom, i, j]
                by_dd[atom, j * m2 + k] = value * scale
