"""Reading labelled frames in the deepmd/npy layout.

A system is a folder with `type.raw`, optionally `type_map.raw` and `nopbc`, and one or more
`set.*` folders holding `coord.npy`, `box.npy` and the labels `energy.npy`, `force.npy`,
`virial.npy` (frames in rows; Å, eV, eV/Å). Everything is checked while it is read, so that later
stages may rely on shapes, types and finite numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nvnmd.errors import InputError
from nvnmd.neighbors import cell_problem

LABELS = ("energy", "force", "virial")


@dataclass(frozen=True, kw_only=True)
class System:
    """All frames of one system, atoms in the order of its files.

    `f` frames, `n` atoms.

    Attributes
    ----------
    path : Path
        The folder it was read from.
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
    """

    path: Path
    types: NDArray[np.int64]
    coord: NDArray[np.float64]
    box: NDArray[np.float64] | None
    energy: NDArray[np.float64] | None
    force: NDArray[np.float64] | None
    virial: NDArray[np.float64] | None

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


def load_systems(
    paths: Iterable[str | Path],
    type_map: Sequence[str],
    *,
    require: Sequence[str] = ("energy", "force"),
    set_prefix: str = "set",
) -> list[System]:
    """Read several systems; see `load_system`."""
    systems = [
        load_system(path, type_map, require=require, set_prefix=set_prefix) for path in paths
    ]
    if not systems:
        raise InputError("systems: the list is empty, at least one data folder is needed")
    return systems


def find_systems(folder: str | Path) -> list[Path]:
    """Return every folder at or below `folder` that holds a `type.raw`, sorted.

    Raises
    ------
    InputError
        There is none.
    """
    root = Path(folder)
    found = sorted(path.parent for path in root.rglob("type.raw"))
    if not found:
        raise InputError(f"{root}: no type.raw in this folder or below it, so no system to read")
    return found


def load_system(
    path: str | Path,
    type_map: Sequence[str],
    *,
    require: Sequence[str] = ("energy", "force"),
    set_prefix: str = "set",
) -> System:
    """Read and check one system.

    Parameters
    ----------
    path : path-like
        Folder with `type.raw` and `set.*`.
    type_map : sequence of str
        Element names in the order of the model's types. Data that bring a `type_map.raw` of
        their own are renumbered; others must use these numbers already.
    require : sequence of str
        Labels that must exist, out of `energy`, `force`, `virial`.
    set_prefix : str
        The sets are the folders `<set_prefix>.*`.

    Returns
    -------
    System

    Raises
    ------
    InputError
        A file is missing, cut short, of the wrong shape, or holds a value that is not finite;
        an element is not in `type_map`; sets disagree about which labels exist.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected a system in the deepmd/npy layout")
    types = _read_types(folder, type_map)
    sets = sorted(p for p in folder.iterdir() if p.name.startswith(f"{set_prefix}."))
    sets = [p for p in sets if p.is_dir()]
    if not sets:
        raise InputError(f"{folder}: no {set_prefix}.* folder, so the system has no frames")
    periodic = not (folder / "nopbc").exists()
    parts = [_read_set(part, len(types), periodic, require) for part in sets]
    _check_same_labels(sets, parts)

    def joined(key: str) -> NDArray[np.float64] | None:
        return np.concatenate([part[key] for part in parts]) if key in parts[0] else None

    coord = joined("coord")
    assert coord is not None
    return System(
        path=folder,
        types=types,
        coord=coord,
        box=joined("box"),
        energy=joined("energy"),
        force=joined("force"),
        virial=joined("virial"),
    )


def _read_types(folder: Path, type_map: Sequence[str]) -> NDArray[np.int64]:
    """Return the atoms' types as indices into the model's type map."""
    file = folder / "type.raw"
    words = _read_words(file)
    try:
        raw = np.array([int(word) for word in words], dtype=np.int64)
    except ValueError:
        wrong = next(word for word in words if not word.lstrip("+-").isdigit())
        raise InputError(f"{file}: expected one integer per atom, found {wrong!r}") from None
    if len(raw) == 0:
        raise InputError(f"{file}: the system has no atoms")
    names_file = folder / "type_map.raw"
    names = _read_words(names_file) if names_file.exists() else list(type_map)
    if raw.min() < 0 or raw.max() >= len(names):
        atom = int(np.argmax((raw < 0) | (raw >= len(names))))
        source = names_file.name if names_file.exists() else "the model's type_map"
        raise InputError(
            f"{file}: atom {atom} has type {raw[atom]}, but {source} names {len(names)} types"
        )
    for kind in np.unique(raw):
        if names[kind] not in type_map:
            raise InputError(
                f"{names_file}: element {names[kind]!r} is not in the model's type_map "
                f"({', '.join(type_map)})"
            )
    renumber = np.array([type_map.index(name) if name in type_map else -1 for name in names])
    return renumber[raw].astype(np.int64)


def _read_words(file: Path) -> list[str]:
    """Return the white-space separated words of a text file."""
    try:
        return file.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        raise InputError(f"{file}: missing, a system needs this file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read as text ({error})") from None


def _read_set(
    folder: Path, natoms: int, periodic: bool, require: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """Read one set of frames into arrays of the shapes that `System` has."""
    if (folder / "real_atom_types.npy").exists():
        raise InputError(
            f"{folder}/real_atom_types.npy: the mixed-type layout is not supported, "
            "expected one composition per system"
        )
    shapes = {
        "coord": (natoms, 3),
        "box": (3, 3),
        "energy": (),
        "force": (natoms, 3),
        "virial": (3, 3),
    }
    needed = {"coord", *require} | ({"box"} if periodic else set())
    found: dict[str, NDArray[np.float64]] = {}
    for key, shape in shapes.items():
        file = folder / f"{key}.npy"
        if key == "box" and not periodic:
            continue
        if not file.exists():
            if key not in needed:
                continue
            hint = " (an open system has a file named nopbc)" if key == "box" else ""
            kind = "label" if key in LABELS else "array"
            raise InputError(f"{file}: missing, the {kind} {key} is needed here{hint}")
        found[key] = _read_frames(file, shape, per_atom=key in ("coord", "force"))
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


def _read_frames(file: Path, shape: tuple[int, ...], *, per_atom: bool) -> NDArray[np.float64]:
    """Read one array of frames, each of `shape`, as binary64, and check that it is finite."""
    try:
        array = np.load(file, allow_pickle=False)
    except (ValueError, EOFError, OSError, SyntaxError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{file}: not a readable NumPy array, perhaps cut short ({reason})"
        ) from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise InputError(f"{file}: expected an array of numbers")
    width = int(np.prod(shape, dtype=np.int64))
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


def _check_same_labels(sets: list[Path], parts: list[dict[str, NDArray[np.float64]]]) -> None:
    """Raise if one set has a label that another lacks."""
    for folder, part in zip(sets[1:], parts[1:], strict=True):
        for key in LABELS:
            if (key in part) != (key in parts[0]):
                lacking, having = (folder, sets[0]) if key in parts[0] else (sets[0], folder)
                raise InputError(
                    f"{lacking}/{key}.npy: missing, but {having} has it; "
                    "the sets of a system must hold the same labels"
                )
