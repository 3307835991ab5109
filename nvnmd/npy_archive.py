"""Zip archives of npy arrays, read without trusting what they claim and without pickles."""

from __future__ import annotations

import io
import math
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

# Far above any model of 32 types, far below what hurts
MAX_ENTRY_BYTES = 256 << 20
MAX_BYTES = 1 << 30

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
    file = Path(path)
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    # From memory: a failure leaves no file open.
    with zipfile.ZipFile(io.BytesIO(file.read_bytes())) as archive:
        entries = archive.infolist()
        largest = max((entry.file_size for entry in entries), default=0)
        if largest > MAX_ENTRY_BYTES or sum(entry.file_size for entry in entries) > MAX_BYTES:
            raise ValueError(
                f"its entries claim more than {MAX_ENTRY_BYTES} bytes each or {MAX_BYTES} in all"
            )
        return {entry.filename: archive.read(entry) for entry in entries}


def read_arrays(entries: dict[str, bytes]) -> dict[str, NDArray]:
    """Return the arrays of the entries named ``*.npy``, by name without the ending."""
    return {
        name.removesuffix(".npy"): parse_npy(data, name)
        for name, data in entries.items()
        if name.endswith(".npy")
    }


def parse_npy(data: bytes, what: str) -> NDArray:
    """Read an npy file in memory; its shape must be that of the bytes that follow.

    Raises
    ------
    ValueError
        It is damaged, claims another size than it has, or holds objects.
    """
    stream = io.BytesIO(data)
    version = npy.read_magic(stream)
    header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = header(stream)
    if dtype.kind not in "fiubU":
        raise ValueError(f"{what} holds {dtype}, expected numbers")
    content = data[stream.tell() :]
    if math.prod(shape) * dtype.itemsize != len(content) or min(shape, default=0) < 0:
        raise ValueError(f"{what} claims the shape {str(shape)[:60]} with {len(content)} bytes")
    flat = np.frombuffer(content, dtype=dtype) if len(content) else np.zeros(0, dtype)
    if dtype.itemsize == 0:
        return np.zeros(shape, dtype)
    return (flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)).copy()
