"""Finding systems: every folder, or group of an HDF5 file, that holds a `type.raw`."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from nvnmd.data.hdf5 import MARK, open_hdf5
from nvnmd.data.source import TYPES, is_hdf5, open_source
from nvnmd.errors import InputError
from nvnmd.messages import warn
from nvnmd.regular_file import text_of

_LONGEST_LINK = 4096


def find_systems(folder: str | Path, patterns: Sequence[str] | None = None) -> list[Path]:
    """Return every system at or below a folder, or a group of an HDF5 file, sorted.

    A system is what holds a `type.raw`. Links to folders are followed, also those that a copy has
    made text files of, with a warning. HDF5 files in a folder are not looked into.

    Parameters
    ----------
    folder : path-like
        Where to begin.
    patterns : sequence of str, optional
        Only systems below whose path, from there, one of these matches as `Path.rglob` would.

    Raises
    ------
    InputError
        There is none.
    """
    if is_hdf5(folder):
        name, _, group = str(folder).partition(MARK)
        top = group.strip("/")
        below = _groups(name, "/" + top)
        head = f"{name}{MARK}/" + (f"{top}/" if top else "")
        found = {inner: Path(head + inner) for inner in below}
    else:
        found = {os.path.relpath(path, folder): Path(path) for path in _folders(str(folder))}
    if patterns is not None:
        wanted = [("**", *PurePosixPath(pattern).parts) for pattern in patterns]
        found = {inner: path for inner, path in found.items()
                 if any(_matches(PurePosixPath(inner).parts, one) for one in wanted)}
    if not found:
        which = "" if patterns is None else f" whose path one of {', '.join(patterns)} matches"
        raise InputError(f"{folder}: no {TYPES} in this folder or below it{which}, so no system "
                         "to read")
    return sorted(found.values())


def _groups(name: str, top: str) -> list[str]:
    """Paths below `top` of the groups of an HDF5 file that hold a `type.raw`."""
    groups: list[str] = []
    with open_hdf5(name) as file:
        if top in file and hasattr(file[top], "visit"):
            file[top].visit(groups.append)
    return [key.removesuffix(TYPES).strip("/") for key in groups
            if key.rpartition("/")[2] == TYPES]


def _folders(top: str) -> Iterator[str]:
    """Folders at or below one that hold a `type.raw`; links are followed, but not in a circle."""
    pending = [(top, frozenset[tuple[int, int]]())]
    while pending:
        folder, above = pending.pop()
        try:
            entry = os.stat(folder)
            inner = sorted(os.listdir(folder))
        except PermissionError as error:
            raise InputError(f"{folder}: cannot be looked into ({error.strerror})") from None
        except OSError:
            # a broken link, or no folder
            continue
        place = (entry.st_dev, entry.st_ino)
        if place in above:
            continue
        if TYPES in inner and os.path.isfile(os.path.join(folder, TYPES)):
            yield folder
        # files of arrays are far more than folders: told by their names without asking the disk
        names = [os.path.join(folder, name) for name in inner
                 if not name.endswith((".npy", ".raw"))]
        pending += [(found, above | {place}) for name in names
                    if (found := name if os.path.isdir(name) else _lost_link(name))]


@functools.cache
def _warn_once(line: str) -> None:
    warn(line)


def _lost_link(name: str) -> str:
    """The folder that a link is to which a copy has made a text file of; empty for other files.

    Git writes such files where a file system has no links. Both this and a link to nothing are
    told, once each: else systems would be missing without a word.
    """
    try:
        if os.path.islink(name):
            _warn_once(f"{name}: a link to {os.readlink(name)}, which is not there: left out")
            return ""
        if os.stat(name).st_size > _LONGEST_LINK:
            return ""
        text = text_of(name, _LONGEST_LINK)
        target = os.path.normpath(os.path.join(os.path.dirname(name), text))
        if not text or "\n" in text or "/" not in text or not os.path.isdir(target):
            return ""
    except (OSError, ValueError):
        return ""
    _warn_once(f"{name}: a text file that names the folder {text}, as links become in some copies: "
               "followed")
    return target


def _matches(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Whether a pattern, in which ** stands for any number of folders, is that of a whole path."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[cut:], pattern[1:]) for cut in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def is_system(path: str | Path) -> bool:
    """Whether there is a system of this name.

    Raises
    ------
    InputError
        It is in a file that is no HDF5 file, or a damaged one.
    """
    if is_hdf5(path):
        with open_hdf5(str(path).partition(MARK)[0]) as file:
            group = "/" + str(path).partition(MARK)[2].strip("/")
            return f"{group}/{TYPES}" in file
    return (Path(path) / TYPES).is_file()


def atom_count(path: str | Path) -> int:
    """Atoms of a frame of a system, the places of virtual ones included; 0 without any.

    Raises
    ------
    InputError
        It cannot be read.
    """
    return len(open_source(path).words(TYPES))


def frame_counts(path: str | Path, set_prefix: str = "set") -> list[int]:
    """Frames of each set of a system, going by the shapes of its positions.

    Raises
    ------
    InputError
        It cannot be read, or has no sets.
    """
    source = open_source(path)
    sets = source.sets(set_prefix)
    if not sets:
        raise InputError(f"{path}: no {set_prefix}.* folder, so the system has no frames")
    shapes = [source.shape(f"{part}/coord.npy") for part in sets]
    return [shape[0] if len(shape) > 1 else 1 for shape in shapes]
