"""The mixed layout: every frame has atoms of its own, and virtual atoms fill it up.

Later stages know frames of one composition only. A system in the mixed layout is therefore split
by composition when it is read, with the atoms of every frame sorted by type; `pools` says which
parts belong together, so that batches are drawn from the whole of it all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.data.system import COPIES, LABELS, PER_ATOM, System
from nvnmd.errors import InputError


def split(path: Path, arrays: Mapping[str, NDArray], further: Iterable[str] = ()) -> list[System]:
    """Split frames by composition.

    Parameters
    ----------
    path : Path
        Where they are from.
    arrays : mapping
        `types` (f, n), -1 for virtual atoms, which are left out; `coord`, and, where there are,
        `box` and labels as in `System`, and `numb_copy` (f,).
    further : iterable of str
        Names of labels per atom, which go into `System.atom_labels`.

    Returns
    -------
    list of System
        In the order of their first frames.
    """
    types = arrays["types"]
    last = types.max() + 1
    # virtual atoms go to the end of their frame
    order = np.argsort(np.where(types < 0, last, types), axis=1, kind="stable")
    counts = np.stack([(types == kind).sum(axis=1) for kind in range(last)], axis=1)
    _, first, group = np.unique(counts, axis=0, return_index=True, return_inverse=True)
    systems = []
    for part, which in enumerate(np.argsort(first)):
        frames = np.flatnonzero(group.ravel() == which)
        atoms = order[frames, : counts[frames[0]].sum()]
        chosen: dict[str, Any] = {}
        for key in ("coord", "box", *LABELS):
            if key not in arrays:
                chosen[key] = None
            elif key in PER_ATOM:
                chosen[key] = arrays[key][frames[:, None], atoms]
            else:
                chosen[key] = arrays[key][frames]
        systems.append(
            System(
                path=path,
                types=types[frames[0], atoms[0]],
                part=part,
                frames=frames,
                atoms=atoms,
                atom_labels={key: arrays[key][frames[:, None], atoms]
                             for key in further if key in arrays},
                copies=arrays[COPIES][frames] if COPIES in arrays else None,
                **chosen,
            )
        )
    return systems


def pools(systems: Sequence[System]) -> list[list[int]]:
    """Return the indices of the parts of each system that was read, in their order."""
    found: list[list[int]] = []
    for index, system in enumerate(systems):
        if system.part == 0:
            found.append([])
        found[-1].append(index)
    return found


def find_frame(groups: Sequence[System], number: int) -> tuple[System, int]:
    """Return the part that holds a frame of the files, and the frame's index in it.

    Parameters
    ----------
    groups : sequence of System
        The parts of one system.
    number : int
        The frame, counted from 0 in the order of the files.

    Raises
    ------
    InputError
        There is no such frame.
    """
    for system in groups:
        if system.frames is None and 0 <= number < system.nframes:
            return system, number
        if system.frames is not None and number in system.frames:
            return system, int(np.searchsorted(system.frames, number))
    count = sum(system.nframes for system in groups)
    raise InputError(f"--frame: got {number}, expected 0 to {count - 1} for {groups[0].path}")


def first_frames(groups: Sequence[System], count: int) -> list[int]:
    """Return how many frames of each part are among the first `count` of the files."""
    return [
        min(count, system.nframes)
        if system.frames is None
        else int(np.searchsorted(system.frames, count))
        for system in groups
    ]
