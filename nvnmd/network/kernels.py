"""The passes of the float model, compiled; formulas as in `nvnmd.network.model`.

Neighbours of an atom are columns, so that a layer of the embedding net is a matrix product for a
tile of them, values and derivatives side by side. Sums may be taken in any order here: the float
model promises digits, not bits.
"""

from __future__ import annotations

import numpy as np

from nvnmd.compiling import njit
from nvnmd.quantize.compiled.product import product

_LOG2E = 1.4426950408889634
_LN2 = 0.6931471805599453
# 1/n!
_C2 = 0.5
_C3 = 0.16666666666666666
_C4 = 0.041666666666666664
_C5 = 0.008333333333333333
_C6 = 0.001388888888888889
_C7 = 0.0001984126984126984
_C8 = 2.48015873015873e-05
_C9 = 2.7557319223985893e-06
_C10 = 2.755731922398589e-07
_C11 = 2.505210838544172e-08
_C12 = 2.08767569878681e-09
_C13 = 1.6059043836821613e-10
_ANY_ORDER = {"reassoc", "contract", "nsz"}
# error_model="numpy" where there is a division: Python's test for zero would keep the loop from
# becoming vector instructions

TILE = 16
"""Neighbours that go through the embedding net at a time: loops of a fixed length."""

_PAIR = 2 * TILE
_HALF, _ROW, _TWO, _THREE = np.uint64(TILE), np.uint64(_PAIR), np.uint64(2), np.uint64(3)

# rows of `near`: displacement, s and h, their derivatives by distance over distance
# and, with a switched gain, of k
_X, _Y, _Z, _S, _H, _DS, _DH, _DK = range(8)
NEAR_ROWS = 8


@njit(fastmath=_ANY_ORDER, error_model="numpy")
def _tanh(x):
    """1 - 2/(exp(2x) + 1), the exponential by a power of two and its series up to r^13."""
    twice = min(2.0 * abs(x), 60.0)
    k = np.floor(twice * _LOG2E + 0.5)
    r = twice - k * _LN2
    series = _C13
    series = series * r + _C12
    series = series * r + _C11
    series = series * r + _C10
    series = series * r + _C9
    series = series * r + _C8
    series = series * r + _C7
    series = series * r + _C6
    series = series * r + _C5
    series = series * r + _C4
    series = series * r + _C3
    series = series * r + _C2
    series = (series * r + 1.0) * r + 1.0
    power = np.int64((np.int64(k) + 1023) << 52).view(np.float64)
    return np.copysign(1.0 - 2.0 / (power * series + 1.0), x)


@njit(fastmath=_ANY_ORDER, error_model="numpy")
def _environment(count, near, mean, deviation, rcut_smth, rcut):
    """Displacements to the other rows of `near`."""
    span = rcut - rcut_smth
    for k in range(count):
        dx, dy, dz = near[_X, k], near[_Y, k], near[_Z, k]
        r = np.sqrt(dx * dx + dy * dy + dz * dz)
        inverse = 1.0 / r
        x = min(max((r - rcut_smth) / span, 0.0), 1.0)
        rest = -6.0 * x * x + 15.0 * x - 10.0
        sw = x * x * x * rest + 1.0
        dsw = (3.0 * x * x * rest + x * x * x * (15.0 - 12.0 * x)) / span
        square = inverse * inverse
        near[_S, k] = (sw * inverse - mean[0]) / deviation[0]
        near[_H, k] = sw * square / deviation[1]
        near[_DS, k] = (dsw - sw * inverse) * square / deviation[0]
        near[_DH, k] = (dsw - 2.0 * sw * inverse) * square * inverse / deviation[1]


@njit(fastmath=_ANY_ORDER)
def _layer(weights, bias, y, z, nin, nout):
    """``z = weights @ y + bias`` of a tile: four features and four inputs at a time.

    Indices without a sign need no test for negative ones, which would keep the loop from becoming
    vector instructions.
    """
    for j in range(0, nout, 4):
        to0 = np.uint64(j) * _ROW
        to1, to2, to3 = to0 + _ROW, to0 + _ROW * _TWO, to0 + _ROW * _THREE
        for k in range(_ROW):
            value = k < _HALF
            z[to0 + k] = bias[j] if value else 0.0
            z[to1 + k] = bias[j + 1] if value else 0.0
            z[to2 + k] = bias[j + 2] if value else 0.0
            z[to3 + k] = bias[j + 3] if value else 0.0
        w0, w1, w2, w3 = weights[j], weights[j + 1], weights[j + 2], weights[j + 3]
        for i in range(0, nin, 4):
            of0 = np.uint64(i) * _ROW
            of1, of2, of3 = of0 + _ROW, of0 + _ROW * _TWO, of0 + _ROW * _THREE
            a00, a01, a02, a03 = w0[i], w0[i + 1], w0[i + 2], w0[i + 3]
            a10, a11, a12, a13 = w1[i], w1[i + 1], w1[i + 2], w1[i + 3]
            a20, a21, a22, a23 = w2[i], w2[i + 1], w2[i + 2], w2[i + 3]
            a30, a31, a32, a33 = w3[i], w3[i + 1], w3[i + 2], w3[i + 3]
            for k in range(_ROW):
                b0, b1, b2, b3 = y[of0 + k], y[of1 + k], y[of2 + k], y[of3 + k]
                z[to0 + k] += a00 * b0 + a01 * b1 + a02 * b2 + a03 * b3
                z[to1 + k] += a10 * b0 + a11 * b1 + a12 * b2 + a13 * b3
                z[to2 + k] += a20 * b0 + a21 * b1 + a22 * b2 + a23 * b3
                z[to3 + k] += a30 * b0 + a31 * b1 + a32 * b2 + a33 * b3


