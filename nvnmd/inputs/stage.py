"""The full form's keys of `nvnmd` that name a stage: its switches and its files.

The commands train-cnn and train-qnn stand for the two stages; a document of the full form says the
same with switches and files, and must not say something else than the command. A switch that a
document leaves out is false in train-cnn and true in train-qnn.

What the switches mean together:

- `restore_descriptor`: embedding nets and statistics are those of `weight_file`, and stay so;
- `restore_fitting_net`: the fitting nets begin with those of `weight_file`;
- `quantize_descriptor`: the descriptor computes as the hardware does, with the tables of
  `map_file`, which stand for the restored embedding nets;
- `quantize_fitting_net`: the fitting nets compute as the hardware does.

train-cnn quantizes nothing, train-qnn one of the two or both.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nvnmd.errors import InputError
from nvnmd.inputs.config import RunConfig, StageFiles, Switches
from nvnmd.inputs.mistakes import Mistakes, show

CNN_FOLDER = "nvnmd_cnn"
FILES = {"config_file": "config.npy", "weight_file": "weight.npy", "map_file": "map.npy"}
SWITCHES = ("restore_descriptor", "restore_fitting_net", "quantize_descriptor",
            "quantize_fitting_net")
QUANTIZE = SWITCHES[2:]
NONE = ("none", "")


def read_stage(section: Mapping[str, Any], mistakes: Mistakes) -> tuple[str, Switches, StageFiles]:
    """The stage ("none", "cnn" or "qnn"), the switches and the files of a document's `nvnmd`."""
    switches = Switches(**{name: section[name] for name in SWITCHES if name in section})
    named = {}
    for key, wanted in FILES.items():
        value = section.get(key, "none")
        if value in NONE:
            continue
        named[key] = value
        if Path(value).suffix != ".npy":
            mistakes.add(f"nvnmd/{key}", value, f"the path of a .npy file, such as {wanted}, "
                                                "or none")
    quantized = [getattr(switches, name) for name in QUANTIZE]
    stage = "none"
    if any(quantized):
        stage = "qnn"
    elif quantized == [False, False]:
        stage = "cnn"
    _check(switches if stage == "none" else settled(switches, stage), section, mistakes)
    if stage == "cnn" and "weight_file" not in section:
        lacking = _lacking(switches)
        if lacking:
            mistakes.add_text("nvnmd/weight_file", lacking)
    if stage == "cnn" and Path(named.get("config_file", "config.npy")).name != "config.npy":
        mistakes.add("nvnmd/config_file", named["config_file"],
                     "a path that ends in config.npy, which train-cnn writes")
    return stage, switches, StageFiles(**named)


def settled(switches: Switches, stage: str) -> Switches:
    """The switches with the command's values for those that were left out."""
    return Switches(**{name: stage == "qnn" if value is None else value
                       for name, value in vars(switches).items()})


def _check(switches: Switches, section: Mapping[str, Any], mistakes: Mistakes) -> None:
    """Note the contradictions between switches, and between switches and files.

    A switch that is None may still become either.
    """
    on = {name for name, value in vars(switches).items() if value}
    off = {name for name, value in vars(switches).items() if value is False}
    restored = next((name for name in SWITCHES[:2] if name in on), None)

    def given(key: str) -> bool:
        return section.get(key, "none") not in NONE

    if "quantize_descriptor" in on and "restore_descriptor" in off:
        mistakes.add("nvnmd/restore_descriptor", False,
                     "true, as nvnmd/quantize_descriptor is true: the tables stand for the "
                     "restored embedding nets")
    if restored and "weight_file" in section and not given("weight_file"):
        mistakes.add("nvnmd/weight_file", section["weight_file"],
                     f"the weights to restore, as nvnmd/{restored} is true")
    if given("weight_file") and off >= set(SWITCHES[:2]):
        mistakes.add("nvnmd/weight_file", section["weight_file"],
                     "none, as nvnmd/restore_descriptor and nvnmd/restore_fitting_net are false")
    if "quantize_descriptor" in on and "map_file" in section and not given("map_file"):
        mistakes.add("nvnmd/map_file", section["map_file"],
                     "the map.npy of train-cnn, as nvnmd/quantize_descriptor is true")
    if given("map_file") and "quantize_descriptor" in off:
        mistakes.add("nvnmd/map_file", section["map_file"],
                     "none, as nvnmd/quantize_descriptor is false")


