"""The neighbour passes of the float model's training, compiled; formulas in docs/training_speed.md.

Sums may be taken in any order here, but it is the same order in every run. Every pass works on a
range of pairs or atoms, so that threads can share them; what goes to common arrays goes to one
array per range. Inner loops write one array each: with more of them the compiler would have to
compare too many addresses, and would give up vector instructions.

Shared pairs (`nvnmd.training.continuous.pair_lists`) serve both their atoms: seen from the second
one the displacement is turned round, so what is odd in it changes its sign.
"""

from __future__ import annotations

import numpy as np

from nvnmd.compiling import njit
from nvnmd.training.continuous.embedding_kernels import (
    TILE,
    begin_tile,
    embed_tile,
    embed_tile_backward,
)

_ANY_ORDER = {"reassoc", "contract", "nsz"}


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def radial(low, high, kinds, centers, rij, mean, deviation, rcut_smth, rcut, r4, slopes):
    """Radial functions of the pairs `low` to `high`.

    Parameters
    ----------
    kinds : (a,) int64
        Types of the atoms.
    centers, rij : (p,), (p, 3)
        Centre of each pair, -1 where there is none; displacement in Å.
    mean, deviation : (ntypes, 2)
        Statistics.
    r4, slopes : (p, 4), (p, 3)
        Out: the row of R4; h and the derivatives of s and h by distance over distance.
    """
    span = rcut - rcut_smth
    for p in range(low, high):
        if centers[p] < 0:
            r4[p, 0] = 0.0
            continue
        kind = kinds[centers[p]]
        x, y, z = rij[p, 0], rij[p, 1], rij[p, 2]
        r = np.sqrt(x * x + y * y + z * z)
        inverse = 1.0 / r
        w = min(max((r - rcut_smth) / span, 0.0), 1.0)
        rest = -6.0 * w * w + 15.0 * w - 10.0
        sw = w * w * w * rest + 1.0
        dsw = (3.0 * w * w * rest + w * w * w * (15.0 - 12.0 * w)) / span
        s = (sw * inverse - mean[kind, 0]) / deviation[kind, 0]
        h = sw * inverse * inverse / deviation[kind, 1]
        r4[p, 0], r4[p, 1], r4[p, 2], r4[p, 3] = s, h * x, h * y, h * z
        slopes[p, 0] = h
        slopes[p, 1] = (dsw - sw * inverse) * inverse * inverse / deviation[kind, 0]
        slopes[p, 2] = (dsw - 2.0 * sw * inverse) * inverse * inverse * inverse / deviation[kind, 1]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def embed(low, high, s, net, widths, store, features):
    """One embedding net at the points of the tiles `low` to `high`.

    Parameters
    ----------
    s : (p,)
        The points; the last tile may be less than full.
    net, widths : (numbers,), (layers + 1,)
        See `nvnmd.training.continuous.embedding_kernels.embed_tile`, like `store` (tiles, n) and
        `features` (p, 2, M1), which ends with a whole tile.
    """
    last = np.empty((widths[-1], 2 * TILE))
    for tile in range(low, high):
        begin_tile(store[tile])
        for q in range(TILE):
            p = tile * TILE + q
            store[tile, q] = s[p] if p < len(s) else 0.0
        embed_tile(net, widths, store[tile], last, features[tile * TILE : (tile + 1) * TILE])


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def fades(low, high, kinds, centers, mean, deviation, rcut_smth, r4, fade):
    """SUB_VERSION 2: how much of the types' part is left, and its derivative by s (p, 2).

    Seen from a pair, k is a function of s alone: ``1 - (1 - rcut_smth*radial)^3``, the radial value
    being that before it is normalised.
    """
    for p in range(low, high):
        if centers[p] < 0:
            fade[p, 0], fade[p, 1] = 0.0, 0.0
            continue
        kind = kinds[centers[p]]
        width = deviation[kind, 0]
        q = max(1.0 - rcut_smth * (r4[p, 0] * width + mean[kind, 0]), 0.0)
        fade[p, 0], fade[p, 1] = 1.0 - q * q * q, 3.0 * rcut_smth * q * q * width


