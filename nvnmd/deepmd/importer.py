"""Models from files of DeePMD-kit: a run folder, its three files, or a `model.pb`."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nvnmd.deepmd.extras import stage_extras
from nvnmd.deepmd.files import read_dict
from nvnmd.deepmd.modelpb import read_modelpb
from nvnmd.deepmd.modelpb_blocks import DEVICE_UNITS, MOST_SLOTS
from nvnmd.deepmd.modelpb_head import CAPACITIES
from nvnmd.deepmd.tables import MAP_FILE, sub_version_of, tables_from_map
from nvnmd.deepmd.weights import from_deepmd
from nvnmd.errors import InputError, ModelFileError, RangeError, one_line
from nvnmd.inputs.config import (
    DescriptorConfig,
    FittingConfig,
    LearningRateConfig,
    LossConfig,
    RunConfig,
    TrainingConfig,
)
from nvnmd.mapping.freeze import freeze_model
from nvnmd.network.weights import FloatWeights
from nvnmd.quantize.model import Model
from nvnmd.regular_file import text_of

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
    contents = {stage: read_dict(file) for stage, file in files.items()}
    names = {stage: list(content) for stage, content in contents.items()}
    sub_version, device = _newer(settings, config_file)
    cnn, qnn = (from_deepmd(contents[stage], str(files[stage]), sub_version)
                for stage in ("cnn", "qnn"))
    map_file = cnn_folder / MAP_FILE
    tables = tables_from_map(read_dict(map_file), map_file)
    config = replace(_run_config(settings, cnn, config_file),
                     sub_version=sub_version, device=device)
    configs, trains = {"cnn": settings}, {"cnn": _train_json(cnn_folder)}
    if qnn_folder != cnn_folder:
        trains["qnn"] = _train_json(qnn_folder)
        if (qnn_folder / CONFIG).exists():
            configs["qnn"] = read_dict(qnn_folder / CONFIG)
            _check_stages(config, configs["qnn"], qnn_folder / CONFIG)
    for stage, content in trains.items():
        _check_excluded(content, (cnn_folder if stage == "cnn" else qnn_folder) / "train.json")
    for name in ("davg", "dstd"):
        if not np.array_equal(getattr(cnn, name), getattr(qnn, name)):
            raise ModelFileError(
                f"{qnn_folder / WEIGHT}: statistics other than those of {cnn_folder / WEIGHT}"
            )
    features = next((net[-1][0].shape[-1] for net in cnn.embedding if net), None)
    if features not in (None, tables.g.shape[2]):
        raise ModelFileError(f"{map_file}: tables of {tables.g.shape[2]} features, expected the "
                             f"{features} of {cnn_folder / WEIGHT}")
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
        **({} if sub_version == 1 else {"device": device}),
    }
    try:
        model = freeze_model(joined, tables, config, origin=origin)
    except InputError as error:
        raise ModelFileError(f"{cnn_folder}: its files contradict each other: {error}") from None
    except RangeError as error:
        raise RangeError(f"{cnn_folder}: {error}") from None
    return replace(model, extras=stage_extras(model, cnn, qnn, tables))


def _newer(settings: dict[str, Any], source: Path) -> tuple[int, str]:
    """SUB_VERSION and device of the dictionary of a `config.npy`."""
    try:
        ctrl = settings["ctrl"]
        sub_version = sub_version_of(settings)
        if sub_version == 1:
            return 1, "vu9p"
        if sub_version != 2 or int(ctrl["VERSION"]) != 1:
            raise ValueError(f"SUB_VERSION {sub_version} of version {ctrl['VERSION']}")
        devices = {number: device for device, number in DEVICE_UNITS.items()}
        if int(ctrl["NSTDM"]) not in devices:
            raise ValueError(f"NSTDM {ctrl['NSTDM']}, expected one of {list(devices)}")
        return 2, devices[int(ctrl["NSTDM"])]
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"no key {error}" if isinstance(error, KeyError) else str(error)
        raise ModelFileError(
            f"{source}: not the settings of a model: {reason}; expected SUB_VERSION 1, or 2 of "
            "version 1"
        ) from None


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
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        reason = f"no key {error}" if isinstance(error, KeyError) else str(error)
        raise ModelFileError(f"{source}: not the settings of a model: {reason}") from None
    slots = config.descriptor.sel
    if not slots or not 0 <= min(slots) <= max(slots) <= MOST_SLOTS or not sum(slots):
        raise ModelFileError(f"{source}: sel {list(slots)}, expected 1 to {MOST_SLOTS}")
    if sum(slots) > config.max_nnei:
        raise ModelFileError(f"{source}: sel {list(slots)} of {sum(slots)} slots, expected at most "
                             f"MAX_NNEI = {config.max_nnei}, which the hardware holds")
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
        **({} if config.sub_version == 1 else {("ctrl", "SUB_VERSION"): 2,
                                               ("ctrl", "NSTDM"): DEVICE_UNITS[config.device]}),
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
    if not file.exists():
        return None
    try:
        return json.loads(text_of(file, _MAX_JSON))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{file}: not readable as JSON: {one_line(error)}") from None


def _json(value: Any) -> Any:
    """NumPy values as JSON's types."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    return value
