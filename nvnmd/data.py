"""Reading labelled frames in the layouts deepmd/npy, deepmd/npy/mixed and deepmd/hdf5.

A system is a folder (or a group of an HDF5 file, see `nvnmd.data_source`) with `type.raw`,
optionally `type_map.raw` and `nopbc`, and one or more `set.*` folders holding `coord.npy`,
`box.npy` and the labels `energy.npy`, `force.npy`, `virial.npy` (frames in rows; Å, eV, eV/Å). In
the mixed layout the sets also hold `real_atom_types.npy`, and every frame has atoms of its own
(`nvnmd.data_mixed`). Everything is checked while it is read, so that later stages may rely on
shapes, types and finite numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nvnmd.cells import cell_problem
from nvnmd.data_source import TYPES, Source, find_systems, open_source
from nvnmd.errors import InputError

__all__ = ["LABELS", "System", "find_systems", "load_groups", "load_system", "load_systems"]

LABELS = ("energy", "force", "virial")
PER_ATOM = ("coord", "force")
REAL_TYPES = "real_atom_types"


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


def load_systems(
    paths: Iterable[str | Path],
    type_map: Sequence[str],
    *,
    require: Sequence[str] = ("energy", "force"),
    set_prefix: str = "set",
    atom_labels: Mapping[str, tuple[int, ...]] | None = None,
) -> list[System]:
    """Read several systems, each composition as one; see `load_groups`."""
    systems = [
        group
        for path in paths
        for group in load_groups(path, type_map, require=require, set_prefix=set_prefix,
                                 atom_labels=atom_labels)
    ]
    if not systems:
        raise InputError("systems: the list is empty, at least one data folder is needed")
    return systems


def load_system(
    path: str | Path,
    type_map: Sequence[str],
    *,
    require: Sequence[str] = ("energy", "force"),
    set_prefix: str = "set",
    atom_labels: Mapping[str, tuple[int, ...]] | None = None,
) -> System:
    """Read and check one system of one composition; see `load_groups`.

    Raises
    ------
    InputError
        The system is not usable, or its frames differ in composition.
    """
    groups = load_groups(path, type_map, require=require, set_prefix=set_prefix,
                         atom_labels=atom_labels)
    if len(groups) > 1:
        raise InputError(f"{path}: its frames have {len(groups)} compositions, expected one here")
    return groups[0]


def load_groups(
    path: str | Path,
    type_map: Sequence[str],
    *,
    require: Sequence[str] = ("energy", "force"),
    set_prefix: str = "set",
    atom_labels: Mapping[str, tuple[int, ...]] | None = None,
) -> list[System]:
    """Read and check one system.

    Parameters
    ----------
    path : path-like
        Folder with `type.raw` and `set.*`, or ``file.hdf5#/group``.
    type_map : sequence of str
        Element names in the order of the model's types. Data that bring a `type_map.raw` of
        their own are renumbered; others must use these numbers already.
    require : sequence of str
        Labels that must exist, out of `energy`, `force`, `virial`.
    set_prefix : str
        The sets are the folders `<set_prefix>.*`.
    atom_labels : mapping of str to tuple of int, optional
        Further labels to read where they exist: name -> shape per atom.

    Returns
    -------
    list of System
        One; in the mixed layout one for each composition, the first frame's first.

    Raises
    ------
    InputError
        A file is missing, cut short, of the wrong shape, or holds a value that is not finite;
        an element is not in `type_map`; sets disagree about which labels exist.
    """
    source, name = open_source(path), Path(path)
    sets = source.sets(set_prefix)
    mixed = [part for part in sets if f"{part}/{REAL_TYPES}.npy" in source]
    if mixed and len(mixed) < len(sets):
        other = next(part for part in sets if part not in mixed)
        raise InputError(
            f"{name}/{other}/{REAL_TYPES}.npy: missing, but {name}/{mixed[0]} has it; "
            "all sets of a system must be mixed, or none"
        )
    raw = _read_types(source, name)
    names, renumber = _type_names(source, name, type_map)
    if not sets:
        raise InputError(f"{name}: no {set_prefix}.* folder, so the system has no frames")
    periodic = "nopbc" not in source
    further = dict(atom_labels or {})
    parts = [_read_set(source, f"{name}/{part}", part, len(raw), periodic, require, further)
             for part in sets]  # fmt: skip
    if mixed:
        for part, found in zip(sets, parts, strict=True):
            found["types"] = _read_real_types(
                source, name, part, (len(found["coord"]), len(raw)), names, renumber, type_map
            )
    else:
        _check_types(raw, f"{name}/{TYPES}", name, names, renumber, type_map)
    _check_same_labels([f"{name}/{part}" for part in sets], parts, further)
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    if mixed:
        # only here: that module makes systems
        from nvnmd.data_mixed import split

        return split(name, joined, further)
    return [
        System(
            path=name,
            types=renumber[raw].astype(np.int64),
            coord=joined["coord"],
            box=joined.get("box"),
            energy=joined.get("energy"),
            force=joined.get("force"),
            virial=joined.get("virial"),
            atom_labels={key: joined[key] for key in further if key in joined},
        )
    ]


def _read_types(source: Source, name: Path) -> NDArray[np.int64]:
    """Return the numbers of `type.raw`; in the mixed layout only how many there are counts."""
    words = _read_words(source, name, TYPES)
    file = name / TYPES
    numbers: list[int] = []
    for word in words:
        try:
            numbers.append(int(np.int64(int(word))))
        except (ValueError, OverflowError):
            raise InputError(
                f"{file}: expected one integer per atom, found {word[:40]!r}"
            ) from None
    raw = np.array(numbers, dtype=np.int64)
    if len(raw) == 0:
        raise InputError(f"{file}: the system has no atoms")
    return raw


def _type_names(
    source: Source, name: Path, type_map: Sequence[str]
) -> tuple[list[str] | None, NDArray[np.int64]]:
    """Names of the data's types, None without `type_map.raw`; and their numbers in the model.

    The number is -1 for an element that the model does not have.
    """
    own = "type_map.raw" in source
    names = _read_words(source, name, "type_map.raw") if own else list(type_map)
    numbers = [type_map.index(one) if one in type_map else -1 for one in names]
    return names if own else None, np.array(numbers, dtype=np.int64)


def _check_types(
    raw: NDArray[np.int64],
    file: str,
    name: Path,
    names: list[str] | None,
    renumber: NDArray[np.int64],
    type_map: Sequence[str],
) -> None:
    """Raise if a type (..., n) has no name, or one that the model does not have."""
    wrong = (raw < 0) | (raw >= len(renumber))
    if wrong.any():
        at = tuple(np.argwhere(wrong)[0])
        where = f"atom {at[-1]}" if raw.ndim == 1 else f"frame {at[0]}, atom {at[-1]}"
        source = "the model's type_map" if names is None else "type_map.raw"
        raise InputError(
            f"{file}: {where} has type {raw[at]}, but {source} names {len(renumber)} types"
        )
    for kind in np.unique(raw):
        if names is not None and renumber[kind] < 0:
            raise InputError(
                f"{name}/type_map.raw: element {names[kind]!r} is not in the model's type_map "
                f"({', '.join(type_map)})"
            )


def _read_real_types(
    source: Source,
    name: Path,
    part: str,
    shape: tuple[int, int],
    names: list[str] | None,
    renumber: NDArray[np.int64],
    type_map: Sequence[str],
) -> NDArray[np.int64]:
    """Return the types (frames, n) of a set in the model's numbers, -1 for virtual atoms."""
    key = f"{part}/{REAL_TYPES}.npy"
    file = f"{name}/{key}"
    data = _as_frames(source.array(key), file, shape[1:], per_atom=True)
    if len(data) != shape[0]:
        raise InputError(f"{file}: {len(data)} frames, but coord.npy has {shape[0]}")
    raw = data.astype(np.int64)
    if (raw != data).any():
        frame, atom = np.argwhere(raw != data)[0]
        raise InputError(
            f"{file}: frame {frame}, atom {atom} has type {data[frame, atom]:g}, "
            "expected an integer"
        )
    virtual = raw == -1
    empty = virtual.all(axis=1)
    if empty.any():
        raise InputError(f"{file}: frame {int(np.argmax(empty))} has virtual atoms (-1) only")
    # a type that is certainly fine in the places of virtual atoms
    filled = np.where(virtual, raw[~virtual][0], raw)
    _check_types(filled, file, name, names, renumber, type_map)
    return np.where(virtual, -1, renumber[filled])


