"""Replacing a file in one step, so that an interruption never leaves half of it."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What writing raises where there is no room, without the name of a file."""


@contextmanager
def named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Name the file in what a full disk raises while it is written."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL and error.filename is None:
            raise type(error)(error.errno, error.strerror, str(path)) from None
        raise


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` and rename it to `path` when the block ends well.

    Parameters
    ----------
    path : path-like
        The file to create or replace. Its folder must exist.

    Yields
    ------
    binary file
        What is written to it becomes the file's content; after an exception nothing changes.
    """
    target = Path(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        # in the name of the file that was asked for
        raise type(error)(error.errno, error.strerror, str(target)) from None
    try:
        # mkstemp makes the file private; the finished one gets the usual permissions.
        umask = os.umask(0)
        os.umask(umask)
        os.fchmod(handle, 0o666 & ~umask)
        with named(target), os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
