"""A TensorFlow function for batches of any size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nvnmd.quantize.tensorflow.runtime import tf


class FreeShapes:
    """A graph that is traced once, whatever the first dimensions of its tensors are.

    TensorFlow's own relaxed shapes (`reduce_retracing`) depend on the shapes that a process has
    seen before, and so do the last bits of what its graphs compute. Here the first dimension of
    every tensor is free from the start, so that a continued training has the graphs, and the bits,
    of one that was not interrupted.

    Parameters
    ----------
    function : callable
        Of tensors and dictionaries of tensors.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = tf.function(function, autograph=False)
        self._graphs: dict[Any, Callable[..., Any]] = {}

    def __call__(self, *arguments: Any) -> Any:
        """Compute with some tensors; those of the same names and ranks share a graph."""
        specs = tf.nest.map_structure(_free, arguments)
        names = [tuple(sorted(one)) for one in arguments if isinstance(one, dict)]
        key = (*names, *tf.nest.flatten(specs))
        if key not in self._graphs:
            self._graphs[key] = self._function.get_concrete_function(*specs)
        return self._graphs[key](*arguments)


def _free(tensor: Any) -> Any:
    """Shape and kind of a tensor, its first dimension free."""
    shape = list(tensor.shape)
    return tf.TensorSpec([None, *shape[1:]] if shape else [], tensor.dtype)
