"""Systems in HDF5 files: the same names as in folders, as groups and datasets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.errors import InputError, NvnmdError, ToolMissingError
from nvnmd.regular_file import open_regular

MARK = "#"
# Bytes that the datasets of a file may claim in all: this many times the file's, and some more for
# files so small that a constant array is most of them
MOST_COMPRESSED, SMALL = 100, 64 << 20


class Hdf5Source:
    """A system in a group of an HDF5 file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.file, _, group = path.partition(MARK)
        self.group = "/" + group.strip("/")
        self._members: dict[str, bool] = {}
        with open_hdf5(self.file) as file:
            node = file.get(self.group)
            if node is None or not hasattr(node, "keys"):
                raise InputError(f"{path}: the file has no group {self.group}, "
                                 "expected a system in the deepmd/hdf5 layout")
            node.visititems(lambda name, item: self._members.update({name: hasattr(item, "keys")}))
            _check_claims(path, node, os.path.getsize(self.file))

    def __contains__(self, key: str) -> bool:
        return key in self._members

    def sets(self, prefix: str) -> list[str]:
        return sorted(name for name, is_group in self._members.items()
                      if is_group and "/" not in name and name.startswith(f"{prefix}."))

    def labels(self, part: str) -> list[str]:
        head = f"{part}/"
        return sorted(name.removeprefix(head) for name, is_group in self._members.items()
                      if not is_group and name.startswith(head))

    def words(self, key: str) -> list[str]:
        values = np.ravel(self.array(key))
        return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
                for value in values.tolist()]

    def array(self, key: str) -> NDArray:
        with self._dataset(key) as node:
            return np.asarray(node[()])

    def shape(self, key: str) -> tuple[int, ...]:
        with self._dataset(key) as node:
            return tuple(int(length) for length in node.shape)

    @contextmanager
    def _dataset(self, key: str) -> Iterator[Any]:
        with open_hdf5(self.file) as file:
            try:
                yield file[f"{self.group}/{key}"]
            except Exception as error:
                # whatever h5py and HDF5 run into in a damaged file
                raise unreadable(f"{self.path}/{key}", error) from None


def unreadable(name: str, error: Exception) -> InputError:
    """Return the error of an array that cannot be read, on one line."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return InputError(f"{name}: not a readable NumPy array, perhaps cut short ({reason})")


@contextmanager
def open_hdf5(name: str) -> Iterator[Any]:
    """Open an HDF5 file for reading.

    Raises
    ------
    ToolMissingError
        h5py is not installed.
    InputError
        It is no HDF5 file, a damaged one, or h5py fails in what is done with it.
    """
    try:
        import h5py
    except ImportError:
        raise ToolMissingError(f"{name}: h5py not installed, expected for HDF5 data; "
                               "pip install 'nvnmd[data]'") from None
    try:
        open_regular(name).close()
        with h5py.File(name, "r") as file:
            yield file
    except NvnmdError:
        raise
    except Exception as error:
        # whatever h5py and HDF5 run into in a damaged file
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{name}: not a readable HDF5 file, perhaps cut short ({reason})"
        ) from None


def _check_claims(name: str, group: Any, size: int) -> None:
    """Raise InputError where the datasets of a system are larger than its file can expand to."""
    import h5py

    total = 0

    def add(_: str, item: Any) -> None:
        nonlocal total
        if isinstance(item, h5py.Dataset):
            total += int(item.nbytes)

    group.visititems(add)
    if total > SMALL + MOST_COMPRESSED * size:
        raise InputError(f"{name}: its datasets claim {total} bytes, more than {MOST_COMPRESSED} "
                         f"times the {size} of the file")
