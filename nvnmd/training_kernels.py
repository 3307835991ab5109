"""The neighbour passes of the float model's training, compiled; formulas in docs/training_speed.md.

Sums may be taken in any order here, but it is the same order in every run. Every pass works on a
range of atoms, so that threads can share them; what atoms add to common arrays goes to one array
per range.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nvnmd.compiled_tanh import tanh

_ANY_ORDER = {"reassoc", "contract", "nsz"}

TILE = 128
"""Pairs that go through the layers of an embedding net together. Matrix products of so few rows
are below the size from which OpenBLAS starts threads of its own."""


@njit(error_model="numpy", fastmath=_ANY_ORDER)
def _embed(low, high, net, widths, store):
    """Every layer of one embedding net for the pairs `low` to `high` of `store`."""
    pairs = len(store) // (2 * widths.sum())
    at, start = 0, 0
    for k in range(len(widths) - 1):
        nin, nout = widths[k], widths[k + 1]
        before = store[start + 2 * low * nin : start + 2 * high * nin].reshape(-1, nin)
        start += 2 * pairs * nin
        after = store[start + 2 * low * nout : start + 2 * high * nout].reshape(-1, nout)
        np.dot(before, net[at : at + nin * nout].reshape(nin, nout), after)
        at += nin * nout
        bias = net[at : at + nout]
        at += nout
        adds = nout == 2 * nin or nout == nin
        # a layer that adds its input does so to each stretch of that width
        width = nin if adds else nout
        for p in range(high - low):
            y, dy = before[2 * p], before[2 * p + 1]
            for first in range(0, nout, width):
                z = after[2 * p, first : first + width]
                dz = after[2 * p + 1, first : first + width]
                shift = bias[first : first + width]
                if adds:
                    for j in range(width):
                        t = tanh(z[j] + shift[j])
                        z[j] = t + y[j]
                        dz[j] = dz[j] * (1.0 - t * t) + dy[j]
                else:
                    for j in range(width):
                        t = tanh(z[j] + shift[j])
                        z[j] = t
                        dz[j] *= 1.0 - t * t


@njit(error_model="numpy", fastmath=_ANY_ORDER)
def _embed_backward(low, high, net, widths, store, bar, to_net):
    """Add the gradient by one net's weights to `to_net`.

    `bar` (2 n, M1) holds the gradients by G and by dG/ds in turn; it is overwritten.
    """
    pairs = len(store) // (2 * widths.sum())
    rows = 2 * (high - low)
    start = 2 * pairs * (widths.sum() - widths[-1])
    at = len(net)
    for k in range(len(widths) - 2, -1, -1):
        nin, nout = widths[k], widths[k + 1]
        after = store[start + 2 * low * nout : start + 2 * high * nout].reshape(-1, nout)
        start -= 2 * pairs * nin
        before = store[start + 2 * low * nin : start + 2 * high * nin].reshape(-1, nin)
        at -= nout
        to_bias = to_net[at : at + nout]
        copies = 2 if nout == 2 * nin else (1 if nout == nin else 0)
        # what tanh alone gave: the output less the input that was added
        if copies:
            for row in range(rows):
                y, z = before[row], after[row]
                for j in range(nin):
                    z[j] -= y[j]
                for j in range(nin, nout):
                    z[j] -= y[j - nin]
        space = np.empty((rows, nout))
        for p in range(high - low):
            t, dt, g, dg = after[2 * p], after[2 * p + 1], bar[2 * p], bar[2 * p + 1]
            one, two = space[2 * p], space[2 * p + 1]
            for j in range(nout):
                inner = 1.0 - t[j] * t[j]
                # (1 - t^2) z' is dt, so the second derivative of tanh needs no division
                one[j] = g[j] * inner - 2.0 * t[j] * dt[j] * dg[j]
                two[j] = dg[j] * inner
            for j in range(nout):
                to_bias[j] += one[j]
        at -= nin * nout
        part = np.dot(before.T, space)
        for i in range(nin):
            for j in range(nout):
                to_net[at + i * nout + j] += part[i, j]
        if k > 0:
            back = np.dot(space, net[at : at + nin * nout].reshape(nin, nout).T)
            for c in range(copies):
                for row in range(rows):
                    for i in range(nin):
                        back[row, i] += bar[row, c * nin + i]
            bar = back


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def embed(
    low, high, kinds, centers, rij, mean, deviation, rcut_smth, rcut, net, widths, radial, store
):
    """Radial functions and embedding of the pairs `low` to `high`, all of one net.

    Parameters
    ----------
    kinds : (a,) int64
        Types of the atoms.
    centers, rij : (p,), (p, 3)
        Centre of each pair, displacement in Å.
    mean, deviation : (ntypes, 2)
        Statistics.
    net, widths : (numbers,), (layers + 1,)
        The embedding net, weights and bias of each layer in turn; widths from 1 on.
    radial : (p, 4)
        Out: s, h and their derivatives by distance over distance.
    store : (2 p * sum(widths),)
        Out: one array (2 p, width) for the input and every layer, the rows of a pair being the
        value and its derivative by s.
    """
    span = rcut - rcut_smth
    for begin in range(low, high, TILE):
        end = min(begin + TILE, high)
        for p in range(begin, end):
            kind = kinds[centers[p]]
            x, y, z = rij[p, 0], rij[p, 1], rij[p, 2]
            r = np.sqrt(x * x + y * y + z * z)
            inverse = 1.0 / r
            w = min(max((r - rcut_smth) / span, 0.0), 1.0)
            rest = -6.0 * w * w + 15.0 * w - 10.0
            sw = w * w * w * rest + 1.0
            dsw = (3.0 * w * w * rest + w * w * w * (15.0 - 12.0 * w)) / span
            s = (sw * inverse - mean[kind, 0]) / deviation[kind, 0]
            radial[p, 0] = s
            radial[p, 1] = sw * inverse * inverse / deviation[kind, 1]
            radial[p, 2] = (dsw - sw * inverse) * inverse * inverse / deviation[kind, 0]
            radial[p, 3] = (
                (dsw - 2.0 * sw * inverse) * inverse * inverse * inverse / deviation[kind, 1]
            )
            store[2 * p] = s
            store[2 * p + 1] = 1.0
        _embed(begin, end, net, widths, store)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def gather(
    low, high, kinds, begin, counts, neighbors, rij, gains, empty, sel, scale, radial, features, gr
):
    """GR (a, 4, M1) of the atoms `low` to `high`.

    Parameters
    ----------
    begin, counts : (a, blocks) int64
        First pair of each atom per embedding net, and how many there are.
    gains : (ntypes * ntypes, M1)
        Version 1: factors on G by centre and neighbour; else (0, M1).
    empty : (ntypes, blocks, M1)
        What an empty slot adds to the first row.
    sel : (blocks,) int64
        Slots.
    features : (p, 2, M1)
        G and dG/ds.
    """
    m1 = gr.shape[2]
    ntypes = len(empty)
    total = np.empty((4, m1))
    t0, t1, t2, t3 = total[0], total[1], total[2], total[3]
    v = np.empty(m1)
    for atom in range(low, high):
        kind = kinds[atom]
        total[:] = 0.0
        for t in range(len(sel)):
            for p in range(begin[atom, t], begin[atom, t] + counts[atom, t]):
                s, h = radial[p, 0], radial[p, 1]
                x, y, z = h * rij[p, 0], h * rij[p, 1], h * rij[p, 2]
                g = features[p, 0]
                if len(gains) > 0:
                    factors = gains[kind * ntypes + kinds[neighbors[p]]]
                    for j in range(m1):
                        v[j] = g[j] * factors[j]
                    g = v
                for j in range(m1):
                    t0[j] += s * g[j]
                    t1[j] += x * g[j]
                    t2[j] += y * g[j]
                    t3[j] += z * g[j]
            absent = sel[t] - counts[atom, t]
            for j in range(m1):
                t0[j] += absent * empty[kind, t, j]
        for i in range(4):
            for j in range(m1):
                gr[atom, i, j] = total[i, j] * scale


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def pair_gradients(low, high, kinds, centers, neighbors, rij, ntypes, gains, radial, features, dgr,
                   pair):
    """dE/d(rij) (p, 3) from dE/d(R4^T G) (a, 4, M1), of the pairs `low` to `high`."""
    m1 = dgr.shape[2]
    v, dv = np.empty(m1), np.empty(m1)
    for p in range(low, high):
        atom = centers[p]
        c0, c1, c2, c3 = dgr[atom, 0], dgr[atom, 1], dgr[atom, 2], dgr[atom, 3]
        x, y, z = rij[p, 0], rij[p, 1], rij[p, 2]
        s, h = radial[p, 0], radial[p, 1]
        g, dg = features[p, 0], features[p, 1]
        if len(gains) > 0:
            factors = gains[kinds[atom] * ntypes + kinds[neighbors[p]]]
            for j in range(m1):
                v[j], dv[j] = g[j] * factors[j], dg[j] * factors[j]
            g, dg = v, dv
        by_s, by_x, by_y, by_z = 0.0, 0.0, 0.0, 0.0
        for j in range(m1):
            angular = x * c1[j] + y * c2[j] + z * c3[j]
            by_s += g[j] * c0[j] + dg[j] * (s * c0[j] + h * angular)
            by_x += g[j] * c1[j]
            by_y += g[j] * c2[j]
            by_z += g[j] * c3[j]
        along = by_s * radial[p, 2] + (by_x * x + by_y * y + by_z * z) * radial[p, 3]
        pair[p, 0] = along * x + h * by_x
        pair[p, 1] = along * y + h * by_y
        pair[p, 2] = along * z + h * by_z


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def scatter(frames, centers, neighbors, rij, pair, force, virial):
    """Add forces (a, 3) and virials (f, 3, 3) of dE/d(rij)."""
    for p in range(len(pair)):
        atom, other = centers[p], neighbors[p]
        frame = frames[atom]
        for a in range(3):
            force[atom, a] += pair[p, a]
            force[other, a] -= pair[p, a]
            for b in range(3):
                virial[frame, a, b] -= pair[p, a] * rij[p, b]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def tangents(
    low, high, kinds, frames, begin, counts, neighbors, rij, ntypes, gains, radial, features,
    by_force, by_virial, scale, rates, turn,
):
    """Change of GR (a, 4, M1) where each pair moves along its gradient of the loss.

    Parameters
    ----------
    by_force, by_virial : (a, 3), (f, 3, 3)
        Gradients of the loss.
    rates : (p, 4)
        Out: changes of R4; the first is that of s.
    turn : (a, 4, M1)
        Out.
    """
    m1 = turn.shape[2]
    total = np.empty((4, m1))
    t0, t1, t2, t3 = total[0], total[1], total[2], total[3]
    v, dv = np.empty(m1), np.empty(m1)
    for atom in range(low, high):
        total[:] = 0.0
        w = by_virial[frames[atom]]
        for t in range(counts.shape[1]):
            for p in range(begin[atom, t], begin[atom, t] + counts[atom, t]):
                other = neighbors[p]
                x, y, z = rij[p, 0], rij[p, 1], rij[p, 2]
                s, h = radial[p, 0], radial[p, 1]
                qx = by_force[atom, 0] - by_force[other, 0]
                qy = by_force[atom, 1] - by_force[other, 1]
                qz = by_force[atom, 2] - by_force[other, 2]
                qx -= w[0, 0] * x + w[0, 1] * y + w[0, 2] * z
                qy -= w[1, 0] * x + w[1, 1] * y + w[1, 2] * z
                qz -= w[2, 0] * x + w[2, 1] * y + w[2, 2] * z
                along = qx * x + qy * y + qz * z
                ds, dh = along * radial[p, 2], along * radial[p, 3]
                dx, dy, dz = dh * x + h * qx, dh * y + h * qy, dh * z + h * qz
                rates[p, 0], rates[p, 1], rates[p, 2], rates[p, 3] = ds, dx, dy, dz
                g, dg = features[p, 0], features[p, 1]
                if len(gains) > 0:
                    factors = gains[kinds[atom] * ntypes + kinds[other]]
                    for j in range(m1):
                        v[j], dv[j] = g[j] * factors[j], dg[j] * factors[j]
                    g, dg = v, dv
                # s and so on times dG, the change of G
                es, ex, ey, ez = ds * s, ds * h * x, ds * h * y, ds * h * z
                for j in range(m1):
                    t0[j] += ds * g[j] + es * dg[j]
                    t1[j] += dx * g[j] + ex * dg[j]
                    t2[j] += dy * g[j] + ey * dg[j]
                    t3[j] += dz * g[j] + ez * dg[j]
        for i in range(4):
            for j in range(m1):
                turn[atom, i, j] = total[i, j] * scale


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def embed_backward(
    low, high, kinds, centers, neighbors, rij, ntypes, gains, radial, rates, by_gr, dgr, net,
    widths, store, to_net, to_gains,
):
    """Gradient of the loss by one embedding net from the pairs `low` to `high`.

    Parameters
    ----------
    by_gr : (a, 4, M1)
        Gradient of the loss by R4^T G.
    dgr : (a, 4, M1)
        Gradient by its change, which is dE/d(R4^T G).
    store : as `embed` leaves it
        The layers' outputs are overwritten.
    to_net, to_gains : as `net` and `gains`
        What is added to.
    """
    m1 = dgr.shape[2]
    features = store[len(store) - 2 * len(radial) * m1 :].reshape(-1, 2, m1)
    bar = np.empty((2 * TILE, m1))
    for begin in range(low, high, TILE):
        end = min(begin + TILE, high)
        for p in range(begin, end):
            atom = centers[p]
            b0, b1, b2, b3 = by_gr[atom, 0], by_gr[atom, 1], by_gr[atom, 2], by_gr[atom, 3]
            c0, c1, c2, c3 = dgr[atom, 0], dgr[atom, 1], dgr[atom, 2], dgr[atom, 3]
            s, h = radial[p, 0], radial[p, 1]
            x, y, z = h * rij[p, 0], h * rij[p, 1], h * rij[p, 2]
            ds, dx, dy, dz = rates[p, 0], rates[p, 1], rates[p, 2], rates[p, 3]
            es, ex, ey, ez = ds * s, ds * x, ds * y, ds * z
            one, two = bar[2 * (p - begin)], bar[2 * (p - begin) + 1]
            for j in range(m1):
                one[j] = (
                    (s * b0[j] + x * b1[j] + y * b2[j] + z * b3[j])
                    + (ds * c0[j] + dx * c1[j] + dy * c2[j] + dz * c3[j])
                )
                two[j] = es * c0[j] + ex * c1[j] + ey * c2[j] + ez * c3[j]
            if len(gains) > 0:
                which = kinds[atom] * ntypes + kinds[neighbors[p]]
                g, dg, factors, to = features[p, 0], features[p, 1], gains[which], to_gains[which]
                for j in range(m1):
                    to[j] += g[j] * one[j] + dg[j] * two[j]
                    one[j] *= factors[j]
                    two[j] *= factors[j]
        _embed_backward(begin, end, net, widths, store, bar[: 2 * (end - begin)], to_net)


@njit(cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def embed_points(s, net, widths, store):
    """Layers of an embedding net at some `s`, in `store` as in `embed`."""
    for p in range(len(s)):
        store[2 * p] = s[p]
        store[2 * p + 1] = 1.0
    _embed(0, len(s), net, widths, store)


@njit(cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def embed_points_backward(by_g, net, widths, store, to_net):
    """Add the gradient by a net from that by its features at the points of `embed_points`."""
    bar = np.zeros((2 * len(by_g), by_g.shape[1]))
    for p in range(len(by_g)):
        bar[2 * p] = by_g[p]
    _embed_backward(0, len(by_g), net, widths, store, bar, to_net)
