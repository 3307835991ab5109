"""The continuous (float) model: NVNMD's variant of se_e2_a with forces by explicit derivatives.

One text of the formulas serves NumPy (prediction without TensorFlow) and TensorFlow (training):
`atomic_energies` and the functions of `nets` use operators and `math.Math` only. Forces
come from derivatives propagated by hand from the energy back to the displacements, so that training
on forces needs one reverse pass and not two.

Per centre atom, with r the displacement to a neighbour and sw the quintic switch:

- s = (sw/r - davg)/dstd, h = (sw/r²)/dstd', R4 = [s, h x, h y, h z]; an empty slot has sw = 0, so
  it still contributes s = -davg/dstd;
- G = embedding(s), one net per neighbour type, tanh, [x, x] added where a layer doubles its width;
- GR = R4ᵀ G / NIX, D[M2 i + k] = sum over the four rows of GR[c, i] GR[c, (i + k) mod M1];
- energy = fitting(D) + t_bias_atom_e, one net per centre type, tanh4, second and later hidden
  layers add their input.

Version 1 has one net of each kind for all types and no mean (an empty slot contributes nothing);
G is multiplied by a gain per pair of types, and the first fitting layer receives a term of the
centre's type (`float_types`).

SUB_VERSION 2 of it has a mean of s again, so that an empty slot contributes, and multiplies G by
1 + gain k, with k = 1 - (1 - rcut_smth sw/r)³, not below 0 and not above 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nvnmd.neighbors.slots import Neighborhood, Overflow, build_neighborhood
from nvnmd.network.math import Array, Math, NumpyMath
from nvnmd.network.nets import (
    Net,
    describe,
    describe_gradient,
    embed,
    environment,
    fit,
    type_switch,
)
from nvnmd.network.types import TypeTerms, type_terms


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes that the formulas depend on.

    Attributes
    ----------
    atoms : tuple of int
        Centre atoms of each type; atoms come in blocks of one type, ascending.
    slots : tuple of int
        Slots present for each neighbour type, in the same order; one number in version 1.
    sel : tuple of int
        Slots of the model, likewise; `sel - slots` empty ones are added in closed form.
    rcut, rcut_smth : float
        Cut-off and start of smoothing in Å.
    axis_neuron : int
        M2.
    """

    atoms: tuple[int, ...]
    slots: tuple[int, ...]
    sel: tuple[int, ...]
    rcut: float
    rcut_smth: float
    axis_neuron: int = 4

    @property
    def nix(self) -> int:
        """The power of two that GR is divided by."""
        return nix(sum(self.sel))


def nix(slots: int) -> int:
    """Return ``2**ceil(log2(slots/1.5))``, the normalisation of GR.

    Parameters
    ----------
    slots : int
        Number of neighbour slots of the model, all types together.
    """
    power = 1
    while 3 * power < 2 * slots:
        power *= 2
    return power


