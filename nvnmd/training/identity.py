"""What a checkpoint belongs to: its model's settings and its data, held against those of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nvnmd.data.system import System
from nvnmd.errors import InputError, ModelFileError
from nvnmd.inputs.config import RunConfig
from nvnmd.inputs.stage import settled
from nvnmd.progress import Log
from nvnmd.training.checkpoint import Checkpoint, find_checkpoint


def model_settings(config: RunConfig, kind: str) -> dict[str, Any]:
    """Return the settings that a checkpoint's weights depend on."""
    switches = settled(config.switches, kind)
    halves = {"descriptor": switches.quantize_descriptor,
              "fitting_net": switches.quantize_fitting_net}
    excluded = [list(pair) for pair in config.descriptor.exclude_types]
    return {
        **({"exclude_types": excluded} if excluded else {}),
        "quantize": [name for name, on in halves.items() if on],
        "version": config.version,
        **({} if config.sub_version == 1 else {"sub_version": config.sub_version}),
        "type_map": list(config.type_map),
        "sel": list(config.descriptor.sel),
        "rcut": config.descriptor.rcut,
        "rcut_smth": config.descriptor.rcut_smth,
        "neuron": list(config.descriptor.neuron),
        "axis_neuron": config.descriptor.axis_neuron,
        "fitting neuron": list(config.fitting.neuron),
    }


def load_restart(path: Path, config: RunConfig, kind: str) -> Checkpoint:
    """Read a checkpoint of this kind and check that it belongs to this model.

    Raises
    ------
    InputError, ModelFileError
        It does not, or it is damaged.
    """
    checkpoint = Checkpoint.load(path, kind, Path(config.training.save_ckpt).name)
    _check_settings(checkpoint, path, config)
    return checkpoint


def restart_file(path: Path | None, config: RunConfig) -> Path | None:
    """Return the file that is meant by a path to continue from, which may be a folder."""
    return None if path is None else find_checkpoint(path, Path(config.training.save_ckpt).name)


def data_digests(systems: Sequence[System]) -> list[dict[str, str]]:
    """Return, for each system, its name and a digest of each of its arrays."""
    found = []
    for system in systems:
        arrays = {"type": system.types, "coord": system.coord, "box": system.box,
                  "energy": system.energy, "force": system.force, "virial": system.virial,
                  **system.atom_labels}
        found.append({"system": str(system.path)} | {
            name: _digest(array) for name, array in arrays.items() if array is not None})
    return found


def _digest(array: np.ndarray) -> str:
    total = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()[:24]


def check_data(
    checkpoint: Checkpoint, source: Path, ours: Mapping[str, Sequence[Mapping[str, str]]],
    log: Log, *, allow: bool
) -> None:
    """Hold the data of a run against those that a checkpoint was trained on.

    Parameters
    ----------
    checkpoint : Checkpoint
        Its state holds the digests; one from before they were kept cannot tell.
    source : Path
        Its file.
    ours : mapping of str to sequence
        `data_digests` of the training and the validation part.
    log : callable
        Takes lines of text.
    allow : bool
        Whether a difference is told only.

    Raises
    ------
    InputError
        They differ; the message names each system and what of it changed.
    """
    theirs = checkpoint.state.get("data")
    if not isinstance(theirs, dict):
        log(f"warning: {source} does not say what data it was trained on, so they are not compared")
        return
    changes = [line for part, systems in ours.items()
               for line in _changes(part, systems, theirs.get(part))]
    if bool(ours["validation"]) != bool(theirs.get("validation")):
        # which changes what is shown, not what is trained
        changes = [line for line in changes if not line.startswith("validation: ")]
    if not changes:
        return
    message = f"{source}: the data are not those it was trained on: {'; '.join(changes)}"
    if not allow:
        raise InputError(f"{message}; expected the same data, or --allow-changed-data")
    log(f"warning: {message}")


def _changes(part: str, ours: Sequence[Mapping[str, str]], theirs: Any) -> list[str]:
    """Say system by system what differs in one part of the data."""
    if not isinstance(theirs, list) or not all(isinstance(one, dict) for one in theirs):
        return [f"its {part} data are not known"]
    if len(theirs) != len(ours):
        return [f"{part}: {len(ours)} systems, {len(theirs)} then"]
    lines = []
    for mine, other in zip(ours, theirs, strict=True):
        # a folder may have moved
        names = [name for name in {**mine, **other}
                 if name != "system" and mine.get(name) != other.get(name)]
        if names:
            lines.append(f"{mine['system']}: {', '.join(names)}")
    return lines


def _check_settings(checkpoint: Checkpoint, source: Path, config: RunConfig) -> None:
    """Raise InputError if a checkpoint belongs to another model, ModelFileError if to none."""
    theirs, ours = checkpoint.state.get("model", {}), model_settings(config, checkpoint.kind)
    if not isinstance(theirs, dict):
        raise ModelFileError(f"{source}: its settings of the model are no section")
    for key in {**ours, **theirs}:
        found, wanted = theirs.get(key), ours.get(key)
        if found != wanted:
            raise InputError(f"{source}: written with {key} = {found}, the input has {wanted}")
