"""The functions inside the float model, each with its derivative."""

from __future__ import annotations

from collections.abc import Sequence

from nvnmd.network.math import Array, Math

Net = Sequence[tuple[Array, Array]]


def switch(xp: Math, r: Array, rcut_smth: float, rcut: float) -> tuple[Array, Array]:
    """Return the quintic switch and its derivative.

    Parameters
    ----------
    xp : Math
        Array library.
    r : array
        Distances in Å.
    rcut_smth, rcut : float
        The switch falls from 1 to 0 between them.

    Returns
    -------
    sw, dsw : arrays shaped as r
        Dimensionless and 1/Å.
    """
    span = rcut - rcut_smth
    t = xp.minimum(xp.maximum((r - rcut_smth) / span, 0.0), 1.0)
    rest = -6.0 * t * t + 15.0 * t - 10.0
    sw = t * t * t * rest + 1.0
    dsw = (3.0 * t * t * rest + t * t * t * (15.0 - 12.0 * t)) / span
    return sw, dsw


def environment(
    xp: Math,
    rij: Array,
    mask: Array,
    davg: Array,
    dstd: Array,
    rcut_smth: float,
    rcut: float,
) -> tuple[Array, Array, Array, Array]:
    """Return s, h and their derivatives by distance, divided by the distance.

    Parameters
    ----------
    xp : Math
        Array library.
    rij : (a, m, 3)
        Displacements in Å; anything finite in empty slots.
    mask : (a, m) bool
        Whether a slot is filled.
    davg, dstd : (a, 2)
        Statistics of each centre's type.
    rcut_smth, rcut : float
        Range of the switch in Å.

    Returns
    -------
    s, h, ds, dh : (a, m)
        ``ds`` is (ds/dr)/r, so that the gradient by displacement is ``ds * rij``.
    """
    square = rij[..., 0] ** 2 + rij[..., 1] ** 2 + rij[..., 2] ** 2
    r = xp.sqrt(xp.where(mask, square, 1.0))
    inverse = 1.0 / r
    sw, dsw = switch(xp, r, rcut_smth, rcut)
    zero = 0.0
    radial = xp.where(mask, sw * inverse, zero)
    angular = xp.where(mask, sw * inverse * inverse, zero)
    dradial = xp.where(mask, (dsw - sw * inverse) * inverse * inverse, zero)
    dangular = xp.where(mask, (dsw - 2.0 * sw * inverse) * inverse * inverse * inverse, zero)
    s = (radial - davg[:, 0:1]) / dstd[:, 0:1]
    h = angular / dstd[:, 1:2]
    return s, h, dradial / dstd[:, 0:1], dangular / dstd[:, 1:2]


def type_switch(xp: Math, radial: Array, slope: Array, rcut_smth: float) -> tuple[Array, Array]:
    """Return what SUB_VERSION 2 switches the types' part of G off with, and its derivative.

    Parameters
    ----------
    xp : Math
        Array library.
    radial, slope : array
        sw/r before it is normalised, and its derivative.
    rcut_smth : float
        Start of the smoothing in Å.

    Returns
    -------
    k, dk : arrays
        ``1 - (1 - rcut_smth*radial)³``, 1 where the bracket is negative; the derivative by what
        `slope` is one by.
    """
    q = xp.maximum(1.0 - rcut_smth * radial, 0.0)
    return 1.0 - q * q * q, 3.0 * rcut_smth * q * q * slope


def embed(xp: Math, net: Net, s: Array) -> tuple[Array, Array]:
    """Evaluate an embedding net and its derivative.

    Parameters
    ----------
    xp : Math
        Array library.
    net : sequence of (weight (nin, nout), bias (nout,))
        Layers; the first has one input.
    s : (..., 1)
        Scaled radial values.

    Returns
    -------
    g, dg : (..., M1)
        Features and their derivatives by s.
    """
    y, dy = s, None
    for weight, bias in net:
        nin, nout = weight.shape
        if dy is None:
            t = xp.tanh(y * weight[0] + bias)
            dt = (1.0 - t * t) * weight[0]
            slope = y * 0.0 + 1.0
        else:
            t = xp.tanh(y @ weight + bias)
            dt = (1.0 - t * t) * (dy @ weight)
            slope = dy
        if nout == 2 * nin:
            t = t + xp.concat([y, y], -1)
            dt = dt + xp.concat([slope, slope], -1)
        elif nout == nin:
            t, dt = t + y, dt + slope
        y, dy = t, dt
    return y, dy


def tanh4(xp: Math, z: Array) -> tuple[Array, Array]:
    """Return the activation and its derivative.

    Parameters
    ----------
    xp : Math
        Array library.
    z : array
        Argument.

    Returns
    -------
    y, dy : arrays shaped as z
        ``y = sign(z) (a⁴/16 - a³/4 + a)`` with ``a = min(|z|, 2)``, which is 1 at 2 with slope 0.
    """
    a = xp.minimum(xp.abs(z), 2.0)
    square = a * a
    y = xp.sign(z) * (square * (square * 0.0625 - a * 0.25) + a)
    return y, square * (a * 0.25 - 0.75) + 1.0


def fit(xp: Math, net: Net, d: Array, first: Array | None = None) -> tuple[Array, Array]:
    """Evaluate a fitting net and the derivative of its output by its input.

    Parameters
    ----------
    xp : Math
        Array library.
    net : sequence of (weight (nin, nout), bias (nout,))
        Hidden layers and a last linear one with one output.
    d : (a, n)
        Descriptors.
    first : (a, nout), optional
        What else the first layer adds before its activation (version 1: the type's term).

    Returns
    -------
    energy : (a,)
        Output in eV.
    gradient : (a, n)
        dE/dD.
    """
    x, slopes = d, []
    for k, (weight, bias) in enumerate(net[:-1]):
        z = x @ weight + bias
        if k == 0 and first is not None:
            z = z + first
        y, slope = tanh4(xp, z)
        slopes.append(slope)
        x = x + y if _skips(k, weight) else y
    weight, bias = net[-1]
    energy = (x @ weight + bias)[:, 0]
    gradient = weight[:, 0] + 0.0 * x
    for k in reversed(range(len(slopes))):
        weight = net[k][0]
        back = (gradient * slopes[k]) @ xp.transpose(weight)
        gradient = gradient + back if _skips(k, weight) else back
    return energy, gradient


def _skips(k: int, weight: Array) -> bool:
    """Whether hidden layer k adds its input: not the first, and only at equal widths."""
    return k > 0 and weight.shape[0] == weight.shape[1]


def describe(xp: Math, gr: Array, m2: int) -> Array:
    """Return the descriptor (a, M1 * M2) of GR (a, 4, M1)."""
    m1 = gr.shape[-1]
    parts = [xp.sum(gr * _rolled(xp, gr, k), 1) for k in range(m2)]
    return xp.reshape(xp.stack(parts, -1), (-1, m1 * m2))


def describe_gradient(xp: Math, gr: Array, dd: Array, m2: int) -> Array:
    """Return dE/dGR (a, 4, M1) from dE/dD (a, M1 * M2)."""
    m1 = gr.shape[-1]
    dd = xp.reshape(dd, (-1, 1, m1, m2))
    total = None
    for k in range(m2):
        part = dd[..., k] * _rolled(xp, gr, k) + _rolled(xp, dd[..., k] * gr, m1 - k)
        total = part if total is None else total + part
    return total


def _rolled(xp: Math, x: Array, k: int) -> Array:
    """Return x with the last axis moved left by k, around the end."""
    k %= x.shape[-1]
    if k == 0:
        return x
    return xp.concat([x[..., k:], x[..., :k]], -1)