@njit(fastmath=_ANY_ORDER, error_model="numpy")
def _activate(z, share, before):
    """One feature of a tile: tanh and its slope, and what skips the layer."""
    for k in range(TILE):
        t = _tanh(z[k])
        z[k] = t + share * before[k]
        z[TILE + k] = z[TILE + k] * (1.0 - t * t) + share * before[TILE + k]


@njit(fastmath=_ANY_ORDER, error_model="numpy")
def _embed(s, weights, biases, widths, y, z, out, first):
    """G and dG/ds of `TILE` neighbours of one type, into columns of `out` (M1, 2, columns).

    y and z hold a tile feature by feature, values beside derivatives; what lies beyond a layer's
    last feature, up to a multiple of four, meets weights of zero.
    """
    y[: 4 * _PAIR] = 0.0
    for k in range(TILE):
        y[k], y[TILE + k] = s[first + k], 1.0
    for layer in range(len(widths) - 1):
        nin, nout = widths[layer], widths[layer + 1]
        _layer(weights[layer], biases[layer], y, z, (nin + 3) // 4 * 4, (nout + 3) // 4 * 4)
        share = 1.0 if (nout == nin or nout == 2 * nin) else 0.0
        for j in range((nout + 3) // 4 * 4):
            # only looked at where the layer doubles its inputs or keeps their number
            before = j - nin if nin <= j < 2 * nin else 0 if j >= nin else j
            _activate(z[j * _PAIR : (j + 1) * _PAIR], share,
                      y[before * _PAIR : (before + 1) * _PAIR])
        y, z = z, y
    for j in range(widths[-1]):
        of = y[j * _PAIR : (j + 1) * _PAIR]
        for k in range(TILE):
            out[j, 0, first + k], out[j, 1, first + k] = of[k], of[TILE + k]


@njit(fastmath=_ANY_ORDER)
def _moments(count, g, near, scale, hx, hy, hz, gr):
    """GR from G and the neighbours' s and h * (x, y, z)."""
    s = near[_S]
    for k in range(count):
        h = near[_H, k]
        hx[k], hy[k], hz[k] = h * near[_X, k], h * near[_Y, k], h * near[_Z, k]
    for j in range(gr.shape[1]):
        row = g[j, 0]
        t0, t1, t2, t3 = 0.0, 0.0, 0.0, 0.0
        for k in range(count):
            t0 += s[k] * row[k]
            t1 += hx[k] * row[k]
            t2 += hy[k] * row[k]
            t3 += hz[k] * row[k]
        gr[0, j] += t0 * scale
        gr[1, j], gr[2, j], gr[3, j] = t1 * scale, t2 * scale, t3 * scale


@njit(nogil=True, cache=True, fastmath=_ANY_ORDER, error_model="numpy")
def forward(
    atoms, kinds, rij, index, starts, mean, deviation, weights, biases, widths, gain, empty, scale,
    rcut_smth, rcut, m2, slot_of, near, g, gr, d,
):
    """Displacements to descriptor of the atoms numbered `atoms`, all of one type.

    Parameters
    ----------
    atoms : (a,) int64
        Rows of `kinds`, `rij` and `index` (n, m).
    starts : (blocks + 1,) int64
        First slot of each block: one per neighbour type, in version 1 one in all.
    mean, deviation : (2,)
        Statistics of the centre's type.
    weights, biases, widths : (blocks, layers, k, k), (blocks, layers, k), (layers + 1,)
        Embedding nets, matrices transposed.
    gain : (ntypes, M1)
        Version 1: factors on G by the neighbour's type; else (0, M1).
    empty : (blocks, M1)
        What an empty slot adds to the first row.
    slot_of, near, g : (a, m), (a, NEAR_ROWS, columns), (a, M1, 2 or 3, columns)
        Out: packed neighbours: their slots, their numbers, G and dG/ds; m + TILE columns or more.
        With a third, the gain is switched off with distance (SUB_VERSION 2), and it is dG/dk.
    gr, d : (a, 4, M1), (a, M1*M2 or more)
        Out.
    """
    m1, kept = gr.shape[2], near.shape[2]
    y, z = np.zeros(weights.shape[2] * _PAIR), np.zeros(weights.shape[2] * _PAIR)
    hx, hy, hz = np.empty(kept), np.empty(kept), np.empty(kept)
    wide = np.empty((4, m1 + m2))
    for p in range(len(atoms)):
        atom = atoms[p]
        here, slots, out = near[p], slot_of[p], gr[p]
        ends = np.int64(0)
        for t in range(len(starts) - 1):
            first = ends
            for slot in range(starts[t], starts[t + 1]):
                if index[atom, slot] >= 0:
                    slots[ends] = slot
                    here[_X, ends], here[_Y, ends] = rij[atom, slot, 0], rij[atom, slot, 1]
                    here[_Z, ends] = rij[atom, slot, 2]
                    ends += 1
        count = ends
        _environment(count, here, mean, deviation, rcut_smth, rcut)
        for j in range(m1):
            out[0, j] = 0.0
        first = np.int64(0)
        for t in range(len(starts) - 1):
            last = first
            while last < count and slots[last] < starts[t + 1]:
                last += 1
            # what a tile has too many, the next one overwrites
            for k in range(first, last, TILE):
                _embed(here[_S], weights[t], biases[t], widths, y, z, g[p], k)
            absent = (starts[t + 1] - starts[t] - (last - first)) * scale
            for j in range(m1):
                out[0, j] += absent * empty[t, j]
            first = last
        if g.shape[2] == 3:
            _switch_types(count, here, mean, deviation, rcut_smth, kinds[atom], slots, gain, g[p])
        elif len(gain) > 0:
            for k in range(count):
                factors = gain[kinds[atom, slots[k]]]
                for j in range(m1):
                    g[p, j, 0, k] *= factors[j]
                    g[p, j, 1, k] *= factors[j]
        _moments(count, g[p], here, scale, hx, hy, hz, out)
        _describe(out, m2, wide, d[p])


@njit(fastmath=_ANY_ORDER)
def _switch_types(count, near, mean, deviation, rcut_smth, kinds, slots, gain, g):
    """G and dG/ds of neighbours times 1 + gain*k, and dG/dk; see `nets.type_switch`."""
    for k in range(count):
        q = max(1.0 - rcut_smth * (near[_S, k] * deviation[0] + mean[0]), 0.0)
        near[_DK, k] = 3.0 * rcut_smth * q * q * near[_DS, k] * deviation[0]
        share, factors = 1.0 - q * q * q, gain[kinds[slots[k]]]
        for j in range(g.shape[0]):
            g[j, 2, k] = g[j, 0, k] * factors[j]
            g[j, 0, k] *= 1.0 + share * factors[j]
            g[j, 1, k] *= 1.0 + share * factors[j]


@njit(fastmath=_ANY_ORDER)
def _describe(gr, m2, wide, d):
    """D of one atom's GR; columns wrap around."""
    m1 = gr.shape[1]
    for i in range(4):
        _widen(gr[i], 0, wide[i])
    for k in range(m2):
        # slices, because an index that is a sum keeps a loop from becoming vector instructions
        w0, w1, w2, w3 = wide[0, k:], wide[1, k:], wide[2, k:], wide[3, k:]
        for j in range(m1):
            d[j * m2 + k] = (wide[0, j] * w0[j] + wide[1, j] * w1[j]) + (
                wide[2, j] * w2[j] + wide[3, j] * w3[j])


@njit
def _widen(x, before, out):
    """x over and over; its first number comes after `before` others."""
    at = (-before) % len(x)
    for j in range(len(out)):
        out[j] = x[at]
        at = at + 1 if at + 1 < len(x) else 0


@njit(fastmath=_ANY_ORDER)
def _describe_gradient(gr, dd, m2, scale, column, wide, wide_column, dgr):
    """dE/dGR of one atom from dE/dD, times `scale`: both factors of the product."""
    m1 = gr.shape[1]
    for k in range(m2):
        for j in range(m1):
            column[j] = dd[j * m2 + k] * scale
        _widen(column, m2, wide_column[k])
    for i in range(4):
        _widen(gr[i], m2, wide)
        out = dgr[i]
        for j in range(m1):
            out[j] = 0.0
        for k in range(m2):
            ahead, factor = wide[m2 + k :], wide_column[k, m2:]
            behind, factor_behind = wide[m2 - k :], wide_column[k, m2 - k :]
            for j in range(m1):
                out[j] += ahead[j] * factor[j] + behind[j] * factor_behind[j]


@njit(nogil=True, cache=True, fastmath=_ANY_ORDER)
def fit(atoms, d, widths, ahead, back, bias, last, last_bias, slopes, x, total, g, energy):
    """Descriptors (a, k) to energies (n,); dE/dD takes the place of the descriptors.

    Parameters
    ----------
    widths, ahead, back, bias : (layers + 1,), (layers, k, k), (layers, k, k), (layers, k)
        Hidden layers, their matrices and the transposed ones.
    last, last_bias : (k,), float
        The layer with one output.
    slopes, x, total, g : (layers, a, k), (a, k), (a, k), (a, k)
        Room, for a multiple of four atoms.
    """
    count, layers = len(atoms), len(widths) - 1
    # whole groups of four rows; what is left in the last ones is not used
    rows = (count + 3) // 4 * 4
    x[:count] = d[:count]
    for layer in range(layers):
        nin, nout = widths[layer], widths[layer + 1]
        product(x, ahead[layer], total, rows, nin, nout)
        skip = layer > 0 and nin == nout
        for p in range(count):
            of, to, slope = total[p], x[p], slopes[layer, p]
            for j in range(nout):
                v = of[j] + bias[layer, j]
                a = min(abs(v), 2.0)
                square = a * a
                y = np.copysign(square * (square * 0.0625 - a * 0.25) + a, v)
                slope[j] = square * (a * 0.25 - 0.75) + 1.0
                to[j] = y + to[j] if skip else y
    width = widths[layers]
    for p in range(count):
        out = last_bias
        for j in range(width):
            out += x[p, j] * last[j]
            g[p, j] = last[j]
        energy[atoms[p]] = out
    for layer in range(layers - 1, -1, -1):
        nin, nout = widths[layer], widths[layer + 1]
        for p in range(count):
            for j in range(nout):
                x[p, j] = g[p, j] * slopes[layer, p, j]
        product(x, back[layer], total, rows, nout, nin)
        skip = layer > 0 and nin == nout
        for p in range(count):
            for j in range(nin):
                g[p, j] = total[p, j] + g[p, j] if skip else total[p, j]
    d[:count] = g[:count]


@njit(nogil=True, cache=True, fastmath=_ANY_ORDER)
def backward(atoms, starts, index, m2, scale, slot_of, near, g, gr, dd, pair):
    """dE/dD to dE/d(rij) (n, m, 3), for what `forward` left."""
    m1, kept = gr.shape[2], near.shape[2]
    parts = g.shape[2]
    dgr, by = np.empty((4, m1)), np.empty((4, parts * kept))
    column, wide = np.empty(m1), np.empty(m1 + 2 * m2)
    wide_column = np.empty((m2, m1 + 2 * m2))
    for p in range(len(atoms)):
        atom = atoms[p]
        _describe_gradient(gr[p], dd[p], m2, scale, column, wide, wide_column, dgr)
        product(dgr, g[p].reshape(m1, parts * kept), by, 4, m1, parts * kept)
        count = np.int64(0)
        for slot in range(starts[-1]):
            count += 1 if index[atom, slot] >= 0 else 0
        here = near[p]
        by_s, by_x, by_y, by_z = by[0], by[1], by[2], by[3]
        for k in range(count):
            dx, dy, dz = here[_X, k], here[_Y, k], here[_Z, k]
            s, h = here[_S, k], here[_H, k]
            angular = dx * by_x[kept + k] + dy * by_y[kept + k] + dz * by_z[kept + k]
            ds = by_s[k] + s * by_s[kept + k] + h * angular
            dh = by_x[k] * dx + by_y[k] * dy + by_z[k] * dz
            along = ds * here[_DS, k] + dh * here[_DH, k]
            if parts == 3:
                turned = dx * by_x[2 * kept + k] + dy * by_y[2 * kept + k] + dz * by_z[2 * kept + k]
                along += (s * by_s[2 * kept + k] + h * turned) * here[_DK, k]
            by_x[k] = along * dx + h * by_x[k]
            by_y[k] = along * dy + h * by_y[k]
            by_z[k] = along * dz + h * by_z[k]
        for k in range(count):
            out = pair[atom, slot_of[p, k]]
            out[0], out[1], out[2] = by_x[k], by_y[k], by_z[k]


@njit(nogil=True, cache=True)
def scatter(pair, rij, index, force, atom_virial):
    """Forces and atomic virials of dE/d(rij); the virial goes to the neighbour."""
    n, slots = index.shape
    for i in range(n):
        for slot in range(slots):
            j = index[i, slot]
            if j < 0:
                continue
            for a in range(3):
                slope = pair[i, slot, a]
                force[i, a] += slope
                force[j, a] -= slope
                for b in range(3):
                    atom_virial[j, a, b] -= slope * rij[i, slot, b]
