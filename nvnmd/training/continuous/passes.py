"""Energies, forces and virials of a batch by the float model, and the gradient of a loss of them.

The formulas of `nvnmd.network.model` with the neighbour passes compiled, and their reverse pass by
hand: see docs/training_speed.md. The loss itself is not known here; its gradients by atomic
energies, forces and virials are what the reverse pass begins with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nvnmd.network.model import nix
from nvnmd.network.types import TypeTerms
from nvnmd.network.weights import FloatWeights
from nvnmd.threads import share_out, threads
from nvnmd.training.continuous import kernels
from nvnmd.training.continuous.atom_kernels import describe, describe_backward
from nvnmd.training.continuous.embedding_kernels import TILE, store_size
from nvnmd.training.continuous.embedding_pass import EmbeddingPass, Space
from nvnmd.training.continuous.fitting_pass import FittingPass, backward, evaluate
from nvnmd.training.continuous.numbers import TrainedNumbers
from nvnmd.training.continuous.pair_lists import PairLists

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FloatOutputs:
    """Predictions of the model for the `a` atoms and `f` frames of a batch.

    Attributes
    ----------
    atomic : (a,)
        Energies in eV.
    force : (a, 3)
        eV/Å.
    virial : (f, 3, 3)
        eV.
    """

    atomic: Floats
    force: Floats
    virial: Floats


class FloatPass:
    """Forward and reverse pass of the float model; keeps what the second needs of the first.

    Parameters
    ----------
    weights : FloatWeights
        Statistics and shapes.
    sel : sequence of int
        Slots per neighbour type; one number in version 1.
    rcut, rcut_smth : float
        Å.
    axis_neuron : int
        M2.
    """

    def __init__(
        self,
        weights: FloatWeights,
        *,
        sel: Sequence[int],
        rcut: float,
        rcut_smth: float,
        axis_neuron: int,
    ) -> None:
        self._mean, self._deviation = np.array(weights.davg), np.array(weights.dstd)
        self._t_bias = np.array(weights.t_bias_atom_e)
        self._sel = np.asarray(sel, dtype=np.int64)
        self._range = float(rcut_smth), float(rcut)
        self._m2, self._scale = axis_neuron, 1.0 / nix(sum(sel))
        net = weights.embedding[0]
        self._widths = np.array([w.shape[0] for w, _ in net] + [net[-1][0].shape[1]])
        self._m1, self._net_size = int(self._widths[-1]), sum(w.size + b.size for w, b in net)
        # an empty slot sees s(0), but counts nothing in version 1, SUB_VERSION 1
        self._empty_s = -self._mean[:, 0] / self._deviation[:, 0]
        if weights.version == 1 and weights.sub_version == 1:
            self._empty_s[:] = 0.0
        self._space = Space()
        self._embedding = EmbeddingPass(self._widths, self._space)

    def forward(
        self, numbers: TrainedNumbers, batch: PairLists, frames: int, types: TypeTerms | None = None
    ) -> FloatOutputs:
        """Evaluate a batch.

        Parameters
        ----------
        numbers : TrainedNumbers
            The weights.
        batch : PairLists
            Atoms and neighbours.
        frames : int
            Frames of the batch.
        types : TypeTerms, optional
            Version 1.
        """
        rows, pairs = len(batch.kinds), len(batch.rij)
        self._gains = np.empty((0, self._m1)) if types is None else types.gains
        self._fade = np.empty((0, 2))
        nets = self._nets(numbers)
        r4, slopes = self._space("r4", pairs, 4), self._space("slopes", pairs, 3)
        kernels.radial(0, pairs, batch.kinds, batch.centers, batch.rij, self._mean,
                       self._deviation, *self._range, r4, slopes)
        features = self._embedding.forward(nets, batch, r4)
        if types is not None:
            scaled = self._space("scaled", *features.shape)
            if types.switched:
                self._fade = self._space("fade", pairs, 2)
                kernels.fades(0, pairs, batch.kinds, batch.centers, self._mean, self._deviation,
                              self._range[0], r4, self._fade)
            self._each(lambda low, high: kernels.apply_gains(
                low, high, batch.gain_of, self._gains, self._fade, features, scaled), pairs)
            features = scaled
        self._features = features
        empty = self._empty_features(nets)
        gr, dgr = (self._space(name, rows, 4, self._m1) for name in ("gr", "dgr"))
        d = self._space("d", rows, self._m1 * self._m2)
        unused = self._space("unused", *d.shape)

        def descriptors(low: int, high: int) -> None:
            kernels.gather(low, high, batch.kinds, batch.begin, batch.counts, batch.slots, empty,
                           self._sel, self._scale, r4, features, gr)
            describe(low, high, gr, gr, self._m2, d, unused)

        self._each(descriptors, rows)
        atomic = self._t_bias[batch.kinds]
        dd = self._space("dd", *d.shape)
        blocks = self._blocks(batch, numbers)
        first = None if types is None else types.first[batch.kinds]
        passes: dict[int, FittingPass] = {}
        dgr[:] = 0.0

        def fit(t: int) -> None:
            passes[t] = found = evaluate(numbers.fitting[t], d[blocks[t]], first)
            atomic[blocks[t]] += found.energy
            dd[blocks[t]] = found.gradient
            self._by_gr(blocks[t], gr, dd, dgr)

        share_out(range(len(blocks)), lambda: fit)
        self._passes = [(block, passes[t]) for t, block in enumerate(blocks)]
        self._dd = dd
        pair = self._space("pair", pairs, 3)
        self._each(
            lambda low, high: kernels.pair_gradients(
                low, high, batch.centers, batch.neighbors, batch.shared, batch.rij, r4,
                slopes, features, dgr, pair), pairs)
        force, virial = np.zeros((rows, 3)), np.zeros((frames, 3, 3))
        kernels.scatter(batch.frames, batch.centers, batch.neighbors, batch.rij, pair, force,
                        virial)
        return FloatOutputs(atomic, force, virial)

    def backward(
        self,
        numbers: TrainedNumbers,
        batch: PairLists,
        by_atomic: Floats,
        by_force: Floats,
        by_virial: Floats,
        gradient: TrainedNumbers,
    ) -> tuple[Floats, Floats]:
        """Gradient of a loss by the weights, after `forward` of the same batch.

        Parameters
        ----------
        numbers : TrainedNumbers
            The weights.
        batch : PairLists
            The batch.
        by_atomic, by_force, by_virial : (a,), (a, 3), (f, 3, 3)
            Gradients of the loss by the model's outputs.
        gradient : TrainedNumbers
            Where the gradient by the weights goes; not what belongs to the types' nets.

        Returns
        -------
        by_gains, by_first : (ntypes * ntypes, M1), (ntypes, nout)
            Version 1: by what the types contribute.
        """
        rows, pairs = len(batch.kinds), len(batch.rij)
        r4, slopes = self._space("r4", pairs, 4), self._space("slopes", pairs, 3)
        gr, dgr = (self._space(name, rows, 4, self._m1) for name in ("gr", "dgr"))
        rates, turn = self._space("rates", pairs, 4), self._space("turn", *gr.shape)
        kernels.pair_rates(0, pairs, batch.frames, batch.centers, batch.neighbors, batch.rij,
                           slopes, by_force, by_virial, rates)
        d_turn = self._space("d_turn", *self._dd.shape)
        unused = self._space("unused", *d_turn.shape)

        def changes(low: int, high: int) -> None:
            kernels.tangents(low, high, batch.begin, batch.counts, batch.slots, r4,
                             self._features, rates, self._scale, turn)
            describe(low, high, gr, turn, self._m2, unused, d_turn)

        self._each(changes, rows)
        by_d, by_gr = self._space("by_d", *self._dd.shape), self._space("by_gr", *gr.shape)
        by_gr[:] = 0.0
        by_first = np.zeros((len(self._t_bias), numbers.fitting[0][0][1].size))

        def fit(t: int) -> None:
            block, found = self._passes[t]
            by_d[block], by_layer = backward(
                numbers.fitting[t], found, by_atomic[block], d_turn[block], gradient.fitting[t])
            if numbers.tweight is not None:
                np.add.at(by_first, batch.kinds[block], by_layer)
            self._by_gr(block, gr, by_d, by_gr)
            self._by_gr(block, turn, self._dd, by_gr)

        share_out(range(len(self._passes)), lambda: fit)
        nets = self._nets(numbers)
        to_nets, by_gains = self._embedding.backward(
            nets, batch, self._gains, self._fade, r4, rates, by_gr, dgr)
        absent = (self._sel - batch.counts).astype(np.float64)
        for t, net in enumerate(nets):
            by_g = np.zeros((TILE, 2, self._m1))
            for c, s in enumerate(self._empty_s):
                here = batch.kinds == c
                by_g[c, 0] = s * (absent[here, t] @ by_gr[here, 0])
            kernels.points_backward(
                0, 1, by_g, net, self._widths, self._empty[t : t + 1], self._of_empty[t],
                to_nets[t])
        self._nets(gradient)[:] = to_nets
        return by_gains, by_first

    def _by_gr(self, atoms: slice, gr: Floats, by_d: Floats, out: Floats) -> None:
        """Add to `out` the gradient by R4^T G that some atoms' gradients by D make."""
        describe_backward(atoms.start, atoms.stop, gr, by_d, self._m2, self._scale, out)

    def _nets(self, numbers: TrainedNumbers) -> Floats:
        """The embedding nets' numbers, (blocks, n): they stand first in the vector."""
        count = len(self._sel)
        return numbers.vector[: count * self._net_size].reshape(count, -1)

    def _empty_features(self, nets: Floats) -> Floats:
        """What an empty slot adds to the first row of GR, (ntypes, blocks, M1)."""
        self._empty = np.empty((len(nets), store_size(self._widths)))
        self._of_empty = np.empty((len(nets), TILE, 2, self._m1))
        for t, net in enumerate(nets):
            kernels.embed(0, 1, self._empty_s, net, self._widths, self._empty[t : t + 1],
                          self._of_empty[t])
        g = self._of_empty[:, : len(self._empty_s), 0]
        return np.ascontiguousarray(np.swapaxes(self._empty_s[:, None] * g, 0, 1))

    def _blocks(self, batch: PairLists, numbers: TrainedNumbers) -> list[slice]:
        """Which atoms each fitting net has."""
        if numbers.tweight is not None:
            return [slice(0, len(batch.kinds))]
        ends = np.searchsorted(batch.kinds, np.arange(len(numbers.fitting) + 1))
        return [slice(low, high) for low, high in pairwise(ends)]

    def _each(self, compute: Callable[[int, int], None], rows: int) -> None:
        """Call with ranges of the atoms, one per thread."""
        parts = threads()
        bounds = np.linspace(0, rows, parts + 1).astype(int)
        share_out(range(parts), lambda: lambda k: compute(bounds[k], bounds[k + 1]))
