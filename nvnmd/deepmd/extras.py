"""What files for DeePMD-kit hold beyond a frozen model, kept in its `extras`.

A frozen model has the quantized stage's fitting nets and flt tables. A run folder also has the
float stage's fitting nets, the smallest distance and tables of binary64 numbers. Arrays under
`cnn.` and `qnn.` are those of the stage's `FloatWeights` that the model itself does not hold;
those under `map.` are the tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.errors import ModelFileError
from nvnmd.mapping.build import Tables
from nvnmd.mapping.type_tables import TypeTables, build_type_tables
from nvnmd.network.weights import FloatWeights
from nvnmd.quantize.model import Model

_TABLES = ("u", "u_grad", "g", "g_grad")
_TYPES = ("vectors", "gain", "davg_opp", "dstd_inv")
_FLOAT_ONLY = ("embedding.", "type_net.")


def stage_extras(
    model: Model, cnn: FloatWeights, qnn: FloatWeights | None = None, tables: Tables | None = None
) -> dict[str, NDArray]:
    """Return the extras that a model needs to become a run folder again.

    Parameters
    ----------
    model : Model
        Frozen from the stages below.
    cnn : FloatWeights
        The float stage.
    qnn : FloatWeights, optional
        The quantized stage; the model's own fitting nets by default.
    tables : Tables, optional
        Tables that cannot be had again from the float stage: those of DeePMD-kit.
    """
    held = _held(model)
    stages = {"cnn": cnn, "qnn": cnn if qnn is None else qnn}
    extras: dict[str, NDArray] = {}
    for stage, weights in stages.items():
        for name, values in weights.arrays().items():
            fitted = stage == "qnn" and qnn is None and name != "min_nbor_dist"
            if not fitted and not _same(held.get(name), values):
                extras[f"{stage}.{name}"] = np.asarray(values)
    if tables is not None:
        extras |= {f"map.{name}": getattr(tables, name) for name in _TABLES
                   if getattr(tables, name) is not None}
        if tables.types is not None:
            extras |= {f"map.{name}": getattr(tables.types, name) for name in _TYPES}
    return extras


def stage_weights(model: Model, stage: str) -> FloatWeights:
    """Return the weights of the stage `cnn` or `qnn`.

    Raises
    ------
    ModelFileError
        The model does not hold them.
    """
    arrays = _held(model)
    if stage == "qnn":
        arrays = {k: v for k, v in arrays.items() if not k.startswith(_FLOAT_ONLY)}
    prefix = f"{stage}."
    arrays |= {k.removeprefix(prefix): v for k, v in model.extras.items() if k.startswith(prefix)}
    if "min_nbor_dist" not in arrays or len(model.davg) != model.ntypes:
        what = "a model.pb" if model.origin.get("format") == "model.pb" else "a model file"
        raise ModelFileError(
            f"the model comes from {what} without the float stage, which a run folder holds; "
            "expected one that import made of a run folder, or train-qnn of this version"
        )
    arrays["min_nbor_dist"] = arrays["min_nbor_dist"].reshape(())
    return FloatWeights.from_arrays(arrays)


def model_tables(model: Model) -> Tables:
    """Return the tables in binary64 where the model holds them so, else as its flt values."""
    extras = model.extras
    if "map.u" in extras:
        parts: Mapping[str, Any] = {name: extras.get(f"map.{name}") for name in _TABLES}
        types = None
        if model.version:
            types = TypeTables(*(extras[f"map.{name}"] for name in _TYPES))
        return Tables(model.u_layout, model.s_layout, **parts, types=types)
    parts = {name: getattr(model, f"table_{name}") for name in _TABLES}
    types = _type_tables(model) if model.version else None
    return Tables(model.u_layout, model.s_layout, **parts, types=types)


def _type_tables(model: Model) -> TypeTables:
    """Tables of the types: the nets give the rows for "no atom", the model all others."""
    assert model.inv_std is not None and model.type_gain is not None and model.t_ebd is not None
    if not model.type_net:
        raise ModelFileError("the model holds no net of the types, which map.npy's last rows need")
    built = build_type_tables(
        model.type_embedding, model.type_net, model.davg, model.dstd, model.sub_version)
    n = model.ntypes
    gain, vectors = built.gain.copy(), built.vectors.copy()
    gain[:n, :n], vectors[:n] = model.type_gain, model.t_ebd
    inverse = model.inv_std[:, [0, 1, 1, 1]]
    return TypeTables(vectors, gain, built.davg_opp, inverse)


def _held(model: Model) -> dict[str, NDArray]:
    """The arrays of `FloatWeights` that the model has itself, under their names there."""
    out: dict[str, NDArray] = {}
    nets = {f"embedding.{t}": net for t, net in enumerate(model.embedding)}
    nets |= {"fitting": tuple(zip(model.fit_weights, model.fit_biases, strict=True))}
    nets |= {"type_embedding": model.type_embedding, "type_net": model.type_net}
    for name, net in nets.items():
        for k, (weight, bias) in enumerate(net):
            out[f"{name}.{k}.weight"], out[f"{name}.{k}.bias"] = weight, bias
    if model.tweight is not None:
        out["tweight"] = model.tweight
    if model.sub_version != 1:
        out["sub_version"] = np.array(model.sub_version)
    return out | {
        "davg": model.davg, "dstd": model.dstd, "t_bias_atom_e": model.t_bias_atom_e
    }  # fmt: skip


def _same(one: NDArray | None, two: NDArray) -> bool:
    return one is not None and np.array_equal(one, two)
