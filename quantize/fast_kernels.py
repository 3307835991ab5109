"""The stages of the integer network, compiled; threads may run them side by side.

The stages and their formulas are those of `nvnmd.quantize.reference`; only filled slots are
visited. An atom whose values come near the end of a format, or are so small that `fast_words.add`
would not hold, is marked in `suspect` and left to the reference, which decides.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nvnmd.quantize.fast_words import (
    add,
    align_scale,
    aligned,
    cubic,
    cut,
    dot2,
    dot3,
    exponent_floor,
    flushed,
    largest,
    locate,
    magnitude,
    mul,
    pow2,
    whole_dot,
)

_FIX = 2.0**23
_UNIT = 2.0**-23
_TINY = 2.0**-60
# magnitudes from which the reference has to look: GR accumulators, 27-bit words, energy words
SUM_LIMIT = 2.0**12
DATA_LIMIT = 8.0
ENERGY_LIMIT = 256.0
_FRAC2 = np.int64(40)


@njit(nogil=True, cache=True)
def forward(
    atoms, kinds, rij, filled, starts, first_row, u_bounds, s_bounds, table_u, table_g, inverse,
    gain, empty, empty_bound, scale, s_rows, m2, r, radial, r4, g, gr, d, suspect,
):
    """Displacements to descriptor of the atoms numbered `atoms`, all of one type.

    Parameters
    ----------
    atoms : (a,) int64
        Rows of `kinds`, `rij` and `filled` (n, m).
    kinds : (n, m) int64
        Types of the neighbours; looked at in version 1 only.
    starts : (blocks + 1,) int64
        First slot of each block: one per neighbour type, in version 1 one in all.
    first_row : int
        Where the centre type's table of u begins.
    u_bounds, s_bounds : tuples of arrays
        Segments, as `locate` takes them.
    table_u : (types*rows, 4, 4), table_g : (types*rows, 4, 2*M1)
        Coefficients first, outputs last: s, h and their slopes; G and its slopes.
    inverse, gain : (2,), (ntypes, M1)
        Version 1: what s and h, and G by neighbour type, are multiplied by; else `gain` (0, M1).
    empty : (blocks, M1)
        Products of one empty slot, in units of 2**-23; `empty_bound` (blocks,) their magnitude.
    r, radial, r4, g : (a, m, 3), (a, m, 4), (a, m, 4), (a, m, 2*M1)
        Out: packed neighbours.
    gr, d : (a, 4, M1), (a, M1*M2)
        Out.
    suspect : (n,) bool
        Set, never cleared.
    """
    m1 = gr.shape[2]
    typed = len(gain) > 0
    for p in range(len(atoms)):
        atom = atoms[p]
        bad = False
        total = np.zeros((4, m1))
        bound = 0.0
        count = 0
        for i in range(4):
            for j in range(m1):
                gr[p, i, j] = 0.0
        for t in range(len(starts) - 1):
            for i in range(4):
                for j in range(m1):
                    total[i, j] = 0.0
            first = count
            for slot in range(starts[t], starts[t + 1]):
                if not filled[atom, slot]:
                    continue
                x = flushed(cut(rij[atom, slot, 0]))
                y = flushed(cut(rij[atom, slot, 1]))
                z = flushed(cut(rij[atom, slot, 2]))
                u = dot3(x, y, z, x, y, z)
                row, offset = locate(u, *u_bounds)
                row += first_row
                for i in range(4):
                    radial[p, count, i] = cubic(
                        table_u[row, 0, i], table_u[row, 1, i], table_u[row, 2, i],
                        table_u[row, 3, i], offset,
                    )
                if typed:
                    radial[p, count, 0] = mul(inverse[0], radial[p, count, 0])
                    radial[p, count, 1] = mul(inverse[1], radial[p, count, 1])
                s, h = radial[p, count, 0], radial[p, count, 1]
                bad |= u < _TINY or (s != 0.0 and abs(s) < _TINY)
                r[p, count, 0], r[p, count, 1], r[p, count, 2] = x, y, z
                r4[p, count, 0] = s
                r4[p, count, 1] = mul(h, x)
                r4[p, count, 2] = mul(h, y)
                r4[p, count, 3] = mul(h, z)
                row, offset = locate(s, *s_bounds)
                row += t * s_rows
                a, b, c, e = table_g[row, 0], table_g[row, 1], table_g[row, 2], table_g[row, 3]
                out = g[p, count]
                for j in range(2 * m1):
                    out[j] = cubic(a[j], b[j], c[j], e[j], offset)
                if typed:
                    factors = gain[kinds[atom, slot]]
                    for j in range(m1):
                        out[j] = mul(out[j], factors[j])
                top = np.int64(0)
                for j in range(m1):
                    top = max(top, magnitude(out[j]))
                largest_g = np.int64(top).view(np.float64)
                reach = 0.0
                for i in range(4):
                    factor = r4[p, count, i]
                    reach = max(reach, abs(factor))
                    for j in range(m1):
                        total[i, j] += np.trunc(factor * out[j] * _FIX)
                bound += reach * largest_g
                count += 1
            absent = starts[t + 1] - starts[t] - (count - first)
            bound += absent * empty_bound[t]
            for j in range(m1):
                total[0, j] += absent * empty[t, j]
            for i in range(4):
                for j in range(m1):
                    gr[p, i, j] += cut(total[i, j] * _UNIT)
        bad |= not bound < SUM_LIMIT
        for i in range(4):
            for j in range(m1):
                gr[p, i, j] = cut(gr[p, i, j] * scale)
        bad |= _descriptor(gr[p], m2, d[p])
        if bad:
            suspect[atom] = True


@njit
def _descriptor(gr, m2, d):
    """D of one atom's GR; whether a word is too large."""
    m1 = gr.shape[1]
    e = largest(gr.reshape(-1))
    factor = align_scale(e)
    # columns wrap around
    a = np.empty((4, m1 + m2))
    for i in range(4):
        for j in range(m1):
            a[i, j] = aligned(gr[i, j], factor)
        for k in range(m2):
            a[i, m1 + k] = a[i, k]
    back = pow2(2 * e - _FRAC2)
    worst = 0.0
    for k in range(m2):
        for j in range(m1):
            whole = (a[0, j] * a[0, j + k] + a[1, j] * a[1, j + k]) + (
                a[2, j] * a[2, j + k] + a[3, j] * a[3, j + k]
            )
            x = np.floor(cut(whole * back) * _FIX) * _UNIT
            d[j * m2 + k] = x
            worst = max(worst, abs(x))
    return not worst < DATA_LIMIT


