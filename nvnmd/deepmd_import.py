"""Models from files of DeePMD-kit: a run folder, its three files, or a `model.pb`."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nvnmd.config import (
    DescriptorConfig,
    FittingConfig,
    LearningRateConfig,
    LossConfig,
    RunConfig,
    TrainingConfig,
)
from nvnmd.deepmd_files import read_dict
from nvnmd.errors import InputError, ModelFileError
from nvnmd.freeze import freeze_model
from nvnmd.mapping.build import Tables
from nvnmd.mapping_files import MAP_FILE, tables_from_map
from nvnmd.model_extras import stage_extras
from nvnmd.modelpb import CAPACITIES, read_modelpb
from nvnmd.modelpb_blocks import MOST_SLOTS
from nvnmd.quantize.model import Model
from nvnmd.weights import FloatWeights

CNN, QNN = "nvnmd_cnn", "nvnmd_qnn"
CONFIG, WEIGHT = "config.npy", "weight.npy"
MODEL_SUFFIX = ".nvnmd"
_MAX_JSON = 16 << 20


def import_model(path: str | Path, type_map: Sequence[str] | None = None) -> Model:
    """Read a model from files of DeePMD-kit.

    Parameters
    ----------
    path : path-like
        A run folder (with `nvnmd_cnn` and `nvnmd_qnn`), a folder with `config.npy`, `weight.npy`
        and `map.npy`, or a `model.pb` of the NVNMD computer.
    type_map : sequence of str, optional
        Element names for a `model.pb`, which holds none (`T0`, `T1` ... by default).

    Returns
    -------
    Model
        `origin["format"]` is "deepmd" or "model.pb".

    Raises
    ------
    ModelFileError
        A file is missing, damaged, hostile, or contradicts another.
    InputError
        `type_map` does not fit.
    RangeError
        A table coefficient leaves the flt format.
    """
    path = Path(path)
    if path.is_file():
        if path.suffix == ".npy":
            raise ModelFileError(f"{path}: one file of three, expected the folder with all of them")
        if path.suffix == MODEL_SUFFIX or zipfile.is_zipfile(path):
            raise ModelFileError(f"{path}: a model file of this program, nothing to import")
        return read_modelpb(path, type_map)
    if not path.is_dir():
        raise ModelFileError(f"{path}: no such file or folder")
    if (path / CNN).is_dir() or (path / QNN).is_dir():
        folders = path / CNN, path / QNN
    else:
        folders = path, path
    needed = [folders[0] / CONFIG, folders[0] / WEIGHT, folders[0] / MAP_FILE, folders[1] / WEIGHT]
    missing = [str(file) for file in needed if not file.is_file()]
    if missing:
        raise ModelFileError(
            f"{path}: no {', '.join(dict.fromkeys(missing))}; expected a run folder with {CNN} and "
            f"{QNN}, a folder with {CONFIG}, {WEIGHT} and {MAP_FILE}, or a model.pb"
        )
    model = _from_folders(*folders)
    if type_map is not None and tuple(type_map) != model.type_map:
        raise InputError(
            f"{path}: its types are {' '.join(model.type_map)}, not {' '.join(type_map)}"
        )
    return model


def _from_folders(cnn_folder: Path, qnn_folder: Path) -> Model:
    """Join the stages; both may be one folder, which then holds one stage's weights."""
    config_file = cnn_folder / CONFIG
    settings = read_dict(config_file)
    files = {"cnn": cnn_folder / WEIGHT, "qnn": qnn_folder / WEIGHT}
    names = {stage: list(read_dict(file)) for stage, file in files.items()}
    cnn, qnn = _weights(files["cnn"]), _weights(files["qnn"])
    map_file = cnn_folder / MAP_FILE
    tables = tables_from_map(read_dict(map_file), map_file)
    config = _run_config(settings, cnn, config_file)
    configs, trains = {"cnn": settings}, {"cnn": _train_json(cnn_folder)}
    if qnn_folder != cnn_folder:
        trains["qnn"] = _train_json(qnn_folder)
        if (qnn_folder / CONFIG).is_file():
            configs["qnn"] = read_dict(qnn_folder / CONFIG)
            _check_stages(config, configs["qnn"], qnn_folder / CONFIG)
    for stage, content in trains.items():
        _check_excluded(content, (cnn_folder if stage == "cnn" else qnn_folder) / "train.json")
    for name in ("davg", "dstd"):
        if not np.array_equal(getattr(cnn, name), getattr(qnn, name)):
            raise ModelFileError(
                f"{qnn_folder / WEIGHT}: statistics other than those of {cnn_folder / WEIGHT}"
            )
    _check_nets(cnn, tables, cnn_folder / WEIGHT)
    joined = replace(
        qnn,
        embedding=cnn.embedding if all(cnn.embedding) else (),
        type_embedding=cnn.type_embedding,
        type_net=cnn.type_net,
    )
    origin = {
        "format": "deepmd",
        "config": {stage: _json(content) for stage, content in configs.items()},
        "train": {stage: content for stage, content in trains.items() if content is not None},
        "names": names,
    }
    try:
        model = freeze_model(joined, tables, config, origin=origin)
    except InputError as error:
        raise ModelFileError(f"{cnn_folder}: its files contradict each other: {error}") from None
    return replace(model, extras=stage_extras(model, cnn, qnn, tables))