# part of its callers, see `_by_r4`
@njit(forceinline=True, error_model="numpy", fastmath=_ANY_ORDER)
def back_through_gains(g, dg, factors, fade, p, one, two, to):
    """Gradients by G and dG/ds behind the gains of a pair's types to those before, in place.

    `to` takes what belongs to the gains; `fade` has no rows where they do not fade.
    """
    if len(fade) == 0:
        for j in range(len(one)):
            to[j] += g[j] * one[j] + dg[j] * two[j]
        for j in range(len(one)):
            one[j] *= factors[j]
        for j in range(len(two)):
            two[j] *= factors[j]
        return
    k, slope = fade[p, 0], fade[p, 1]
    for j in range(len(one)):
        to[j] += k * (g[j] * one[j] + dg[j] * two[j]) + slope * g[j] * two[j]
    for j in range(len(one)):
        one[j] += factors[j] * (k * one[j] + slope * two[j])
    for j in range(len(two)):
        two[j] *= 1.0 + k * factors[j]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def apply_gains(low, high, gain_of, gains, fade, features, scaled):
    """Version 1: features of the pairs `low` to `high` times the factors of their types.

    With `fade` (p, 2), of `fades`, times 1 and the gains as far as they have not faded.
    """
    if len(fade) > 0:
        for p in range(low, high):
            factors, k, slope = gains[gain_of[p]], fade[p, 0], fade[p, 1]
            g, dg, of_g, of_dg = features[p, 0], features[p, 1], scaled[p, 0], scaled[p, 1]
            for j in range(len(factors)):
                of_g[j] = g[j] * (1.0 + k * factors[j])
            for j in range(len(factors)):
                of_dg[j] = dg[j] * (1.0 + k * factors[j]) + slope * g[j] * factors[j]
        return
    for p in range(low, high):
        factors = gains[gain_of[p]]
        for half in range(2):
            for j in range(len(factors)):
                scaled[p, half, j] = features[p, half, j] * factors[j]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def gather(low, high, kinds, begin, counts, slots, empty, sel, scale, r4, features, gr):
    """GR (a, 4, M1) of the atoms `low` to `high`.

    Parameters
    ----------
    begin, counts, slots : (a, blocks), (a, blocks), (n,) int64
        See `nvnmd.training.continuous.pair_lists.PairLists`.
    empty : (ntypes, blocks, M1)
        What an empty slot adds to the first row.
    sel : (blocks,) int64
        Slots.
    """
    m1 = gr.shape[2]
    total = np.empty((4, m1))
    for atom in range(low, high):
        kind = kinds[atom]
        total[:] = 0.0
        for t in range(len(sel)):
            for n in range(begin[atom, t], begin[atom, t] + counts[atom, t]):
                p, sign = slots[n], 1.0
                if p < 0:
                    p, sign = ~p, -1.0
                g = features[p, 0]
                for i in range(4):
                    row, factor = total[i], r4[p, i] * (sign if i > 0 else 1.0)
                    for j in range(m1):
                        row[j] += factor * g[j]
            absent = sel[t] - counts[atom, t]
            for j in range(m1):
                total[0, j] += absent * empty[kind, t, j]
        for i in range(4):
            for j in range(m1):
                gr[atom, i, j] = total[i, j] * scale


