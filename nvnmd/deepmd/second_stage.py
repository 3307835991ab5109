"""The input document with which DeePMD-kit's second stage runs on an exported folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nvnmd.atomic_file import atomic_write
from nvnmd.inputs.json_text import read_json
from nvnmd.inputs.loss_terms import TERMS
from nvnmd.quantize.model import Model

NAME = "train.json"
# Of keys that change nothing where they are left out, those that are handed over if they are given
_KEPT = ("auto_prob", "sys_probs", "rglob_patterns")
_STEPS = 10000
_DATA = ("training_data", "validation_data")


def training_document(model: Model, file: Path) -> dict[str, Any]:
    """Return the document that a model file came from, empty where it is not known.

    Parameters
    ----------
    model : Model
        Keeps the documents of an imported run folder.
    file : Path
        The model's file; `train-qnn` leaves its `train.json` beside it.

    Raises
    ------
    InputError
        The file beside it is damaged.
    """
    known = _section(model.origin, "train")
    if known:
        return _section(known, "qnn") or _section(known, "cnn")
    beside = file.parent / NAME
    return read_json(beside) if beside.is_file() else {}


def second_stage_document(model: Model, given: Mapping[str, Any],
                          systems: Sequence[str] = ()) -> dict[str, Any]:
    """Return an input of ``dp train-nvnmd INPUT -s s2``.

    DeePMD-kit 3.2.0 fills in no default before its NVNMD section is read: without `disp_file`,
    `save_ckpt` or `sel` in the right place it ends with a KeyError.

    Parameters
    ----------
    model : Model
        Of SUB_VERSION 1.
    given : mapping
        The document of the training that the model comes from; empty for some thousand steps at a
        small rate.
    systems : sequence of str
        The data to train on; by default those of `given`.

    Returns
    -------
    dict
        `systems` is empty where no data are known.
    """
    training, rate = _section(given, "training"), _section(given, "learning_rate")
    loss = _section(given, "loss") or {"start_pref_e": 1.0, "limit_pref_e": 1.0,
                                       "start_pref_f": 100.0, "limit_pref_f": 100.0}
    steps = training.get("numb_steps", training.get("stop_batch", _STEPS))
    data = {"training_data": _data(_section(training, "training_data") or training, systems)}
    held_out = _section(training, "validation_data")
    if held_out:
        data["validation_data"] = {**_data(held_out, ()),
                                   "numb_btch": held_out.get("numb_btch", 1)}
    decay = {key: rate[key] for key in ("decay_rate",) if rate.get(key) is not None}
    return {
        "nvnmd": {"version": model.version, "max_nnei": model.max_nnei, "net_size": 128,
                  "sel": list(model.sel) if model.version == 0 else sum(model.sel),
                  "rcut": model.rcut, "rcut_smth": model.rcut_smth,
                  "type_map": list(model.type_map)},
        "learning_rate": {"type": "exp", "start_lr": rate.get("start_lr", 1e-5),
                          "stop_lr": rate.get("stop_lr", 1e-7),
                          "decay_steps": rate.get("decay_steps", max(steps // 40, 1)), **decay},
        "loss": {f"{end}_pref_{term}": loss.get(f"{end}_pref_{term}", 0.0)
                 for term in TERMS for end in ("start", "limit")
                 if term in "efv" or loss.get(f"{end}_pref_{term}")},
        "training": {"seed": training.get("seed") or 1, "stop_batch": steps,
                     "disp_file": _name(training.get("disp_file", "lcurve.out")),
                     "disp_freq": training.get("disp_freq", 1000),
                     "save_ckpt": _name(training.get("save_ckpt", "model.ckpt")),
                     "save_freq": training.get("save_freq", 1000), **data},
    }


def missing_data(document: dict[str, Any]) -> list[str]:
    """Make the paths of a document's data absolute; return those that are not here.

    DeePMD-kit runs in the exported folder, and takes relative ones from there.
    """
    missing = []
    for part in (document["training"].get(name) for name in _DATA):
        if part is None:
            continue
        names = [part["systems"]] if isinstance(part["systems"], str) else part["systems"]
        gone = [name for name in names if not os.path.exists(name.partition("#")[0])]
        part["systems"] = [name if name in gone else os.path.abspath(name) for name in names]
        missing += gone
    return missing


def write_second_stage(folder: Path, document: Mapping[str, Any]) -> Path:
    """Write a document as `train.json` into a run folder; return the file's path."""
    file = folder / NAME
    with atomic_write(file) as stream:
        stream.write((json.dumps(document, indent=4) + "\n").encode())
    return file


def _section(holder: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = holder.get(key)
    return found if isinstance(found, dict) else {}


def _data(section: Mapping[str, Any], systems: Sequence[str]) -> dict[str, Any]:
    if systems:
        return {"systems": list(systems), "batch_size": 1}
    return {"systems": section.get("systems", []), "batch_size": section.get("batch_size", "auto"),
            **{key: section[key] for key in _KEPT if section.get(key) is not None}}


def _name(path: str) -> str:
    """DeePMD-kit puts its files into folders of its own, too."""
    return path.rsplit("/", 1)[-1]
