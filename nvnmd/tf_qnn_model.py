"""The trainable quantized model: predictions, losses and one Adam step per call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.loss_terms import size_factors
from nvnmd.qnn_batches import QuantizedBatch
from nvnmd.quantize.fitting import fitting_net
from nvnmd.quantize.model import Model
from nvnmd.quantize.ops import FIX_FRAC, round_bits
from nvnmd.quantize.tf_network import FrameTensors, Prediction, TypeTensors, predict
from nvnmd.quantize.tf_ops import TENSORFLOW
from nvnmd.tf_adam import Adam, flatten
from nvnmd.tf_loss import Found, squared_errors
from nvnmd.tf_runtime import tf
from nvnmd.vacuum import given_energies
from nvnmd.weights import FloatWeights

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
        See `nvnmd.tf_loss.force_difference`.
    gradient_max_norm : float
        See `nvnmd.tf_adam.Adam`.
    train_fitting : sequence of bool, optional
        Whether each layer is trained; all by default.
    atom_ener : sequence of float or None
        Energies of lone atoms; see `nvnmd.vacuum`.
    """

    def __init__(self, model: Model, weights: FloatWeights, *, relative_f: float | None = None,
                 gradient_max_norm: float = 0.0,
                 train_fitting: Sequence[bool] | None = None,
                 atom_ener: Sequence[float | None] = ()) -> None:
        self._vacuum = given_energies(atom_ener)
        self._model, self._start, self.relative_f = model, weights, relative_f
        self._weights = [tf.Variable(w) for w in weights.fit_weights]
        self._biases = [tf.Variable(b) for b in weights.fit_biases]
        self._tweight = None if weights.tweight is None else tf.Variable(weights.tweight)
        trained = [True] * len(self._weights) if train_fitting is None else list(train_fitting)
        types = [self._tweight] if self._tweight is not None and trained[0] else []
        layers = [variable for variables in (self._weights, self._biases)
                  for variable, on in zip(variables, trained, strict=True) if on]
        self._adam = Adam([*layers, *types], gradient_max_norm)
        # one function, compiled anew for each shape and composition that occurs
        self._run_predict = tf.function(self._predict, autograph=False)
        self._run_step = tf.function(self._step, autograph=False)
        self._run_gradient = tf.function(self._gradient, autograph=False)

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
        """The optimizer's state; see `nvnmd.tf_adam.Adam`."""
        return self._adam.moments

    def set_moments(self, moments: dict[str, NDArray[np.float64]]) -> None:
        """Put back what `moments` gave."""
        self._adam.set_moments(moments)

    def predict(self, batch: QuantizedBatch, *, once: bool = False) -> QuantizedPrediction:
        """Evaluate a batch; `once` saves the seconds that compiling for its shape takes."""
        run = self._predict if once else self._run_predict
        found = run(_tensors(batch), batch.type_counts)
        energy, atomic, force, virial = (part.numpy() for part in found)
        if batch.real is not None:
            atomic = atomic * batch.real
            energy = atomic.sum(axis=1)
        return QuantizedPrediction(energy, atomic, force, virial)

    def squared_errors(self, batch: QuantizedBatch) -> NDArray[np.float64]:
        """Return the mean squared errors (6,); see `nvnmd.tf_loss.squared_errors`."""
        found = self.predict(batch)
        parts = Found(energy=found.energy, atomic=found.atom_energy, force=found.force,
                      virial=found.virial.reshape(-1, 9))
        return self._errors(parts, _labels(batch)).numpy()

    def step(
        self, batch: QuantizedBatch, prefactors: NDArray[np.float64], lr: float, step: int
    ) -> None:
        """Do one Adam step on the loss of a batch; see `nvnmd.tf_model.TfFloatModel.step`."""
        scale = prefactors * batch.known * size_factors(batch.natoms)
        self._run_step(
            _tensors(batch),
            _labels(batch),
            tf.constant(scale),
            tf.constant(self._adam.corrected_rate(lr, step), tf.float64),
            batch.type_counts,
            bool(scale[2] != 0.0),
        )

    def gradient(self, batch: QuantizedBatch, prefactors: NDArray[np.float64]) -> Tensor:
        """Return the gradient of a batch's loss by all variables in one row."""
        scale = prefactors * batch.known * size_factors(batch.natoms)
        return self._run_gradient(
            _tensors(batch), _labels(batch), tf.constant(scale), batch.type_counts,
            bool(scale[2] != 0.0),
        )

    def apply(self, gradient: Tensor, lr: float, step: int) -> None:
        """Do what is left of `step` once the gradient is known."""
        corrected = self._adam.corrected_rate(lr, step)
        self._adam.apply_flat(gradient, tf.constant(corrected, tf.float64))

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
        """What the types contribute in version 1."""
        model = self._model
        if self._tweight is None:
            return None
        first = tf.matmul(tf.constant(model.t_ebd), self._tweight)
        return TypeTensors(
            tf.constant(model.inv_std),
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
        """What the fitting nets give to a descriptor of zeros, (ntypes,)."""
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
        if REAL in labels:
            atomic = atomic * labels[REAL]
        parts = Found(energy=tf.reduce_sum(atomic, axis=1), atomic=atomic, force=found.force,
                      virial=found.virial if virial else None)
        return tf.reduce_sum(scale * self._errors(parts, labels))

    def _errors(self, found: Found, labels: dict[str, Tensor]) -> Tensor:
        natoms = tf.constant(found.force.shape[1], tf.float64)
        if REAL in labels:
            natoms = tf.reduce_mean(tf.reduce_sum(labels[REAL], axis=1))
        return squared_errors(found, labels, natoms, lambda values: tf.reduce_sum(values, axis=1),
                              self.relative_f)

    def _step(
        self,
        constants: tuple[Tensor, ...],
        labels: dict[str, Tensor],
        scale: Tensor,
        corrected: Tensor,
        type_counts: tuple[int, ...],
        virial: bool,
    ) -> None:
        gradient = self._gradient(constants, labels, scale, type_counts, virial)
        self._adam.apply_flat(gradient, corrected)

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


def _tensors(batch: QuantizedBatch) -> tuple[Tensor, ...]:
    return tuple(tf.constant(getattr(batch.constants, f.name)) for f in fields(batch.constants))


def _labels(batch: QuantizedBatch) -> dict[str, Tensor]:
    labels = {"energy": batch.energy, "force": batch.force, "virial": batch.virial.reshape(-1, 9)}
    labels |= batch.atom_labels
    if batch.real is not None:
        labels[REAL] = batch.real
    return {name: tf.constant(array) for name, array in labels.items()}
