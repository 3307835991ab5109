"""The full form's keys of `nvnmd` that name a stage: its files and its switches.

The commands train-cnn and train-qnn stand for the two stages; a document of the full form says the
same with switches and files, and must not say something else than the command.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from nvnmd.config import RunConfig
from nvnmd.errors import InputError
from nvnmd.input_check import Mistakes, show

CNN_FOLDER = "nvnmd_cnn"
FILES = {"config_file": "config.npy", "weight_file": "weight.npy", "map_file": "map.npy"}
SWITCHES = ("restore_descriptor", "restore_fitting_net", "quantize_descriptor",
            "quantize_fitting_net")
NONE = ("none", "")


def stage_of(section: dict[str, Any], mistakes: Mistakes) -> tuple[str, str | None]:
    """The stage ("none", "cnn" or "qnn") and the folder that a document's `nvnmd` names."""
    switches = {name: section[name] for name in SWITCHES if name in section}
    stage = "none"
    if switches:
        first, value = next(iter(switches.items()))
        for name, other in switches.items():
            if other != value:
                mistakes.add(f"nvnmd/{name}", other,
                             f"{show(value)} as nvnmd/{first}; to restore or quantize a part "
                             "alone is not yet in this program")
        stage = "qnn" if value else "cnn"
    folders = {}
    for key, wanted in FILES.items():
        value = section.get(key, "none")
        if value in NONE:
            if stage == "qnn" and key in section:
                mistakes.add(f"nvnmd/{key}", value, f"the {wanted} of train-cnn, as "
                             "nvnmd/quantize_descriptor is true")
        elif Path(value).name != wanted:
            mistakes.add(f"nvnmd/{key}", value, f"the path of a {wanted}, or none")
        elif stage == "cnn" and key != "config_file":
            mistakes.add(f"nvnmd/{key}", value, "none, as nvnmd/restore_descriptor is false")
        else:
            folders[key] = str(Path(value).parent)
    chosen = next(iter(folders.values()), None)
    for key, folder in folders.items():
        if folder != chosen:
            mistakes.add(f"nvnmd/{key}", section[key], f"a file in {chosen}, where "
                         f"nvnmd/{next(iter(folders))} is")
    return stage, chosen


def folder_of_stage(config: RunConfig, stage: str, folder: str | Path | None) -> str:
    """Folder of the continuous stage for a command, by its option, the document or the default.

    Raises
    ------
    InputError
        The document is that of the other stage, or names other files for train-qnn to read than
        the option.
    """
    if config.stage not in ("none", stage):
        found, wanted = (show(value == "qnn") for value in (config.stage, stage))
        raise InputError(f"{config.source}: nvnmd/quantize_descriptor: got {found}, expected "
                         f"{wanted} in train-{stage}, or all four switches left out")
    if folder is None:
        return config.cnn_folder or CNN_FOLDER
    named = config.cnn_folder
    # train-cnn writes the files, so that its option may move them; train-qnn reads them
    if stage == "qnn" and named is not None and os.path.abspath(named) != os.path.abspath(folder):
        raise InputError(f"{config.source}: nvnmd/config_file: got a file in {named}, expected "
                         f"one in {folder} as the command says, or none")
    return str(folder)
