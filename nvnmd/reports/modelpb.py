"""What a `model.pb` of any kind holds, also one that cannot be computed with."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from nvnmd.deepmd.modelpb import block_rows
from nvnmd.deepmd.modelpb_bits import from_bits
from nvnmd.deepmd.modelpb_blocks import BIAS_BITS, FIX_FRAC, FLT_BITS
from nvnmd.deepmd.modelpb_head import HEAD_BYTES, OPENING_BYTES, read_head, start_of_g
from nvnmd.errors import ModelFileError, one_line
from nvnmd.quantize.formats import decode_flt
from nvnmd.regular_file import read_regular

# Far above the largest file
_MOST_BYTES = 256 << 20
# blocks of version 1 whose rows are one flt word each
_WORDS = {"swt": "table u", "dsw": "table du", "std": "statistics", "fea": "table G",
          "gra": "table dG", "gtt": "type gain"}


def is_graph(data: bytes) -> bool:
    """Whether it begins as TensorFlow's GraphDef does: with a node, its name and its operation.

    That is message 1, in it field 1 with as many letters as it says, and field 2 behind it.
    """
    node = 1
    while node < min(len(data), 6) and data[node] & 0x80:
        node += 1
    start = node + 1
    if data[:1] != b"\n" or data[start: start + 1] != b"\n" or len(data) < start + 2:
        return False
    end = start + 2 + data[start + 1]
    return data[start + 2: end].isascii() and data[end: end + 1] == b"\x12"


def blocks_facts(path: Path) -> dict[str, Any]:
    """Version, layout, sizes of the blocks and, of version 1, the largest value in each.

    Raises
    ------
    ModelFileError
        It is no `model.pb`, or its size is not what its head asks for.
    """
    try:
        data = read_regular(path, _MOST_BYTES)
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path}: cannot be read ({one_line(error)})") from None
    if is_graph(data):
        raise ModelFileError(
            f"{path}: a TensorFlow graph, as `dp freeze` writes it, expected model.pb of the NVNMD "
            "computer, or the folder of the run (that with nvnmd_cnn and nvnmd_qnn)")
    head = read_head(data[:OPENING_BYTES], path)
    if len(data) != head.size:
        raise ModelFileError(f"{path}: {len(data)} bytes, its head asks for {head.size}")
    geometry = head.geometry
    newer = geometry.sub_version == 2
    facts: dict[str, Any] = {
        "file": str(path),
        "bytes": len(data),
        "version": geometry.version,
        "sub_version": geometry.sub_version,
        "layout": geometry.kind if newer else "usual",
        "lacking": head.lacking,
        "device": geometry.device if newer else None,
        "types": head.ntypes,
        "sel": list(head.sel),
        "max_nnei": geometry.max_nnei,
        "rcut": head.rcut,
        "energy_bias": [float(x) for x in
                        np.ldexp(head.shifts.astype(np.float64), head.exponent - FIX_FRAC)],
        "blocks": {name: f"{rows} rows of {width} bits"
                   for name, (rows, width) in geometry.blocks.items()},
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    if head.lacking and geometry.kind == "mixed":
        facts["start_of_g"] = start_of_g(int.from_bytes(data[HEAD_BYTES:OPENING_BYTES], "little"))
    if geometry.version:
        rows = block_rows(data, geometry)
        facts["ranges"] = {said: float(np.abs(decode_flt(from_bits(rows[name], FLT_BITS))).max())
                           for name, said in _WORDS.items()}
        terms = from_bits(rows["avc"], BIAS_BITS, signed=True)
        facts["ranges"]["type terms"] = float(np.abs(terms).max()) * 2.0**-FIX_FRAC
    return facts
