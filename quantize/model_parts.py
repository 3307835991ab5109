"""A frozen model as a header and arrays: what its file holds and its digest covers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.quantize.formats import decode_flt, encode_flt
from nvnmd.quantize.model_data import TYPE_ARRAYS, ModelData
from nvnmd.quantize.seen import Seen
from nvnmd.quantize.table_layout import Segment, TableLayout
from nvnmd.quantize.widths import VENDOR_WIDTHS, Widths

# Arrays of version 1 that are stored as flt words; the others of it as binary64
_TYPE_WORDS = ("inv_std", "type_gain", "minus_avg")
TYPE_NETS = ("type_embedding", "type_net")
# What the names of the extra arrays, and of those of the training's ranges, begin with
_EXTRA, _SEEN = "extra.", "seen."


def _type_arrays(sub_version: int) -> tuple[str, ...]:
    return (*TYPE_ARRAYS, "minus_avg") if sub_version == 2 else TYPE_ARRAYS


def header_of(model: ModelData) -> dict[str, Any]:
    """Return the numbers and names of a model in JSON's types."""
    # what only version 1 has stays out of the header, and of the digest, of version 0
    only = {f"{name}_layers": len(getattr(model, name)) for name in TYPE_NETS}
    if model.sub_version == 2:
        only["sub_version"] = 2
    # and what only other tables than the vendor's have out of those with the vendor's
    more: dict[str, Any] = {"round_descriptor": True} if model.round_descriptor else {}
    if model.widths != VENDOR_WIDTHS:
        more["widths"] = model.widths.to_dict()
    return (only if model.version else {}) | more | {
        "version": model.version,
        "type_map": list(model.type_map),
        "sel": list(model.sel),
        "max_nnei": model.max_nnei,
        "rcut": float(model.rcut).hex(),
        "rcut_smth": float(model.rcut_smth).hex(),
        "axis_neuron": model.axis_neuron,
        "layouts": {
            name: {
                "x0": float(layout.x0).hex(),
                "segments": [
                    [float(s.start).hex(), float(s.step).hex(), s.rows, s.first_row]
                    for s in layout.segments
                ],
                **({"half_open": True} if layout.half_open else {}),
            }
            for name, layout in (("u", model.u_layout), ("s", model.s_layout))
        },
        "embedding_layers": [len(net) for net in model.embedding],
        "fitting_layers": len(model.fit_weights),
        "origin": dict(model.origin),
    }


def arrays_of(model: ModelData) -> dict[str, NDArray]:
    """Return the arrays of a model by name, flt values as words of 32 bits.

    Raises
    ------
    RangeError
        If a table coefficient leaves the flt format.
    """
    arrays: dict[str, NDArray] = {
        name: encode_flt(getattr(model, name), what=name).astype("<u4")
        for name in ("table_u", "table_u_grad", "table_g", "table_g_grad")
        if getattr(model, name) is not None
    }
    for i, (w, b) in enumerate(zip(model.fit_weights, model.fit_biases, strict=True)):
        arrays[f"fit_w{i}"], arrays[f"fit_b{i}"] = w, b
    for name in ("t_bias_atom_e", "davg", "dstd"):
        arrays[name] = getattr(model, name)
    for t, net in enumerate(model.embedding):
        for i, (w, b) in enumerate(net):
            arrays[f"emb{t}_w{i}"], arrays[f"emb{t}_b{i}"] = w, b
    if model.version:
        for name in _type_arrays(model.sub_version):
            values = getattr(model, name)
            words = name in _TYPE_WORDS
            arrays[name] = encode_flt(values, what=name).astype("<u4") if words else values
        for name in TYPE_NETS:
            for i, (w, b) in enumerate(getattr(model, name)):
                arrays[f"{name}_w{i}"], arrays[f"{name}_b{i}"] = w, b
    if model.seen is not None:
        arrays |= {f"{_SEEN}{one.name}": getattr(model.seen, one.name) for one in fields(Seen)}
    return arrays | {f"{_EXTRA}{name}": values for name, values in model.extras.items()}


def values_of(header: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> dict[str, Any]:
    """Return the values of `Model`'s fields; missing parts raise what Python raises for them."""
    layouts = {
        name: TableLayout(
            x0=float.fromhex(entry["x0"]),
            segments=tuple(
                Segment(float.fromhex(start), float.fromhex(step), rows, first)
                for start, step, rows, first in entry["segments"]
            ),
            half_open=bool(entry.get("half_open", False)),
        )
        for name, entry in header["layouts"].items()
    }
    layers = range(header["fitting_layers"])
    only: dict[str, Any] = {"widths": Widths(**header.get("widths", {}))}
    if header["version"]:
        only["sub_version"] = header.get("sub_version", 1)
        for name in _type_arrays(only["sub_version"]):
            only[name] = decode_flt(arrays[name]) if name in _TYPE_WORDS else arrays[name]
        for name in TYPE_NETS:
            only[name] = tuple(
                (arrays[f"{name}_w{i}"], arrays[f"{name}_b{i}"])
                for i in range(header[f"{name}_layers"])
            )
    seen = {name.removeprefix(_SEEN): values for name, values in arrays.items()
            if name.startswith(_SEEN)}
    return only | {
        "seen": Seen(**seen) if seen else None,
        "version": header["version"],
        "type_map": tuple(header["type_map"]),
        "sel": tuple(header["sel"]),
        "max_nnei": header["max_nnei"],
        "rcut": float.fromhex(header["rcut"]),
        "rcut_smth": float.fromhex(header["rcut_smth"]),
        "axis_neuron": header["axis_neuron"],
        "u_layout": layouts["u"],
        "s_layout": layouts["s"],
        "round_descriptor": bool(header.get("round_descriptor", False)),
        "table_u": decode_flt(arrays["table_u"]),
        "table_g": decode_flt(arrays["table_g"]),
        **{name: decode_flt(arrays[name]) if name in arrays else None
           for name in ("table_u_grad", "table_g_grad")},
        "fit_weights": tuple(arrays[f"fit_w{i}"] for i in layers),
        "fit_biases": tuple(arrays[f"fit_b{i}"] for i in layers),
        "t_bias_atom_e": arrays["t_bias_atom_e"],
        "davg": arrays["davg"],
        "dstd": arrays["dstd"],
        "embedding": tuple(
            tuple((arrays[f"emb{t}_w{i}"], arrays[f"emb{t}_b{i}"]) for i in range(count))
            for t, count in enumerate(header["embedding_layers"])
        ),
        "origin": header["origin"],
        "extras": {
            name.removeprefix(_EXTRA): values
            for name, values in arrays.items()
            if name.startswith(_EXTRA)
        },
    }


def digest_of(header: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> str:
    """Return SHA-256 over the header's values and every array, in hexadecimal digits."""
    sha = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        sha.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()