@njit(nogil=True, cache=True)
def activate(total, scale, bias, previous, skip, z, x, atoms, suspect):
    """Hidden layer: z and its activation from the matrix product, plus the input where it skips."""
    width = z.shape[1]
    for p in range(len(atoms)):
        bad = 0
        for j in range(width):
            v = np.floor(total[p, j] * scale[j] * _FIX) * _UNIT + bias[j]
            a = abs(v)
            lo = np.floor(a * 524288.0) * (1.0 / 524288.0)
            q = np.floor(a * lo * _FIX) * _UNIT
            y = np.floor((q * (q / 16.0 - a / 4.0) + a) * _FIX) * _UNIT
            y = y if a < 2.0 else 1.0
            y = -y if v < 0.0 else y
            z[p, j] = v
            w = y + previous[p, j] if skip else y
            x[p, j] = w
            bad += 0 if (a < DATA_LIMIT and abs(w) < DATA_LIMIT) else 1
        if bad:
            suspect[atoms[p]] = True


@njit(nogil=True, cache=True)
def slope(z, g, through, atoms, suspect):
    """Gradient behind the activation, 21 fraction bits."""
    width = z.shape[1]
    for p in range(len(atoms)):
        bad = 0
        for j in range(width):
            a = abs(z[p, j])
            a = a if a < 2.0 else 2.0
            lo = np.floor(a * 524288.0) * (1.0 / 524288.0)
            square = np.floor(a * lo * 524288.0) * (1.0 / 524288.0)
            factor = np.floor(square * (a / 4.0 - 0.75) * 524288.0) * (1.0 / 524288.0) + 1.0
            v = np.floor(factor * g[p, j] * _FIX) * _UNIT
            scaled = v * 2097152.0
            half = -0.5 if scaled < 0.0 else 0.5
            v = np.trunc(scaled + half) * (1.0 / 2097152.0)
            through[p, j] = v
            bad += 0 if (abs(v) < DATA_LIMIT and abs(g[p, j]) < DATA_LIMIT) else 1
        if bad:
            suspect[atoms[p]] = True


@njit(nogil=True, cache=True)
def receive(total, scale, g, skip, out, atoms, suspect):
    """Gradient in front of a layer from the matrix product, plus the one that skips it."""
    width = out.shape[1]
    for p in range(len(atoms)):
        bad = 0
        for j in range(width):
            v = np.floor(total[p, j] * scale[j] * _FIX) * _UNIT
            v = v + g[p, j] if skip else v
            out[p, j] = v
            bad += 0 if abs(v) < DATA_LIMIT else 1
        if bad:
            suspect[atoms[p]] = True


@njit
def _gradient_of_gr(gr, dd, m2, scale, dgr):
    """dE/dGR of one atom from dE/dD: both factors of the product."""
    m1 = gr.shape[1]
    column = np.empty((m2, m1))
    for j in range(m1):
        for k in range(m2):
            column[k, j] = cut(dd[j * m2 + k])
    direct, transposed = np.empty(m1), np.empty(2 * m1)
    for i in range(4):
        for j in range(m1):
            direct[j] = 0.0
            transposed[j] = 0.0
            transposed[m1 + j] = 0.0
        for k in range(m2):
            for j in range(m1):
                other = j + k if j + k < m1 else j + k - m1
                direct[j] += np.trunc(gr[i, other] * column[k, j] * _FIX)
                transposed[j + k] += np.trunc(gr[i, j] * column[k, j] * _FIX)
        for j in range(m1):
            both = cut(direct[j] * _UNIT) + cut((transposed[j] + transposed[m1 + j]) * _UNIT)
            dgr[i, j] = cut(cut(both) * scale)


