"""Energies and dE/dD of the atoms of a batch by the quantized fitting nets of all types.

See `nvnmd.training.quantized.fitting` for one net; needs numba.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nvnmd.quantize.ops import FIX_FRAC, round_bits
from nvnmd.threads import share_out
from nvnmd.training.quantized.fitting import QuantizedNet, QuantizedPass, backward, evaluate

Floats = NDArray[np.float64]


class QuantizedAtoms:
    """One forward pass over a batch, which keeps what the reverse pass needs.

    Parameters
    ----------
    weights, biases : sequences over layers of (nets, nin, nout) and (nets, nout)
        The fitting nets; one in version 1.
    type_counts : sequence of int
        Atoms of each type in a frame.
    d : (f, n, nin)
        Descriptors of atoms sorted by type.
    first : (ntypes, nout), optional
        Version 1: what the types add to the first layer, before it is rounded.

    Attributes
    ----------
    out : (f, n)
        Last layer with its rounded bias.
    dd : (f, n, nin)
        dE/dD.
    """

    def __init__(
        self,
        weights: Sequence[Floats],
        biases: Sequence[Floats],
        type_counts: Sequence[int],
        d: NDArray[np.floating],
        first: Floats | None = None,
    ) -> None:
        frames, n, width = d.shape
        self._types = np.repeat(np.arange(len(type_counts)), type_counts)
        ends = np.cumsum(type_counts).tolist()
        blocks = [slice(0, n)]
        term = None
        if first is None:
            blocks = [slice(end - count, end)
                      for end, count in zip(ends, type_counts, strict=True)]
        else:
            rows = round_bits(first, FIX_FRAC)[self._types]
            term = np.tile(rows, (frames, 1))
        self._shapes = [w.shape for w in weights], [b.shape for b in biases]
        self.out, self.dd = np.zeros((frames, n)), np.zeros((frames, n, width))
        self._passes: dict[int, tuple[slice, QuantizedNet, QuantizedPass]] = {}

        def fit(t: int) -> None:
            block, net = blocks[t], QuantizedNet([w[t] for w in weights], [b[t] for b in biases])
            rows = d[:, block].reshape(-1, width).astype(np.float64)
            found = evaluate(net, rows, term)
            self.out[:, block] = found.out.reshape(frames, -1)
            self.dd[:, block] = found.gradient.reshape(frames, -1, width)
            self._passes[t] = block, net, found

        share_out([t for t, block in enumerate(blocks) if block.stop > block.start], lambda: fit)

    def backward(
        self, by_out: Floats, by_dd: Floats
    ) -> tuple[list[Floats], list[Floats], Floats]:
        """Gradient of a loss by the nets.

        Parameters
        ----------
        by_out, by_dd : (f, n), (f, n, nin)
            Gradients of the loss by what was found.

        Returns
        -------
        weights, biases : lists of arrays
            In the shapes of the nets; zero for a net without atoms.
        first : (ntypes, nout)
            By what the types add to the first layer.
        """
        weights, biases = ([np.zeros(shape) for shape in shapes] for shapes in self._shapes)
        by_first = np.zeros((int(self._types.max(initial=0)) + 1, self._shapes[1][0][1]))
        frames, _, width = by_dd.shape
        by_term: dict[int, Floats] = {}

        def through(t: int) -> None:
            block, net, found = self._passes[t]
            to_weights, to_biases, by_term[t] = backward(
                net, found, by_out[:, block].ravel(), by_dd[:, block].reshape(-1, width))
            for k, (w, b) in enumerate(zip(to_weights, to_biases, strict=True)):
                weights[k][t], biases[k][t] = w, b

        share_out(sorted(self._passes), lambda: through)
        for t, (block, _, _) in sorted(self._passes.items()):
            np.add.at(by_first, np.tile(self._types[block], frames), by_term[t])
        return weights, biases, by_first
