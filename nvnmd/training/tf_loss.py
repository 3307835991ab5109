"""What the losses of both trainings share: the mean squared errors of their terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nvnmd.inputs.loss_terms import COEFFICIENT
from nvnmd.quantize.tensorflow.runtime import tf

Tensor = Any


def force_difference(found: Tensor, label: Tensor, relative_f: float | None) -> Tensor:
    """Return the errors of forces (..., 3), in eV/Å or relative.

    With a `relative_f` in eV/Å they are divided, atom by atom, by the length of the label plus it.
    """
    difference = found - label
    if relative_f is None:
        return difference
    return difference / (tf.norm(label, axis=-1, keepdims=True) + relative_f)


@dataclass(frozen=True, kw_only=True)
class Found:
    """Predictions for the frames of a batch.

    Attributes
    ----------
    energy : (f,)
        eV.
    atomic : (..., )
        Energies of the atoms in eV, one row (a,) or a row per frame (f, n).
    force : (..., 3)
        eV/Å, likewise; 0 where there is no atom.
    virial : (f, 9) or (f, 3, 3) or None
        eV; None if it was not asked for.
    """

    energy: Tensor
    atomic: Tensor
    force: Tensor
    virial: Tensor | None


def squared_errors(
    found: Found,
    labels: Mapping[str, Tensor],
    natoms: Tensor,
    by_frame: Callable[[Tensor], Tensor],
    relative_f: float | None,
    present: Tensor | float = 1.0,
) -> Tensor:
    """Return the mean squared errors (6,), in the order of `nvnmd.inputs.loss_terms.TERMS`.

    Parameters
    ----------
    found : Found
        What the model gives.
    labels : mapping of str to tensor
        Labels in the shapes of `found`, by the names of their files: energy, force, virial, and
        those per atom that exist. A term without a label has the error 0.
    natoms : scalar
        Atoms of one frame.
    by_frame : callable
        Sums values of atoms (..., k) over each frame, (f, k).
    relative_f : float, optional
        See `force_difference`.
    present : tensor, optional
        1 where there is an atom, 0 elsewhere, shaped as `found.atomic`.

    Notes
    -----
    With ``atom_ener_coeff`` the energy is the sum of coefficient times atomic energy. The force
    errors that ``atom_pref`` weighs are relative, too, if there is a `relative_f`. A generalised
    force is the sum of force components times ``drdq`` over the atoms of a frame.
    """
    zero = tf.zeros([], tf.float64)
    energy = found.energy
    if COEFFICIENT in labels:
        energy = by_frame((labels[COEFFICIENT] * found.atomic)[..., None])[:, 0]
    error = energy - labels["energy"]
    atoms = natoms * tf.cast(tf.size(error), tf.float64)
    square = force_difference(found.force, labels["force"], relative_f) ** 2
    virial = atomic = weighted = generalized = zero
    if found.virial is not None:
        virial = tf.reduce_mean((found.virial - labels["virial"]) ** 2)
    if "atom_ener" in labels:
        # a row without an atom still has the network's output
        off = (found.atomic - labels["atom_ener"]) * present
        atomic = tf.reduce_sum(off**2) / atoms
    if "atom_pref" in labels:
        weighted = tf.reduce_sum(labels["atom_pref"][..., None] * square) / (3.0 * atoms)
    if "drdq" in labels:
        along = labels["drdq"] * (found.force - labels["force"])[..., None]
        generalized = tf.reduce_mean(by_frame(tf.reduce_sum(along, -2)) ** 2)
    return tf.stack([tf.reduce_mean(error**2), tf.reduce_sum(square) / (3.0 * atoms), virial,
                     atomic, weighted, generalized])
