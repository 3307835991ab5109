"""Reading labelled frames in the layouts deepmd/npy, deepmd/npy/mixed and deepmd/hdf5.

A system is a folder (or a group of an HDF5 file, see `nvnmd.data.source`) with `type.raw`,
optionally `type_map.raw` and `nopbc`, and one or more `set.*` folders holding `coord.npy`,
`box.npy` and the labels `energy.npy`, `force.npy`, `virial.npy` (frames in rows; Å, eV, eV/Å). In
the mixed layout the sets also hold `real_atom_types.npy`, and every frame has atoms of its own
(`nvnmd.data.mixed`). Everything is checked while it is read, so that later stages may rely on
shapes, types and finite numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nvnmd.data.find import find_systems
from nvnmd.data.mixed import split
from nvnmd.data.sets import as_frames, read_set
from nvnmd.data.source import TYPES, Source, open_source
from nvnmd.data.system import COPIES, LABELS, REAL_TYPES, System
from nvnmd.errors import InputError

__all__ = ["LABELS", "System", "find_systems", "load_groups", "load_system", "load_systems"]

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)

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
        hint = ""
        if "coord.raw" in source:
            hint = (f"; coord.raw and the like are not read: `nvnmd convert {name} -f deepmd/raw "
                    "-o NEW` makes sets of them")
        raise InputError(f"{name}: no {set_prefix}.* folder, so the system has no frames{hint}")
    periodic = not _is_open(source, name)
    further = dict(atom_labels or {})
    parts = [read_set(source, f"{name}/{part}", part, len(raw), periodic, require, further)
             for part in sets]  # fmt: skip
    if mixed:
        for part, found in zip(sets, parts, strict=True):
            found["types"] = _read_real_types(
                source, name, part, (len(found["coord"]), len(raw)), names, renumber, type_map
            )
    else:
        _check_types(raw, f"{name}/{TYPES}", name, names, renumber, type_map)
    _check_same_labels([f"{name}/{part}" for part in sets], parts, further)
    if any(COPIES in part for part in parts):
        for found in parts:
            found.setdefault(COPIES, np.ones(len(found["coord"]), dtype=np.int64))
        if not any(found[COPIES].any() for found in parts):
            raise InputError(f"{name}: {COPIES}.npy draws no frame, expected a number above 0")
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    if mixed:
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
            copies=joined.get(COPIES),
        )
    ]


def _is_open(source: Source, name: Path) -> bool:
    """Whether the boundary is open: there is a nopbc, which may be empty but must not say no."""
    if "nopbc" not in source:
        return False
    words = source.words("nopbc")
    if " ".join(words).lower() in ("false", "no", "off", "0"):
        raise InputError(f"{name}/nopbc: holds {words[0]!r}, but a system with this file is open; "
                         "expected it empty, or no such file")
    return True


def _read_types(source: Source, name: Path) -> NDArray[np.int64]:
    """Return the numbers of `type.raw`; in the mixed layout only how many there are counts."""
    words = _read_words(source, name, TYPES)
    file = name / TYPES
    numbers: list[int] = []
    for word in words:
        # numpy.savetxt writes whole numbers as 1.000000000000000000e+00
        number = float(word) if _NUMBER.fullmatch(word) else math.nan
        if not (number.is_integer() and abs(number) < 2.0**31):
            raise InputError(f"{file}: expected one integer per atom, found {word[:40]!r}")
        numbers.append(int(number))
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
        source = "type_map" if names is None else "type_map.raw"
        raise InputError(
            f"{file}: {where} has type {raw[at]}, but {source} names {len(renumber)} types"
        )
    for kind in np.unique(raw):
        if names is not None and renumber[kind] < 0:
            raise InputError(
                f"{name}/type_map.raw: element {names[kind]!r} is not in type_map "
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
    data = as_frames(source.array(key), file, shape[1:], per_atom=True)
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
