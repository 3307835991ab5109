"""The float model in TensorFlow: predictions, losses and one Adam step per call, compiled once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.inputs.config import PrecisionConfig
from nvnmd.inputs.loss_terms import size_factors
from nvnmd.network.model import Shape, atomic_energies
from nvnmd.network.nets import fit
from nvnmd.network.types import TypeTerms, type_terms
from nvnmd.network.vacuum import given_energies
from nvnmd.network.weights import FloatWeights, Net
from nvnmd.quantize.tensorflow.runtime import tf
from nvnmd.training.continuous.batches import Batch, Layout
from nvnmd.training.continuous.tf_math import TfMath
from nvnmd.training.continuous.tf_precision import PreciseNets
from nvnmd.training.tf_adam import Adam, flatten
from nvnmd.training.tf_loss import Found, squared_errors

Tensor = Any


class TfFloatModel:
    """Trainable float model with its optimizer state.

    A subclass may put another fitting net in the place of `nvnmd.network.nets.fit`, as `_fit_net`.

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
    xla : bool
        Compile with XLA: some seconds per layout, then faster steps.
    relative_f : float, optional
        See `nvnmd.training.tf_loss.force_difference`.
    gradient_max_norm : float
        See `nvnmd.training.tf_adam.Adam`.
    train_embedding : bool
        Whether the embedding nets are trained, in version 1 with the net of the gains.
    train_fitting : sequence of bool, optional
        Whether each layer of the fitting nets is trained, in version 1 the first with what carries
        the type vectors into it; all by default.
    train_types : bool
        Version 1: whether the type vectors are trained.
    atom_ener : sequence of float or None
        Energies of lone atoms; see `nvnmd.network.vacuum`.
    precision : PrecisionConfig
        Number formats of the nets; see `nvnmd.training.continuous.tf_precision`.
    """

    _fit_net: Callable[..., tuple[Tensor, Tensor]] | None = None

    def __init__(
        self,
        weights: FloatWeights,
        *,
        sel: Sequence[int],
        rcut: float,
        rcut_smth: float,
        axis_neuron: int = 4,
        xla: bool = False,
        relative_f: float | None = None,
        gradient_max_norm: float = 0.0,
        train_embedding: bool = True,
        train_fitting: Sequence[bool] | None = None,
        train_types: bool = True,
        atom_ener: Sequence[float | None] = (),
        precision: PrecisionConfig = PrecisionConfig(),  # noqa: B008
    ) -> None:
        self.relative_f = relative_f
        self.sel, self.rcut, self.rcut_smth = tuple(sel), rcut, rcut_smth
        self.axis_neuron, self.xla = axis_neuron, xla
        self._fixed, self._vacuum = weights, given_energies(atom_ener)
        layers = list(zip(weights.fit_weights, weights.fit_biases, strict=True))
        nets = PreciseNets(precision)
        self._embed_net = None if precision.descriptor == "float64" else nets.embed
        if self._fit_net is None and precision.fitting != "float64":
            self._fit_net = nets.fit
        fitting = nets.fitting if self._fit_net == nets.fit else tf.float64
        self._embedding = [_variables(net, nets.descriptor) for net in weights.embedding]
        self._fitting = [
            _variables([(w[t], b[t]) for w, b in layers], fitting) for t in range(len(layers[0][0]))
        ]
        trained = [True] * len(layers) if train_fitting is None else list(train_fitting)
        parts = self._embedding if train_embedding else []
        parts = parts + [[layer for layer, on in zip(net, trained, strict=True) if on]
                         for net in self._fitting]  # fmt: skip
        self._variables = [variable for net in parts for layer in net for variable in layer]
        self._types: _TypeNets | None = None
        if weights.version == 1:
            self._types = _TypeNets(weights, nets.descriptor, fitting)
            self._variables += self._types.variables(
                vectors=train_types, gains=train_embedding, first=trained[0])
        self._adam = Adam(self._variables, gradient_max_norm)
        self._functions: dict[tuple[str, Layout], Callable[..., Any]] = {}

    @property
    def weights(self) -> FloatWeights:
        """The present weights."""
        depth = len(self._fitting[0])
        return replace(
            self._fixed,
            embedding=tuple(_arrays(net) for net in self._embedding),
            fit_weights=tuple(
                np.stack([_array(net[k][0]) for net in self._fitting]) for k in range(depth)
            ),
            fit_biases=tuple(
                np.stack([_array(net[k][1]) for net in self._fitting]) for k in range(depth)
            ),
            **({} if self._types is None else self._types.weights),
        )

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

    def predict(self, batch: Batch) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """Return energies (f,), atomic energies (a,), forces (a, 3), virials (f, 3, 3)."""
        run = self._function("predict", batch.layout, self._predict)
        energy, atomic, force, virial = run(batch.rij, batch.index, batch.frame)
        return energy.numpy(), atomic.numpy(), force.numpy(), virial.numpy()

    def squared_errors(self, batch: Batch) -> NDArray[np.float64]:
        """Return the mean squared errors (6,); see `nvnmd.training.tf_loss.squared_errors`."""
        run = self._function("errors", batch.layout, self._errors)
        return run(*_arguments(batch)).numpy()

    def step(self, batch: Batch, prefactors: NDArray[np.float64], lr: float, step: int) -> None:
        """Do one Adam step on the loss of a batch.

        Parameters
        ----------
        batch : Batch
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
        `nvnmd.training.tf_loss.squared_errors` and `nvnmd.training.tf_adam.Adam`.
        """
        corrected = self._adam.corrected_rate(lr, step)
        scale = prefactors * batch.known * size_factors(batch.natoms)
        run = self._function("step", batch.layout, self._step)
        run(*_arguments(batch), tf.constant(scale), tf.constant(corrected, tf.float64))

    def gradient(self, batch: Batch, prefactors: NDArray[np.float64]) -> Tensor:
        """Return the gradient of a batch's loss by all variables in one row; see `step`."""
        scale = prefactors * batch.known * size_factors(batch.natoms)
        run = self._function("gradient", batch.layout, self._gradient)
        return run(*_arguments(batch), tf.constant(scale))

    def apply(self, gradient: Tensor, lr: float, step: int) -> None:
        """Do what is left of `step` once the gradient is known."""
        corrected = self._adam.corrected_rate(lr, step)
        self._adam.apply_flat(gradient, tf.constant(corrected, tf.float64))

    def _function(
        self, name: str, layout: Layout, method: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Return the compiled form of a method for one layout."""
        key = (name, layout)
        if key not in self._functions:
            self._functions[key] = tf.function(
                lambda *args: method(layout, *args), autograph=False, jit_compile=self.xla
            )
        return self._functions[key]

    def _predict(
        self, layout: Layout, rij: Tensor, index: Tensor, frame: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rows = sum(layout.atoms)
        terms = kind = None
        if self._types is not None:
            terms = self._types.terms()
            # Empty slots point behind the last row; any type will do for them.
            types = np.append(np.repeat(np.arange(len(layout.atoms)), layout.atoms), 0)
            kind = tf.gather(types, index)
        energy, pair = atomic_energies(
            TfMath(),
            Shape(
                atoms=layout.atoms,
                slots=layout.slots,
                sel=self.sel,
                rcut=self.rcut,
                rcut_smth=self.rcut_smth,
                axis_neuron=self.axis_neuron,
            ),
            self._embedding,
            self._fitting,
            self._bias(terms),
            tf.constant(self._fixed.davg),
            tf.constant(self._fixed.dstd),
            rij,
            index < rows,
            terms,
            kind,
            self._fit_net,
            self._embed_net,
        )
        total = tf.math.unsorted_segment_sum(energy, frame, layout.frames + 1)[: layout.frames]
        on_neighbors = tf.math.unsorted_segment_sum(
            tf.reshape(pair, [-1, 3]), tf.reshape(index, [-1]), rows + 1
        )[:rows]
        force = tf.reduce_sum(pair, 1) - on_neighbors
        per_atom = -tf.matmul(pair, rij, transpose_a=True)
        virial = tf.math.unsorted_segment_sum(per_atom, frame, layout.frames + 1)
        return total, energy, force, virial[: layout.frames]

    def _bias(self, terms: TypeTerms | None) -> Tensor:
        """Energy bias of each type."""
        fixed = tf.constant(self._fixed.t_bias_atom_e)
        if self._vacuum is None:
            return fixed
        width = self._fitting[0][0][0].shape[0]

        def output(net: list[tuple[Tensor, Tensor]], rows: int, first: Tensor | None) -> Tensor:
            nothing = tf.zeros((rows, width), tf.float64)
            if self._fit_net is not None:
                return self._fit_net(net, nothing, first)[0]
            return fit(TfMath(), net, nothing, first)[0]

        if terms is None:
            found = tf.concat([output(net, 1, None) for net in self._fitting], 0)
        else:
            found = output(self._fitting[0], len(self._vacuum), terms.first)
        return tf.where(np.isnan(self._vacuum), fixed, np.nan_to_num(self._vacuum) - found)

    def _errors(
        self,
        layout: Layout,
        rij: Tensor,
        index: Tensor,
        frame: Tensor,
        labels: dict[str, Tensor],
        natoms: Tensor,
    ) -> Tensor:
        energy, atomic, force, virial = self._predict(layout, rij, index, frame)

        def by_frame(values: Tensor) -> Tensor:
            return tf.math.unsorted_segment_sum(values, frame, layout.frames + 1)[: layout.frames]

        # Rows without an atom have no force and no label: they add nothing to the sum.
        return squared_errors(
            Found(energy=energy, atomic=atomic, force=force, virial=virial),
            labels, natoms, by_frame, self.relative_f,
            present=tf.cast(frame < layout.frames, tf.float64),
        )

    def _step(self, layout: Layout, *args: Tensor) -> None:
        *batch, corrected = args
        self._adam.apply_flat(self._gradient(layout, *batch), corrected)

    def _gradient(self, layout: Layout, *args: Tensor) -> Tensor:
        *batch, scale = args
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(scale * self._errors(layout, *batch))
        return flatten(tape.gradient(loss, self._variables, unconnected_gradients="zero"))


def _arguments(batch: Batch) -> tuple[Any, ...]:
    """Return what `_errors` takes, as tensors."""
    parts = (batch.rij, batch.index, batch.frame)
    labels = {"energy": batch.energy, "force": batch.force, "virial": batch.virial}
    labels |= batch.atom_labels
    return (
        *(tf.constant(part) for part in parts),
        {name: tf.constant(array) for name, array in labels.items()},
        tf.constant(batch.natoms, tf.float64),
    )


class _TypeNets:
    """Version 1: the trained variables that tell the types apart.

    The bias of the type embedding stays as it is: it would only double what its matrix learns.
    SUB_VERSION 2 trains it.
    """

    def __init__(self, weights: FloatWeights, descriptor: Any, fitting: Any) -> None:
        self._switched = weights.sub_version == 2
        biases = [bias for _, bias in weights.type_embedding]
        self._biases = [tf.Variable(b) if self._switched else tf.constant(b) for b in biases]
        self._matrices = [tf.Variable(w) for w, _ in weights.type_embedding]
        self._net = _variables(weights.type_net, descriptor)
        self._tweight = tf.Variable(weights.tweight, dtype=fitting)

    def variables(
        self, *, vectors: bool = True, gains: bool = True, first: bool = True
    ) -> list[Tensor]:
        """The variables: of the type vectors, of the gains' net, of the first fitting layer."""
        nets = [variable for layer in self._net for variable in layer]
        biases = self._biases if self._switched else []
        return [*([*self._matrices, *biases] if vectors else []), *(nets if gains else []),
                *([self._tweight] if first else [])]  # fmt: skip

    @property
    def weights(self) -> dict[str, Any]:
        """The present values, under the names of `FloatWeights`."""
        return {
            "type_embedding": tuple(
                (w.numpy(), b.numpy()) for w, b in zip(self._matrices, self._biases, strict=True)
            ),
            "type_net": _arrays(self._net),
            "tweight": _array(self._tweight),
        }

    def terms(self) -> TypeTerms:
        """Contributions of the types."""
        embedding = list(zip(self._matrices, self._biases, strict=True))
        # evaluated once per pair of types: in binary64, whatever the parameters' format
        net = [(tf.cast(w, tf.float64), tf.cast(b, tf.float64)) for w, b in self._net]
        return type_terms(TfMath(), embedding, net, tf.cast(self._tweight, tf.float64),
                          self._switched)


def _variables(net: Sequence[tuple[Any, Any]], dtype: Any) -> list[tuple[Tensor, Tensor]]:
    return [(tf.Variable(w, dtype=dtype), tf.Variable(b, dtype=dtype)) for w, b in net]


def _arrays(net: Sequence[tuple[Tensor, Tensor]]) -> Net:
    return tuple((_array(w), _array(b)) for w, b in net)


def _array(variable: Tensor) -> NDArray[np.float64]:
    return variable.numpy().astype(np.float64)
