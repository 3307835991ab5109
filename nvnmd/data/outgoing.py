"""Frames written as systems, in DeePMD-kit's layouts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.data.incoming import PER_ATOM, Frame

SET = "set.000"
# everything that a system holds constant: what its frames have in common
Key = tuple[Any, ...]


def grouped(frames: Sequence[Frame], names: Sequence[str], mixed: bool) -> dict[str, list[Frame]]:
    """Return the frames by system, each system by its name.

    The frames of a system have the same composition (in the mixed layout the same number of atoms),
    are all periodic or all open, and have the same labels. Their atoms are sorted by the order of
    `names`.
    """
    groups: dict[Key, list[Frame]] = {}
    for frame in frames:
        counts = Counter(frame.symbols.tolist())
        what: Key = (len(frame.symbols),) if mixed else tuple(
            (name, counts[name]) for name in names if counts[name])
        key = (what, frame.cell is None, tuple(sorted(frame.labels)))
        groups.setdefault(key, []).append(_sorted(frame, names))
    named: dict[str, list[Frame]] = {}
    for (what, is_open, _), members in groups.items():
        name = str(what[0]) if mixed else "".join(f"{one}{count}" for one, count in what)
        name += "_open" if is_open and any(
            other[0] == what and not other[1] for other in groups) else ""
        number, plain = 1, name
        while name in named:
            number += 1
            name = f"{plain}_{number}"
        named[name] = members
    return named


def _sorted(frame: Frame, names: Sequence[str]) -> Frame:
    place = {name: k for k, name in enumerate(names)}
    order = np.argsort([place[symbol] for symbol in frame.symbols.tolist()], kind="stable")
    return Frame(
        place=frame.place, symbols=frame.symbols[order], coord=frame.coord[order], cell=frame.cell,
        labels={key: value[order] if key in PER_ATOM else value
                for key, value in frame.labels.items()})


def contents(members: Sequence[Frame], names: Sequence[str], mixed: bool) -> dict[str, Any]:
    """Return the files of a system: texts as lists of words, arrays by path, ``nopbc``."""
    first = members[0]
    place = {name: k for k, name in enumerate(names)}
    types = np.array([[place[symbol] for symbol in frame.symbols.tolist()] for frame in members])
    found: dict[str, Any] = {"type_map.raw": list(names),
                             "type.raw": [str(t) for t in (0 * types[0] if mixed else types[0])]}
    if first.cell is None:
        found["nopbc"] = True
    else:
        found[f"{SET}/box.npy"] = np.array([frame.cell for frame in members]).reshape(-1, 9)
    if mixed:
        found[f"{SET}/real_atom_types.npy"] = types.astype(np.int32)
    found[f"{SET}/coord.npy"] = _rows([frame.coord for frame in members])
    for key in first.labels:
        rows = _rows([frame.labels[key] for frame in members])
        found[f"{SET}/{key}.npy"] = rows[:, 0] if rows.shape[1] == 1 and key not in PER_ATOM \
            else rows
    return found


def _rows(arrays: Sequence[NDArray]) -> NDArray:
    return np.array([np.ravel(array) for array in arrays])


def write_folder(folder: Path, files: dict[str, Any]) -> None:
    """Write a system as a folder."""
    (folder / SET).mkdir(parents=True)
    for name, content in files.items():
        if name.endswith(".npy"):
            np.save(folder / name, content)
        elif name == "nopbc":
            (folder / name).touch()
        else:
            (folder / name).write_text("\n".join(content) + "\n", encoding="utf-8")


def write_hdf5(file: Path, systems: dict[str, dict[str, Any]]) -> None:
    """Write systems as groups of one HDF5 file."""
    import h5py

    with h5py.File(file, "w") as out:
        for name, files in systems.items():
            group = out.create_group(name)
            for key, content in files.items():
                if key == "type.raw":
                    group[key] = np.array(content, dtype=np.int64)
                elif key == "type_map.raw":
                    group.create_dataset(key, data=content, dtype=h5py.string_dtype())
                else:
                    group[key] = content


def write_systems(made: Path, target: str, frames: Sequence[Frame], names: Sequence[str],
                  each: Callable[[Path, dict[str, Any]], None] = write_folder) -> None:
    """Write frames as systems; a folder alone where there is one system only."""
    mixed = target.endswith("mixed")
    systems = {name: contents(members, names, mixed)
               for name, members in grouped(frames, names, mixed).items()}
    if target == "deepmd/hdf5":
        write_hdf5(made, systems)
        return
    for name, files in systems.items():
        each(made if len(systems) == 1 else made / name, files)
