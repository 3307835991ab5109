"""A model as a run folder of DeePMD-kit, from which its second stage can be run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nvnmd.atomic_file import atomic_write
from nvnmd.deepmd.config import deepmd_config
from nvnmd.deepmd.extras import model_tables, stage_weights
from nvnmd.deepmd.files import write_dict
from nvnmd.deepmd.importer import CNN, CONFIG, QNN, WEIGHT
from nvnmd.deepmd.modelpb import block_sizes, check_sizes, encode_model
from nvnmd.deepmd.tables import MAP_FILE, tables_to_map
from nvnmd.deepmd.weights import to_deepmd
from nvnmd.errors import InputError
from nvnmd.inputs.config import (
    DescriptorConfig,
    FittingConfig,
    LearningRateConfig,
    LossConfig,
    RunConfig,
    TrainingConfig,
)
from nvnmd.quantize.model import Model
from nvnmd.quantize.table_layout import OCTAVE8, VENDOR


def export_deepmd(model: Model, folder: str | Path) -> list[Path]:
    """Write `nvnmd_cnn` and `nvnmd_qnn` below a folder.

    Each file is replaced in one step, and none before all of them are made. Frozen TensorFlow
    graphs, checkpoints and learning curves are not written; nor is `model.pb` where the tables are
    not the vendor's.

    Parameters
    ----------
    model : Model
        With the float stage in its extras.
    folder : path-like
        Made if missing.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    ModelFileError
        The model does not hold the float stage.
    InputError
        The model has not the sizes of the NVNMD computer, or tables that DeePMD-kit does not read.
    RangeError
        A number does not fit its word of `model.pb`.
    """
    folder = Path(folder)
    if model.tables not in (VENDOR, OCTAVE8):
        raise InputError(
            f"the model's tables are of the layout {model.tables}, which DeePMD-kit's operators do "
            f"not read; expected {VENDOR} or {OCTAVE8}"
        )
    check_sizes(model)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: a file is in the way, expected an output folder")
    dicts = run_dicts(model)
    texts = {
        f"{name}/train.json": json.dumps(model.origin["train"][stage], indent=4).encode()
        for stage, name in (("cnn", CNN), ("qnn", QNN))
        if stage in model.origin.get("train", {})
    }
    if model.tables == VENDOR:
        texts[f"{QNN}/model.pb"] = encode_model(model)
    for name in (CNN, QNN):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, content in dicts.items():
        write_dict(folder / name, content)
    for name, data in texts.items():
        with atomic_write(folder / name) as file:
            file.write(data)
    return [folder / name for name in (*dicts, *texts)]


def run_dicts(model: Model) -> dict[str, dict[str, Any]]:
    """Return the dictionaries of a run folder's npy files, by their names in it."""
    cnn, qnn = stage_weights(model, "cnn"), stage_weights(model, "qnn")
    config = _run_config(model)
    sizes = block_sizes(model)
    known = model.origin.get("config", {})
    settings = _restore(deepmd_config(config, cnn), known.get("cnn", {}))
    quantized = deepmd_config(config, cnn)
    quantized["size"]["NH_DATA"] = [height for height, _ in sizes.values()]
    quantized["size"]["NW_DATA"] = [width for _, width in sizes.values()]
    return {
        f"{CNN}/{CONFIG}": settings,
        f"{CNN}/{WEIGHT}": _renamed(to_deepmd(cnn, model.sel), model, "cnn"),
        f"{CNN}/{MAP_FILE}": tables_to_map(model_tables(model)),
        f"{QNN}/{CONFIG}": _restore(quantized, known.get("qnn", {})),
        f"{QNN}/{WEIGHT}": _renamed(to_deepmd(qnn, model.sel), model, "qnn"),
    }


def _renamed(made: dict[str, Any], model: Model, stage: str) -> dict[str, Any]:
    """Weights in the names and the order of the file that was imported, if any.

    Some names may carry a suffix `_1`, and a bias of zeros may be absent.
    """
    out = {}
    for name in model.origin.get("names", {}).get(stage, ()):
        ours = name if name in made else name.removesuffix("_1")
        if ours in made:
            out[name] = made.pop(ours)
    if not out:
        return made
    return out | {name: values for name, values in made.items() if np.any(values)}


def _run_config(model: Model) -> RunConfig:
    """The settings of `config.npy` as they follow from a model."""
    neuron = model.origin.get("config", {}).get("cnn", {}).get("dscp", {}).get("neuron", ())
    if model.embedding:
        neuron = [bias.size for _, bias in model.embedding[0]]
    return RunConfig(
        version=model.version,
        sub_version=model.sub_version,
        device=str(model.origin.get("device", "vu9p")),
        max_nnei=model.max_nnei,
        tables=model.tables,
        type_map=model.type_map,
        descriptor=DescriptorConfig(
            sel=model.sel,
            rcut=model.rcut,
            rcut_smth=model.rcut_smth,
            neuron=tuple(neuron),
            axis_neuron=model.axis_neuron,
        ),
        fitting=FittingConfig(neuron=tuple(w.shape[2] for w in model.fit_weights[:-1])),
        learning_rate=LearningRateConfig(),
        loss=LossConfig(),
        training=TrainingConfig(systems=(), batch_size=(), numb_steps=0),
    )


def _restore(made: dict[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the file that was imported, in the types that DeePMD-kit gives them."""
    out = dict(made)
    for key, value in known.items():
        ours = made.get(key)
        if isinstance(ours, dict) and isinstance(value, Mapping):
            out[key] = _restore(ours, value)
        elif isinstance(ours, np.generic):
            out[key] = type(ours)(value)
        else:
            out[key] = value
    return out
