"""The integer reference: one model, one set of atoms, every stage kept.

Both versions; forward and backward follow the stages of docs/arithmetic.md. Each array of the trace
is what the hardware holds at that stage's boundary. Values are binary64 numbers that lie on their
format's grid, so two traces are compared for equality and nothing else.

The words at the hardware's ports have 8 exponent bits: displacements and derivatives of magnitude
below 2**-127 are zero there, and here. In between the hardware has exponents down to 2**-511, which
nothing reaches: every aligned sum starts at 2**-100 and drops what lies 21 bits below.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from nvnmd.mapping.lookup import evaluate, locate
from nvnmd.quantize.fitting import fitting_net
from nvnmd.quantize.formats import DATA, FIX, SUM, flush, to_fix
from nvnmd.quantize.model import Model
from nvnmd.quantize.ops import (
    FIX_FRAC,
    add,
    dot,
    fix_to_flt,
    floor_bits,
    matmul_flt,
    matmul_flt2fix,
    mul,
    product_to_fix,
    trunc_flt,
)

Floats = NDArray[np.float64]

# atoms evaluated at once: bounds the memory of the products that are cut one by one
_CHUNK = 32


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Every stage of the evaluation of `n` atoms with `m` neighbour slots.

    Attributes
    ----------
    r : (n, m, 3)
        Displacements in flt, Å.
    u, s, h : (n, m)
        Squared distance and the two functions of it (version 1: times the inverse deviations).
    su, hu : (n, m)
        ds/du and dh/du.
    r4 : (n, m, 4)
        ``[s, h*x, h*y, h*z]``.
    g, gs : (n, m, M1)
        Embedding (version 1: times the type gain) and the table's derivative by s.
    gr : (n, 4, M1)
        R4^T G / NIX.
    d : (n, M1*M2)
        Descriptor, 23 fraction bits.
    z : (n, layers, width)
        Hidden layers of the fitting net before the activation, 23 fraction bits.
    out : (n,)
        Last layer with its rounded bias, 23 fraction bits: the hardware's energy word.
    atom_energy : (n,)
        `out` plus the type's bias, in eV.
    dd : (n, M1*M2)
        dE/dD, 23 fraction bits.
    dgr : (n, 4, M1)
        dE/dGR.
    dr4 : (n, m, 4)
        dE/dR4.
    dg : (n, m, M1)
        dE/dG; in version 1 by the table's value, before the type gain.
    ds, dh : (n, m)
        dE/ds and dE/dh; in version 1 by the table's values, before the inverse deviations.
    deriv : (n, m, 4)
        dE/d[u,x,y,z].
    """

    r: Floats
    u: Floats
    s: Floats
    h: Floats
    su: Floats
    hu: Floats
    r4: Floats
    g: Floats
    gs: Floats
    gr: Floats
    d: Floats
    z: Floats
    out: Floats
    atom_energy: Floats
    dd: Floats
    dgr: Floats
    dr4: Floats
    dg: Floats
    ds: Floats
    dh: Floats
    deriv: Floats


def evaluate_atoms(
    model: Model,
    center_types: NDArray[np.integer],
    rij: Floats,
    mask: NDArray[np.bool_],
    neighbor_types: NDArray[np.integer] | None = None,
) -> Trace:
    """Evaluate atoms with the quantized model.

    Parameters
    ----------
    model : Model
        The frozen model.
    center_types : (n,)
        Types of the centre atoms.
    rij : (n, m, 3)
        Displacements to the neighbours in Å; in version 0 blocks of `sel` slots in type order.
    mask : (n, m)
        Which slots hold a neighbour.
    neighbor_types : (n, m)
        Type of each slot's neighbour, needed in version 1; anything where the slot is empty.

    Returns
    -------
    Trace

    Raises
    ------
    RangeError
        If a value leaves the format the hardware gives it; the reference never wraps.
    """
    if model.version == 0:
        slots = np.repeat(np.arange(model.ntypes), model.sel)
        kinds = np.broadcast_to(slots, mask.shape)
    elif neighbor_types is None:
        raise ValueError("a model of version 1 needs the neighbours' types")
    else:
        kinds = np.where(mask, neighbor_types, 0)
    parts = [slice(i, i + _CHUNK) for i in range(0, max(len(center_types), 1), _CHUNK)]
    pieces = [
        _evaluate_chunk(model, center_types[part], rij[part], mask[part], kinds[part])
        for part in parts
    ]
    return Trace(
        **{f.name: np.concatenate([getattr(p, f.name) for p in pieces]) for f in fields(Trace)}
    )


