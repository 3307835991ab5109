"""From float weights and tables to the frozen model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.errors import InputError, ModelFileError
from nvnmd.inputs.config import RunConfig
from nvnmd.mapping.build import Tables
from nvnmd.network.vacuum import vacuum_bias
from nvnmd.network.weights import FloatWeights
from nvnmd.quantize.model import Model, to_flt_table


def freeze_model(
    weights: FloatWeights,
    tables: Tables,
    config: RunConfig,
    *,
    origin: Mapping[str, Any] | None = None,
) -> Model:
    """Join fitting nets, statistics and tables to a frozen model.

    Parameters
    ----------
    weights : FloatWeights
        Fitting nets, statistics, biases; the embedding nets, if any, are kept for the float model.
    tables : Tables
        Built from the same statistics and embedding nets; cut to the flt format here.
    config : RunConfig
        Type map, slots, cut-off.
    origin : mapping, optional
        Where the model comes from, kept in the file's header.

    Returns
    -------
    Model

    Raises
    ------
    InputError
        The weights do not fit the input document.
    ModelFileError
        Weights and tables do not fit one another.
    RangeError
        A table coefficient leaves the flt format.
    """
    _check(weights, tables, config)
    return Model(
        version=config.version,
        type_map=config.type_map,
        sel=config.descriptor.sel,
        max_nnei=config.max_nnei,
        rcut=config.descriptor.rcut,
        rcut_smth=config.descriptor.rcut_smth,
        axis_neuron=config.descriptor.axis_neuron,
        u_layout=tables.u_layout,
        s_layout=tables.s_layout,
        table_u=to_flt_table(tables.u, "table u"),
        table_u_grad=_cut(tables.u_grad, "table u_grad"),
        table_g=to_flt_table(tables.g, "table g"),
        table_g_grad=_cut(tables.g_grad, "table g_grad"),
        # rounding goes with the layout that is nobody's machine but ours
        round_descriptor=tables.own_slopes,
        fit_weights=weights.fit_weights,
        fit_biases=weights.fit_biases,
        t_bias_atom_e=vacuum_bias(
            weights, config.fitting.atom_ener, quantized=True,
            vectors=None if tables.types is None else tables.types.vectors[: tables.ntypes]),
        davg=weights.davg,
        dstd=weights.dstd,
        embedding=weights.embedding,
        **_type_fields(weights, tables),
        origin=dict(origin or {}) | ({"device": config.device} if config.sub_version == 2 else {}),
    )


def _cut(table: NDArray[np.float64] | None, what: str) -> NDArray[np.float64] | None:
    """A table in the flt format; none where slopes are those of the cubics."""
    return None if table is None else to_flt_table(table, what)


def _type_fields(weights: FloatWeights, tables: Tables) -> dict[str, Any]:
    """What only a model of version 1 has."""
    if tables.types is None:
        return {}
    ntypes = tables.ntypes
    only: dict[str, Any] = {}
    if tables.sub_version == 2:
        only = {"sub_version": 2,
                "minus_avg": to_flt_table(tables.types.davg_opp[:, 0], "davg_opp")}
    return only | {
        "inv_std": to_flt_table(tables.types.dstd_inv[:, :2], "dstd_inv"),
        "type_gain": to_flt_table(tables.types.gain[:ntypes, :ntypes], "gt"),
        "t_ebd": tables.types.vectors[:ntypes],
        "tweight": weights.tweight,
        "type_embedding": weights.type_embedding,
        "type_net": weights.type_net,
    }


def _check(weights: FloatWeights, tables: Tables, config: RunConfig) -> None:
    """Compare the sizes of weights, tables and input document."""
    ntypes, version = config.ntypes, config.version
    if config.descriptor.exclude_types:
        pairs = [list(pair) for pair in config.descriptor.exclude_types]
        raise InputError(
            f"{config.source}: model/descriptor/exclude_types: got {pairs}, expected [] for a "
            "quantized descriptor: in the hardware every pair of types interacts"
        )
    if weights.version != version or tables.version != version:
        raise InputError(
            f"nvnmd/version: {version}, but the weights are of version {weights.version} and the "
            f"tables of version {tables.version}"
        )
    if not weights.sub_version == tables.sub_version == config.sub_version:
        raise InputError(
            f"nvnmd/sub_version: {config.sub_version}, but the weights are of SUB_VERSION "
            f"{weights.sub_version} and the tables of SUB_VERSION {tables.sub_version}"
        )
    if weights.ntypes != ntypes:
        raise InputError(
            f"nvnmd/type_map: names {ntypes} types, but the weights hold "
            f"{len(weights.t_bias_atom_e)}"
        )
    slots = config.descriptor.sel
    if version == 1 and len(slots) != 1:
        raise InputError(f"nvnmd/sel: {len(slots)} entries, expected one number in version 1")
    if version == 0 and len(slots) != ntypes:
        raise InputError(f"nvnmd/sel: {len(slots)} entries, expected {ntypes}, one per type")
    if tables.ntypes != ntypes:
        raise ModelFileError(f"tables of {tables.ntypes} types with weights of {ntypes}")
    nets = ntypes if version == 0 else 1
    inputs = tables.g.shape[2] * config.descriptor.axis_neuron
    widths = (*config.fitting.neuron, 1)
    for layer, width in enumerate(widths):
        found = weights.fit_weights[layer].shape if layer < len(weights.fit_weights) else None
        if found != (nets, inputs, width):
            raise InputError(
                f"fitting layer {layer}: the weights have shape {found}, "
                f"expected {(nets, inputs, width)} from the input document"
            )
        inputs = width
    if len(weights.fit_weights) != len(widths):
        raise InputError(
            f"fitting_net/neuron: {len(widths) - 1} hidden layers, but the weights hold "
            f"{len(weights.fit_weights) - 1}"
        )
