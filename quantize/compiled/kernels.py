"""The stages of the integer network around its fitting net, compiled; threads may run them at once.

The stages and their formulas are those of `nvnmd.quantize.reference`; only filled slots are
visited. What is a number per neighbour is computed over all neighbours of an atom in one loop, what
is a vector per neighbour over its components: both become vector instructions. An atom whose values
come near the end of a format, or are so small that `words.add` would not hold, is marked in
`suspect` and left to the reference, which decides.
"""

from __future__ import annotations

import numpy as np

from nvnmd.compiling import njit
from nvnmd.quantize.compiled.newer import (
    back_through_switched,
    normalized,
    scaled_back,
    switch_on,
)
from nvnmd.quantize.compiled.words import (
    add,
    align_scale,
    aligned,
    cubic,
    cubic_and_slope,
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
    value,
    whole_dot,
    whole_dots,
)
from nvnmd.quantize.normalize import WORDS

_TINY = 2.0**-60

# rows of `near`: displacement, s and h with their slopes, s and h times the displacement, k and
# its slope
_X, _Y, _Z, _S, _H, _DS, _DH, _HX, _HY, _HZ, _K, _DK = range(12)
NEAR_ROWS = 12


@njit(nogil=True, cache=True)
def forward(
    atoms, kinds, rij, filled, starts, first_row, u_bounds, s_bounds, table_u, table_g, kind,
    numbers, gain, empty, empty_bound, scale, s_rows, m2, rounded, slot_of, near, g, tops, gr, d,
    suspect, w,
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
    table_u : (types*rows, 4, 2, 4 or 6), table_g : (types*rows, 4, M1 or 2*M1)
        Coefficients first, outputs last: s, h (and k) and their slopes; G and its slopes. Without
        those of the slopes (2, M1), they are the cubics' own.
    kind, numbers : int, (3,)
        Of `nvnmd.quantize.normalize.statistics`, the centre type's numbers.
    gain : (ntypes, M1)
        Version 1: what the neighbour's type makes of G; else (0, M1).
    rounded : bool
        Whether D is rounded, not floored.
    empty : (blocks, M1)
        Products of one empty slot, in units of 2**-23; `empty_bound` (blocks,) their magnitude.
    slot_of, near, g : (a, m), (a, NEAR_ROWS, m), (a, m, 2*M1 or 3*M1)
        Out: packed neighbours: their slots, their numbers, G and its slopes, with k also G before
        the types.
    tops : (a, 2, m) int64
        Out: exponents of each neighbour's largest G and slope, at least -100.
    gr, d : (a, 4, M1), (a, M1*M2 or more)
        Out.
    suspect : (n,) bool
        Set, never cleared.
    w : Cuts
        Of the model's widths.
    """
    m1 = gr.shape[2]
    kept = near.shape[2]
    u, radial = np.empty(kept), np.empty((kept, max(4, table_u.shape[2])))
    switched = table_u.shape[2] == 6
    row, offset = np.zeros(kept, np.int64), np.empty(kept)
    ends = np.zeros(len(starts), np.int64)
    total = np.empty((4, m1))
    wide = np.empty((4, m1 + m2))
    for p in range(len(atoms)):
        atom = atoms[p]
        here = near[p]
        _pack(filled[atom], rij[atom], starts, slot_of[p], here, ends)
        count = ends[-1]
        bad = _radial(count, u_bounds, first_row, table_u, kind, numbers, here, u, radial, row,
                      offset, w)
        locate(count, here[_S], s_bounds, row, offset, w)
        for i in range(4):
            for j in range(m1):
                gr[p, i, j] = 0.0
        bound = 0.0
        for t in range(len(starts) - 1):
            for i in range(4):
                for j in range(m1):
                    total[i, j] = 0.0
            for k in range(ends[t], ends[t + 1]):
                at = row[k] + t * s_rows
                a, b, c, e = table_g[at, 0], table_g[at, 1], table_g[at, 2], table_g[at, 3]
                x, out = offset[k], g[p, k]
                if len(a) == m1:
                    features, slopes = out[:m1], out[m1 : 2 * m1]
                    for j in range(m1):
                        features[j], slopes[j] = cubic_and_slope(a[j], b[j], c[j], e[j], x, w)
                else:
                    for j in range(2 * m1):
                        out[j] = cubic(a[j], b[j], c[j], e[j], x, w)
                if switched:
                    switch_on(out, gain[kinds[atom, slot_of[p, k]]], here[_K, k], out[2 * m1 :], w)
                elif len(gain) > 0:
                    factors = gain[kinds[atom, slot_of[p, k]]]
                    for j in range(m1):
                        out[j] = mul(out[j], factors[j], w)
            bound += _accumulate(here, ends[t], ends[t + 1], g[p], total, tops[p], w)
            absent = starts[t + 1] - starts[t] - (ends[t + 1] - ends[t])
            bound += absent * empty_bound[t]
            for j in range(m1):
                total[0, j] += absent * empty[t, j]
            for i in range(4):
                for j in range(m1):
                    gr[p, i, j] += cut(total[i, j] * w.unit, w)
        bad |= not bound < w.sum_limit
        for i in range(4):
            for j in range(m1):
                gr[p, i, j] = cut(gr[p, i, j] * scale, w)
        bad |= _descriptor(gr[p], m2, rounded, wide, d[p], w)
        if bad:
            suspect[atom] = True


@njit
def _pack(filled, rij, starts, slot_of, near, ends):
    """The filled slots one after another; `ends` of each block among them."""
    count = np.int64(0)
    for t in range(len(starts) - 1):
        for slot in range(starts[t], starts[t + 1]):
            if filled[slot]:
                slot_of[count] = slot
                near[_X, count], near[_Y, count] = rij[slot, 0], rij[slot, 1]
                near[_Z, count] = rij[slot, 2]
                count += 1
        ends[t + 1] = count


@njit
def _radial(
    count, bounds, first_row, table, kind, numbers, near, u, radial, row, offset, w
):
    """Displacements to the other rows of `near`; whether an argument is too small."""
    xs, ys, zs = near[_X], near[_Y], near[_Z]
    for k in range(count):
        x, y, z = flushed(cut(xs[k], w)), flushed(cut(ys[k], w)), flushed(cut(zs[k], w))
        xs[k], ys[k], zs[k] = x, y, z
        u[k] = dot3(x, y, z, x, y, z, w)
    locate(count, u, bounds, row, offset, w)
    for k in range(count):
        at = row[k] + first_row
        a, b, c, d = table[at, 0], table[at, 1], table[at, 2], table[at, 3]
        if len(a) == 2:
            for i in range(2):
                radial[k, i], radial[k, 2 + i] = cubic_and_slope(
                    a[i], b[i], c[i], d[i], offset[k], w)
        else:
            for i in range(len(a)):
                radial[k, i] = cubic(a[i], b[i], c[i], d[i], offset[k], w)
    slopes = radial.shape[1] // 2
    bad = 0
    for k in range(count):
        s, h = normalized(kind, numbers, radial[k, 0], radial[k, 1], w)
        near[_S, k], near[_H, k] = s, h
        near[_DS, k], near[_DH, k] = radial[k, slopes], radial[k, slopes + 1]
        if slopes == 3:
            near[_K, k], near[_DK, k] = radial[k, 2], radial[k, 5]
        near[_HX, k], near[_HY, k] = mul(h, xs[k], w), mul(h, ys[k], w)
        near[_HZ, k] = mul(h, zs[k], w)
        bad += 1 if (u[k] < _TINY or (s != 0.0 and abs(s) < _TINY)) else 0
    return bad > 0


@njit
def _accumulate(near, first, last, g, total, tops, w):
    """Add the products of some neighbours to the four sums; the sum of their largest magnitudes.

    Four neighbours at a time, so that the sums are read and written less often: products are whole
    numbers of units, which add up to the same in any order.
    """
    m1 = total.shape[1]
    bound = 0.0
    for k in range(first, last):
        top, top_slope = np.int64(0), np.int64(0)
        features, slopes = g[k, :m1], g[k, m1 : 2 * m1]
        for j in range(m1):
            top = max(top, magnitude(features[j]))
            top_slope = max(top_slope, magnitude(slopes[j]))
        tops[0, k], tops[1, k] = exponent_floor(top), exponent_floor(top_slope)
        bound += value(top) * max(
            abs(near[_S, k]), abs(near[_HX, k]), abs(near[_HY, k]), abs(near[_HZ, k]))
    fours = last - (last - first) % 4
    for k in range(first, fours, 4):
        g0, g1, g2, g3 = g[k], g[k + 1], g[k + 2], g[k + 3]
        for i in range(4):
            out, r = total[i], near[_S if i == 0 else _HX + i - 1]
            f0, f1, f2, f3 = r[k] * w.fix, r[k + 1] * w.fix, r[k + 2] * w.fix, r[k + 3] * w.fix
            for j in range(m1):
                out[j] += (np.trunc(f0 * g0[j]) + np.trunc(f1 * g1[j])) + (
                    np.trunc(f2 * g2[j]) + np.trunc(f3 * g3[j]))
    for k in range(fours, last):
        features = g[k]
        for i in range(4):
            out, f = total[i], near[_S if i == 0 else _HX + i - 1, k] * w.fix
            for j in range(m1):
                out[j] += np.trunc(f * features[j])
    return bound


@njit
def _descriptor(gr, m2, rounded, wide, d, w):
    """D of one atom's GR; whether a word is too large."""
    m1 = gr.shape[1]
    e = largest(gr.reshape(-1))
    factor = align_scale(e, w)
    # columns wrap around
    for i in range(4):
        for j in range(m1):
            wide[i, j] = aligned(gr[i, j], factor)
        for k in range(m2):
            wide[i, m1 + k] = wide[i, k]
    back = pow2(2 * e - w.frac2)
    worst = 0.0
    for k in range(m2):
        # slices, because an index that is a sum keeps a loop from becoming vector instructions
        w0, w1, w2, w3 = wide[0, k:], wide[1, k:], wide[2, k:], wide[3, k:]
        for j in range(m1):
            whole = (wide[0, j] * w0[j] + wide[1, j] * w1[j]) + (
                wide[2, j] * w2[j] + wide[3, j] * w3[j]
            )
            x = cut(whole * back, w) * w.fix
            half = -0.5 if x < 0.0 else 0.5
            x = (np.trunc(x + half) if rounded else np.floor(x)) * w.unit
            d[j * m2 + k] = x
            worst = max(worst, abs(x))
    return not worst < w.data_limit


@njit
def _gradient_of_gr(gr, dd, m2, scale, sums, wide, wide_column, dgr, w):
    """dE/dGR of one atom from dE/dD: both factors of the product; whether a sum may be too large.

    The wide arrays hold m2 more columns on either side, wrapped around.
    """
    m1 = gr.shape[1]
    # magnitudes are below twice the powers of two of their exponents
    bound = pow2(largest(gr.reshape(-1)) + largest(dd[: m1 * m2]) + 2) * m2
    for k in range(m2):
        for j in range(m1):
            sums[0, j] = cut(dd[j * m2 + k], w)
        _widen(sums[0], m2, wide_column[k])
    for i in range(4):
        _widen(gr[i], m2, wide)
        out = dgr[i]
        direct, transposed = sums[0], sums[1]
        for j in range(m1):
            direct[j], transposed[j] = 0.0, 0.0
        for k in range(m2):
            ahead, factor = wide[m2 + k :], wide_column[k, m2:]
            behind, factor_behind = wide[m2 - k :], wide_column[k, m2 - k :]
            for j in range(m1):
                direct[j] += np.trunc(ahead[j] * factor[j] * w.fix)
                transposed[j] += np.trunc(behind[j] * factor_behind[j] * w.fix)
        for j in range(m1):
            both = cut(direct[j] * w.unit, w) + cut(transposed[j] * w.unit, w)
            out[j] = cut(cut(both, w) * scale, w)
    return not bound < w.sum_limit


@njit
def align_gradient(dgr, by_row, row_back, by_column, column_back, w):
    """Mantissas of dE/dGR (4, M1) aligned by row and by column, and the exponents to go back by.

    `row_back` takes exponents, `column_back` powers of two, both less the product's fraction.
    """
    for i in range(4):
        e = largest(dgr[i])
        row_back[i] = e - w.frac2
        factor = align_scale(e, w)
        for j in range(dgr.shape[1]):
            by_row[i, j] = aligned(dgr[i, j], factor)
    for j in range(dgr.shape[1]):
        e = exponent_floor(
            max(magnitude(dgr[0, j]), magnitude(dgr[1, j]), magnitude(dgr[2, j]),
                magnitude(dgr[3, j]))
        )
        factor = align_scale(e, w)
        column_back[j] = pow2(e - w.frac2)
        for i in range(4):
            by_column[i, j] = aligned(dgr[i, j], factor)


@njit
def _widen(x, m2, out):
    m1 = len(x)
    middle = out[m2:]
    for j in range(m1):
        middle[j] = x[j]
    for j in range(m2):
        out[j] = x[m1 - m2 + j]
        out[m2 + m1 + j] = x[j]


@njit(nogil=True, cache=True)
def backward(
    atoms, kinds, starts, filled, kind, numbers, gain, scale, m2, slot_of, near, g, tops, gr, dd,
    deriv, suspect, w,
):
    """dE/dD to dE/d[u,x,y,z] (n, m, 4), for what `forward` left; marks atoms in `suspect` (n,)."""
    m1 = gr.shape[2]
    kept = near.shape[2]
    dgr, by_row, by_column = np.empty((4, m1)), np.empty((4, m1)), np.empty((4, m1))
    sums, column_back = np.empty((2, m1)), np.empty(m1)
    wide, wide_column = np.empty(m1 + 2 * m2), np.empty((m2, m1 + 2 * m2))
    row_back = np.empty(4, dtype=np.int64)
    switched = g.shape[2] == 3 * m1
    words = np.empty(m1 if kind == WORDS else 0)
    dg, dr4, of_r4, back = np.empty(m1), np.empty((6, kept)), np.empty((4, kept)), np.empty(kept)
    for p in range(len(atoms)):
        atom = atoms[p]
        if _gradient_of_gr(gr[p], dd[p], m2, scale, sums, wide, wide_column, dgr, w):
            suspect[atom] = True
        align_gradient(dgr, by_row, row_back, by_column, column_back, w)
        count = np.int64(0)
        for slot in range(starts[-1]):
            count += 1 if filled[atom, slot] else 0
        here = near[p]
        _align_r4(count, here, of_r4, back, w)
        c0, c1, c2, c3 = by_column[0], by_column[1], by_column[2], by_column[3]
        for k in range(count):
            features, slopes = g[p, k, :m1], g[p, k, m1 : 2 * m1]
            e = tops[p, 0, k]
            t0, t1, t2, t3 = whole_dots(
                features, align_scale(e, w), by_row[0], by_row[1], by_row[2], by_row[3])
            dr4[0, k] = cut(t0 * pow2(e + row_back[0]), w)
            dr4[1, k] = cut(t1 * pow2(e + row_back[1]), w)
            dr4[2, k] = cut(t2 * pow2(e + row_back[2]), w)
            dr4[3, k] = cut(t3 * pow2(e + row_back[3]), w)
            a0, a1, a2, a3 = of_r4[0, k], of_r4[1, k], of_r4[2, k], of_r4[3, k]
            unit = back[k]
            for j in range(m1):
                whole = (a0 * c0[j] + a1 * c1[j]) + (a2 * c2[j] + a3 * c3[j])
                dg[j] = cut(whole * (unit * column_back[j]), w)
            if switched:
                factors = gain[kinds[atom, slot_of[p, k]]]
                dr4[5, k] = back_through_switched(
                    dg, g[p, k, 2 * m1 :], factors, here[_K, k], words, w)
            elif len(gain) > 0:
                factors = gain[kinds[atom, slot_of[p, k]]]
                for j in range(m1):
                    dg[j] = mul(dg[j], factors[j], w)
            e, e_slope = largest(dg), tops[p, 1, k]
            whole = whole_dot(slopes, align_scale(e_slope, w), dg, align_scale(e, w))
            dr4[4, k] = cut(whole * pow2(e + e_slope - w.frac2), w)
        _finish(count, here, dr4, kind, numbers, switched, slot_of[p], deriv[atom], w)


@njit
def _align_r4(count, near, of_r4, back, w):
    """The row of s and h*(x, y, z) of each neighbour as whole numbers, and the unit they count."""
    for k in range(count):
        s, x, y, z = near[_S, k], near[_HX, k], near[_HY, k], near[_HZ, k]
        e = exponent_floor(max(magnitude(s), magnitude(x), magnitude(y), magnitude(z)))
        factor = align_scale(e, w)
        back[k] = pow2(e)
        of_r4[0, k], of_r4[1, k] = aligned(s, factor), aligned(x, factor)
        of_r4[2, k], of_r4[3, k] = aligned(y, factor), aligned(z, factor)


@njit
def _finish(count, near, dr4, kind, numbers, switched, slot_of, deriv, w):
    """dE/d(row) and dE/ds to dE/d[u,x,y,z] of each neighbour, into its slot."""
    du = dr4[0]
    for k in range(count):
        ds = add(dr4[4, k], dr4[0, k], w)
        dh = dot3(near[_X, k], near[_Y, k], near[_Z, k], dr4[1, k], dr4[2, k], dr4[3, k], w)
        ds, dh = scaled_back(kind, numbers, ds, dh, w)
        if switched:
            total = dot3(near[_DS, k], near[_DH, k], near[_DK, k], ds, dh, dr4[5, k], w)
        else:
            total = dot2(near[_DS, k], near[_DH, k], ds, dh, w)
        du[k] = flushed(total) + 0.0
        for i in range(1, 4):
            dr4[i, k] = flushed(mul(near[_H, k], dr4[i, k], w)) + 0.0
    for k in range(count):
        for i in range(4):
            deriv[slot_of[k], i] = dr4[i, k]


@njit(nogil=True, cache=True)
def scatter(deriv, rij, index, force, virial, atom_virial, w):
    """Forces and virials in the order of `nvnmd.quantize.forces`, terms of zero left out."""
    n, slots = index.shape
    for i in range(n):
        for slot in range(slots):
            if index[i, slot] >= 0:
                for a in range(3):
                    pull = deriv[i, slot, 0] * (-2.0 * cut(rij[i, slot, a], w))
                    force[i, a] -= pull
                    force[i, a] += deriv[i, slot, 1 + a]
        for slot in range(slots):
            j = index[i, slot]
            if j < 0:
                continue
            for a in range(3):
                twice = -2.0 * cut(rij[i, slot, a], w)
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