# made part of its callers: otherwise the process that compiles them would run its own copy of this
# function, with another order of sums than the copy in what it leaves on disk for later runs
@njit(forceinline=True, error_model="numpy", fastmath=_ANY_ORDER)
def _by_r4(p, atom, sign, r4, features, dgr):
    """dE/dR4 of a pair as seen from one of its atoms; that by s includes the path through G."""
    s, x, y, z = r4[p, 0], sign * r4[p, 1], sign * r4[p, 2], sign * r4[p, 3]
    g, dg = features[p, 0], features[p, 1]
    c0, c1, c2, c3 = dgr[atom, 0], dgr[atom, 1], dgr[atom, 2], dgr[atom, 3]
    by_s, by_x, by_y, by_z = 0.0, 0.0, 0.0, 0.0
    for j in range(dgr.shape[2]):
        by_s += g[j] * c0[j] + dg[j] * (s * c0[j] + x * c1[j] + y * c2[j] + z * c3[j])
        by_x += g[j] * c1[j]
        by_y += g[j] * c2[j]
        by_z += g[j] * c3[j]
    return by_s, sign * by_x, sign * by_y, sign * by_z


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def pair_gradients(low, high, centers, neighbors, shared, rij, r4, slopes, features, dgr, pair):
    """dE/d(rij) (p, 3) from dE/d(R4^T G) (a, 4, M1), of the pairs `low` to `high`."""
    for p in range(low, high):
        if centers[p] < 0:
            continue
        x, y, z = rij[p, 0], rij[p, 1], rij[p, 2]
        by_s, by_x, by_y, by_z = _by_r4(p, centers[p], 1.0, r4, features, dgr)
        if shared[p]:
            more_s, more_x, more_y, more_z = _by_r4(p, neighbors[p], -1.0, r4, features, dgr)
            by_s, by_x, by_y, by_z = by_s + more_s, by_x + more_x, by_y + more_y, by_z + more_z
        along = by_s * slopes[p, 1] + (by_x * x + by_y * y + by_z * z) * slopes[p, 2]
        pair[p, 0] = along * x + slopes[p, 0] * by_x
        pair[p, 1] = along * y + slopes[p, 0] * by_y
        pair[p, 2] = along * z + slopes[p, 0] * by_z


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def scatter(frames, centers, neighbors, rij, pair, force, virial):
    """Add forces (a, 3) and virials (f, 3, 3) of dE/d(rij)."""
    for p in range(len(pair)):
        atom, other = centers[p], neighbors[p]
        if atom < 0:
            continue
        frame = frames[atom]
        for a in range(3):
            force[atom, a] += pair[p, a]
            force[other, a] -= pair[p, a]
            for b in range(3):
                virial[frame, a, b] -= pair[p, a] * rij[p, b]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def pair_rates(low, high, frames, centers, neighbors, rij, slopes, by_force, by_virial, rates):
    """Changes of R4 (p, 4) where each pair moves along its gradient of the loss.

    Parameters
    ----------
    by_force, by_virial : (a, 3), (f, 3, 3)
        Gradients of the loss.
    rates : (p, 4)
        Out; the first is that of s.
    """
    for p in range(low, high):
        atom, other = centers[p], neighbors[p]
        if atom < 0:
            continue
        w = by_virial[frames[atom]]
        x, y, z = rij[p, 0], rij[p, 1], rij[p, 2]
        qx = by_force[atom, 0] - by_force[other, 0]
        qy = by_force[atom, 1] - by_force[other, 1]
        qz = by_force[atom, 2] - by_force[other, 2]
        qx -= w[0, 0] * x + w[0, 1] * y + w[0, 2] * z
        qy -= w[1, 0] * x + w[1, 1] * y + w[1, 2] * z
        qz -= w[2, 0] * x + w[2, 1] * y + w[2, 2] * z
        along = qx * x + qy * y + qz * z
        h, dh = slopes[p, 0], along * slopes[p, 2]
        rates[p, 0] = along * slopes[p, 1]
        rates[p, 1], rates[p, 2], rates[p, 3] = dh * x + h * qx, dh * y + h * qy, dh * z + h * qz


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def tangents(low, high, begin, counts, slots, r4, features, rates, scale, turn):
    """Change of GR (a, 4, M1) that the changes of R4 make, of the atoms `low` to `high`."""
    m1 = turn.shape[2]
    total = np.empty((4, m1))
    for atom in range(low, high):
        total[:] = 0.0
        for t in range(counts.shape[1]):
            for n in range(begin[atom, t], begin[atom, t] + counts[atom, t]):
                p, sign = slots[n], 1.0
                if p < 0:
                    p, sign = ~p, -1.0
                ds, g, dg = rates[p, 0], features[p, 0], features[p, 1]
                for i in range(4):
                    turned = sign if i > 0 else 1.0
                    # the change of G is ds dG
                    row, factor, of_slope = total[i], rates[p, i] * turned, ds * r4[p, i] * turned
                    for j in range(m1):
                        row[j] += factor * g[j] + of_slope * dg[j]
        for i in range(4):
            for j in range(m1):
                turn[atom, i, j] = total[i, j] * scale


