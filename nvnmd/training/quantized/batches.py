"""Frames and batches of the quantized training: descriptor constants and labels."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from nvnmd.data.frame_pairs import NeighborCache
from nvnmd.errors import RangeError
from nvnmd.inputs.loss_terms import chosen_labels, known_terms
from nvnmd.quantize.compiled.model import FastModel, supported
from nvnmd.quantize.model import Model
from nvnmd.threads import installed
from nvnmd.training.quantized.frames import FrameConstants, frame_constants, padded_slots

# Constants kept in memory (3 MB for 216 atoms with 40 neighbours); the least recently used go.
# Without numba finding them again takes about a hundred times as long.
CACHE_BYTES = (64 << 20) if installed() else (3 << 30)


@dataclass(frozen=True, kw_only=True)
class QuantizedBatch:
    """A few frames of one system, atoms of each frame sorted by type.

    `f` frames, `n` atoms.

    Attributes
    ----------
    constants : FrameConstants
        Arrays with a leading axis of frames.
    type_counts : tuple of int
        Atoms of each type in a frame; of frames that differ, the most.
    energy, force, virial : (f,), (f, n, 3), (f, 3, 3) float64
        Labels, 0 where there are none.
    known : (6,) float64
        1 or 0 for each of `nvnmd.inputs.loss_terms.TERMS`: whether its label exists.
    atom_labels : mapping of str to (f, n, ...) float64
        The labels per atom that exist.
    real : (f, n) float64 or None
        1 where there is an atom, 0 in the rows that fill a frame up; None if there are none.
    """

    constants: FrameConstants
    type_counts: tuple[int, ...]
    energy: NDArray[np.float64]
    force: NDArray[np.float64]
    virial: NDArray[np.float64]
    known: NDArray[np.float64]
    atom_labels: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    real: NDArray[np.float64] | None = None

    @property
    def natoms(self) -> float:
        """Atoms of one frame, in the mean."""
        if self.real is None:
            return self.force.shape[1]
        return float(self.real.sum() / len(self.real))


class QuantizedFrames:
    """The descriptor constants of frames, computed when first drawn and kept while they fit.

    Parameters
    ----------
    model : Model
        Its tables decide; its fitting nets do not enter.
    neighbors : NeighborCache
        Data and neighbours.
    mates : list of lists of int, optional
        For every system those whose frames may be in one batch with its own; see
        `nvnmd.training.mixed_batches.batch_mates`. Itself only if left out.
    """

    def __init__(
        self, model: Model, neighbors: NeighborCache, mates: list[list[int]] | None = None
    ) -> None:
        self.model, self.neighbors = model, neighbors
        self._mates = mates or [[index] for index in range(len(neighbors.systems))]
        self._kept: OrderedDict[tuple[int, int], FrameConstants] = OrderedDict()
        self._bytes = 0
        self._slots: dict[int, int] = {}
        self._find = _finder(model)

    def batch(self, system: int, frames: Sequence[int] | NDArray[np.int64]) -> QuantizedBatch:
        """Pack frames of one system; see `merged` for those of several.

        Raises
        ------
        InputError, NeighborOverflowError, RangeError
            With the system and the frame named.
        """
        data = self.neighbors.systems[system]
        parts = [self.constants(system, int(frame)) for frame in frames]
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

    def merged(
        self, systems: Sequence[int] | NDArray[np.int64], frames: Sequence[int] | NDArray[np.int64]
    ) -> QuantizedBatch:
        """Pack frames, each of a system of its own, filled up to the most atoms of each type.

        Raises
        ------
        InputError, NeighborOverflowError, RangeError
            With the system and the frame named.
        """
        together = self._mates[int(systems[0])]
        if len(together) == 1:
            return self.batch(together[0], frames)
        counts = {one: self._type_counts(one) for one in together}
        most = np.max(list(counts.values()), axis=0)
        parts = [
            _filled_up(self.batch(int(one), [frame]), counts[int(one)], most)
            for one, frame in zip(systems, frames, strict=True)
        ]
        names = set.intersection(*(set(part.atom_labels) for part in parts))
        return QuantizedBatch(
            constants=FrameConstants(
                *(
                    np.concatenate([getattr(part.constants, f.name) for part in parts])
                    for f in fields(FrameConstants)
                )
            ),
            type_counts=parts[0].type_counts,
            energy=np.concatenate([part.energy for part in parts]),
            force=np.concatenate([part.force for part in parts]),
            virial=np.concatenate([part.virial for part in parts]),
            known=np.min([part.known for part in parts], axis=0),
            atom_labels={
                name: np.concatenate([part.atom_labels[name] for part in parts])
                for name in sorted(names)
            },
            real=np.concatenate([part.real for part in parts if part.real is not None]),
        )

    def _type_counts(self, system: int) -> NDArray[np.int64]:
        return np.bincount(self.neighbors.systems[system].types, minlength=self.model.ntypes)

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

        One number for a system and those it shares batches with, whatever is drawn first: sums
        over padded slots round alike in a run and in its continuation.
        """
        if system not in self._slots:
            most = max(
                int(self.neighbors.pairs(one, frame).counts.sum(axis=1).max())
                for one in self._mates[system]
                for frame in range(self.neighbors.systems[one].nframes)
            )
            self._slots[system] = padded_slots(most)
        return self._slots[system]

    def constants(self, system: int, frame: int) -> FrameConstants:
        """Return the constants of a frame."""
        key = (system, frame)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        data = self.neighbors.systems[system]
        rij, index = self.slots(system, frame)
        try:
            found = self._find(np.sort(data.types), rij, index, self._slot_count(system))
        except RangeError as error:
            raise RangeError(f"{data.path}: frame {data.number(frame)}: {error}") from None
        self._kept[key] = found
        self._bytes += found.nbytes
        while self._bytes > CACHE_BYTES and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return found


def _finder(model: Model) -> Callable[..., FrameConstants]:
    """What finds a frame's constants: compiled where numba is installed."""
    if not (installed() and supported(model)):
        return partial(frame_constants, model)
    from nvnmd.training.quantized.frames_compiled import fast_frame_constants

    return partial(fast_frame_constants, FastModel(model))


def _filled_up(
    batch: QuantizedBatch, counts: NDArray[np.int64], most: NDArray[np.int64]
) -> QuantizedBatch:
    """Give a batch rows for `most` atoms of each type; those of no atom are zero throughout."""
    first = np.cumsum(most) - most
    rows = np.concatenate(
        [start + np.arange(count) for start, count in zip(first, counts, strict=True)]
    )

    def spread(x: NDArray) -> NDArray:
        out = np.zeros((len(x), int(most.sum()), *x.shape[2:]), dtype=x.dtype)
        out[:, rows] = x
        return out

    constants = FrameConstants(
        *(spread(getattr(batch.constants, f.name)) for f in fields(FrameConstants))
    )
    moved = spread(rows.astype(np.int32)[batch.constants.index])
    return replace(
        batch,
        constants=replace(constants, index=moved),
        type_counts=tuple(int(count) for count in most),
        force=spread(batch.force),
        atom_labels={name: spread(array) for name, array in batch.atom_labels.items()},
        real=spread(np.ones(batch.force.shape[:2])),
    )
