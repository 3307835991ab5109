"""The float model at speed: compiled neighbour passes, threads over groups of atoms."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nvnmd.float_math import NumpyMath
from nvnmd.float_model import FloatParameters, Shape, atomic_energies, nix, occupied_slots
from nvnmd.float_nets import Net, describe, describe_gradient, embed, tanh4
from nvnmd.float_types import type_terms
from nvnmd.neighbors import Neighborhood
from nvnmd.quantize.fast import CHUNK, available, chunks
from nvnmd.quantize.forces import Forces
from nvnmd.quantize.threads import share_out

Floats = NDArray[np.float64]


def float_evaluator(
    parameters: FloatParameters,
    *,
    sel: tuple[int, ...],
    rcut: float,
    rcut_smth: float,
    axis_neuron: int = 4,
) -> Callable[[Neighborhood], tuple[Floats, Forces]]:
    """A function of a neighbour list that gives atomic energies and forces, atoms sorted by type.

    Without numba it runs `nvnmd.float_model.atomic_energies`; the two agree to rounding.

    Parameters
    ----------
    parameters : FloatParameters
        Weights and statistics.
    sel : tuple of int
        Slots per neighbour type; one number in version 1.
    rcut, rcut_smth : float
        Cut-off and start of smoothing in Å.
    axis_neuron : int
        M2.
    """
    build = _compiled if available() else _plain
    return build(parameters, sel, rcut, rcut_smth, axis_neuron)


def _compiled(parameters: FloatParameters, sel: tuple[int, ...], rcut: float, rcut_smth: float,
              m2: int) -> Callable[[Neighborhood], tuple[Floats, Forces]]:
    from nvnmd import float_kernels as kernels

    xp = NumpyMath()
    mean, deviation = np.asarray(parameters.davg), np.asarray(parameters.dstd)
    ntypes = len(parameters.t_bias_atom_e)
    weights, biases, widths = _packed(parameters.embedding)
    m1 = int(widths[-1])
    gain, empty = np.empty((ntypes, 0, m1)), np.zeros((ntypes, len(sel), m1))
    nets = [[(w[t], b[t]) for w, b in zip(parameters.fit_weights, parameters.fit_biases,
                                          strict=True)] for t in range(len(weights))]
    if parameters.tweight is None:
        s = (-mean[:, 0] / deviation[:, 0])[:, None]
        empty = np.stack([s * embed(xp, net, s)[0] for net in parameters.embedding], axis=1)
    else:
        terms = type_terms(xp, parameters.type_embedding, parameters.type_net, parameters.tweight)
        gain = terms.gains.reshape(ntypes, ntypes, m1)
        (first, bias), *rest = nets[0]
        nets = [[(first, bias + terms.first[t]), *rest] for t in range(ntypes)]
    starts = np.concatenate([[0], np.cumsum(sel)]).astype(np.int64)
    scale = 1.0 / nix(sum(sel))

    def evaluate(near: Neighborhood) -> tuple[Floats, Forces]:
        n, m = near.index.shape
        kept = int(near.counts.sum(axis=1).max(initial=0))
        energy, pair = np.empty(n), np.zeros((n, m, 3))

        def compute(task: tuple[int, NDArray[np.int64]]) -> None:
            t, atoms = task
            radial, g = np.empty((CHUNK, kept, 4)), np.empty((CHUNK, kept, 2 * m1))
            gr = np.zeros((CHUNK, 4, m1))
            kernels.forward(atoms, near.neighbor_types, near.rij, near.index, starts, mean[t],
                            deviation[t], weights, biases, widths, gain[t], empty[t], scale,
                            rcut_smth, rcut, radial, g, gr)
            out, dd = _fit(nets[t], describe(xp, gr, m2))
            energy[atoms] = out[: len(atoms)] + parameters.t_bias_atom_e[t]
            dgr = describe_gradient(xp, gr, dd, m2) * scale
            kernels.backward(atoms, near.rij, near.index, radial, g, dgr, pair)

        share_out(chunks(near.center_types, ntypes), lambda: compute)
        force, atom_virial = np.zeros((n, 3)), np.zeros((n, 3, 3))
        kernels.scatter(pair, near.rij, near.index, force, atom_virial)
        return energy, Forces(force, atom_virial.sum(axis=0), atom_virial)

    return evaluate


def _packed(nets: Sequence[Net]) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """The embedding nets, which have equal widths, in three arrays."""
    widths = [int(w.shape[0]) for w, _ in nets[0]] + [int(nets[0][-1][0].shape[1])]
    room, layers = max(widths), len(widths) - 1
    weights, biases = np.zeros((len(nets), layers, room, room)), np.zeros((len(nets), layers, room))
    for t, net in enumerate(nets):
        for k, (w, b) in enumerate(net):
            weights[t, k, : w.shape[0], : w.shape[1]] = w
            biases[t, k, : w.shape[1]] = b
    return weights, biases, np.array(widths, dtype=np.int64)


def _fit(net: Net, d: Floats) -> tuple[Floats, Floats]:
    """`float_nets.fit` of `CHUNK` atoms in the caller's thread."""
    xp = NumpyMath()
    x, slopes, skips = d, [], []
    for k, (weight, bias) in enumerate(net[:-1]):
        y, slope = tanh4(xp, x @ weight + bias)
        skips.append(k > 0 and weight.shape[0] == weight.shape[1])
        slopes.append(slope)
        x = x + y if skips[-1] else y
    weight, bias = net[-1]
    energy = (x @ weight + bias)[:, 0]
    gradient = np.repeat(weight.T, len(x), axis=0)
    for k in reversed(range(len(slopes))):
        back = (gradient * slopes[k]) @ net[k][0].T
        gradient = gradient + back if skips[k] else back
    return energy, gradient


