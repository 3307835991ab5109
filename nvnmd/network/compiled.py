"""The float model at speed: compiled neighbour passes, threads over groups of atoms."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nvnmd.neighbors.slots import Neighborhood
from nvnmd.network.math import NumpyMath
from nvnmd.network.model import FloatParameters, Shape, atomic_energies, nix, occupied_slots
from nvnmd.network.nets import Net, embed
from nvnmd.network.types import type_terms
from nvnmd.quantize.compiled.model import CHUNK, available, chunks
from nvnmd.quantize.forces import Forces
from nvnmd.threads import share_out

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

    Without numba it runs `nvnmd.network.model.atomic_energies`; the two agree to rounding.

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
    from nvnmd.network import kernels

    xp = NumpyMath()
    mean, deviation = np.asarray(parameters.davg), np.asarray(parameters.dstd)
    ntypes = len(parameters.t_bias_atom_e)
    weights, biases, widths = _packed(parameters.embedding)
    weights = np.ascontiguousarray(np.swapaxes(weights, -1, -2))
    m1 = int(widths[-1])
    gain, empty = np.empty((ntypes, 0, m1)), np.zeros((ntypes, len(sel), m1))
    layers_of = list(zip(parameters.fit_weights, parameters.fit_biases, strict=True))
    nets = [[(w[t], b[t]) for w, b in layers_of] for t in range(len(layers_of[0][0]))]
    switched = parameters.sub_version == 2
    if parameters.tweight is None or switched:
        s = (-mean[:, 0] / deviation[:, 0])[:, None]
        empty = np.stack([s * embed(xp, net, s)[0] for net in parameters.embedding], axis=1)
    if parameters.tweight is not None:
        terms = type_terms(xp, parameters.type_embedding, parameters.type_net, parameters.tweight,
                           switched)
        gain = terms.gains.reshape(ntypes, ntypes, m1)
        (first, bias), *rest = nets[0]
        nets = [[(first, bias + terms.first[t]), *rest] for t in range(ntypes)]
    starts = np.concatenate([[0], np.cumsum(sel)]).astype(np.int64)
    scale = 1.0 / nix(sum(sel))
    ahead, fit_biases, fit_widths = _packed([net[:-1] for net in nets])
    room, layers = ahead.shape[-1], len(fit_widths) - 1
    back = np.ascontiguousarray(np.swapaxes(ahead, -1, -2))
    last = np.stack([net[-1][0][:, 0] for net in nets])

    def evaluate(near: Neighborhood) -> tuple[Floats, Forces]:
        n, m = near.index.shape
        kept = int(near.counts.sum(axis=1).max(initial=0))
        energy, pair = np.empty(n), np.zeros((n, m, 3))

        def make_worker() -> Callable[[tuple[int, NDArray[np.int64]]], None]:
            slot_of = np.empty((CHUNK, kept), dtype=np.int64)
            columns = kept + kernels.TILE
            packed = np.zeros((CHUNK, kernels.NEAR_ROWS, columns))
            g, gr = np.zeros((CHUNK, m1, 3 if switched else 2, columns)), np.empty((CHUNK, 4, m1))
            slopes = np.empty((layers, CHUNK, room))
            d, x, total, gradient = np.zeros((4, CHUNK, room))

            def compute(task: tuple[int, NDArray[np.int64]]) -> None:
                t, atoms = task
                kernels.forward(atoms, near.neighbor_types, near.rij, near.index, starts, mean[t],
                                deviation[t], weights, biases, widths, gain[t], empty[t], scale,
                                rcut_smth, rcut, m2, slot_of, packed, g, gr, d)
                kernels.fit(atoms, d, fit_widths, ahead[t], back[t], fit_biases[t], last[t],
                            float(nets[t][-1][1][0]), slopes, x, total, gradient, energy)
                kernels.backward(atoms, starts, near.index, m2, scale, slot_of, packed, g, gr, d,
                                 pair)

            return compute

        share_out(chunks(near.center_types, ntypes), make_worker)
        energy += parameters.t_bias_atom_e[near.center_types]
        rows = n + near.ghosts
        force, atom_virial = np.zeros((rows, 3)), np.zeros((rows, 3, 3))
        kernels.scatter(pair, near.rij, near.index, force, atom_virial)
        return energy, Forces(force, atom_virial.sum(axis=0), atom_virial)

    return evaluate


def _packed(nets: Sequence[Net]) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Nets of equal widths in three arrays."""
    widths = [int(w.shape[0]) for w, _ in nets[0]] + [int(nets[0][-1][0].shape[1])]
    room, layers = -(-max(widths) // 4) * 4, len(widths) - 1
    weights, biases = np.zeros((len(nets), layers, room, room)), np.zeros((len(nets), layers, room))
    for t, net in enumerate(nets):
        for k, (w, b) in enumerate(net):
            weights[t, k, : w.shape[0], : w.shape[1]] = w
            biases[t, k, : w.shape[1]] = b
    return weights, biases, np.array(widths, dtype=np.int64)


def _plain(parameters: FloatParameters, sel: tuple[int, ...], rcut: float, rcut_smth: float,
           m2: int) -> Callable[[Neighborhood], tuple[Floats, Forces]]:
    xp = NumpyMath()
    ntypes = len(parameters.t_bias_atom_e)
    terms = None
    if parameters.tweight is not None:
        terms = type_terms(xp, parameters.type_embedding, parameters.type_net, parameters.tweight,
                           parameters.sub_version == 2)
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
        return energy, pair_forces(pair, near.rij, near.index, near.ghosts)

    return evaluate


def pair_forces(pair: Floats, rij: Floats, index: NDArray[np.integer],
                ghosts: int = 0) -> Forces:
    """Forces and virials from dE/d(rij) (n, m, 3), 0 in empty slots.

    The atomic virial goes to the neighbour, as DeePMD-kit has it.
    """
    n = len(index) + ghosts
    center, slot = np.nonzero(index >= 0)
    neighbor = index[center, slot]
    slope, far = pair[center, slot], rij[center, slot]
    force = np.concatenate([pair.sum(axis=1), np.zeros((ghosts, 3))])
    atom_virial = np.empty((n, 3, 3))
    for a in range(3):
        force[:, a] -= np.bincount(neighbor, slope[:, a], n)
        for b in range(3):
            atom_virial[:, a, b] = np.bincount(neighbor, -slope[:, a] * far[:, b], n)
    return Forces(force, atom_virial.sum(axis=0), atom_virial)
