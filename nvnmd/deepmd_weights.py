"""The weights of a float model under the names and shapes of DeePMD-kit's `weight.npy`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nvnmd.errors import ModelFileError
from nvnmd.weights import Array, FloatWeights, Net

_SUFFIXES = ("", "_1")
_TWO_SIDE = "_two_side_ebd"


def to_deepmd(weights: FloatWeights, sel: Sequence[int]) -> dict[str, Any]:
    """Return the dictionary of `weight.npy`.

    Parameters
    ----------
    weights : FloatWeights
        Of either version.
    sel : sequence of int
        Slots per neighbour type (version 1: one number): the statistics are repeated for each of
        the `sum(sel)` slots.
    """
    columns = [0, 1, 1, 1]
    slots = sum(sel)
    out: dict[str, Any] = {}
    if weights.version == 1:
        _put_net(out, "type_embed_net", weights.type_embedding)
    out["descrpt_attr.t_avg"] = np.tile(weights.davg[:, columns], (1, slots))
    out["descrpt_attr.t_std"] = np.tile(weights.dstd[:, columns], (1, slots))
    for t, net in enumerate(weights.embedding):
        _put_net(out, "filter_type_all", net, "" if weights.version == 1 else f"_{t}")
    _put_net(out, "filter_type_all", weights.type_net, _TWO_SIDE)
    out["fitting_attr.t_bias_atom_e"] = weights.t_bias_atom_e
    if weights.tweight is not None:
        out["layer_0.tweight"] = weights.tweight
    last = len(weights.fit_weights) - 1
    for t, suffix in enumerate(_fitting_suffixes(weights.version, weights.ntypes)):
        for k, (matrix, bias) in enumerate(
            zip(weights.fit_weights, weights.fit_biases, strict=True)
        ):
            layer = ("final_layer" if k == last else f"layer_{k}") + suffix
            out[f"{layer}.matrix"] = matrix[t]
            out[f"{layer}.bias"] = bias[t]
    out["train_attr.min_nbor_dist"] = np.float64(weights.min_nbor_dist)
    out["t_bias_atom_e"] = weights.t_bias_atom_e
    return out


def from_deepmd(weight: Mapping[str, Any], source: str = "weight.npy") -> FloatWeights:
    """Take the dictionary of a `weight.npy`.

    Parameters
    ----------
    weight : mapping
        Arrays under DeePMD-kit's names; a name may carry a `_1` suffix. Written after the
        quantized stage it holds no embedding nets: their tuples are then empty. DeePMD-kit
        3.2.0 writes no `type_embed_net.bias_1`: it is then zero.
    source : str
        What to call the file in messages.

    Raises
    ------
    ModelFileError
        An array is missing or of an unexpected shape, or the model is of neither version.
    """
    names = _Names(weight, source)
    if names.has("layer_0_type_0.matrix"):
        version = 0
    elif names.has("layer_0.tweight"):
        version = 1
    else:
        raise ModelFileError(
            f"{source}: neither 'layer_0_type_0.matrix' nor 'layer_0.tweight', so not a model of "
            "NVNMD version 0 or 1"
        )
    bias = names.get(
        "t_bias_atom_e" if "t_bias_atom_e" in weight else "fitting_attr.t_bias_atom_e"
    ).reshape(-1)
    ntypes = len(bias)
    davg, dstd = (_statistics(names, f"descrpt_attr.t_{what}", ntypes) for what in ("avg", "std"))
    if version == 1 and davg.any():
        raise ModelFileError(
            f"{source}: descrpt_attr.t_avg is not 0, but version 1 has no mean (set_davg_zero)"
        )
    suffixes = _fitting_suffixes(version, ntypes)
    hidden = 0
    while names.has(f"layer_{hidden}{suffixes[0]}.matrix"):
        hidden += 1
    layers = [f"layer_{k}" for k in range(hidden)] + ["final_layer"]
    nets = [""] if version == 1 else [f"_{t}" for t in range(ntypes)]
    typed: dict[str, Any] = {}
    if version == 1:
        typed = {
            "tweight": names.get("layer_0.tweight"),
            "type_embedding": _type_embedding(names, ntypes),
            "type_net": _take_net(names, "filter_type_all", _TWO_SIDE),
        }
    return FloatWeights(
        embedding=tuple(_take_net(names, "filter_type_all", suffix) for suffix in nets),
        fit_weights=tuple(
            np.stack([names.get(f"{layer}{suffix}.matrix") for suffix in suffixes])
            for layer in layers
        ),
        fit_biases=tuple(
            np.stack([names.get(f"{layer}{suffix}.bias").reshape(-1) for suffix in suffixes])
            for layer in layers
        ),
        davg=davg,
        dstd=dstd,
        t_bias_atom_e=bias,
        min_nbor_dist=float(names.get("train_attr.min_nbor_dist")),
        **typed,
    )


class _Names:
    """Arrays by name, with or without the suffix `_1`."""

    def __init__(self, weight: Mapping[str, Any], source: str) -> None:
        self.weight, self.source = weight, source

    def has(self, name: str) -> bool:
        return any(name + suffix in self.weight for suffix in _SUFFIXES)

    def get(self, name: str) -> Array:
        for suffix in _SUFFIXES:
            if name + suffix in self.weight:
                return np.asarray(self.weight[name + suffix], dtype=np.float64)
        raise ModelFileError(f"{self.source}: the array {name!r} is missing")


def _statistics(names: _Names, name: str, ntypes: int) -> Array:
    """Return the radial and the angular column (ntypes, 2) of one statistics table."""
    table = names.get(name)
    if table.ndim != 2 or table.shape[0] != ntypes or table.shape[1] % 4:
        raise ModelFileError(
            f"{names.source}: {name} has shape {table.shape}, "
            f"expected ({ntypes}, 4 x neighbour slots)"
        )
    return table[:, :2].copy()


def _type_embedding(names: _Names, ntypes: int) -> Net:
    """Return the one layer from one-hot types to type vectors."""
    matrix = names.get("type_embed_net.matrix_1")
    if matrix.ndim != 2 or len(matrix) != ntypes:
        raise ModelFileError(
            f"{names.source}: type_embed_net.matrix_1 has shape {matrix.shape}, expected "
            f"({ntypes}, width)"
        )
    if names.has("type_embed_net.matrix_2"):
        raise ModelFileError(f"{names.source}: a type embedding of several layers, expected one")
    if names.has("type_embed_net.bias_1"):
        return ((matrix, names.get("type_embed_net.bias_1").reshape(-1)),)
    return ((matrix, np.zeros(matrix.shape[1])),)


def _take_net(names: _Names, prefix: str, suffix: str) -> Net:
    """Return the layers `prefix.matrix_K suffix`, K from 1 on, as many as there are."""
    depth = 0
    while f"{prefix}.matrix_{depth + 1}{suffix}" in names.weight:
        depth += 1
    return tuple(
        (
            names.get(f"{prefix}.matrix_{k}{suffix}"),
            names.get(f"{prefix}.bias_{k}{suffix}").reshape(-1),
        )
        for k in range(1, depth + 1)
    )


def _put_net(out: dict[str, Any], prefix: str, net: Net, suffix: str = "") -> None:
    for k, (weight, bias) in enumerate(net, start=1):
        out[f"{prefix}.matrix_{k}{suffix}"] = weight
        out[f"{prefix}.bias_{k}{suffix}"] = bias


def _fitting_suffixes(version: int, ntypes: int) -> list[str]:
    """What follows a fitting layer's name, for each net."""
    return [""] if version == 1 else [f"_type_{t}" for t in range(ntypes)]
