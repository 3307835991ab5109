"""Frames with their neighbours, packed into arrays of fixed shape for training.

Atoms of all frames of a batch stand in blocks of one type, so that each net sees one contiguous
block, and every batch of a `Layout` has the same shapes, so that compiled code is used again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.data.frame_pairs import NeighborCache
from nvnmd.data.systems import System
from nvnmd.inputs.loss_terms import known_terms


@dataclass(frozen=True)
class Layout:
    """Shapes of a batch.

    Attributes
    ----------
    frames : int
        Frames per batch.
    atoms : tuple of int
        Rows for the centre atoms of each type.
    slots : tuple of int
        Neighbour slots of each type; one number in version 1.
    """

    frames: int
    atoms: tuple[int, ...]
    slots: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Which frame each of `a` rows belongs to, and what is known of `f` frames.

    Attributes
    ----------
    natoms : float
        Atoms of one frame, in the mean.
    frame : (a,) int32
        Frame of each row; `f` in rows that hold no atom.
    energy, force, virial : (f,), (a, 3), (f, 3, 3) float64
        Labels, 0 where there are none.
    known : (6,) float64
        1 or 0 for each of `nvnmd.inputs.loss_terms.TERMS`: whether its label exists.
    atom_labels : mapping of str to (a, ...) float64
        The labels per atom that exist, 0 in rows without an atom.
    """

    natoms: float
    frame: NDArray[np.int32]
    energy: NDArray[np.float64]
    force: NDArray[np.float64]
    virial: NDArray[np.float64]
    known: NDArray[np.float64]
    atom_labels: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Batch(Labels):
    """A few frames, packed into the shapes of a layout.

    `a = sum(layout.atoms)` rows, `m = sum(layout.slots)` slots, `f = layout.frames`.

    Attributes
    ----------
    layout : Layout
        The shapes.
    rij : (a, m, 3) float64
        Displacements in Å, 0 in empty slots.
    index : (a, m) int32
        Row of the neighbour; `a` in empty slots.
    """

    layout: Layout
    rij: NDArray[np.float64]
    index: NDArray[np.int32]


def make_layouts(
    systems: Sequence[System],
    batch_sizes: Sequence[int],
    slots: Sequence[int],
    *,
    ntypes: int | None = None,
    distinct: int = 4,
    mates: Sequence[Sequence[int]] | None = None,
) -> list[Layout]:
    """Choose the layout of every system's batches.

    Parameters
    ----------
    systems : sequence of System
        The data.
    batch_sizes : sequence of int
        Frames per batch, per system; without `mates` cut to the frames there are.
    slots : (ntypes,) sequence of int
        Slots of each neighbour type; one number in version 1.
    ntypes : int, optional
        Number of types, where it is not that of `slots`.
    distinct : int
        Up to this many different layouts are exact. With more, rows are rounded up to a coarse
        grid, because each layout is compiled once.
    mates : sequence of sequences of int, optional
        For every system those whose frames may be in one batch with its own, of which the layout
        then holds any choice; see `nvnmd.training.mixed_batches.batch_mates`.

    Returns
    -------
    list of Layout
        One per system.
    """
    counts = [np.bincount(system.types, minlength=ntypes or len(slots)) for system in systems]
    exact = []
    for index, size in enumerate(batch_sizes):
        together = [index] if mates is None else mates[index]
        most = np.max([counts[one] for one in together], axis=0)
        frames = min(size, systems[index].nframes) if mates is None else size
        exact.append(Layout(frames, tuple(int(c) for c in most * frames), tuple(slots)))
    if len(set(exact)) <= distinct:
        return exact
    return [
        Layout(one.frames, tuple(_round_up(count) for count in one.atoms), one.slots)
        for one in exact
    ]


def _round_up(count: int) -> int:
    """Return the next of 0, 1, 2, 3, 4, 6, 8, 12, 16, 24, ..."""
    if count <= 3:
        return count
    power = 1 << ((count - 1).bit_length() - 1)
    return 3 * power // 2 if 2 * count <= 3 * power else 2 * power