def _read_words(source: Source, name: Path, key: str) -> list[str]:
    """Return the white-space separated words of a text."""
    if key not in source:
        raise InputError(f"{name / key}: missing, a system needs this file")
    return source.words(key)


def _read_set(
    source: Source, folder: str, part: str, natoms: int, periodic: bool, require: Sequence[str],
    further: Mapping[str, tuple[int, ...]],
) -> dict[str, NDArray]:
    """Read one set of frames into arrays of the shapes that `System` has."""
    shapes: dict[str, tuple[int, ...]] = {
        "coord": (natoms, 3),
        "box": (3, 3),
        "energy": (),
        "force": (natoms, 3),
        "virial": (3, 3),
        **{key: (natoms, *shape) for key, shape in further.items()},
    }
    needed = {"coord", *require} | ({"box"} if periodic else set())
    found: dict[str, NDArray] = {}
    for key, shape in shapes.items():
        file = f"{folder}/{key}.npy"
        if key == "box" and not periodic:
            continue
        if f"{part}/{key}.npy" not in source:
            if key not in needed:
                continue
            hint = " (an open system has a file named nopbc)" if key == "box" else ""
            kind = "label" if key in LABELS else "array"
            raise InputError(f"{file}: missing, the {kind} {key} is needed here{hint}")
        array = source.array(f"{part}/{key}.npy")
        found[key] = _as_frames(array, file, shape, per_atom=key in (*PER_ATOM, *further))
    frames = len(found["coord"])
    if frames == 0:
        raise InputError(f"{folder}/coord.npy: the set has no frames")
    for key, array in found.items():
        if len(array) != frames:
            raise InputError(f"{folder}/{key}.npy: {len(array)} frames, but coord.npy has {frames}")
    for frame, cell in enumerate(found.get("box", ())):
        problem = cell_problem(cell)
        if problem:
            raise InputError(f"{folder}/box.npy: frame {frame}: {problem}")
    return found