# part of its callers, see `_by_r4`
@njit(forceinline=True, error_model="numpy", fastmath=_ANY_ORDER)
def by_features(p, atom, sign, r4, rates, by_gr, dgr, one, two):
    """Add the gradients by G and dG/ds of a pair that one of its atoms makes."""
    b0, b1, b2, b3 = by_gr[atom, 0], by_gr[atom, 1], by_gr[atom, 2], by_gr[atom, 3]
    c0, c1, c2, c3 = dgr[atom, 0], dgr[atom, 1], dgr[atom, 2], dgr[atom, 3]
    s, x, y, z = r4[p, 0], sign * r4[p, 1], sign * r4[p, 2], sign * r4[p, 3]
    ds, dx, dy, dz = rates[p, 0], sign * rates[p, 1], sign * rates[p, 2], sign * rates[p, 3]
    es, ex, ey, ez = ds * s, ds * x, ds * y, ds * z
    for j in range(len(one)):
        one[j] += (s * b0[j] + x * b1[j] + y * b2[j] + z * b3[j]) + (
            ds * c0[j] + dx * c1[j] + dy * c2[j] + dz * c3[j])
    for j in range(len(two)):
        two[j] += es * c0[j] + ex * c1[j] + ey * c2[j] + ez * c3[j]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def embed_backward(
    low, high, centers, neighbors, shared, gain_of, gains, fade, r4, rates, by_gr, dgr, net,
    widths, store, features, to_net, to_gains,
):
    """Gradient of the loss by one embedding net from the tiles `low` to `high`.

    Parameters
    ----------
    by_gr : (a, 4, M1)
        Gradient of the loss by R4^T G.
    dgr : (a, 4, M1)
        Gradient by its change, which is dE/d(R4^T G).
    store, features
        As `embed` leaves them.
    gain_of, gains : (p,) int64, (ntypes * ntypes, M1)
        Version 1: which factors on G a pair has, and these; else (0, M1).
    fade : (p, 2)
        SUB_VERSION 2: see `fades`; else without rows.
    to_net, to_gains : as `net` and `gains`
        What is added to.
    """
    m1 = features.shape[2]
    rows, last = np.empty((TILE, 2, m1)), np.empty((m1, 2 * TILE))
    bar, space = np.empty((2, widths.max(), 2 * TILE)), np.empty((widths.max(), 2 * TILE))
    for tile in range(low, high):
        rows[:] = 0.0
        for q in range(TILE):
            p = tile * TILE + q
            if centers[p] < 0:
                continue
            by_features(p, centers[p], 1.0, r4, rates, by_gr, dgr, rows[q, 0], rows[q, 1])
            if shared[p]:
                by_features(p, neighbors[p], -1.0, r4, rates, by_gr, dgr, rows[q, 0], rows[q, 1])
            if len(gains) > 0:
                of = gain_of[p]
                back_through_gains(features[p, 0], features[p, 1], gains[of], fade, p,
                                   rows[q, 0], rows[q, 1], to_gains[of])
        embed_tile_backward(net, widths, store[tile], features[tile * TILE : (tile + 1) * TILE],
                            rows, last, bar, space, to_net)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_ANY_ORDER)
def points_backward(low, high, rows, net, widths, store, features, to_net):
    """Add the gradient by a net from that by its features (p, 2, M1) at the points of `embed`."""
    m1 = features.shape[2]
    last, bar = np.empty((m1, 2 * TILE)), np.empty((2, widths.max(), 2 * TILE))
    space = np.empty((widths.max(), 2 * TILE))
    for tile in range(low, high):
        here = slice(tile * TILE, (tile + 1) * TILE)
        embed_tile_backward(net, widths, store[tile], features[here], rows[here], last, bar, space,
                            to_net)