def pack(
    cache: NeighborCache,
    system: int | Sequence[int] | NDArray[np.int64],
    frames: Sequence[int] | NDArray[np.int64],
    layout: Layout,
) -> Batch:
    """Pack frames into a batch.

    Parameters
    ----------
    cache : NeighborCache
        Data and neighbours.
    system : int or (f,) sequence of int
        Which system, or which one for each frame.
    frames : (f,) sequence of int
        Which frames.
    layout : Layout
        The shapes to fill.

    Returns
    -------
    Batch
    """
    rows, m = sum(layout.atoms), sum(layout.slots)
    first_slot = np.cumsum(layout.slots) - np.asarray(layout.slots)
    which = np.broadcast_to(np.asarray(system), len(frames)).tolist()
    labels, places = labelled_rows(cache, which, frames, np.asarray(layout.atoms), layout.frames)
    rij = np.zeros((rows, m, 3))
    index = np.full((rows, m), rows, dtype=np.int32)
    for one, frame, row in zip(which, frames, places, strict=True):
        pairs = cache.pairs(one, int(frame))
        at = row[pairs.center], first_slot[pairs.kind] + pairs.place
        rij[at] = pairs.rij
        index[at] = row[pairs.neighbor]
    return Batch(layout=layout, rij=rij, index=index, **labels)


def labelled_rows(
    cache: NeighborCache,
    which: Sequence[int],
    frames: Sequence[int] | NDArray[np.int64],
    atoms: NDArray[np.int64],
    spare: int,
) -> tuple[dict[str, Any], list[NDArray[np.int64]]]:
    """Give the atoms of some frames rows, those of one type together.

    Parameters
    ----------
    cache : NeighborCache
        Data and neighbours.
    which, frames : (f,) sequences of int
        Systems and frames.
    atoms : (ntypes,) int64
        Rows for each type.
    spare : int
        What stands for the frame of rows without an atom.

    Returns
    -------
    labels : dict
        The fields of `Labels`.
    places : list of (n,) int64
        The rows of each frame's atoms, these sorted by type.
    """
    rows = int(np.sum(atoms))
    first_row = np.cumsum(atoms) - atoms
    drawn = [cache.systems[one] for one in which]
    ranks = {one: _places(cache.systems[one].types, len(atoms)) for one in set(which)}
    used = np.zeros(len(atoms), dtype=np.int64)

    places = []
    frame_of = np.full(rows, spare, dtype=np.int32)
    force = np.zeros((rows, 3))
    virial = np.zeros((len(drawn), 3, 3))
    further = {key: np.zeros((rows, *a.shape[2:])) for key, a in drawn[0].atom_labels.items()}
    for k, (one, frame) in enumerate(zip(which, frames, strict=True)):
        data, (per_type, sorted_types, rank) = drawn[k], ranks[one]
        order = cache.pairs(one, int(frame)).order
        row = first_row[sorted_types] + used[sorted_types] + rank
        used += per_type
        places.append(row)
        frame_of[row] = k
        if data.force is not None:
            force[row] = data.force[frame][order]
        if data.virial is not None:
            virial[k] = data.virial[frame]
        for key, array in further.items():
            if key in data.atom_labels:
                array[row] = data.atom_labels[key][frame][order]
    both = zip(drawn, frames, strict=True)
    labels = {
        "natoms": sum(data.natoms for data in drawn) / len(drawn),
        "frame": frame_of,
        "energy": np.array([0.0 if d.energy is None else d.energy[frame] for d, frame in both]),
        "force": force,
        "virial": virial,
        # a term counts where every frame has its label
        "known": np.min([known_terms(cache.systems[one]) for one in ranks], axis=0),
        "atom_labels": further,
    }
    return labels, places


def _places(
    types: NDArray[np.int64], ntypes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return atoms per type (ntypes,), the sorted types (n,), and each one's rank in its type."""
    per_type = np.bincount(types, minlength=ntypes)
    sorted_types = np.repeat(np.arange(ntypes), per_type)
    return per_type, sorted_types, np.arange(len(types)) - (np.cumsum(per_type) - per_type)[
        sorted_types
    ]
