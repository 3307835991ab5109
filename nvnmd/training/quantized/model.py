"""The trainable quantized model: predictions, losses and one Adam step per call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.inputs.loss_terms import size_factors
from nvnmd.network.vacuum import given_energies
from nvnmd.network.weights import FloatWeights
from nvnmd.quantize.compiled.model import supported
from nvnmd.quantize.fitting import fitting_net
from nvnmd.quantize.model import Model
from nvnmd.quantize.normalize import statistics
from nvnmd.quantize.ops import FIX_FRAC, round_bits
from nvnmd.quantize.tensorflow.network import (
    FrameTensors,
    Prediction,
    TypeTensors,
    fit_atoms,
    predict,
)
from nvnmd.quantize.tensorflow.ops import TENSORFLOW
from nvnmd.quantize.tensorflow.runtime import tf
from nvnmd.quantize.widths import VENDOR_WIDTHS
from nvnmd.threads import installed
from nvnmd.training.quantized.batches import QuantizedBatch
from nvnmd.training.tf_adam import Adam, flatten
from nvnmd.training.tf_loss import Found, squared_errors

if TYPE_CHECKING:
    from nvnmd.training.quantized.atoms import QuantizedAtoms
    from nvnmd.training.quantized.forces import QuantizedForces

Tensor = Any
# among the labels of a batch whose frames differ: 1 for an atom, 0 for a row that fills up
REAL = "real"


@dataclass(frozen=True)
class QuantizedPrediction:
    """Energies (f,), atomic energies (f, n), forces (f, n, 3), virials (f, 3, 3).

    Atoms are sorted by type. Atomic energies, forces and virials have the bits of the integer
    reference.
    """

    energy: NDArray[np.float64]
    atom_energy: NDArray[np.float64]
    force: NDArray[np.float64]
    virial: NDArray[np.float64]


class TfQuantizedModel:
    """The quantized network with trainable fitting nets and their optimizer's state.

    Parameters
    ----------
    model : Model
        Tables and statistics.
    weights : FloatWeights
        Where the training starts; everything but the fitting nets stays (in version 1 with what
        carries the type vectors into their first layer).
    relative_f : float, optional
        See `nvnmd.training.tf_loss.force_difference`.
    gradient_max_norm : float
        See `nvnmd.training.tf_adam.Adam`.
    train_fitting : sequence of bool, optional
        Whether each layer is trained; all by default.
    atom_ener : sequence of float or None
        Energies of lone atoms; see `nvnmd.network.vacuum`.
    """

    def __init__(self, model: Model, weights: FloatWeights, *, relative_f: float | None = None,
                 gradient_max_norm: float = 0.0,
                 train_fitting: Sequence[bool] | None = None,
                 atom_ener: Sequence[float | None] = ()) -> None:
        if model.widths != VENDOR_WIDTHS:
            raise ValueError("a training is one in the vendor's widths")
        self._vacuum = given_energies(atom_ener)
        self._model, self._start, self.relative_f = model, weights, relative_f
        self._weights = [tf.Variable(w) for w in weights.fit_weights]
        self._biases = [tf.Variable(b) for b in weights.fit_biases]
        self._tweight = None if weights.tweight is None else tf.Variable(weights.tweight)
        trained = [True] * len(self._weights) if train_fitting is None else list(train_fitting)
        self._trained = trained
        types = [self._tweight] if self._tweight is not None and trained[0] else []
        layers = [variable for variables in (self._weights, self._biases)
                  for variable, on in zip(variables, trained, strict=True) if on]
        self._adam = Adam([*layers, *types], gradient_max_norm)
        self._forces = _compiled_forces(model)
        # quantized fitting nets and nothing else: those are compiled, too
        other = type(self)._fitting is not TfQuantizedModel._fitting
        self._plain = self._forces is not None and self._vacuum is None and not other
        # one function each, compiled anew for each shape and composition that occurs
        self._run_predict = tf.function(self._predict, autograph=False)
        self._run_gradient = tf.function(self._gradient, autograph=False)
        self._run_atoms = tf.function(self._atoms, autograph=False)
        self._run_slopes = tf.function(self._slopes, autograph=False)
        self._run_adam = tf.function(self._adam.apply_flat, autograph=False)

    @property
    def weights(self) -> FloatWeights:
        """The weights with the present fitting nets."""
        return replace(
            self._start,
            fit_weights=tuple(w.numpy() for w in self._weights),
            fit_biases=tuple(b.numpy() for b in self._biases),
            tweight=None if self._tweight is None else self._tweight.numpy(),
        )

    @property
    def moments(self) -> dict[str, NDArray[np.float64]]:
        """The optimizer's state; see `nvnmd.training.tf_adam.Adam`."""
        return self._adam.moments

    def set_moments(self, moments: dict[str, NDArray[np.float64]]) -> None:
        """Put back what `moments` gave."""
        self._adam.set_moments(moments)

    def predict(self, batch: QuantizedBatch, *, once: bool = False) -> QuantizedPrediction:
        """Evaluate a batch; `once` saves the seconds that compiling for its shape takes."""
        if self._forces is not None:
            if self._plain:
                found = self._quantized_atoms(batch)
                atomic, dd = found.out + self._bias(batch.type_counts), found.dd
            else:
                atoms = self._atoms if once else self._run_atoms
                atomic, dd = (x.numpy() for x in atoms(batch.constants.d, batch.type_counts))
            energy = atomic.sum(axis=1)
            force, virial = self._forces.forward(batch.constants, batch.type_counts, dd)
        else:
            run = self._predict if once else self._run_predict
            parts = run(_tensors(batch), batch.type_counts)
            energy, atomic, force, virial = (part.numpy() for part in parts)
        if batch.real is not None:
            atomic = atomic * batch.real
            energy = atomic.sum(axis=1)
        return QuantizedPrediction(energy, atomic, force, virial)

    def squared_errors(self, batch: QuantizedBatch) -> NDArray[np.float64]:
        """Return the mean squared errors (6,); see `nvnmd.training.tf_loss.squared_errors`."""
        found = self.predict(batch)
        parts = Found(energy=found.energy, atomic=found.atom_energy, force=found.force,
                      virial=found.virial.reshape(-1, 9))
        return self._errors(parts, _labels(batch)).numpy()

    def step(
        self, batch: QuantizedBatch, prefactors: NDArray[np.float64], lr: float, step: int
    ) -> None:
        """Do one Adam step on the loss of a batch; see `TfFloatModel.step`."""
        self.apply(self.gradient(batch, prefactors), lr, step)

    def gradient(self, batch: QuantizedBatch, prefactors: NDArray[np.float64]) -> Tensor:
        """Return the gradient of a batch's loss by all variables in one row."""
        scale = tf.constant(prefactors * batch.known * size_factors(batch.natoms))
        counts, labels = batch.type_counts, _labels(batch)
        if self._forces is None:
            return self._run_gradient(_tensors(batch), labels, scale, counts,
                                      bool(scale.numpy()[2] != 0.0))
        if self._plain:
            found = self._quantized_atoms(batch)
            atomic = found.out + self._bias(counts)
            by_atomic, by_dd = self._through_forces(batch, atomic, found.dd, labels, scale)
            weights, biases, by_first = found.backward(by_atomic.numpy(), by_dd)
            parts = self._chosen(weights) + self._chosen(biases)
            if self._model.t_ebd is not None and self._trained[0]:
                parts.append(self._model.t_ebd[: len(by_first)].T @ by_first)
            return tf.constant(np.concatenate([np.empty(0), *(part.ravel() for part in parts)]))
        with tf.GradientTape() as tape:
            atomic, dd = self._run_atoms(tf.constant(batch.constants.d), counts)
        by_atomic, by_dd = self._through_forces(batch, atomic, dd.numpy(), labels, scale)
        # a type without atoms in this batch, or an energy bias in a force loss, has no gradient
        return flatten(tape.gradient(
            [atomic, dd], self._adam.variables, output_gradients=[by_atomic, tf.constant(by_dd)],
            unconnected_gradients="zero"))

    def _through_forces(
        self, batch: QuantizedBatch, atomic: Tensor, dd: NDArray[np.float64],
        labels: dict[str, Tensor], scale: Tensor,
    ) -> tuple[Tensor, NDArray[np.float64]]:
        """Gradients of the loss by atomic energies and by dE/dD.

        Forces are linear in dE/dD but for their roundings, whose slope is 1.
        """
        assert self._forces is not None
        counts = batch.type_counts
        force, virial = self._forces.forward(batch.constants, counts, dd)
        by_atomic, by_force, by_virial = self._run_slopes(
            tf.convert_to_tensor(atomic), tf.constant(force),
            tf.constant(virial.reshape(-1, 9)), labels, scale,
        )
        return by_atomic, self._forces.backward(
            batch.constants, counts, by_force.numpy(), by_virial.numpy().reshape(-1, 3, 3)
        )

    def _quantized_atoms(self, batch: QuantizedBatch) -> QuantizedAtoms:
        """The quantized fitting nets' results for a batch."""
        from nvnmd.training.quantized.atoms import QuantizedAtoms

        first = None
        if self._tweight is not None:
            first = self._model.t_ebd @ self._tweight.numpy()
        return QuantizedAtoms(
            [w.numpy() for w in self._weights], [b.numpy() for b in self._biases],
            batch.type_counts, batch.constants.d, first,
        )

    def _bias(self, type_counts: tuple[int, ...]) -> NDArray[np.float64]:
        """Energy bias of every atom of a frame."""
        return np.repeat(self._model.t_bias_atom_e, type_counts)

    def _chosen(self, layers: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
        """Those of the trained layers."""
        return [layer for layer, on in zip(layers, self._trained, strict=True) if on]

    def apply(self, gradient: Tensor, lr: float, step: int) -> None:
        """Do what is left of `step` once the gradient is known."""
        corrected = self._adam.corrected_rate(lr, step)
        self._run_adam(gradient, tf.constant(corrected, tf.float64))

    def _atoms(self, d: Tensor, type_counts: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Atomic energies (f, n) and dE/dD (f, n, M1*M2)."""
        d = tf.cast(d, tf.float64)
        fitting = self._fitting(type_counts)
        if fitting is not None:
            out, dd = fitting(d)
        else:
            weights = [tf.convert_to_tensor(w) for w in self._weights]
            biases = [tf.convert_to_tensor(b) for b in self._biases]
            out, dd = fit_atoms(d, weights, biases, type_counts, self._types())
        return self._atom_energy(out, type_counts), dd

    def _slopes(
        self, atomic: Tensor, force: Tensor, virial: Tensor, labels: dict[str, Tensor],
        scale: Tensor,
    ) -> list[Tensor]:
        """Gradients of the loss by atomic energies, forces and virials."""
        found = [atomic, force, virial]
        with tf.GradientTape() as tape:
            tape.watch(found)
            parts = _found(atomic, force, virial, labels)
            loss = tf.reduce_sum(scale * self._errors(parts, labels))
        return tape.gradient(loss, found, unconnected_gradients="zero")

    def _evaluate(
        self, constants: tuple[Tensor, ...], type_counts: tuple[int, ...], virial: bool
    ) -> Prediction:
        frame = FrameTensors(
            *(x if x.dtype == tf.int32 else tf.cast(x, tf.float64) for x in constants)
        )
        weights = [tf.convert_to_tensor(w) for w in self._weights]
        biases = [tf.convert_to_tensor(b) for b in self._biases]
        return predict(
            frame,
            weights,
            biases,
            type_counts,
            self._model.nix_shift,
            types=self._types(),
            virial=virial,
            fitting=self._fitting(type_counts),
        )

    def _fitting(
        self, type_counts: tuple[int, ...]
    ) -> Callable[[Tensor], tuple[Tensor, Tensor]] | None:
        """What a subclass has in the place of the quantized fitting nets."""
        return None

    def _types(self) -> TypeTensors | None:
        """Contributions of the types in version 1."""
        model = self._model
        if self._tweight is None:
            return None
        first = tf.matmul(tf.constant(model.t_ebd), self._tweight)
        kind, numbers = statistics(model, "graph")
        return TypeTensors(
            kind,
            tf.constant(numbers),
            tf.reshape(tf.constant(model.type_gain), (-1, model.m1)),
            round_bits(first, FIX_FRAC, TENSORFLOW),
        )

    def _atom_energy(self, out: Tensor, type_counts: tuple[int, ...]) -> Tensor:
        fixed = self._model.t_bias_atom_e
        if self._vacuum is None:
            return out + tf.constant(np.repeat(fixed, type_counts))
        own = np.nan_to_num(self._vacuum) - self._outputs_of_nothing()
        bias = tf.where(np.isnan(self._vacuum), tf.constant(fixed), own)
        return out + tf.gather(bias, np.repeat(np.arange(len(fixed)), type_counts))

    def _outputs_of_nothing(self) -> Tensor:
        """Outputs of the fitting nets for a descriptor of zeros, (ntypes,)."""
        ntypes, width = self._model.ntypes, self._weights[0].shape[1]
        evaluate = self._fitting((1,) * ntypes)
        if evaluate is not None:
            return evaluate(tf.zeros((1, ntypes, width), tf.float64))[0][0]
        weights = [tf.convert_to_tensor(w) for w in self._weights]
        biases = [tf.convert_to_tensor(b) for b in self._biases]
        types = self._types()
        if types is None:
            rows = tf.zeros((ntypes, 1, width), tf.float64)
            return fitting_net(rows, weights, [b[:, None, :] for b in biases], TENSORFLOW).out[:, 0]
        rows = tf.zeros((ntypes, width), tf.float64)
        return fitting_net(rows, [w[0] for w in weights], [b[0] for b in biases], TENSORFLOW,
                           type_term=types.first).out

    def _predict(
        self, constants: tuple[Tensor, ...], type_counts: tuple[int, ...]
    ) -> tuple[Tensor, ...]:
        found = self._evaluate(constants, type_counts, True)
        atomic = self._atom_energy(found.out, type_counts)
        virial = tf.reshape(found.virial, (-1, 3, 3))
        return tf.reduce_sum(atomic, axis=1), atomic, found.force, virial

    def _loss(
        self,
        constants: tuple[Tensor, ...],
        labels: dict[str, Tensor],
        scale: Tensor,
        type_counts: tuple[int, ...],
        virial: bool,
    ) -> Tensor:
        found = self._evaluate(constants, type_counts, virial)
        atomic = self._atom_energy(found.out, type_counts)
        parts = _found(atomic, found.force, found.virial if virial else None, labels)
        return tf.reduce_sum(scale * self._errors(parts, labels))

    def _errors(self, found: Found, labels: dict[str, Tensor]) -> Tensor:
        natoms = tf.constant(found.force.shape[1], tf.float64)
        if REAL in labels:
            natoms = tf.reduce_mean(tf.reduce_sum(labels[REAL], axis=1))
        return squared_errors(found, labels, natoms, lambda values: tf.reduce_sum(values, axis=1),
                              self.relative_f)

    def _gradient(
        self,
        constants: tuple[Tensor, ...],
        labels: dict[str, Tensor],
        scale: Tensor,
        type_counts: tuple[int, ...],
        virial: bool,
    ) -> Tensor:
        with tf.GradientTape() as tape:
            loss = self._loss(constants, labels, scale, type_counts, virial)
        # a type without atoms in this batch, or an energy bias in a force loss, has no gradient
        return flatten(tape.gradient(loss, self._adam.variables, unconnected_gradients="zero"))


def _compiled_forces(model: Model) -> QuantizedForces | None:
    """Return what computes the forces, None where that is left to TensorFlow: without numba."""
    if not (installed() and supported(model)):
        return None
    from nvnmd.training.quantized.forces import QuantizedForces

    return QuantizedForces(model)


def _found(
    atomic: Tensor, force: Tensor, virial: Tensor | None, labels: dict[str, Tensor]
) -> Found:
    """The predictions that the loss takes; rows that fill a frame up have no energy."""
    if REAL in labels:
        atomic = atomic * labels[REAL]
    return Found(energy=tf.reduce_sum(atomic, axis=1), atomic=atomic, force=force, virial=virial)


def _tensors(batch: QuantizedBatch) -> tuple[Tensor, ...]:
    return tuple(tf.constant(getattr(batch.constants, f.name)) for f in fields(batch.constants))


def _labels(batch: QuantizedBatch) -> dict[str, Tensor]:
    labels = {"energy": batch.energy, "force": batch.force, "virial": batch.virial.reshape(-1, 9)}
    labels |= batch.atom_labels
    if batch.real is not None:
        labels[REAL] = batch.real
    return {name: tf.constant(array) for name, array in labels.items()}
