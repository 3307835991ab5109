"""The quantized network for training: everything that depends on the fitting weights.

The descriptor is fixed by the tables, so its stages enter as constants of a frame; the fitting
net, the gradient of the descriptor and the linear chain to the forces are evaluated here, exactly
as the integer reference does, and differentiated by the surrogates of docs/surrogates.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nvnmd.quantize import ops
from nvnmd.quantize.fitting import fitting_net
from nvnmd.quantize.namespace import Array
from nvnmd.quantize.normalize import QUOTIENT
from nvnmd.quantize.tensorflow.ops import TENSORFLOW, add, dot, matmul_flt_rows, mul
from nvnmd.quantize.tensorflow.runtime import tf


@dataclass(frozen=True)
class FrameTensors:
    """The descriptor side of `b` frames of `n` atoms with `k` filled slots, binary64 tensors.

    Atoms are sorted by type; slots without a neighbour are dropped, or zero at the end.

    Attributes
    ----------
    d : (b, n, M1*M2)
        Descriptor.
    gr : (b, n, 4, M1)
        R4^T G / NIX.
    r4 : (b, n, k, 4)
        ``[s, h*x, h*y, h*z]``.
    g, gs : (b, n, k, M1)
        Embedding and its derivative by s.
    r : (b, n, k, 3)
        Displacements in flt, Å.
    h : (b, n, k)
        The function h of u.
    slopes : (b, n, k, 2 or 3)
        ds/du and dh/du; SUB_VERSION 2: also dk/du.
    index : (b, n, k) int32
        Neighbours, as indices into the sorted atoms; 0 in unused slots.
    rij : (b, n, k, 3)
        Untruncated displacements in Å.
    pair : (b, n, k) int32
        ``type of the centre * ntypes + type of the neighbour``; only version 1 looks at it.
    fade : (b, n, k, 1)
        SUB_VERSION 2: the function k of u.
    plain : (b, n, k, M1)
        SUB_VERSION 2: the embedding before the types.
    """

    d: Array
    gr: Array
    r4: Array
    g: Array
    gs: Array
    r: Array
    h: Array
    slopes: Array
    index: Array
    rij: Array
    pair: Array
    fade: Array = None
    plain: Array = None


@dataclass(frozen=True)
class TypeTensors:
    """Version 1: what the types contribute; in `FrameTensors`, `h`, `r4` and `g` contain theirs.

    Attributes
    ----------
    kind, numbers : int, (ntypes, 3)
        How s and h are normalised, of `nvnmd.quantize.normalize.statistics`.
    gain : (ntypes * ntypes, M1)
        Factors on G by `FrameTensors.pair`, flt values.
    first : (ntypes, width)
        What the first fitting layer receives, on the grid of 23 fraction bits.
    """

    kind: int
    numbers: Array
    gain: Array
    first: Array

    @property
    def switched(self) -> bool:
        """Whether it is SUB_VERSION 2, where G is multiplied by 1 + k*gain."""
        return self.kind == QUOTIENT


@dataclass(frozen=True)
class Prediction:
    """Predictions of the quantized network for `b` frames, atoms sorted by type.

    Attributes
    ----------
    out : (b, n)
        Last layer with its rounded bias.
    deriv : (b, n, k, 4)
        dE/d[u,x,y,z] per filled slot.
    force : (b, n, 3)
        eV/Å.
    virial : (b, 9) or None
        eV.
    """

    out: Array
    deriv: Array
    force: Array
    virial: Array | None


def predict(
    frame: FrameTensors,
    weights: list[Array],
    biases: list[Array],
    type_counts: tuple[int, ...],
    nix_shift: int,
    *,
    types: TypeTensors | None = None,
    virial: bool = False,
    fitting: Callable[[Array], tuple[Array, Array]] | None = None,
) -> Prediction:
    """Evaluate the quantized network.

    Parameters
    ----------
    frame : FrameTensors
        Constants of the frames.
    weights, biases : lists over layers of (ntypes, nin, nout) and (ntypes, nout)
        The fitting nets; one in version 1.
    type_counts : tuple of int
        Atoms of each type in a frame.
    nix_shift : int
        log2 of NIX.
    types : TypeTensors, optional
        Makes it version 1.
    virial : bool
        Whether to compute the virial.
    fitting : callable, optional
        From the descriptor to energies (b, n) and dE/dD (b, n, M1*M2), in the place of the
        quantized fitting nets.

    Returns
    -------
    Prediction
    """
    if fitting is not None:
        out, dd = fitting(frame.d)
    else:
        out, dd = fit_atoms(frame.d, weights, biases, type_counts, types)
    dgr = gradient_descriptor(dd, frame.gr, nix_shift)
    deriv = pair_derivatives(frame, dgr, type_counts, types)
    force, tensor = _assemble(frame, deriv, virial)
    return Prediction(out, deriv, force, tensor)


def fit_atoms(
    d: Array,
    weights: list[Array],
    biases: list[Array],
    type_counts: tuple[int, ...],
    types: TypeTensors | None = None,
) -> tuple[Array, Array]:
    """Energies (b, n) and dE/dD (b, n, M1*M2) by the quantized fitting nets; see `predict`."""
    if types is None:
        return _fitting(d, weights, biases, type_counts)
    return _shared_fitting(d, weights, biases, type_counts, types.first)


def _fitting(
    d: Array, weights: list[Array], biases: list[Array], type_counts: tuple[int, ...]
) -> tuple[Array, Array]:
    """Energies (b, n) and dE/dD (b, n, M1*M2), each atom by the net of its type.

    All types are evaluated at once, (ntypes, rows, width), their blocks of atoms filled up with
    rows of zeros whose results nobody reads.
    """
    frames, atoms, width = d.shape
    ntypes, most = len(type_counts), max(type_counts)
    first = np.cumsum(type_counts) - type_counts
    place = np.arange(most)
    filled = place < np.asarray(type_counts)[:, None]
    take = np.where(filled, first[:, None] + place, atoms).ravel()
    give = np.flatnonzero(filled.ravel())

    padded = tf.concat([d, tf.zeros((frames, 1, width), tf.float64)], axis=1)
    blocks = tf.reshape(tf.gather(padded, take, axis=1), (frames, ntypes, most, width))
    rows = tf.reshape(tf.transpose(blocks, (1, 0, 2, 3)), (ntypes, frames * most, width))
    net = fitting_net(rows, weights, [b[:, None, :] for b in biases], TENSORFLOW)

    def per_atom(x: Array) -> Array:
        blocks = tf.reshape(x, (ntypes, frames, most, x.shape[-1]))
        flat = tf.reshape(tf.transpose(blocks, (1, 0, 2, 3)), (frames, ntypes * most, x.shape[-1]))
        return tf.gather(flat, give, axis=1)

    return per_atom(net.out[..., None])[..., 0], per_atom(net.grad)


def _shared_fitting(
    d: Array,
    weights: list[Array],
    biases: list[Array],
    type_counts: tuple[int, ...],
    first: Array,
) -> tuple[Array, Array]:
    """Energies (b, n) and dE/dD (b, n, M1*M2) by one net, to which each type adds its term."""
    frames, atoms, width = d.shape
    center = np.repeat(np.arange(len(type_counts)), type_counts)
    term = tf.gather(first, np.tile(center, frames))
    rows = tf.reshape(d, (frames * atoms, width))
    net = fitting_net(
        rows, [w[0] for w in weights], [b[0] for b in biases], TENSORFLOW, type_term=term
    )
    return tf.reshape(net.out, (frames, atoms)), tf.reshape(net.grad, (frames, atoms, width))


def gradient_descriptor(dd: Array, gr: Array, nix_shift: int) -> Array:
    """dE/dGR (b, n, 4, M1) from dE/dD (b, n, M1*M2).

    `D[i,k] = sum_a GR[a,i] GR[a,(i+k) mod M1]`, so column i receives the products with column
    i + k, and column i + k those with column i. Products with the zeros of the scattered
    gradient are zero, so only these are formed; each is cut to fixed point by itself, and sums
    of whole numbers may be taken in any order.
    """
    m1 = gr.shape[-1]
    m2 = dd.shape[-1] // m1
    dd = ops.trunc_flt(ops.floor_bits(dd, ops.FIX_FRAC, TENSORFLOW), xp=TENSORFLOW) + 0.0
    dd = tf.reshape(dd, (*dd.shape[:-1], 1, m1, m2))
    direct = transposed = tf.zeros_like(gr)
    for k in range(m2):
        factor = dd[..., k]
        ahead = tf.roll(gr, shift=-k, axis=-1)
        direct += ops.product_to_fix(ahead, factor, xp=TENSORFLOW)
        transposed += tf.roll(ops.product_to_fix(gr, factor, xp=TENSORFLOW), shift=k, axis=-1)
    total = ops.trunc_flt(
        ops.fix_to_flt(direct, xp=TENSORFLOW) + ops.fix_to_flt(transposed, xp=TENSORFLOW),
        xp=TENSORFLOW,
    )
    return ops.trunc_flt(total * 2.0**-nix_shift, xp=TENSORFLOW) + 0.0


def pair_derivatives(
    frame: FrameTensors,
    dgr: Array,
    type_counts: tuple[int, ...] = (),
    types: TypeTensors | None = None,
) -> Array:
    """dE/d[u,x,y,z] (b, n, k, 4) from dE/dGR (b, n, 4, M1); `types` makes it version 1."""
    dr4 = matmul_flt_rows(frame.g, TENSORFLOW.transpose(dgr))
    dg = matmul_flt_rows(frame.r4, dgr)
    by_table = []
    if types is not None and types.switched:
        gain = tf.gather(types.gain, frame.pair)
        products = mul(frame.plain, dg) * gain
        total = tf.zeros_like(products[..., 0])
        for channel in range(products.shape[-1]):
            total += products[..., channel]
        by_table = [ops.trunc_flt(total, xp=TENSORFLOW) + 0.0]
        dg = ops.trunc_flt(dg + mul(mul(gain, frame.fade), dg), xp=TENSORFLOW) + 0.0
    elif types is not None:
        dg = mul(dg, tf.gather(types.gain, frame.pair)) + 0.0
    ds = add(dot(frame.gs, dg), dr4[..., 0])
    dh = dot(frame.r, dr4[..., 1:])
    if types is not None:
        numbers = tf.repeat(types.numbers, np.asarray(type_counts), axis=0)[:, None]
        if types.switched:
            ds = ops.trunc_flt(ds / numbers[..., 0], xp=TENSORFLOW) + 0.0
            dh = ops.trunc_flt(dh / numbers[..., 1], xp=TENSORFLOW) + 0.0
        else:
            ds, dh = mul(numbers[..., 0], ds) + 0.0, mul(numbers[..., 1], dh) + 0.0
    dxyz = mul(frame.h[..., None], dr4[..., 1:])
    du = dot(frame.slopes, tf.stack([ds, dh, *by_table], axis=-1))
    return tf.concat([du[..., None], dxyz], axis=-1) + 0.0


def _assemble(frame: FrameTensors, deriv: Array, virial: bool) -> tuple[Array, Array | None]:
    """Forces and virial, summed in the order of `nvnmd.quantize.forces`.

    On the CPU a segment sum adds its rows in order. Terms that are zero by construction (empty
    slots, the other axes of dE/dx) are left out, which changes no sum.
    """
    frames, atoms, slots = frame.index.shape
    # (b, n, k, 2, 3): derivative by u or by the axis itself, and what the position changes
    slope = tf.stack([-2.0 * frame.r, -tf.ones_like(frame.r)], axis=3)
    pair = tf.stack([deriv[..., :1] + tf.zeros_like(frame.r), deriv[..., 1:]], axis=3)
    term = pair * slope
    both = tf.concat([-term, term], axis=2)
    first = tf.range(frames * atoms, dtype=tf.int32)
    own = tf.broadcast_to(tf.reshape(first, (frames, atoms, 1)), (frames, atoms, slots))
    other = frame.index + atoms * tf.reshape(tf.range(frames, dtype=tf.int32), (frames, 1, 1))
    target = tf.repeat(tf.reshape(tf.concat([own, other], axis=2), (-1,)), 2)
    force = tf.math.unsorted_segment_sum(tf.reshape(both, (-1, 3)), target, frames * atoms)
    force = tf.reshape(force, (frames, atoms, 3))
    if not virial:
        return force, None
    tensor = (pair[..., :, None] * frame.rij[..., None, None, :]) * slope[..., :, None]
    rows = tf.reshape(tensor, (frames * atoms * slots * 2, 9))
    which = tf.repeat(tf.range(frames, dtype=tf.int32), atoms * slots * 2)
    return force, tf.math.unsorted_segment_sum(rows, which, frames)
