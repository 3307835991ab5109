"""Whether a file of another program may be given to a library's reader.

A reader waits for a pipe for ever, and ASE's of XYZ files takes as many lines as a frame claims to
have atoms, also behind the file's end.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from nvnmd.errors import InputError, one_line
from nvnmd.regular_file import open_regular


def check_readable(path: str, kind: str) -> None:
    """Raise InputError for a file that is no regular one, or whose frames cannot be in it.

    Parameters
    ----------
    path : str
        A file, ``file.hdf5#/group``, or a folder, in which nothing is looked at.
    kind : str
        dpdata's name of the format.
    """
    file = Path(path.partition("#")[0])
    if file.is_dir():
        return
    try:
        with open_regular(file) as stream:
            if "xyz" in kind:
                _check_counts(path, stream)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({one_line(error)})") from None


def _check_counts(path: str, stream: BinaryIO) -> None:
    """Compare the number that begins each frame with the lines that follow."""
    number = 0
    for line in stream:
        number += 1
        words = line.split()
        # vectors of a cell may follow the atoms; what else it may be is the reader's matter
        if len(words) != 1 or not words[0].isdigit():
            continue
        begin, claimed = number, int(words[0][:20])
        for _ in range(claimed + 1):
            if not stream.readline():
                raise InputError(
                    f"{path}: line {begin}: a frame of {claimed} atoms, but the file ends after "
                    f"{number - begin} more lines, expected {claimed + 1}")
            number += 1
