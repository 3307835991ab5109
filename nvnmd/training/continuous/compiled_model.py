"""The float model with compiled passes: predictions, losses and one Adam step per call.

The same model as `nvnmd.training.continuous.tf_model.TfFloatModel`, several times as fast;
TensorFlow differentiates the loss by energies, forces and virials only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.inputs.loss_terms import TERMS, size_factors
from nvnmd.network.weights import FloatWeights
from nvnmd.quantize.tensorflow.runtime import tf
from nvnmd.training.continuous import type_pass as type_training
from nvnmd.training.continuous.adam import Adam
from nvnmd.training.continuous.batches import Labels
from nvnmd.training.continuous.numbers import TrainedNumbers
from nvnmd.training.continuous.pair_lists import PairBatch, PairPart
from nvnmd.training.continuous.passes import FloatOutputs, FloatPass
from nvnmd.training.continuous.tf_shapes import FreeShapes
from nvnmd.training.tf_loss import Found, squared_errors

Tensor = Any


class CompiledFloatModel:
    """Trainable float model with its optimizer state; needs numba.

    Parameters
    ----------
    weights : FloatWeights
        Initial weights; the statistics stay as they are.
    sel : sequence of int
        Slots per neighbour type; one number in version 1.
    rcut, rcut_smth : float
        Å.
    axis_neuron : int
        M2.
    relative_f : float, optional
        See `nvnmd.training.tf_loss.force_difference`.
    gradient_max_norm : float
        See `nvnmd.training.continuous.adam.Adam`.
    train_embedding : bool
        Whether the embedding nets are trained, in version 1 with the net of the gains.
    train_fitting : sequence of bool, optional
        Whether each layer of the fitting nets is trained, in version 1 the first with what carries
        the type vectors into it; all by default.
    train_types : bool
        Version 1: whether the type vectors are trained.
    """

    def __init__(
        self,
        weights: FloatWeights,
        *,
        sel: Sequence[int],
        rcut: float,
        rcut_smth: float,
        axis_neuron: int = 4,
        relative_f: float | None = None,
        gradient_max_norm: float = 0.0,
        train_embedding: bool = True,
        train_fitting: Sequence[bool] | None = None,
        train_types: bool = True,
    ) -> None:
        self.relative_f = relative_f
        self._numbers = TrainedNumbers(weights)
        self._trained = _trained(self._numbers, train_embedding, train_fitting, train_types)
        count = len(self._numbers.vector[self._trained])
        self._adam = Adam(count, gradient_max_norm)
        self._gradient = self._numbers.zeros()
        self._pass = FloatPass(
            weights, sel=sel, rcut=rcut, rcut_smth=rcut_smth, axis_neuron=axis_neuron
        )
        self._squares = FreeShapes(self._errors)
        self._loss_gradient = FreeShapes(self._slopes)

    @property
    def weights(self) -> FloatWeights:
        """The present weights."""
        return self._numbers.weights()

    @property
    def moments(self) -> dict[str, NDArray[np.float64]]:
        """Adam's first and second moments, flat, in the order of the variables."""
        return self._adam.moments

    def set_moments(self, moments: dict[str, NDArray[np.float64]]) -> None:
        """Put back what `moments` gave.

        Raises
        ------
        ValueError
            The sizes do not fit these nets.
        KeyError
            One is missing.
        """
        self._adam.set_moments(moments)

    def predict(self, batch: PairBatch) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """Return energies (f,), atomic energies (a,), forces (a, 3), virials (f, 3, 3).

        Atoms are sorted by type, those of one type in the order of the frames.
        """
        found = [self._forward(part) for part in batch.parts]
        energy = [np.bincount(part.frame, weights=one.atomic)
                  for part, one in zip(batch.parts, found, strict=True)]
        order = np.argsort(np.concatenate([part.pairs.kinds for part in batch.parts]),
                           kind="stable")
        return (
            np.concatenate(energy),
            np.concatenate([one.atomic for one in found])[order],
            np.concatenate([one.force for one in found])[order],
            np.concatenate([one.virial for one in found]),
        )

    def squared_errors(self, batch: PairBatch) -> NDArray[np.float64]:
        """Return the mean squared errors (6,); see `nvnmd.training.tf_loss.squared_errors`."""
        errors = np.zeros(len(TERMS))
        for part in batch.parts:
            found = self._forward(part)
            squares = self._squares(*_arguments(found, part, batch.natoms))
            errors += part.share * squares.numpy()
        return errors

    def step(self, batch: PairBatch, prefactors: NDArray[np.float64], lr: float, step: int) -> None:
        """Do one Adam step on the loss of a batch.

        Parameters
        ----------
        batch : PairBatch
            The frames.
        prefactors : (6,)
            Of `nvnmd.inputs.loss_terms.TERMS`; a term without a label counts as 0.
        lr : float
            Learning rate.
        step : int
            Number of this step, from 1; Adam's bias correction depends on it.

        Notes
        -----
        Loss: ``pref_e <dE²>/n + pref_f <dF²> + pref_v <dW²>/n`` and the terms of labels per
        atom, means over frames and components, n the atoms of a frame. See
        `nvnmd.training.tf_loss.squared_errors` and `nvnmd.training.continuous.adam.Adam`.
        """
        self.apply(self.gradient(batch, prefactors), lr, step)

    def gradient(self, batch: PairBatch, prefactors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the gradient of a batch's loss by all that is trained, in one row; see `step`."""
        scale = prefactors * batch.known * size_factors(batch.natoms)
        total: NDArray[np.float64] | None = None
        sums: list[NDArray[np.float64]] = []
        for part in batch.parts:
            found = self._forward(part)
            slopes = self._loss_gradient(
                *_arguments(found, part, batch.natoms), tf.constant(scale * part.share))
            by_atomic, by_force, by_virial = (slope.numpy() for slope in slopes)
            more = self._pass.backward(
                self._numbers, part.pairs, by_atomic, by_force, by_virial, self._gradient)
            if total is None:
                total, sums = self._gradient.vector.copy(), list(more)
            else:
                total += self._gradient.vector
                for one, other in zip(sums, more, strict=True):
                    one += other
        assert total is not None
        if self._numbers.tweight is not None:
            self._gradient.vector[:] = total
            type_training.backward(self._numbers, sums[0], sums[1], self._gradient)
            total[:] = self._gradient.vector
        return total[self._trained]

    def apply(self, gradient: NDArray[np.float64] | Tensor, lr: float, step: int) -> None:
        """Do what is left of `step` once the gradient is known."""
        change = self._adam.change(np.asarray(gradient), lr, step)
        self._numbers.vector[self._trained] += change

    def _forward(self, part: PairPart) -> FloatOutputs:
        """Evaluate some frames."""
        types = None
        if self._numbers.tweight is not None:
            types = type_training.evaluate(self._numbers)
        return self._pass.forward(self._numbers, part.pairs, len(part.energy), types)

    def _errors(
        self,
        atomic: Tensor,
        force: Tensor,
        virial: Tensor,
        frame: Tensor,
        labels: dict[str, Tensor],
        natoms: Tensor,
    ) -> Tensor:
        """Mean squared errors (6,) of what the model found."""
        frames = tf.shape(virial)[0]

        def by_frame(values: Tensor) -> Tensor:
            return tf.math.unsorted_segment_sum(values, frame, frames)

        energy = by_frame(atomic[:, None])[:, 0]
        return squared_errors(
            Found(energy=energy, atomic=atomic, force=force, virial=virial),
            labels, natoms, by_frame, self.relative_f,
        )

    def _slopes(self, atomic: Tensor, force: Tensor, virial: Tensor, *args: Any) -> list[Tensor]:
        """Gradients of the loss by atomic energies, forces and virials."""
        *batch, scale = args
        found = [atomic, force, virial]
        with tf.GradientTape() as tape:
            tape.watch(found)
            loss = tf.reduce_sum(scale * self._errors(*found, *batch))
        return tape.gradient(loss, found, unconnected_gradients="zero")


def _arguments(found: FloatOutputs, part: Labels, natoms: float) -> tuple[Any, ...]:
    """Return what `_errors` takes, as tensors: a graph takes arrays, too, but more slowly."""
    labels = {"energy": part.energy, "force": part.force, "virial": part.virial}
    labels |= part.atom_labels
    return (
        *(tf.constant(one) for one in (found.atomic, found.force, found.virial, part.frame)),
        {name: tf.constant(array) for name, array in labels.items()},
        tf.constant(natoms, tf.float64),
    )


def _trained(
    numbers: TrainedNumbers, embedding: bool, fitting: Sequence[bool] | None, types: bool
) -> NDArray[np.int64] | slice:
    """Return the places of what is trained in the vector of all numbers."""
    chosen = numbers.zeros()
    layers = [True] * len(numbers.fitting[0]) if fitting is None else list(fitting)
    kept = [net for net in chosen.embedding if embedding]
    kept += [[layer for layer, on in zip(net, layers, strict=True) if on]
             for net in chosen.fitting]
    if chosen.tweight is not None:
        kept += [chosen.type_net] if embedding else []
        matrices = [*chosen.type_matrices, *chosen.type_biases] if types else []
        for array in (*matrices, *([chosen.tweight] if layers[0] else [])):
            array[:] = 1.0
    for net in kept:
        for weight, bias in net:
            weight[:], bias[:] = 1.0, 1.0
    if chosen.vector.all():
        return slice(None)
    return np.flatnonzero(chosen.vector)
