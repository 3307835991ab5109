"""Where the arrays of a system are: a folder, or a group of an HDF5 file.

An HDF5 system is named ``file.hdf5#/path/in/file`` and holds under the same names what the folder
of a system holds: `type.raw` and `type_map.raw` as arrays, `set.*` as groups. Messages name
``file.hdf5#/path/set.000/coord.npy`` as if it were a file.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from nvnmd.errors import InputError, ToolMissingError

TYPES = "type.raw"
MARK = "#"
# Above what deflate can do (1032 to 1), and what a dataset may have that was never written
_MOST_COMPRESSED, _UNSTORED = 2000, 1 << 20


class Source(Protocol):
    """Reads the members of one system by name, such as ``set.000/coord.npy``."""

    def __contains__(self, key: str) -> bool:
        """Whether there is an array or a text of this name."""

    def sets(self, prefix: str) -> list[str]:
        """Names of the sets of frames, ``<prefix>.*``, sorted."""

    def words(self, key: str) -> list[str]:
        """The words of a text."""

    def array(self, key: str) -> Any:
        """The array of this name, as it was stored.

        Raises
        ------
        InputError
            It cannot be read.
        """


class FolderSource:
    """A system in the deepmd/npy layout."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __contains__(self, key: str) -> bool:
        return (self.path / key).exists()

    def sets(self, prefix: str) -> list[str]:
        found = (p for p in self.path.iterdir() if p.name.startswith(f"{prefix}.") and p.is_dir())
        return sorted(p.name for p in found)

    def words(self, key: str) -> list[str]:
        file = self.path / key
        try:
            return file.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{file}: cannot be read as text ({error})") from None

    def array(self, key: str) -> Any:
        file = self.path / key
        try:
            _check_claim(file)
            return np.load(file, allow_pickle=False)
        except (ValueError, EOFError, OSError, SyntaxError) as error:
            raise _unreadable(str(file), error) from None


class Hdf5Source:
    """A system in a group of an HDF5 file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.file, _, group = path.partition(MARK)
        self.group = "/" + group.strip("/")
        with _opened(self.file) as file:
            node = file.get(self.group)
            if node is None or not hasattr(node, "keys"):
                raise InputError(f"{path}: the file has no group {self.group}, "
                                 "expected a system in the deepmd/hdf5 layout")
            self._members: dict[str, bool] = {}
            node.visititems(lambda name, item: self._members.update({name: hasattr(item, "keys")}))

    def __contains__(self, key: str) -> bool:
        return key in self._members

    def sets(self, prefix: str) -> list[str]:
        return sorted(name for name, is_group in self._members.items()
                      if is_group and "/" not in name and name.startswith(f"{prefix}."))

    def words(self, key: str) -> list[str]:
        values = np.ravel(self.array(key))
        return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
                for value in values.tolist()]

    def array(self, key: str) -> NDArray:
        try:
            with _opened(self.file) as file:
                node = file[f"{self.group}/{key}"]
                _check_hdf5_claim(node)
                return np.asarray(node[()])
        except (OSError, KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            raise _unreadable(f"{self.path}/{key}", error) from None


def _check_claim(file: Path) -> None:
    """Raise ValueError where the header of an npy file claims more bytes than follow it."""
    with open(file, "rb") as stream:
        version = npy.read_magic(stream)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = header(stream)
        held = os.fstat(stream.fileno()).st_size - stream.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > held:
        raise ValueError(f"it claims the shape {str(shape)[:60]} with {held} bytes")


def _check_hdf5_claim(node: Any) -> None:
    """Raise ValueError where a dataset is larger than what is stored of it can expand to."""
    held = node.id.get_storage_size()
    if node.nbytes > _UNSTORED + _MOST_COMPRESSED * held:
        raise ValueError(f"it claims the shape {str(node.shape)[:60]}, but {held} bytes are stored")


def _unreadable(name: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())
    return InputError(f"{name}: not a readable NumPy array, perhaps cut short ({reason})")


def _opened(name: str) -> Any:
    """The HDF5 file, open for reading.

    Raises
    ------
    ToolMissingError
        h5py is not installed.
    InputError
        It is no HDF5 file, or a damaged one.
    """
    try:
        import h5py
    except ImportError:
        raise ToolMissingError(f"{name}: h5py not installed, expected for HDF5 data; "
                               "pip install 'nvnmd[data]'") from None
    try:
        return h5py.File(name, "r")
    except OSError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{name}: not a readable HDF5 file, perhaps cut short ({reason})"
        ) from None


def is_hdf5(path: str | Path) -> bool:
    """Whether a path names an HDF5 file or a group of one, going by what is on the disk."""
    name = str(path).partition(MARK)[0]
    return not Path(path).is_dir() and Path(name).is_file()


def open_source(path: str | Path) -> Source:
    """Open a system.

    Raises
    ------
    InputError
        There is no such folder, file or group.
    """
    if is_hdf5(path):
        return Hdf5Source(str(path))
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected a system in the deepmd/npy layout "
                         "or FILE.hdf5#/PATH")
    return FolderSource(folder)


def is_system(path: str | Path) -> bool:
    """Whether there is a system of this name.

    Raises
    ------
    InputError
        It is in a file that is no HDF5 file, or a damaged one.
    """
    if is_hdf5(path):
        with _opened(str(path).partition(MARK)[0]) as file:
            group = "/" + str(path).partition(MARK)[2].strip("/")
            return f"{group}/{TYPES}" in file
    return (Path(path) / TYPES).is_file()


def find_systems(folder: str | Path) -> list[Path]:
    """Return every system at or below a folder, or a group of an HDF5 file, sorted.

    A system is what holds a `type.raw`. HDF5 files in a folder are not looked into.

    Raises
    ------
    InputError
        There is none.
    """
    if is_hdf5(folder):
        name, _, group = str(folder).partition(MARK)
        top = "/" + group.strip("/")
        groups: list[str] = []
        with _opened(name) as file:
            if top in file and hasattr(file[top], "visit"):
                file[top].visit(groups.append)
        below = [key.removesuffix(TYPES).strip("/") for key in groups
                 if key.rpartition("/")[2] == TYPES]
        found = sorted(Path(f"{name}{MARK}{top.rstrip('/')}/{key}") for key in below)
    else:
        found = sorted(path.parent for path in Path(folder).rglob(TYPES))
    if not found:
        raise InputError(f"{folder}: no {TYPES} in this folder or below it, so no system to read")
    return found


def atom_count(path: str | Path) -> int:
    """Atoms of a frame of a system, the places of virtual ones included; 0 without any.

    Raises
    ------
    InputError
        It cannot be read.
    """
    return len(open_source(path).words(TYPES))
