"""The neighbour passes of the float model, compiled; formulas as in `nvnmd.float_model`.

Sums may be taken in any order here: the float model promises digits, not bits.
"""

from __future__ import annotations

import numpy as np
from numba import njit

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


@njit(fastmath=_ANY_ORDER)
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


@njit(fastmath=_ANY_ORDER)
def _embed(s, weights, biases, widths, y, dy, z, dz):
    """G and dG/ds of one neighbour, left in y and dy."""
    y[0], dy[0] = s, 1.0
    for layer in range(len(widths) - 1):
        nin, nout = widths[layer], widths[layer + 1]
        for j in range(nout):
            z[j] = biases[layer, j]
            dz[j] = 0.0
        for i in range(nin):
            yi, dyi, row = y[i], dy[i], weights[layer, i]
            for j in range(nout):
                z[j] += yi * row[j]
                dz[j] += dyi * row[j]
        for j in range(nout):
            t = _tanh(z[j])
            z[j] = t
            dz[j] *= 1.0 - t * t
        if nout == 2 * nin:
            for j in range(nin):
                z[j] += y[j]
                dz[j] += dy[j]
                z[nin + j] += y[j]
                dz[nin + j] += dy[j]
        elif nout == nin:
            for j in range(nin):
                z[j] += y[j]
                dz[j] += dy[j]
        for j in range(nout):
            y[j] = z[j]
            dy[j] = dz[j]


@njit(nogil=True, cache=True, fastmath=_ANY_ORDER)
def forward(
    atoms, kinds, rij, index, starts, mean, deviation, weights, biases, widths, gain, empty, scale,
    rcut_smth, rcut, radial, g, gr,
):
    """Displacements to GR (a, 4, M1) of the atoms numbered `atoms`, all of one type.

    Parameters
    ----------
    atoms : (a,) int64
        Rows of `kinds`, `rij` and `index` (n, m).
    starts : (blocks + 1,) int64
        First slot of each block: one per neighbour type, in version 1 one in all.
    mean, deviation : (2,)
        Statistics of the centre's type.
    weights, biases, widths : (blocks, layers, k, k), (blocks, layers, k), (layers + 1,)
        Embedding nets.
    gain : (ntypes, M1)
        Version 1: factors on G by the neighbour's type; else (0, M1).
    empty : (blocks, M1)
        What an empty slot adds to the first row.
    radial, g : (a, m, 4), (a, m, 2*M1)
        Out: s, h and their derivatives by distance over distance; G and dG/ds.
    """
    m1 = gr.shape[2]
    room = weights.shape[2]
    y, dy, z, dz = np.empty(room), np.empty(room), np.empty(room), np.empty(room)
    span = rcut - rcut_smth
    for p in range(len(atoms)):
        atom = atoms[p]
        total = np.zeros((4, m1))
        count = 0
        for t in range(len(starts) - 1):
            first = count
            for slot in range(starts[t], starts[t + 1]):
                if index[atom, slot] < 0:
                    continue
                dx, dyy, dzz = rij[atom, slot, 0], rij[atom, slot, 1], rij[atom, slot, 2]
                r = np.sqrt(dx * dx + dyy * dyy + dzz * dzz)
                inverse = 1.0 / r
                x = min(max((r - rcut_smth) / span, 0.0), 1.0)
                rest = -6.0 * x * x + 15.0 * x - 10.0
                sw = x * x * x * rest + 1.0
                dsw = (3.0 * x * x * rest + x * x * x * (15.0 - 12.0 * x)) / span
                s = (sw * inverse - mean[0]) / deviation[0]
                h = sw * inverse * inverse / deviation[1]
                radial[p, count, 0] = s
                radial[p, count, 1] = h
                radial[p, count, 2] = (dsw - sw * inverse) * inverse * inverse / deviation[0]
                radial[p, count, 3] = (
                    (dsw - 2.0 * sw * inverse) * inverse * inverse * inverse / deviation[1]
                )
                _embed(s, weights[t], biases[t], widths, y, dy, z, dz)
                if len(gain) > 0:
                    factors = gain[kinds[atom, slot]]
                    for j in range(m1):
                        y[j] *= factors[j]
                        dy[j] *= factors[j]
                for j in range(m1):
                    g[p, count, j] = y[j]
                    g[p, count, m1 + j] = dy[j]
                    total[0, j] += s * y[j]
                    total[1, j] += h * dx * y[j]
                    total[2, j] += h * dyy * y[j]
                    total[3, j] += h * dzz * y[j]
                count += 1
            absent = starts[t + 1] - starts[t] - (count - first)
            for j in range(m1):
                total[0, j] += absent * empty[t, j]
        for i in range(4):
            for j in range(m1):
                gr[p, i, j] = total[i, j] * scale


@njit(nogil=True, cache=True, fastmath=_ANY_ORDER)
def backward(atoms, rij, index, radial, g, dgr, pair):
    """dE/dGR (a, 4, M1) to dE/d(rij) (n, m, 3)."""
    m1 = dgr.shape[2]
    for p in range(len(atoms)):
        atom = atoms[p]
        c0, c1, c2, c3 = dgr[p, 0], dgr[p, 1], dgr[p, 2], dgr[p, 3]
        count = 0
        for slot in range(index.shape[1]):
            if index[atom, slot] < 0:
                continue
            dx, dy, dz = rij[atom, slot, 0], rij[atom, slot, 1], rij[atom, slot, 2]
            s, h = radial[p, count, 0], radial[p, count, 1]
            by_s, by_x, by_y, by_z = 0.0, 0.0, 0.0, 0.0
            for j in range(m1):
                feature, slope = g[p, count, j], g[p, count, m1 + j]
                angular = dx * c1[j] + dy * c2[j] + dz * c3[j]
                by_s += feature * c0[j] + slope * (s * c0[j] + h * angular)
                by_x += feature * c1[j]
                by_y += feature * c2[j]
                by_z += feature * c3[j]
            by_h = by_x * dx + by_y * dy + by_z * dz
            along = by_s * radial[p, count, 2] + by_h * radial[p, count, 3]
            pair[atom, slot, 0] = along * dx + h * by_x
            pair[atom, slot, 1] = along * dy + h * by_y
            pair[atom, slot, 2] = along * dz + h * by_z
            count += 1


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