def atomic_energies(
    xp: Math,
    shape: Shape,
    embedding: Sequence[Net],
    fitting: Sequence[Net],
    t_bias: Array,
    davg: Array,
    dstd: Array,
    rij: Array,
    mask: Array,
    terms: TypeTerms | None = None,
    kind: Array = None,
    fit_net: Callable[[Net, Array, Array | None], tuple[Array, Array]] | None = None,
    embed_net: Callable[[Net, Array], tuple[Array, Array]] | None = None,
) -> tuple[Array, Array]:
    """Return atomic energies and the gradient of the total energy by every displacement.

    Parameters
    ----------
    xp : Math
        Array library.
    shape : Shape
        Sizes; `a = sum(shape.atoms)` centres, `m = sum(shape.slots)` slots.
    embedding : per neighbour type, layers (weight, bias)
        Embedding nets; one in version 1.
    fitting : per centre type, layers (weight, bias)
        Fitting nets; one in version 1.
    t_bias : (ntypes,)
        Atomic energy bias in eV.
    davg, dstd : (ntypes, 2)
        Statistics.
    rij : (a, m, 3)
        Displacements from centre to neighbour in Å.
    mask : (a, m) bool
        Filled slots.
    terms : TypeTerms, optional
        Version 1: what the types contribute.
    kind : (a, m) int
        Version 1: the neighbours' types, any type in empty slots.
    fit_net : callable, optional
        In the place of `nvnmd.network.nets.fit`, without its first argument.
    embed_net : callable, optional
        In the place of `nvnmd.network.nets.embed`, likewise.

    Returns
    -------
    energy : (a,)
        In eV.
    gradient : (a, m, 3)
        dE/d(rij) in eV/Å, 0 in empty slots.
    """
    # Empty slots that the arrays leave out see s(0), which depends on the centre's type only.
    absent = [total - here for total, here in zip(shape.sel, shape.slots, strict=True)]
    s_empty = xp.reshape(-davg[:, 0] / dstd[:, 0], (-1, 1))
    per_atom = _Rows(xp, shape.atoms)
    mean, deviation = per_atom(davg), per_atom(dstd)
    s, h, ds, dh = environment(xp, rij, mask, mean, deviation, shape.rcut_smth, shape.rcut)
    r4 = xp.stack([s, h * rij[..., 0], h * rij[..., 1], h * rij[..., 2]], -1)

    gr: Array = None
    row0: Array = None
    gain: Array = None
    by_k: Array = None
    dk: Array = None
    center = np.repeat(np.arange(len(shape.atoms)), shape.atoms)
    if terms is not None:
        gain = xp.take(terms.gains, (center * len(shape.atoms))[:, None] + kind)
        if terms.switched:
            width = deviation[:, 0:1]
            k, dk = type_switch(xp, s * width + mean[:, 0:1], ds * width, shape.rcut_smth)
            # empty slots have a k of 0
            by_k, gain = gain, 1.0 + gain * xp.where(mask, k, 0.0)[..., None]
    if embed_net is None:
        embed_net = partial(embed, xp)
    features, start = [], 0
    for t, width in enumerate(shape.slots):
        block = slice(start, start + width)
        start += width
        g, dg = embed_net(embedding[t], s[:, block, None])
        if by_k is not None:
            by_k = g * by_k
        if gain is not None:
            g, dg = g * gain, dg * gain
        part = xp.transpose(r4[:, block]) @ g
        gr = part if gr is None else gr + part
        features.append((block, g, dg))
        if absent[t] and (terms is None or terms.switched):
            empty, _ = embed_net(embedding[t], s_empty)
            term = absent[t] * s_empty * empty
            row0 = term if row0 is None else row0 + term
    if row0 is not None:
        row = per_atom(row0)[:, None, :]
        gr = gr + xp.concat([row, row * 0.0, row * 0.0, row * 0.0], 1)
    gr = gr / shape.nix
    d = describe(xp, gr, shape.axis_neuron)

    if fit_net is None:
        fit_net = partial(fit, xp)
    first = None if terms is None else terms.first
    energy, dd = _fitted(xp, shape, fitting, d, first, fit_net)
    energy = energy + xp.take(t_bias, center)

    dgr = xp.transpose(describe_gradient(xp, gr, dd, shape.axis_neuron) / shape.nix)
    dr4 = xp.concat([g @ dgr for _, g, _ in features], 1)
    through_g = xp.concat([xp.sum(r4[:, block] * (dg @ dgr), -1) for block, _, dg in features], 1)
    by_s = dr4[..., 0] + through_g
    by_h = dr4[..., 1] * rij[..., 0] + dr4[..., 2] * rij[..., 1] + dr4[..., 3] * rij[..., 2]
    radial = by_s * ds + by_h * dh
    if by_k is not None:
        radial = radial + xp.sum((r4 @ xp.transpose(dgr)) * by_k, -1) * dk
    pair = radial[..., None] * rij + h[..., None] * dr4[..., 1:]
    return energy, pair


def _fitted(
    xp: Math, shape: Shape, fitting: Sequence[Net], d: Array, first: Array | None,
    fit_net: Callable[[Net, Array, Array | None], tuple[Array, Array]],
) -> tuple[Array, Array]:
    """Outputs (a,) and their gradients (a, M1*M2) of the fitting net of each atom."""
    if first is not None:
        return fit_net(fitting[0], d, _Rows(xp, shape.atoms)(first))
    energies, gradients, start = [], [], 0
    for t, count in enumerate(shape.atoms):
        if count:
            energy, gradient = fit_net(fitting[t], d[start : start + count], None)
            energies.append(energy)
            gradients.append(gradient)
        start += count
    return xp.concat(energies, 0), xp.concat(gradients, 0)


class FloatParameters(Protocol):
    """What a model must offer to prediction; `FloatWeights` and the frozen `Model` have it."""

    @property
    def embedding(self) -> Sequence[Net]: ...
    @property
    def fit_weights(self) -> Sequence[Array]: ...
    @property
    def fit_biases(self) -> Sequence[Array]: ...
    @property
    def davg(self) -> Array: ...
    @property
    def dstd(self) -> Array: ...
    @property
    def t_bias_atom_e(self) -> Array: ...
    @property
    def sub_version(self) -> int: ...
    @property
    def tweight(self) -> Array | None: ...
    @property
    def type_embedding(self) -> Net: ...
    @property
    def type_net(self) -> Net: ...


@dataclass(frozen=True, kw_only=True)
class FloatPrediction:
    """Energy and its derivatives for one frame, atoms in the order they were given.

    Attributes
    ----------
    energy : float
        Total energy in eV.
    atom_energy : (n,) float64
        Atomic energies in eV.
    force : (n, 3) float64
        Forces in eV/Å.
    virial : (3, 3) float64
        ``sum over pairs of (force on the neighbour)_a r_b`` in eV.
    """

    energy: float
    atom_energy: NDArray[np.float64]
    force: NDArray[np.float64]
    virial: NDArray[np.float64]


