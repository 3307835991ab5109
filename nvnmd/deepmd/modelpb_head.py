"""The head of `model.pb`, and the kinds of file that it and the first settings tell apart.

SUB_VERSION 2 names three kinds. *Full* files hold all that its arithmetic needs. *Short* and
*mixed* ones were written by SUB_VERSION 1's writer: their tables of u end with h, and the means of
s are missing; a mixed file at least says where its G table starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nvnmd.deepmd.modelpb_bits import row_bytes
from nvnmd.deepmd.modelpb_blocks import (
    DEVICE_UNITS,
    FIX_FRAC,
    INDEX_BITS,
    MOST_SLOTS,
    SHIFT_BITS,
    TABLE_ROWS,
    Geometry,
    Kind,
)
from nvnmd.errors import ModelFileError

HEAD_WORDS = 128
CAPACITIES = (128, 256)
HEAD_BYTES = HEAD_WORDS * 4
OPENING_BYTES = HEAD_BYTES + 4
"""The head and the first word of the settings, which together tell the kind of a file."""
_WORD_BITS = 32
_LACKING = {
    "short": "the tables of k, the means of s and the start of its G table",
    "mixed": "the tables of k and the means of s",
}


@dataclass(frozen=True)
class Head:
    """What stands before the blocks.

    Attributes
    ----------
    geometry : Geometry
    rcut : float
        Å.
    ntypes : int
    sel : tuple of int
    shifts : (ntypes,) int64
        Energies of the types, divided by ``2^(exponent - 23)`` eV.
    exponent : int
    """

    geometry: Geometry
    rcut: float
    ntypes: int
    sel: tuple[int, ...]
    shifts: NDArray[np.int64]
    exponent: int

    @property
    def size(self) -> int:
        """Bytes of the file."""
        blocks = self.geometry.blocks.values()
        return HEAD_BYTES + sum(height * row_bytes(width) for height, width in blocks)

    @property
    def lacking(self) -> str | None:
        """What the file lacks to be computed with, if anything."""
        return _LACKING.get(self.geometry.kind)


def read_head(opening: bytes, source: str | Path, *, whole: bool = False) -> Head:
    """Take the first `OPENING_BYTES` of a file; sizes are compared with what its version implies.

    Parameters
    ----------
    opening : bytes
    source : path-like
        What to call the file in messages.
    whole : bool
        Refuse short and mixed files, which cannot be computed with.

    Raises
    ------
    ModelFileError
        It is no `model.pb`, contradicts itself, or holds too little.
    """
    what = "a model.pb of the NVNMD computer"
    if len(opening) < HEAD_BYTES:
        raise ModelFileError(f"{source}: {len(opening)} bytes, too short for {what}")
    words = np.frombuffer(opening[:HEAD_BYTES], dtype="<u4").astype(np.int64)
    version, capacity = int(words[0] & 0xFF), int(words[0] >> 16)
    if version not in (0, 1) or capacity not in CAPACITIES or words[1] != HEAD_WORDS:
        raise ModelFileError(f"{source}: not {what} (a TensorFlow graph?)")
    settings = int.from_bytes(opening[HEAD_BYTES:OPENING_BYTES], "little")
    geometry = _geometry(words, settings, source)
    if whole and geometry.kind in _LACKING:
        raise ModelFileError(
            f"{source}: a {geometry.kind} model.pb of SUB_VERSION 2: {_LACKING[geometry.kind]} are "
            "missing, without which its energies cannot be computed (its arithmetic differs from "
            "SUB_VERSION 1's); `nvnmd info` lists what it holds, expected a full file, with 6144 "
            "rows of swt"
        )
    blocks = geometry.blocks
    expected = [height for height, _ in blocks.values()]
    expected += [-(-width // 4) for _, width in blocks.values()]
    found = words[2 : 2 + len(expected)].tolist()
    if found != expected:
        raise ModelFileError(f"{source}: block sizes {found}, expected {expected}")
    radius, ntypes, *rest = words[2 + len(expected) :].tolist()
    if not 1 <= ntypes <= geometry.types:
        raise ModelFileError(f"{source}: {ntypes} types, expected 1 to {geometry.types}")
    signed = [word - (1 << _WORD_BITS) if word >> (_WORD_BITS - 1) else word for word in rest]
    sels = 1 if geometry.version else ntypes
    sel, shifts, exponent = signed[:sels], signed[sels : sels + ntypes], signed[sels + ntypes]
    slots = 0 <= min(sel) <= max(sel) <= MOST_SLOTS and any(sel)
    if not slots or not 0 <= exponent <= _WORD_BITS:
        raise ModelFileError(
            f"{source}: sel {sel} and energy exponent {exponent}, not a usable model"
        )
    return Head(geometry, radius * 2.0**-FIX_FRAC, ntypes, tuple(sel),
                np.array(shifts, dtype=np.int64), exponent)


def _geometry(words: NDArray[np.int64], settings: int, source: str | Path) -> Geometry:
    """The layout that version, SUB_VERSION and the rows of tables and fitting weights ask for."""
    version, sub_version = int(words[0] & 0xFF), int(words[0] >> 8 & 0xFF)
    capacity = int(words[0] >> 16)
    if sub_version not in (1, 2) or (sub_version == 2 and version != 1):
        raise ModelFileError(
            f"{source}: model.pb of version {version}, SUB_VERSION {sub_version}; this program "
            "reads SUB_VERSION 1, and 2 of version 1"
        )
    if sub_version == 1:
        return Geometry(version, capacity)
    kind: Kind = "full"
    if words[5] == TABLE_ROWS * 2 * 4:
        kind = "short" if settings < 1 << SHIFT_BITS else "mixed"
    some = [Geometry(version, capacity, 2, device, kind) for device in DEVICE_UNITS]
    return next((one for one in some if one.blocks["fps"][0] == words[3]), some[0])


def start_of_g(settings: int) -> float:
    """x0 of the G table by the first word of the settings that begin with it."""
    return -(settings & ((1 << INDEX_BITS) - 1)) / 256 + 0.0