def _weights(file: Path) -> FloatWeights:
    """Read a `weight.npy`; whatever its arrays are like, it is finite numbers or an error."""
    content = read_dict(file)
    try:
        weights = FloatWeights.from_deepmd(content, str(file))
        arrays = weights.arrays()
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelFileError(f"{file}: not the weights of a model: {reason}") from None
    for name, values in arrays.items():
        if not np.all(np.isfinite(values)):
            raise ModelFileError(f"{file}: {name} has a value that is not finite")
    for what in ("avg", "std"):
        table = np.asarray(content[f"descrpt_attr.t_{what}"])
        columns = table[:, :4]
        if not np.array_equal(table, np.tile(columns, (1, table.shape[1] // 4))) or np.any(
            columns[:, 1:2] != columns[:, 2:]
        ):
            raise ModelFileError(
                f"{file}: descrpt_attr.t_{what} differs between slots or axes, which NVNMD does not"
            )
    return weights


def _run_config(settings: dict[str, Any], weights: FloatWeights, source: Path) -> RunConfig:
    """Take what a model needs from the dictionary of a `config.npy`."""
    try:
        dscp = settings["dscp"]
        version, capacity = int(settings["ctrl"]["VERSION"]), int(settings["ctrl"]["MAX_NNEI"])
        if version not in (0, 1) or capacity not in CAPACITIES:
            raise ValueError(
                f"NVNMD version {version} for {capacity} neighbours, expected version 0 or 1 and "
                "128 or 256"
            )
        sel = dscp["sel"] if version == 0 else [dscp["sel"]]
        config = RunConfig(
            version=version,
            max_nnei=capacity,
            type_map=tuple(str(name) for name in settings["dpin"]["type_map"]),
            descriptor=DescriptorConfig(
                sel=tuple(int(n) for n in sel),
                rcut=float(dscp["rcut"]),
                rcut_smth=float(dscp["rcut_smth"]),
                neuron=tuple(int(n) for n in dscp["neuron"]),
                axis_neuron=int(dscp["axis_neuron"]),
            ),
            fitting=FittingConfig(
                neuron=tuple(int(w.shape[-1]) for w in weights.fit_weights[:-1])
            ),
            learning_rate=LearningRateConfig(),
            loss=LossConfig(),
            training=TrainingConfig(systems=(), batch_size=(), numb_steps=0),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        reason = f"no key {error}" if isinstance(error, KeyError) else str(error)
        raise ModelFileError(f"{source}: not the settings of a model: {reason}") from None
    slots = config.descriptor.sel
    if not slots or not 0 <= min(slots) <= max(slots) <= MOST_SLOTS or not sum(slots):
        raise ModelFileError(f"{source}: sel {list(slots)}, expected 1 to {MOST_SLOTS}")
    rcut, smooth = config.descriptor.rcut, config.descriptor.rcut_smth
    if not 0 <= smooth < rcut <= 8.0:
        raise ModelFileError(
            f"{source}: rcut_smth {smooth} and rcut {rcut}, expected 0 <= rcut_smth < rcut <= 8"
        )
    return config


def _check_stages(config: RunConfig, other: dict[str, Any], source: Path) -> None:
    """The quantized stage must have been trained with the float stage's settings."""
    dscp, shared = config.descriptor, config.version == 1
    wanted = {
        ("ctrl", "VERSION"): config.version,
        ("ctrl", "MAX_NNEI"): config.max_nnei,
        ("dpin", "type_map"): list(config.type_map),
        ("dscp", "sel"): dscp.sel[0] if shared else list(dscp.sel),
        ("dscp", "rcut"): dscp.rcut,
        ("dscp", "rcut_smth"): dscp.rcut_smth,
    }
    for (section, key), value in wanted.items():
        part = other.get(section)
        found = _json(part.get(key)) if isinstance(part, dict) else None
        if found != value:
            raise ModelFileError(f"{source}: {section}.{key} is {found}, the float stage's {value}")


def _check_nets(weights: FloatWeights, tables: Tables, source: Path) -> None:
    """Each layer of a net must take what the one before it gives."""
    features = tables.g.shape[2]
    nets = [(f"embedding net {t}", net, 1, features) for t, net in enumerate(weights.embedding)]
    if weights.version == 1:
        width = weights.type_embedding[0][0].shape[-1]
        nets += [("net of the types", weights.type_net, 2 * width, features)]
        terms = (width, weights.fit_weights[0].shape[-1])
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
        if net and inputs != outputs:
            raise ModelFileError(f"{source}: {name} gives {inputs} features, expected {outputs}")
    for weight, bias in zip(weights.fit_weights, weights.fit_biases, strict=True):
        if weight.ndim != 3 or bias.shape != (len(weight), weight.shape[2]):
            raise ModelFileError(
                f"{source}: a fitting layer of shape {weight.shape} with biases of {bias.shape}"
            )


def _check_excluded(content: Any, file: Path) -> None:
    """Raise ModelFileError if a run left pairs of types out, which no file of a model says."""
    for path in ("model/descriptor/exclude_types", "model/pair_exclude_types"):
        section: Any = content
        for key in path.split("/"):
            section = section.get(key) if isinstance(section, dict) else None
        if section:
            raise ModelFileError(f"{file}: {path}: got {section}, expected []: in the hardware "
                                 "every pair of types interacts")


def _train_json(folder: Path) -> Any:
    """The stage's normalised input, where there is one."""
    file = folder / "train.json"
    if not file.is_file():
        return None
    try:
        if file.stat().st_size > _MAX_JSON:
            raise ValueError(f"more than {_MAX_JSON} bytes")
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelFileError(f"{file}: not readable as JSON: {reason}") from None


def _json(value: Any) -> Any:
    """NumPy values as JSON's types."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    return value
