"""Weights of an earlier stage, in whole or in part: what the switches `restore_*` ask for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from nvnmd.deepmd.config import LAYOUT_ENTRY, deepmd_config
from nvnmd.deepmd.files import read_dict
from nvnmd.deepmd.weights import from_deepmd
from nvnmd.errors import InputError, ModelFileError
from nvnmd.inputs.config import RunConfig, Switches
from nvnmd.network.weights import FloatWeights
from nvnmd.quantize.table_layout import VENDOR


def read_weights(
    file: Path, config: RunConfig, *, embedding: bool = True, config_file: Path | None = None
) -> FloatWeights:
    """Read a `weight.npy` for a run.

    Parameters
    ----------
    file : Path
        The file.
    config : RunConfig
        The run, whose version, types and widths it must have.
    embedding : bool
        Whether it must hold the embedding nets, which it does not after the quantized stage.
    config_file : Path, optional
        The `config.npy` beside it, which must be of the same model; see `check_config`.

    Raises
    ------
    ModelFileError
        The file is not readable or holds no embedding nets.
    InputError
        It does not fit the run.
    """
    weights = from_deepmd(read_dict(file), str(file), config.sub_version)
    if embedding and (not all(weights.embedding)
                      or (weights.version == 1 and not weights.type_net)):
        raise ModelFileError(f"{file}: holds no embedding nets, expected the file of train-cnn")
    if config_file is not None:
        check_config(config_file, weights, config)
    check_sizes(weights, file, config)
    return weights


def check_sizes(weights: FloatWeights, source: Path, config: RunConfig) -> None:
    """Raise InputError if weights are of another version, other types or other widths."""
    for name in ("version", "sub_version"):
        if getattr(weights, name) != getattr(config, name):
            raise InputError(
                f"{source}: weights of {name} {getattr(weights, name)}, the input has "
                f"{getattr(config, name)}"
            )
    wanted = (config.ntypes, config.descriptor.neuron, config.fitting.neuron)
    hidden = tuple(bias.shape[1] for bias in weights.fit_biases[:-1])
    widths = tuple(bias.shape[0] for _, bias in weights.embedding[0]) or wanted[1]
    if (weights.ntypes, widths, hidden) != wanted:
        raise InputError(
            f"{source}: {weights.ntypes} types and widths {list(widths)}, {list(hidden)}; "
            f"the input has {wanted[0]} types and {list(wanted[1])}, {list(wanted[2])}"
        )


def check_config(file: Path, weights: FloatWeights, config: RunConfig) -> None:
    """Raise InputError if a `config.npy` belongs to another model than the run's."""
    found = read_dict(file)
    wanted = deepmd_config(config, weights)
    for section, key, name in (
        ("ctrl", "VERSION", "version"),
        ("ctrl", "SUB_VERSION", "sub_version"),
        ("ctrl", "MAX_NNEI", "max_nnei"),
        ("dpin", "type_map", "type_map"),
        ("dscp", "sel", "sel"),
        ("dscp", "rcut", "rcut"),
        ("dscp", "rcut_smth", "rcut_smth"),
        ("dscp", "neuron", "neuron"),
        ("dscp", "axis_neuron", "axis_neuron"),
        ("fitn", "neuron", "fitting neuron"),
    ):
        theirs = _plain(found.get(section, {}).get(key))
        ours = _plain(wanted[section][key])
        if theirs != ours:
            raise InputError(f"{file}: trained with {name} = {theirs}, the input has {ours}")
    layout = str(found.get("ctrl", {}).get(LAYOUT_ENTRY, VENDOR))
    if layout != config.tables:
        raise InputError(f"{file}: trained with tables = {layout}, the input has {config.tables}")
    theirs, ours = ([list(pair) for pair in settings.get("dscp", {}).get("exclude_types", [])]
                    for settings in (found, wanted))
    if theirs != ours:
        raise InputError(f"{file}: trained with exclude_types = {theirs}, the input has {ours}")


def restored(weights: FloatWeights, source: FloatWeights, switches: Switches) -> FloatWeights:
    """Return weights with the parts of others that the switches name.

    Parameters
    ----------
    weights : FloatWeights
        Drawn anew, with the statistics of the data.
    source : FloatWeights
        Those to restore.
    switches : Switches
        `restore_descriptor`: embedding nets, statistics and what version 1 has of the types;
        `restore_fitting_net`: fitting nets and the energy of each type.
    """
    parts: dict[str, Any] = {}
    if switches.restore_descriptor:
        parts |= {name: getattr(source, name)
                  for name in ("embedding", "type_embedding", "type_net", "davg", "dstd")}
        # the tables must hold the distances of both data
        parts["min_nbor_dist"] = min(weights.min_nbor_dist, source.min_nbor_dist)
    if switches.restore_fitting_net:
        parts |= {name: getattr(source, name)
                  for name in ("fit_weights", "fit_biases", "tweight", "t_bias_atom_e")}
    return dataclasses.replace(weights, **parts)


def _plain(value: Any) -> Any:
    """Return NumPy values and sequences as plain lists and numbers."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
