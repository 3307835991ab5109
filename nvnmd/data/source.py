"""Where the arrays of a system are: a folder, or a group of an HDF5 file.

An HDF5 system is named ``file.hdf5#/path/in/file`` and holds under the same names what the folder
of a system holds: `type.raw` and `type_map.raw` as arrays, `set.*` as groups. Messages name
``file.hdf5#/path/set.000/coord.npy`` as if it were a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from numpy.typing import NDArray

from nvnmd.data.hdf5 import MARK, Hdf5Source, unreadable
from nvnmd.errors import InputError, one_line
from nvnmd.npy_archive import npy_shape, read_npy
from nvnmd.regular_file import text_of

TYPES = "type.raw"
# Far above the types of any frame
_MOST_TEXT = 1 << 30


class Source(Protocol):
    """Reads the members of one system by name, such as ``set.000/coord.npy``."""

    def __contains__(self, key: str) -> bool:
        """Whether there is an array or a text of this name."""

    def sets(self, prefix: str) -> list[str]:
        """Names of the sets of frames, ``<prefix>.*``, sorted."""

    def labels(self, part: str) -> list[str]:
        """Names of the arrays of a set, with their ``.npy``, sorted."""

    def words(self, key: str) -> list[str]:
        """The words of a text."""

    def shape(self, key: str) -> tuple[int, ...]:
        """The shape of the array of this name; see `array`."""

    def array(self, key: str) -> NDArray:
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

    def labels(self, part: str) -> list[str]:
        return sorted(p.name for p in (self.path / part).iterdir() if p.is_file())

    def words(self, key: str) -> list[str]:
        file = self.path / key
        try:
            text = text_of(file, _MOST_TEXT)
        except (OSError, ValueError) as error:
            raise InputError(f"{file}: cannot be read as text ({one_line(error)})") from None
        # numpy.savetxt writes a header behind this sign, which numpy.loadtxt leaves out
        return [word for line in text.splitlines() for word in line.partition("#")[0].split()]

    def array(self, key: str) -> NDArray:
        file = self.path / key
        try:
            return read_npy(file)
        except (OSError, ValueError) as error:
            raise unreadable(str(file), error) from None

    def shape(self, key: str) -> tuple[int, ...]:
        file = self.path / key
        try:
            return npy_shape(file)
        except (OSError, ValueError) as error:
            raise unreadable(str(file), error) from None


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
