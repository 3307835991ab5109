"""What the quantized stage saw of its data, for the model file."""

from __future__ import annotations

import numpy as np

from nvnmd.quantize.seen import Seen, lengths
from nvnmd.training.quantized.batches import QuantizedFrames


def seen_by(frames: QuantizedFrames) -> Seen:
    """Go through all frames of a part of the data once.

    Raises
    ------
    InputError, NeighborOverflowError, RangeError
        With the system and the frame named.
    """
    model, neighbors = frames.model, frames.neighbors
    n, width = model.ntypes, model.m1 * model.m2
    distance = np.full((n, n), model.rcut)
    u = np.array([np.inf, 0.0])
    s, d = (np.stack([np.full(shape, np.inf), np.full(shape, -np.inf)], axis=-1)
            for shape in ((n,), (n, width)))
    for number, system in enumerate(neighbors.systems):
        types = np.sort(system.types)
        for frame in range(system.nframes):
            pairs = neighbors.pairs(number, frame)
            length = lengths(pairs.rij)
            here = (types[pairs.center], types[pairs.neighbor])
            np.minimum.at(distance, here, length)
            if length.size:
                u = np.array([min(u[0], length.min() ** 2), max(u[1], length.max() ** 2)])
            constants = frames.constants(number, frame)
            filled = constants.index >= 0
            for kind in np.unique(types):
                rows = types == kind
                found = constants.d[rows]
                d[kind, :, 0] = np.minimum(d[kind, :, 0], found.min(axis=0))
                d[kind, :, 1] = np.maximum(d[kind, :, 1], found.max(axis=0))
                values = constants.r4[rows, :, 0][filled[rows]]
                if values.size:
                    s[kind] = min(s[kind, 0], values.min()), max(s[kind, 1], values.max())
    # a file holds finite numbers only
    return Seen(distance=distance, u=np.where(np.isfinite(u), u, 0.0),
                s=np.where(np.isfinite(s), s, 0.0), d=np.where(np.isfinite(d), d, 0.0))