def predict_float(
    parameters: FloatParameters,
    coord: ArrayLike,
    box: ArrayLike | None,
    types: ArrayLike,
    *,
    sel: Sequence[int],
    rcut: float,
    rcut_smth: float,
    axis_neuron: int = 4,
    overflow: Overflow = "error",
) -> FloatPrediction:
    """Predict one frame with the float model, in NumPy.

    Parameters
    ----------
    parameters : FloatParameters
        Weights and statistics.
    coord : (n, 3) array_like
        Positions in Å.
    box : (3, 3) array_like or None
        Cell vectors in rows, in Å; None for an open system.
    types : (n,) array_like of int
        Types.
    sel : sequence of int
        Slots per neighbour type; one number in version 1.
    rcut, rcut_smth : float
        Cut-off and start of smoothing in Å.
    axis_neuron : int
        M2.
    overflow : {"error", "truncate"}
        See `build_neighborhood`.

    Returns
    -------
    FloatPrediction

    Raises
    ------
    InputError, NeighborOverflowError
        See `build_neighborhood`.
    """
    shared = None if parameters.tweight is None else len(parameters.t_bias_atom_e)
    near = build_neighborhood(coord, box, types, sel, rcut, overflow=overflow, ntypes=shared)
    return predict_neighborhood(
        parameters, near, sel=sel, rcut=rcut, rcut_smth=rcut_smth, axis_neuron=axis_neuron
    )


def predict_neighborhood(
    parameters: FloatParameters,
    near: Neighborhood,
    *,
    sel: Sequence[int],
    rcut: float,
    rcut_smth: float,
    axis_neuron: int = 4,
) -> FloatPrediction:
    """Predict one frame whose neighbours are known; see `predict_float`."""
    ntypes = len(parameters.t_bias_atom_e)
    terms = None
    counts = near.counts
    if parameters.tweight is not None:
        xp = NumpyMath()
        terms = type_terms(xp, parameters.type_embedding, parameters.type_net, parameters.tweight,
                           parameters.sub_version == 2)
        counts = counts.sum(axis=1, keepdims=True)
    keep, widths = occupied_slots(counts.max(axis=0), sel)
    shape = Shape(
        atoms=tuple(int(np.sum(near.center_types == t)) for t in range(ntypes)),
        slots=widths,
        sel=tuple(sel),
        rcut=rcut,
        rcut_smth=rcut_smth,
        axis_neuron=axis_neuron,
    )
    layers = list(zip(parameters.fit_weights, parameters.fit_biases, strict=True))
    rij, index = near.rij[:, keep], near.index[:, keep]
    energy, pair = atomic_energies(
        NumpyMath(),
        shape,
        parameters.embedding,
        [[(w[t], b[t]) for w, b in layers] for t in range(len(layers[0][0]))],
        parameters.t_bias_atom_e,
        parameters.davg,
        parameters.dstd,
        rij,
        index >= 0,
        terms,
        np.maximum(near.neighbor_types[:, keep], 0),
    )
    force = pair.sum(axis=1)
    filled = index >= 0
    np.subtract.at(force, index[filled], pair[filled])
    atom_energy = np.empty(len(energy))
    forces = np.empty_like(force)
    atom_energy[near.order], forces[near.order] = energy, force
    virial = -np.einsum("ima,imb->ab", pair, rij)
    return FloatPrediction(
        energy=float(atom_energy.sum()), atom_energy=atom_energy, force=forces, virial=virial
    )


def occupied_slots(
    largest: Sequence[int] | NDArray[np.int64], sel: Sequence[int]
) -> tuple[NDArray[np.int64], tuple[int, ...]]:
    """Choose the slots worth computing: the first `largest[t]` of each neighbour type.

    Parameters
    ----------
    largest : (ntypes,)
        Most neighbours of each type that any atom has.
    sel : (ntypes,)
        Slots per neighbour type.

    Returns
    -------
    keep : (m',) int64
        Indices of the chosen slots; at least one of each type that has slots.
    widths : tuple of int
        How many of each type.
    """
    starts = np.cumsum(sel) - np.asarray(sel)
    widths = tuple(min(int(s), max(int(n), 1)) for n, s in zip(largest, sel, strict=True))
    keep = [np.arange(start, start + width) for start, width in zip(starts, widths, strict=True)]
    return np.concatenate(keep).astype(np.int64), widths


class _Rows:
    """Repeat the rows of a table per type for atoms in blocks of one type."""

    def __init__(self, xp: Math, atoms: Sequence[int]) -> None:
        self.xp, self.atoms = xp, atoms

    def __call__(self, table: Array) -> Array:
        parts = [
            table[t : t + 1] + np.zeros((count, 1)) for t, count in enumerate(self.atoms) if count
        ]
        return self.xp.concat(parts, 0)
