"""Reading and writing DeePMD-kit's `config.npy`, `weight.npy` and `map.npy`.

Each holds one pickled dictionary in a NumPy object array. A pickle can run code, so the reader
(plain_pickle.py) admits NumPy arrays, NumPy scalars and plain Python values only and refuses
anything else by name.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from nvnmd.atomic_file import atomic_write
from nvnmd.deepmd.plain_pickle import load_plain
from nvnmd.errors import ModelFileError, one_line
from nvnmd.regular_file import read_regular

# Far above the largest table file (2.2 MB per type), far below what hurts
MAX_BYTES = 256 << 20


def read_dict(path: str | Path) -> dict[str, Any]:
    """Read the dictionary of a `config.npy`, `weight.npy` or `map.npy`.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    dict

    Raises
    ------
    ModelFileError
        The file is missing, cut short, no such file, or refers to anything but arrays and
        plain values.
    """
    try:
        data = read_regular(path, MAX_BYTES)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({one_line(error)})") from None
    except ValueError as error:
        raise ModelFileError(f"{path}: {error}, expected a DeePMD-kit file") from None
    try:
        stream = io.BytesIO(data)
        with warnings.catch_warnings():
            # NumPy takes the header for Python's text, which has warnings of its own
            warnings.simplefilter("ignore")
            version = npy.read_magic(stream)
            header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = header(stream)
        if dtype != np.dtype(object) or shape not in ((), (1,)):
            raise ValueError(f"expected one object, found {dtype} of shape {shape}")
        content = load_plain(data[stream.tell() :])
        if not isinstance(content, dict):
            raise ValueError(f"expected a dictionary, found {type(content).__name__}")
    # A damaged pickle can raise nearly anything from inside the unpickler.
    except Exception as error:
        raise ModelFileError(
            f"{path}: not a readable DeePMD-kit file: {one_line(error)}") from None
    return content


def write_dict(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a dictionary in the form of `config.npy`, `weight.npy` and `map.npy`.

    Parameters
    ----------
    path : path-like
        The file to create or replace.
    content : mapping
        Arrays, NumPy scalars and plain Python values, nested as wanted.
    """
    array = np.empty(1, dtype=object)
    array[0] = dict(content)
    with atomic_write(path) as file:
        np.save(file, array, allow_pickle=True)
