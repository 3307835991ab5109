"""Frames and batches of the quantized training: descriptor constants and labels."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from nvnmd.batches import NeighborCache
from nvnmd.errors import RangeError
from nvnmd.loss_terms import chosen_labels, known_terms
from nvnmd.qnn_frames import FrameConstants, frame_constants, padded_slots
from nvnmd.quantize.model import Model

# Constants kept in memory (3 MB for 216 atoms with 40 neighbours); the least recently used go.
CACHE_BYTES = 3 << 30


@dataclass(frozen=True, kw_only=True)
class QuantizedBatch:
    """A few frames of one system, atoms of each frame sorted by type.

    `f` frames, `n` atoms.

    Attributes
    ----------
    constants : FrameConstants
        Arrays with a leading axis of frames.
    type_counts : tuple of int
        Atoms of each type in a frame.
    energy, force, virial : (f,), (f, n, 3), (f, 3, 3) float64
        Labels, 0 where there are none.
    known : (6,) float64
        1 or 0 for each of `nvnmd.loss_terms.TERMS`: whether its label exists.
    atom_labels : mapping of str to (f, n, ...) float64
        The labels per atom that exist.
    """

    constants: FrameConstants
    type_counts: tuple[int, ...]
    energy: NDArray[np.float64]
    force: NDArray[np.float64]
    virial: NDArray[np.float64]
    known: NDArray[np.float64]
    atom_labels: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def natoms(self) -> int:
        """Atoms of one frame."""
        return self.force.shape[1]


class QuantizedFrames:
    """The descriptor constants of frames, computed when first drawn and kept while they fit.

    Parameters
    ----------
    model : Model
        Its tables decide; its fitting nets do not enter.
    neighbors : NeighborCache
        Data and neighbours.
    """

    def __init__(self, model: Model, neighbors: NeighborCache) -> None:
        self.model, self.neighbors = model, neighbors
        self._kept: OrderedDict[tuple[int, int], FrameConstants] = OrderedDict()
        self._bytes = 0
        self._slots: dict[int, int] = {}

    def batch(self, system: int, frames: Sequence[int] | NDArray[np.int64]) -> QuantizedBatch:
        """Pack frames of one system.

        Raises
        ------
        InputError, NeighborOverflowError, RangeError
            With the system and the frame named.
        """
        data = self.neighbors.systems[system]
        parts = [self._constants(system, int(frame)) for frame in frames]
        # frames of one system hold the same arrays save their precision: the wider one wins
        stacked = FrameConstants(
            *(np.stack([getattr(part, f.name) for part in parts]) for f in fields(FrameConstants))
        )
        order = np.argsort(data.types, kind="stable")
        chosen = np.asarray(frames, dtype=np.int64)
        count = len(chosen)
        return QuantizedBatch(
            constants=stacked,
            type_counts=tuple(int(c) for c in np.bincount(data.types, minlength=self.model.ntypes)),
            energy=np.zeros(count) if data.energy is None else data.energy[chosen],
            force=(
                np.zeros((count, data.natoms, 3))
                if data.force is None
                else data.force[chosen][:, order]
            ),
            virial=np.zeros((count, 3, 3)) if data.virial is None else data.virial[chosen],
            known=known_terms(data),
            atom_labels=chosen_labels(data, chosen, order),
        )

    def slots(self, system: int, frame: int) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        """Return displacements (n, m, 3) and neighbours (n, m), -1 in empty slots, of a frame."""
        natoms = self.neighbors.systems[system].natoms
        pairs = self.neighbors.pairs(system, frame)
        sel = np.asarray(self.model.sel)
        at = pairs.center, (np.cumsum(sel) - sel)[pairs.kind] + pairs.place
        rij = np.zeros((natoms, self.model.nnei, 3))
        index = np.full((natoms, self.model.nnei), -1, dtype=np.int32)
        rij[at], index[at] = pairs.rij, pairs.neighbor
        return rij, index

    def _slot_count(self, system: int) -> int:
        """Slots that hold every neighbour of every frame of a system.

        One number for a system, whatever is drawn first: sums over padded slots round alike in
        a run and in its continuation.
        """
        if system not in self._slots:
            frames = range(self.neighbors.systems[system].nframes)
            most = max(
                int(self.neighbors.pairs(system, frame).counts.sum(axis=1).max())
                for frame in frames
            )
            self._slots[system] = padded_slots(most)
        return self._slots[system]

    def _constants(self, system: int, frame: int) -> FrameConstants:
        """Return the constants of a frame."""
        key = (system, frame)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        data = self.neighbors.systems[system]
        rij, index = self.slots(system, frame)
        try:
            found = frame_constants(
                self.model, np.sort(data.types), rij, index, self._slot_count(system)
            )
        except RangeError as error:
            raise RangeError(f"{data.path}: frame {frame}: {error}") from None
        self._kept[key] = found
        self._bytes += found.nbytes
        while self._bytes > CACHE_BYTES and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return found
