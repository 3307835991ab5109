"""The weights of a float model under the names and shapes of DeePMD-kit's `weight.npy`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nvnmd.errors import ModelFileError, one_line
from nvnmd.network.weights import Array, FloatWeights, Net

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


def from_deepmd(
    weight: Mapping[str, Any], source: str = "weight.npy", sub_version: int = 1
) -> FloatWeights:
    """Take the dictionary of a `weight.npy`.

    Parameters
    ----------
    weight : mapping
        Arrays under DeePMD-kit's names; a name may carry a `_1` suffix. Written after the
        quantized stage it holds no embedding nets: their tuples are then empty. DeePMD-kit
        3.2.0 writes no `type_embed_net.bias_1`: it is then zero.
    source : str
        What to call the file in messages.
    sub_version : int
        SUB_VERSION that its `config.npy` names; only with 2 version 1 has a mean.

    Raises
    ------
    ModelFileError
        An array is missing, of an unexpected shape or not of finite numbers, arrays do not fit one
        another, or the model is of neither version.
    """
    try:
        weights = _taken(_Names(weight, source), source, sub_version)
        for name, values in weights.arrays().items():
            if not np.all(np.isfinite(values)):
                raise ModelFileError(f"{source}: {name} has a value that is not finite")
        check_weights(weights, source)
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise ModelFileError(f"{source}: not the weights of a model: {one_line(error)}") from None
    return weights


def _taken(names: _Names, source: str, sub_version: int) -> FloatWeights:
    """The arrays by their names, not yet held against each other."""
    weight = names.weight
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
    if not ntypes:
        raise ModelFileError(f"{source}: t_bias_atom_e is empty, expected the energy of each type")
    davg, dstd = (_statistics(names, f"descrpt_attr.t_{what}", ntypes) for what in ("avg", "std"))
    if version == 1 and sub_version == 1 and davg.any():
        raise ModelFileError(
            f"{source}: descrpt_attr.t_avg is not 0, but version 1 has no mean (set_davg_zero); "
            "expected SUB_VERSION 2 in config.npy"
        )
    if sub_version == 2 and (version == 0 or davg[:, 1].any()):
        raise ModelFileError(
            f"{source}: of version {version}, t_avg {davg[:, 1].tolist()} of the angular columns, "
            "expected version 1 and 0 with SUB_VERSION 2"
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
            "sub_version": sub_version,
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
    """Return the radial and the angular column (ntypes, 2) of one statistics table.

    They are repeated for the three axes and for every slot.
    """
    table = names.get(name)
    if table.ndim != 2 or table.shape[0] != ntypes or table.shape[1] % 4:
        raise ModelFileError(
            f"{names.source}: {name} has shape {table.shape}, "
            f"expected ({ntypes}, 4 x neighbour slots)"
        )
    columns = table[:, :4]
    same = table.reshape(ntypes, -1, 4) == columns[:, None]
    if not columns.size or not np.all(same | np.isnan(columns[:, None])) or np.any(
        columns[:, 1:2] != columns[:, 2:]
    ):
        raise ModelFileError(
            f"{names.source}: {name} differs between slots or axes, which NVNMD does not"
        )
    return columns[:, :2].copy()


def check_weights(weights: FloatWeights, source: str | Path) -> None:
    """Raise ModelFileError if a layer of a net does not take what the one before it gives."""
    features = next((net[-1][0].shape[-1] for net in weights.embedding if net), 0)
    nets = [(f"embedding net {t}", net, 1, features) for t, net in enumerate(weights.embedding)]
    if any(weights.embedding) and not all(weights.embedding):
        raise ModelFileError(f"{source}: holds embedding nets of some types, expected all or none")
    first = weights.fit_weights[0].shape
    if weights.version == 1:
        width = weights.type_embedding[0][0].shape[-1]
        nets += [("net of the types", weights.type_net, 2 * width, features)]
        terms = (width, first[-1])
        if weights.tweight is None or weights.tweight.shape != terms:
            raise ModelFileError(f"{source}: layer_0.tweight has not the shape {terms}")
    for name, net, inputs, outputs in nets:
        for weight, bias in net:
            if weight.ndim != 2 or len(weight) != inputs or bias.shape != weight.shape[1:]:
                raise ModelFileError(
                    f"{source}: {name} has a layer of shape {weight.shape} with {bias.size} "
                    f"biases, expected {inputs} inputs"
                )
            inputs = weight.shape[1]
        if net and (inputs != outputs or not outputs):
            raise ModelFileError(f"{source}: {name} gives {inputs} features, expected {outputs}")
    if len(first) != 3 or (features and first[1] % features):
        raise ModelFileError(f"{source}: a fitting layer of shape {first}, expected a multiple of "
                             f"{features} inputs")
    inputs = first[1]
    for weight, bias in zip(weights.fit_weights, weights.fit_biases, strict=True):
        if weight.ndim != 3 or weight.shape[1] != inputs or bias.shape != (
                len(weight), weight.shape[2]):
            raise ModelFileError(f"{source}: a fitting layer of shape {weight.shape} with biases "
                                 f"of {bias.shape}, expected {inputs} inputs")
        inputs = weight.shape[2]
    if inputs != 1:
        raise ModelFileError(f"{source}: the fitting net gives {inputs} numbers, expected 1")
    if not (weights.dstd > 0.0).all():
        raise ModelFileError(f"{source}: descrpt_attr.t_std has a value that is not above 0")


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