def _as_frames(
    array: object, file: str, shape: tuple[int, ...], *, per_atom: bool
) -> NDArray[np.float64]:
    """Return an array of frames, each of `shape`, as binary64, all finite."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise InputError(f"{file}: expected an array of numbers")
    width = math.prod(shape)
    if array.ndim == 1 and width > 1 and array.size == width:
        array = array[None]
    if array.ndim == 0 or array.size != len(array) * width:
        raise InputError(f"{file}: expected an array (frames, {width}), found shape {array.shape}")
    data = array.reshape((len(array), *shape)).astype(np.float64)
    bad = ~np.isfinite(data)
    if bad.any():
        where = np.argwhere(bad)[0]
        atom = f", atom {where[1]}" if per_atom else ""
        raise InputError(f"{file}: frame {where[0]}{atom} has a value that is not finite")
    return data


def _check_same_labels(sets: list[str], parts: list[dict[str, NDArray]],
                       further: Iterable[str]) -> None:
    """Raise if one set has a label that another lacks."""
    for folder, part in zip(sets[1:], parts[1:], strict=True):
        for key in (*LABELS, *further):
            if (key in part) != (key in parts[0]):
                lacking, having = (folder, sets[0]) if key in parts[0] else (sets[0], folder)
                raise InputError(
                    f"{lacking}/{key}.npy: missing, but {having} has it; "
                    "the sets of a system must hold the same labels"
                )
