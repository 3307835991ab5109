"""A system: frames of one composition with their labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LABELS = ("energy", "force", "virial")
PER_ATOM = ("coord", "force")
REAL_TYPES = "real_atom_types"
# How often each frame is drawn in one pass over the data
COPIES = "numb_copy"


@dataclass(frozen=True, kw_only=True)
class System:
    """Frames of one composition, atoms in the order of their files.

    `f` frames, `n` atoms. A system in the mixed layout makes several of these, one for each
    composition, their atoms sorted by type.

    Attributes
    ----------
    path : Path
        The folder it was read from, or ``file.hdf5#/group``.
    types : (n,) int64
        Index of each atom's element in the model's type map.
    coord : (f, n, 3) float64
        Positions in Å.
    box : (f, 3, 3) float64 or None
        Cell vectors in rows, in Å; None for an open system.
    energy : (f,) float64 or None
        Total energies in eV; None if the data have none. So too `force` and `virial`.
    force : (f, n, 3) float64 or None
        Forces in eV/Å.
    virial : (f, 3, 3) float64 or None
        Virials in eV.
    part : int
        Number of this composition within what was read as one; 0 for the first.
    frames : (f,) int64 or None
        Number of each frame in the files, where it is not its index here.
    atoms : (f, n) int64 or None
        Number of each atom in its frame of the files, where it is not its index here.
    atom_labels : mapping of str to (f, n, ...) float64
        Labels per atom that were asked for and that the data have, by the names of their files.
    copies : (f,) int64 or None
        How often each frame is drawn in one pass over the data (`numb_copy.npy`); None for once.
    """

    path: Path
    types: NDArray[np.int64]
    coord: NDArray[np.float64]
    box: NDArray[np.float64] | None
    energy: NDArray[np.float64] | None
    force: NDArray[np.float64] | None
    virial: NDArray[np.float64] | None
    part: int = 0
    frames: NDArray[np.int64] | None = None
    atoms: NDArray[np.int64] | None = None
    atom_labels: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    copies: NDArray[np.int64] | None = None

    @property
    def nframes(self) -> int:
        """Number of frames."""
        return len(self.coord)

    @property
    def natoms(self) -> int:
        """Number of atoms."""
        return len(self.types)

    def cell(self, frame: int) -> NDArray[np.float64] | None:
        """Return the cell of one frame, or None for an open system."""
        return None if self.box is None else self.box[frame]

    def number(self, frame: int) -> int:
        """Return the number that a frame has in the files."""
        return frame if self.frames is None else int(self.frames[frame])