def _plain(parameters: FloatParameters, sel: tuple[int, ...], rcut: float, rcut_smth: float,
           m2: int) -> Callable[[Neighborhood], tuple[Floats, Forces]]:
    xp = NumpyMath()
    ntypes = len(parameters.t_bias_atom_e)
    terms = None
    if parameters.tweight is not None:
        terms = type_terms(xp, parameters.type_embedding, parameters.type_net, parameters.tweight)
    layers = list(zip(parameters.fit_weights, parameters.fit_biases, strict=True))
    nets = [[(w[t], b[t]) for w, b in layers] for t in range(len(layers[0][0]))]

    def evaluate(near: Neighborhood) -> tuple[Floats, Forces]:
        counts = near.counts if terms is None else near.counts.sum(axis=1, keepdims=True)
        energy, pair = np.empty(len(near.index)), np.zeros(near.rij.shape)
        for start in range(0, len(energy), CHUNK):
            some = slice(start, start + CHUNK)
            keep, widths = occupied_slots(counts[some].max(axis=0), sel)
            shape = Shape(
                atoms=tuple(int(np.sum(near.center_types[some] == t)) for t in range(ntypes)),
                slots=widths, sel=sel, rcut=rcut, rcut_smth=rcut_smth, axis_neuron=m2)
            energy[some], pair[some, keep] = atomic_energies(
                xp, shape, parameters.embedding, nets, parameters.t_bias_atom_e, parameters.davg,
                parameters.dstd, near.rij[some, keep], near.index[some, keep] >= 0, terms,
                np.maximum(near.neighbor_types[some, keep], 0))
        return energy, pair_forces(pair, near.rij, near.index)

    return evaluate


def pair_forces(pair: Floats, rij: Floats, index: NDArray[np.integer]) -> Forces:
    """Forces and virials from dE/d(rij) (n, m, 3), 0 in empty slots.

    The atomic virial goes to the neighbour, as DeePMD-kit has it.
    """
    n = len(index)
    center, slot = np.nonzero(index >= 0)
    neighbor = index[center, slot]
    slope, far = pair[center, slot], rij[center, slot]
    force = pair.sum(axis=1)
    atom_virial = np.empty((n, 3, 3))
    for a in range(3):
        force[:, a] -= np.bincount(neighbor, slope[:, a], n)
        for b in range(3):
            atom_virial[:, a, b] = np.bincount(neighbor, -slope[:, a] * far[:, b], n)
    return Forces(force, atom_virial.sum(axis=0), atom_virial)
