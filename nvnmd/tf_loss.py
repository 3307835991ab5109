"""What the losses of both trainings share."""

from __future__ import annotations

from typing import Any

from nvnmd.tf_runtime import tf

Tensor = Any


def force_difference(found: Tensor, label: Tensor, relative_f: float | None) -> Tensor:
    """Return the errors of forces (..., 3), in eV/Å or relative.

    With a `relative_f` in eV/Å they are divided, atom by atom, by the length of the label plus it.
    """
    difference = found - label
    if relative_f is None:
        return difference
    return difference / (tf.norm(label, axis=-1, keepdims=True) + relative_f)