@njit(nogil=True, cache=True)
def backward(
    atoms, kinds, filled, inverse, gain, scale, m2, r, radial, r4, g, gr, dd, deriv
):
    """dE/dD to dE/d[u,x,y,z] (n, m, 4), for what `forward` left."""
    typed = len(gain) > 0
    m1 = gr.shape[2]
    slots = filled.shape[1]
    for p in range(len(atoms)):
        atom = atoms[p]
        dgr = np.empty((4, m1))
        _gradient_of_gr(gr[p], dd[p], m2, scale, dgr)
        by_row, by_column = np.empty((4, m1)), np.empty((4, m1))
        row_back = np.empty(4, dtype=np.int64)
        column_back = np.empty(m1)
        for i in range(4):
            e = largest(dgr[i])
            row_back[i] = e - _FRAC2
            factor = align_scale(e)
            for j in range(m1):
                by_row[i, j] = aligned(dgr[i, j], factor)
        for j in range(m1):
            e = exponent_floor(
                max(magnitude(dgr[0, j]), magnitude(dgr[1, j]), magnitude(dgr[2, j]),
                    magnitude(dgr[3, j]))
            )
            factor = align_scale(e)
            column_back[j] = pow2(e - _FRAC2)
            for i in range(4):
                by_column[i, j] = aligned(dgr[i, j], factor)
        of_g, of_slope, dg = np.empty(m1), np.empty(m1), np.empty(m1)
        c0, c1, c2, c3 = by_column[0], by_column[1], by_column[2], by_column[3]
        dr4 = np.empty(4)
        count = 0
        for slot in range(slots):
            if not filled[atom, slot]:
                continue
            features = g[p, count, :m1]
            slopes = g[p, count, m1:]
            e = largest(features)
            factor = align_scale(e)
            for j in range(m1):
                of_g[j] = aligned(features[j], factor)
            for i in range(4):
                dr4[i] = cut(whole_dot(of_g, by_row[i]) * pow2(e + row_back[i]))
            e = largest(r4[p, count])
            factor = align_scale(e)
            back = pow2(e)
            a0, a1 = aligned(r4[p, count, 0], factor), aligned(r4[p, count, 1], factor)
            a2, a3 = aligned(r4[p, count, 2], factor), aligned(r4[p, count, 3], factor)
            top = np.int64(0)
            for j in range(m1):
                whole = (a0 * c0[j] + a1 * c1[j]) + (a2 * c2[j] + a3 * c3[j])
                v = cut(whole * (back * column_back[j]))
                dg[j] = v
            if typed:
                factors = gain[kinds[atom, slot]]
                for j in range(m1):
                    dg[j] = mul(dg[j], factors[j])
            for j in range(m1):
                top = max(top, magnitude(dg[j]))
            e = exponent_floor(top)
            factor = align_scale(e)
            e2 = largest(slopes)
            factor2 = align_scale(e2)
            for j in range(m1):
                dg[j] = aligned(dg[j], factor)
                of_slope[j] = aligned(slopes[j], factor2)
            ds = add(cut(whole_dot(of_slope, dg) * pow2(e + e2 - _FRAC2)), dr4[0])
            x, y, z = r[p, count, 0], r[p, count, 1], r[p, count, 2]
            h = radial[p, count, 1]
            dh = dot3(x, y, z, dr4[1], dr4[2], dr4[3])
            if typed:
                ds, dh = mul(inverse[0], ds), mul(inverse[1], dh)
            du = dot2(radial[p, count, 2], radial[p, count, 3], ds, dh)
            deriv[atom, slot, 0] = flushed(du) + 0.0
            for i in range(1, 4):
                deriv[atom, slot, i] = flushed(mul(h, dr4[i])) + 0.0
            count += 1


@njit(nogil=True, cache=True)
def scatter(deriv, rij, index, force, virial, atom_virial):
    """Forces and virials in the order of `nvnmd.quantize.forces`, terms of zero left out."""
    n, slots = index.shape
    for i in range(n):
        for slot in range(slots):
            if index[i, slot] >= 0:
                for a in range(3):
                    pull = deriv[i, slot, 0] * (-2.0 * cut(rij[i, slot, a]))
                    force[i, a] -= pull
                    force[i, a] += deriv[i, slot, 1 + a]
        for slot in range(slots):
            j = index[i, slot]
            if j < 0:
                continue
            for a in range(3):
                twice = -2.0 * cut(rij[i, slot, a])
                force[j, a] += deriv[i, slot, 0] * twice
                force[j, a] -= deriv[i, slot, 1 + a]
                for b in range(3):
                    far = rij[i, slot, b]
                    first = (deriv[i, slot, 0] * far) * twice
                    second = deriv[i, slot, 1 + a] * far
                    atom_virial[j, a, b] += first
                    atom_virial[j, a, b] -= second
                    virial[a, b] += first
                    virial[a, b] -= second
