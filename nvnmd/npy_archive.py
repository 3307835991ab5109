"""Zip archives of npy arrays, read without trusting what they claim and without pickles."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from nvnmd.errors import one_line
from nvnmd.regular_file import open_regular, read_regular

# Far above any model of 32 types, far below what hurts
MAX_ENTRY_BYTES = 256 << 20
MAX_BYTES = 1 << 30
# Bytes that the entries of an archive may claim in all: this many times the file's, and some more
# for files so small that a constant array is most of them
MOST_COMPRESSED, SMALL = 100, 16 << 20

DAMAGED = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError, TypeError,
    RuntimeError,  # an encrypted entry, an unknown compression, nesting without end
)  # fmt: skip
"""What reading a damaged archive can raise."""


def read_entries(path: str | os.PathLike) -> dict[str, bytes]:
    """Read every entry of an archive; claimed sizes are added up first.

    Raises
    ------
    One of `DAMAGED`, with the reason.
    """
    # From memory: a failure leaves no file open.
    data = read_regular(Path(path), MAX_BYTES)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        largest = max((entry.file_size for entry in entries), default=0)
        total = sum(entry.file_size for entry in entries)
        if largest > MAX_ENTRY_BYTES or total > MAX_BYTES:
            raise ValueError(
                f"its entries claim more than {MAX_ENTRY_BYTES} bytes each or {MAX_BYTES} in all"
            )
        if total > SMALL + MOST_COMPRESSED * len(data):
            raise ValueError(f"its entries claim {total} bytes, more than {MOST_COMPRESSED} times "
                             f"the {len(data)} of the file")
        return {entry.filename: archive.read(entry) for entry in entries}


def read_arrays(entries: dict[str, bytes]) -> dict[str, NDArray]:
    """Return the arrays of the entries named ``*.npy``, by name without the ending."""
    return {
        name.removesuffix(".npy"): parse_npy(data, name)
        for name, data in entries.items()
        if name.endswith(".npy")
    }


def digest_of(header: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> str:
    """SHA-256 over what JSON holds of a header and every array, in hexadecimal digits."""
    total = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        total.update(f"{name} {array.dtype.str} {array.shape}".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def parse_npy(data: bytes, what: str) -> NDArray:
    """Read an npy file in memory; its shape must be that of the bytes that follow.

    Raises
    ------
    ValueError
        It is damaged, claims another size than it has, or holds objects.
    """
    stream = io.BytesIO(data)
    shape, fortran, dtype = _header(stream, what, len(data))
    if dtype.itemsize == 0:
        return np.zeros(shape, dtype)
    flat = np.frombuffer(data, dtype=dtype, offset=stream.tell())
    return _shaped(flat, shape, fortran).copy()


def read_npy(path: str | os.PathLike[str]) -> NDArray:
    """Read an npy file; it must be a regular file with the bytes that its header claims.

    Raises
    ------
    OSError
        It cannot be read, or is no regular file.
    ValueError
        As `parse_npy`.
    """
    with open_regular(path) as stream:
        shape, fortran, dtype = _header(stream, "it", os.fstat(stream.fileno()).st_size)
        if dtype.itemsize == 0:
            return np.zeros(shape, dtype)
        return _shaped(np.fromfile(stream, dtype), shape, fortran)


def npy_shape(path: str | os.PathLike[str]) -> tuple[int, ...]:
    """Return the shape of the array in an npy file; see `read_npy`."""
    with open_regular(path) as stream:
        return _header(stream, "it", os.fstat(stream.fileno()).st_size)[0]


def _header(stream: BinaryIO, what: str, size: int) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the header of an npy file of `size` bytes: shape, order, format."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            version = npy.read_magic(stream)
            header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, dtype = header(stream)
    except Exception as error:
        # NumPy takes the header for Python's text, whose errors are of many kinds
        raise ValueError(f"{what} has no header of a NumPy array ({one_line(error)})") from None
    if dtype.kind not in "fiubU" or dtype.hasobject or dtype.subdtype or dtype.fields:
        raise ValueError(f"{what} holds {dtype}, expected numbers")
    held = size - stream.tell()
    if math.prod(shape) * dtype.itemsize != held or min(shape, default=0) < 0:
        raise ValueError(f"{what} claims the shape {str(shape)[:60]} of {dtype}, but {held} bytes "
                         "follow")
    if math.prod(shape) > size:
        raise ValueError(f"{what} claims the shape {str(shape)[:60]} with {held} bytes")
    return shape, fortran, dtype


def _shaped(flat: NDArray, shape: tuple[int, ...], fortran: bool) -> NDArray:
    if flat.size != math.prod(shape):
        raise ValueError("it was cut short while it was read")
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
