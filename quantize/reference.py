"""The integer reference: one model, one set of atoms, every stage kept.

Both versions; forward and backward follow the stages of docs/arithmetic.md. Each array of the trace
is what the hardware holds at that stage's boundary. Values are binary64 numbers that lie on their
format's grid, so two traces are compared for equality and nothing else.

The words at the hardware's ports have 8 exponent bits: displacements and derivatives of magnitude
below 2**-127 are zero there, and here. In between the hardware has exponents down to 2**-511, which
nothing reaches: every aligned sum starts at 2**-100 and drops what lies 21 bits below.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from nvnmd.errors import RangeError
from nvnmd.quantize.fitting import fitting_net
from nvnmd.quantize.formats import FixFormat, flush, to_fix
from nvnmd.quantize.model import Model
from nvnmd.quantize.normalize import Mode, chosen_mode, normalize, scale_back, statistics
from nvnmd.quantize.ops import (
    add,
    dot,
    fix_to_flt,
    floor_bits,
    matmul_flt,
    matmul_flt2fix,
    mul,
    product_to_fix,
    round_bits,
    trunc_flt,
)
from nvnmd.quantize.table_lookup import evaluate_both, locate
from nvnmd.quantize.type_factor import apply_switched, back_through_switched, switched_gain
from nvnmd.quantize.widths import Widths

Floats = NDArray[np.float64]

_LOG = logging.getLogger(__name__)
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
    k, ku, dk : (n, m), only of SUB_VERSION 2
        The third function of u, dk/du and dE/dk.
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
    k: Floats | None = None
    ku: Floats | None = None
    dk: Floats | None = None


def evaluate_atoms(
    model: Model,
    center_types: NDArray[np.integer],
    rij: Floats,
    mask: NDArray[np.bool_],
    neighbor_types: NDArray[np.integer] | None = None,
    mode: Mode | None = None,
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
    mode : {"graph", "machine"}, optional
        SUB_VERSION 2: by whose words s is normalised (see `nvnmd.quantize.normalize`); the graph's
        by default, where the model holds them. In other models both are the same.

    Returns
    -------
    Trace

    Raises
    ------
    RangeError
        If a value leaves the format the hardware gives it; the reference never wraps. Where the
        graph's words are not the machine's, which is SUB_VERSION 2, the graph has no formats: that
        is a warning then.
    InputError
        The model has not this mode.
    """
    if model.version == 0:
        slots = np.repeat(np.arange(model.ntypes), model.sel)
        kinds = np.broadcast_to(slots, mask.shape)
    elif neighbor_types is None:
        raise ValueError("a model of version 1 needs the neighbours' types")
    else:
        kinds = np.where(mask, neighbor_types, 0)
    parts = [slice(i, i + _CHUNK) for i in range(0, max(len(center_types), 1), _CHUNK)]
    mode = chosen_mode(model, mode)
    pieces = [
        _evaluate_chunk(model, center_types[part], rij[part], mask[part], kinds[part], mode)
        for part in parts
    ]
    names = [f.name for f in fields(Trace) if getattr(pieces[0], f.name) is not None]
    return Trace(**{name: np.concatenate([getattr(p, name) for p in pieces]) for name in names})