def stage_folder(files: StageFiles, stage: str) -> str | None:
    """The folder of the continuous stage that a document names: written by train-cnn, else read."""
    order = [files.config_file]
    if stage != "cnn":
        order += [files.weight_file, files.map_file]
    chosen = next((value for value in order if value is not None), None)
    return None if chosen is None else str(Path(chosen).parent)


def settle_stage(config: RunConfig, stage: str,
                 folder: str | Path | None) -> tuple[str, Switches, StageFiles]:
    """Folder of the continuous stage, switches and files of a run for a command.

    Parameters
    ----------
    config : RunConfig
        The document's.
    stage : {"cnn", "qnn"}
        The command.
    folder : str or Path, optional
        The command's option: where train-cnn writes, where train-qnn reads.

    Returns
    -------
    folder : str
    switches : Switches
        No one is None.
    files : StageFiles
        Those that the run reads or, in train-cnn the config_file, writes; None for the others.

    Raises
    ------
    InputError
        The document is that of the other stage, lacks a file, or names other files for train-qnn
        to read than the option.
    """
    for name in QUANTIZE:
        value = getattr(config.switches, name)
        both_off = [getattr(config.switches, key) for key in QUANTIZE] == [False, False]
        if (stage == "cnn" and value) or (stage == "qnn" and both_off):
            raise InputError(
                f"{config.source}: nvnmd/{name}: got {show(value)}, expected {show(not value)} in "
                f"train-{stage}, or all four switches left out")
    switches = settled(config.switches, stage)
    mistakes = Mistakes(config.source)
    named = {key: value for key, value in vars(config.files).items() if value is not None}
    _check(switches, named, mistakes)
    mistakes.check()
    # train-cnn writes the files, so that its option may move them; train-qnn reads them
    for key, value in named.items() if stage == "qnn" and folder is not None else ():
        home = str(Path(value).parent)
        if os.path.abspath(home) != os.path.abspath(str(folder)):
            raise InputError(f"{config.source}: nvnmd/{key}: got a file in {home}, expected one in "
                             f"{folder} as the command says, or none")
    home = str(folder) if folder is not None else (
        stage_folder(config.files, stage) or CNN_FOLDER)
    return home, switches, _files(config, stage, home, switches, named)


def _files(config: RunConfig, stage: str, folder: str, switches: Switches,
           named: Mapping[str, str]) -> StageFiles:
    """The files of a settled stage: the document's, else those in the folder."""
    restores = switches.restore_descriptor or switches.restore_fitting_net
    if stage == "cnn":
        lacking = _lacking(switches)
        if lacking and "weight_file" not in named:
            raise InputError(f"{config.source}: nvnmd/weight_file: {lacking}")
        return StageFiles(config_file=f"{folder}/config.npy", weight_file=named.get("weight_file"))
    wanted = {"config_file": restores, "weight_file": restores,
              "map_file": switches.quantize_descriptor}
    return StageFiles(**{key: named.get(key, f"{folder}/{FILES[key]}")
                         for key, needed in wanted.items() if needed})


def _lacking(switches: Switches) -> str:
    """The files that a train-cnn without `weight_file` is missing; or ""."""
    restored = next((name for name in SWITCHES[:2] if getattr(switches, name)), None)
    if restored is None:
        return ""
    return f"missing key, expected the weights to restore, as nvnmd/{restored} is true"
