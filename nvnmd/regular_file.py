"""Opening files for reading: regular ones only, so that nothing waits for a pipe or reads a device
without end.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_KINDS = {
    stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder", stat.S_IFSOCK: "a socket",
}  # fmt: skip


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file, or a link to one, for reading.

    Raises
    ------
    OSError
        There is none, it may not be read, or it is of another kind: a pipe, a device, a folder.
    """
    # without O_NONBLOCK a pipe that nobody writes to would be waited for
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    kind = stat.S_IFMT(os.fstat(handle).st_mode)
    if kind != stat.S_IFREG:
        os.close(handle)
        name = _KINDS.get(kind, "no regular file")
        raise OSError(errno.EINVAL, f"it is {name}, expected a regular file", str(path))
    return os.fdopen(handle, "rb")


def read_regular(path: str | os.PathLike[str], most: int) -> bytes:
    """Return the bytes of a regular file.

    Parameters
    ----------
    path : path-like
        The file.
    most : int
        Bytes that it may have.

    Raises
    ------
    OSError
        See `open_regular`.
    ValueError
        It is larger.
    """
    with open_regular(path) as stream:
        # a buffer of the file's size, not of what it may have at most
        size = os.fstat(stream.fileno()).st_size
        data = stream.read(min(size, most) + 1)
    if len(data) > most:
        raise ValueError(f"it has more than {most} bytes")
    return data


def text_of(path: str | os.PathLike[str], most: int) -> str:
    """Return the text of a regular file in UTF-8, without the mark that some editors begin with;
    see `read_regular`.

    Raises
    ------
    OSError, ValueError
        As `read_regular`, or it is not UTF-8.
    """
    return read_regular(Path(path), most).decode("utf-8-sig")
