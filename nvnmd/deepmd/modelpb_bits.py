"""Integers of given widths in the rows of `model.pb`, packed and unpacked with NumPy.

A row is a little-endian integer, its first field at the low end, padded above with zeros to whole
32-bit words.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nvnmd.errors import RangeError

Bits = NDArray[np.uint8]
WORD = 32


def fit(values: ArrayLike, width: int, *, what: str, signed: bool = True) -> NDArray[np.int64]:
    """Round to integers (half to even) that fit `width` bits.

    Signed words hold ``+-(2^(width-1) - 1)``, unsigned ones ``0`` to ``2^width - 1``.

    Raises
    ------
    RangeError
        A value does not fit; a clamped model would compute something else.
    """
    high = (1 << (width - 1 if signed else width)) - 1
    rounded = np.rint(np.asarray(values, dtype=np.float64))
    outside = ~((rounded <= high) & (rounded >= (-high if signed else 0)))
    if np.any(outside):
        raise RangeError(
            f"{what}: {rounded[outside][0]:.0f} does not fit the {width} bits of model.pb"
        )
    return rounded.astype(np.int64)


def to_bits(values: ArrayLike, width: int) -> Bits:
    """Return the low `width` bits of integers, low end first.

    Parameters
    ----------
    values : array_like of int, shape (..., n)
        Two's complement where negative.
    width : int
        Bits per value.

    Returns
    -------
    ndarray of uint8, shape (..., n*width)
    """
    integers = np.ascontiguousarray(values, dtype="<i8")
    octets = integers.view(np.uint8).reshape(*integers.shape, 8)
    bits = np.unpackbits(octets, axis=-1, bitorder="little")[..., :width]
    return bits.reshape(*integers.shape[:-1], -1)


def from_bits(bits: Bits, width: int, *, signed: bool = False) -> NDArray[np.int64]:
    """Return the integers that `to_bits` took: (..., n*width) gives (..., n)."""
    fields = bits.reshape(*bits.shape[:-1], -1, width)
    whole = np.zeros((*fields.shape[:-1], 64), dtype=np.uint8)
    whole[..., :width] = fields
    if signed:
        whole[..., width:] = fields[..., -1:]
    return np.packbits(whole, axis=-1, bitorder="little").view("<i8")[..., 0].astype(np.int64)


def cut_rows(bits: Bits, width: int) -> Bits:
    """Cut each string of bits into rows of `width`: (strings, n) gives (strings*rows, width)."""
    strings, length = bits.shape
    rows = -(-length // width)
    whole = np.zeros((strings, rows * width), dtype=np.uint8)
    whole[:, :length] = bits
    return whole.reshape(strings * rows, width)


def pack_rows(bits: Bits) -> bytes:
    """Write rows (rows, width) as bytes."""
    rows, width = bits.shape
    whole = np.zeros((rows, row_bytes(width) * 8), dtype=np.uint8)
    whole[:, :width] = bits
    return np.packbits(whole, axis=-1, bitorder="little").tobytes()


def unpack_rows(data: bytes | memoryview, width: int) -> Bits:
    """Read rows of `width` bits: the reverse of `pack_rows`, padding left out."""
    octets = np.frombuffer(data, dtype=np.uint8).reshape(-1, row_bytes(width))
    return np.unpackbits(octets, axis=-1, bitorder="little")[:, :width]


def row_bytes(width: int) -> int:
    """Bytes of a row of `width` bits."""
    return -(-width // WORD) * (WORD // 8)