def _evaluate_chunk(
    model: Model,
    center: NDArray[np.integer],
    rij: Floats,
    mask: NDArray[np.bool_],
    neighbor: NDArray[np.integer],
    mode: Mode,
) -> Trace:
    n = len(mask)
    m1, m2, widths = model.m1, model.m2, model.widths
    frac, fix = widths.flt_frac, widths.fix_frac
    scale = 2.0**-model.nix_shift
    hold = _noted if model.sub_version == 2 and mode == "graph" else to_fix
    by_type = model.version == 0
    # which of the parameter sets centre and neighbour use
    center_set = center if by_type else np.zeros_like(center)
    neighbor_set = neighbor if by_type else np.zeros_like(neighbor)

    r = flush(trunc_flt(np.where(mask[:, :, None], rij, 0.0), frac)) + 0.0
    u = dot(r, r, frac)
    row, offset = locate(u, model.u_layout, widths.offset_frac)
    row = row + center_set[:, None] * model.u_layout.rows
    sh, sh_u = evaluate_both(model.table_u, model.table_u_grad, row, offset, frac)
    kind, numbers = statistics(model, mode)
    numbers = numbers[center][:, None]
    s, h = normalize(kind, numbers, sh[..., 0], sh[..., 1], frac)
    k = sh[..., 2] + 0.0 if model.sub_version == 2 else None
    r4 = np.concatenate([s[..., None], mul(h[..., None], r, frac)], axis=-1)

    row, offset = locate(s, model.s_layout, widths.offset_frac)
    row = row + neighbor_set * model.s_layout.rows
    g, gs = evaluate_both(model.table_g, model.table_g_grad, row, offset, frac)
    gain = None if model.type_gain is None else model.type_gain[center[:, None], neighbor]
    unscaled = factor = g
    if gain is not None and k is not None:
        factor = switched_gain(gain, k, frac)
        g = apply_switched(g, factor, frac)
    elif gain is not None:
        g = mul(g, gain, frac) + 0.0

    gr = np.zeros((n, 4, m1))
    start = 0
    for size in model.sel:
        block = slice(start, start + size)
        start += size
        products = product_to_fix(r4[:, block, :, None], g[:, block, None, :], frac, fix)
        gr += fix_to_flt(_checked_sum(products, widths.sum, hold), frac, fix)
    hold(gr, widths.sum, what="GR accumulator")
    gr = trunc_flt(gr * scale, frac) + 0.0

    column = (np.arange(m1)[:, None] + np.arange(m2)) % m1
    grams = matmul_flt(np.swapaxes(gr, 1, 2), gr, 0, frac)
    to_grid = round_bits if model.round_descriptor else floor_bits
    d = to_grid(np.take_along_axis(grams, column[None], axis=2), fix).reshape(n, m1 * m2)
    hold(d, widths.data, what="descriptor")

    z = np.zeros((n, model.hidden, model.width))
    out = np.zeros(n)
    dd = np.zeros((n, m1 * m2))
    terms = np.zeros((model.ntypes, model.width)) if by_type else model.type_terms
    for t in range(len(model.fit_weights[0])):
        atoms = np.flatnonzero(center_set == t)
        if atoms.size:
            net = fitting_net(
                d[atoms], [w[t] for w in model.fit_weights], [b[t] for b in model.fit_biases],
                type_term=terms[center[atoms]], widths=widths,
            )
            for x in (*net.z, *net.activations, *net.received, *net.gradients):
                hold(x, widths.data, what="fitting net word")
            # no factor of a product as it is, so it may have more bits
            hold(net.grad, widths.fix, what="dE/dD word")
            hold(net.out, widths.fix, what="energy word")
            z[atoms] = np.stack(net.z, axis=1)
            out[atoms], dd[atoms] = net.out, net.grad
    atom_energy = out + model.t_bias_atom_e[center]

    dd_flt = trunc_flt(floor_bits(dd, fix), frac) + 0.0
    scattered = np.zeros((n, m1, m1))
    np.put_along_axis(
        scattered, np.broadcast_to(column, (n, m1, m2)), dd_flt.reshape(n, m1, m2), axis=2
    )
    dgr = _grad_descriptor(scattered, gr, m2, scale, widths, hold)

    dr4 = matmul_flt(g, np.swapaxes(dgr, 1, 2), 1, frac)
    dg = matmul_flt(r4, dgr, 1, frac)
    by_table = []
    if gain is not None and k is not None:
        dg, dk = back_through_switched(dg, unscaled, gain, factor, mode, frac)
        by_table = [dk]
    elif gain is not None:
        dg = mul(dg, gain, frac) + 0.0
    ds = add(dot(gs, dg, frac), dr4[..., 0], frac)
    dh = dot(r, dr4[..., 1:], frac)
    ds, dh = scale_back(kind, numbers, ds, dh, frac)
    by_table = [ds, dh, *by_table]
    dxyz = mul(h[..., None], dr4[..., 1:], frac)
    du = dot(sh_u, np.stack(by_table, axis=-1), frac)
    deriv = flush(np.concatenate([du[..., None], dxyz], axis=-1)) + 0.0
    return Trace(
        r=r, u=u, s=s, h=h, su=sh_u[..., 0], hu=sh_u[..., 1], r4=r4, g=g, gs=gs, gr=gr, d=d, z=z,
        out=out, atom_energy=atom_energy, dd=dd, dgr=dgr, dr4=dr4, dg=dg, ds=ds, dh=dh,
        deriv=deriv,
        **({} if k is None else {"k": k, "ku": sh_u[..., 2], "dk": by_table[2]}),
    )


def _noted(values: Floats, fmt: FixFormat, *, what: str) -> None:
    """The graph has no formats: a value that a machine could not hold is only told."""
    try:
        to_fix(values, fmt, what=what)
    except RangeError as error:
        if not np.all(np.isfinite(values)):
            raise
        _LOG.warning("%s: the graph's words go on, a machine's cannot", error)


def _checked_sum(products: Floats, fmt: FixFormat, hold: Callable[..., object]) -> Floats:
    """Sum over the neighbours (axis 1), no step of which may leave the accumulator."""
    limit = 2.0 ** (fmt.bits - 1)
    if np.abs(products).sum(axis=1).max(initial=0.0) >= limit:
        steps = np.cumsum(products, axis=1)
        hold(steps * 2.0**-fmt.frac_bits, fmt, what="GR accumulator")
    return np.asarray(products.sum(axis=1))


def _grad_descriptor(scattered: Floats, gr: Floats, m2: int, scale: float, widths: Widths,
                     hold: Callable[..., object]) -> Floats:
    """dE/dGR (n, 4, M1) from dE/d(GR^T GR) (n, M1, M1): both factors of the product.

    Their sums of M2 products are whole numbers in words as wide as the accumulators.
    """
    frac, fix = widths.flt_frac, widths.fix_frac
    factors = np.swapaxes(scattered, 1, 2), scattered
    largest = np.abs(gr).max(initial=0.0) * np.abs(scattered).max(initial=0.0)
    if largest * m2 >= widths.sum.limit:
        for factor in factors:
            products = product_to_fix(gr[..., :, None], factor[:, None], frac, fix)
            for sums in (products, products.sum(axis=-2)):
                hold(sums * 2.0**-fix, widths.sum, what="sum of dE/dGR")
    direct, transposed = (matmul_flt2fix(gr, factor, frac, fix) for factor in factors)
    return trunc_flt(trunc_flt(direct + transposed, frac) * scale, frac) + 0.0