def _evaluate_chunk(
    model: Model,
    center: NDArray[np.integer],
    rij: Floats,
    mask: NDArray[np.bool_],
    neighbor: NDArray[np.integer],
) -> Trace:
    n = len(mask)
    m1, m2 = model.m1, model.m2
    scale = 2.0**-model.nix_shift
    by_type = model.version == 0
    # which of the parameter sets centre and neighbour use
    center_set = center if by_type else np.zeros_like(center)
    neighbor_set = neighbor if by_type else np.zeros_like(neighbor)

    r = flush(trunc_flt(np.where(mask[:, :, None], rij, 0.0))) + 0.0
    u = dot(r, r)
    row, offset = locate(u, model.u_layout)
    row = row + center_set[:, None] * model.u_layout.rows
    sh = evaluate(_stacked(model.table_u), row, offset)
    sh_u = evaluate(_stacked(model.table_u_grad), row, offset)
    inverse = None if model.inv_std is None else model.inv_std[center][:, None]
    if inverse is not None:
        sh = mul(inverse, sh) + 0.0
    s, h = sh[..., 0], sh[..., 1]
    r4 = np.concatenate([s[..., None], mul(h[..., None], r)], axis=-1)

    row, offset = locate(s, model.s_layout)
    row = row + neighbor_set * model.s_layout.rows
    g = evaluate(_stacked(model.table_g), row, offset)
    gs = evaluate(_stacked(model.table_g_grad), row, offset)
    gain = None if model.type_gain is None else model.type_gain[center[:, None], neighbor]
    if gain is not None:
        g = mul(g, gain) + 0.0

    gr = np.zeros((n, 4, m1))
    start = 0
    for size in model.sel:
        block = slice(start, start + size)
        start += size
        products = product_to_fix(r4[:, block, :, None], g[:, block, None, :])
        gr += fix_to_flt(_checked_sum(products))
    to_fix(gr, SUM, what="GR accumulator")
    gr = trunc_flt(gr * scale) + 0.0

    column = (np.arange(m1)[:, None] + np.arange(m2)) % m1
    grams = matmul_flt(np.swapaxes(gr, 1, 2), gr, norm=0)
    d = floor_bits(np.take_along_axis(grams, column[None], axis=2), FIX_FRAC).reshape(n, m1 * m2)
    to_fix(d, DATA, what="descriptor")

    z = np.zeros((n, model.hidden, model.width))
    out = np.zeros(n)
    dd = np.zeros((n, m1 * m2))
    terms = np.zeros((model.ntypes, model.width)) if by_type else model.type_terms
    for t in range(len(model.fit_weights[0])):
        atoms = np.flatnonzero(center_set == t)
        if atoms.size:
            net = fitting_net(
                d[atoms], [w[t] for w in model.fit_weights], [b[t] for b in model.fit_biases],
                type_term=terms[center[atoms]],
            )
            for x in (*net.z, *net.activations, *net.received, *net.gradients):
                to_fix(x, DATA, what="fitting net word")
            # no factor of a product as it is, so it may have more bits
            to_fix(net.grad, FIX, what="dE/dD word")
            to_fix(net.out, FIX, what="energy word")
            z[atoms] = np.stack(net.z, axis=1)
            out[atoms], dd[atoms] = net.out, net.grad
    atom_energy = out + model.t_bias_atom_e[center]

    dd_flt = trunc_flt(floor_bits(dd, FIX_FRAC)) + 0.0
    scattered = np.zeros((n, m1, m1))
    np.put_along_axis(
        scattered, np.broadcast_to(column, (n, m1, m2)), dd_flt.reshape(n, m1, m2), axis=2
    )
    dgr = _grad_descriptor(scattered, gr, scale)

    dr4 = matmul_flt(g, np.swapaxes(dgr, 1, 2), norm=1)
    dg = matmul_flt(r4, dgr, norm=1)
    if gain is not None:
        dg = mul(dg, gain) + 0.0
    ds = add(dot(gs, dg), dr4[..., 0])
    dh = dot(r, dr4[..., 1:])
    if inverse is not None:
        ds, dh = mul(inverse[..., 0], ds) + 0.0, mul(inverse[..., 1], dh) + 0.0
    dxyz = mul(h[..., None], dr4[..., 1:])
    du = dot(sh_u, np.stack([ds, dh], axis=-1))
    deriv = flush(np.concatenate([du[..., None], dxyz], axis=-1)) + 0.0
    return Trace(
        r=r, u=u, s=s, h=h, su=sh_u[..., 0], hu=sh_u[..., 1], r4=r4, g=g, gs=gs, gr=gr, d=d, z=z,
        out=out, atom_energy=atom_energy, dd=dd, dgr=dgr, dr4=dr4, dg=dg, ds=ds, dh=dh,
        deriv=deriv,
    )


def _checked_sum(products: Floats) -> Floats:
    """Sum over the neighbours (axis 1), no step of which may leave the accumulator."""
    limit = 2.0 ** (SUM.bits - 1)
    if np.abs(products).sum(axis=1).max(initial=0.0) >= limit:
        steps = np.cumsum(products, axis=1)
        to_fix(steps * 2.0**-FIX_FRAC, SUM, what="GR accumulator")
    return np.asarray(products.sum(axis=1))


def _stacked(table: Floats) -> Floats:
    """The types' tables one behind the other, as they lie in memory."""
    return table.reshape(-1, *table.shape[2:])


def _grad_descriptor(scattered: Floats, gr: Floats, scale: float) -> Floats:
    """dE/dGR (n, 4, M1) from dE/d(GR^T GR) (n, M1, M1): both factors of the product.

    Descriptors below 8 and dE/dD below 256 keep the sums of M2 = 4 products below 2897, within SUM.
    """
    direct = matmul_flt2fix(gr, np.swapaxes(scattered, 1, 2))
    transposed = matmul_flt2fix(gr, scattered)
    return trunc_flt(trunc_flt(direct + transposed) * scale) + 0.0
