"""The section `training` of an input document: where data are, how they are drawn, how long."""

from __future__ import annotations

import re
from typing import Any

from nvnmd.config import TrainingConfig
from nvnmd.data_source import atom_count, find_systems, is_hdf5, is_system
from nvnmd.errors import InputError
from nvnmd.mistakes import Mistakes
from nvnmd.system_probability import BY_SIZE, problem

AUTO_ATOMS = 32
DATA_KEYS = ("systems", "batch_size", "set_prefix", "auto_prob", "sys_probs")


def training_config(given: dict[str, Any], full: dict[str, Any], mistakes: Mistakes,
                    find: bool) -> TrainingConfig:
    """Settings of the training.

    Parameters
    ----------
    given, full : dict
        The section as the document has it, and with its defaults; without what is wrong in it.
    mistakes : Mistakes
        Takes what is wrong, and is raised with everything that it holds.
    find : bool
        Look for the systems' folders.
    """
    training = _training_data(given, full, mistakes, find)
    held_out: dict[str, Any] = {}
    validation = full["validation_data"]
    if validation is not None:
        part = _data(validation, "training/validation_data", mistakes, find)
        # the contract draws validation batches from one system each
        part.pop("mixed_batch", None)
        held_out = {f"validation_{key}": value for key, value in part.items()}
        held_out["validation_numb_btch"] = validation["numb_btch"]
    warmup = full.get("warmup_steps", 0)
    steps = ("training/numb_steps", "training/stop_batch", "training/warmup_steps")
    if warmup and mistakes.sound(*steps) and warmup >= full["numb_steps"]:
        mistakes.add("training/warmup_steps", warmup,
                     f"fewer than training/numb_steps = {full['numb_steps']}")
    # files go into the command's own folder, whichever folder the document names
    names = {key: full[key].rsplit("/", 1)[-1]
             for key in ("disp_file", "profiling_file", "save_ckpt")}
    _check_names(names, full["profiling"], mistakes)
    mistakes.check()
    plain: dict[str, Any] = {key: full.get(key) for key in (
        "numb_steps", "seed", "disp_freq", "save_freq", "max_ckpt_keep", "disp_training",
        "time_training", "tensorboard", "tensorboard_log_dir", "tensorboard_freq", "profiling",
        "enable_profiler")}
    return TrainingConfig(
        **training, **held_out, **plain, **names, warmup_steps=warmup,
        gradient_max_norm=float(full.get("gradient_max_norm", 0.0)),
        stat_file=full.get("stat_file"))


def _training_data(given: dict[str, Any], full: dict[str, Any], mistakes: Mistakes,
                   find: bool) -> dict[str, Any]:
    """The data to train on, from the one place that names them."""
    where = "training/training_data"
    data = full
    if "training_data" in given:
        data = full["training_data"]
        for key in DATA_KEYS:
            if key in given:
                mistakes.add_text(f"training/{key}", f"got a second value besides {where}, "
                                                     "expected one of the two")
    elif "systems" in given:
        where = "training"
    elif mistakes.sound(where, "training/systems"):
        mistakes.add_text(f"{where}/systems", "missing key, expected a list of strings or a string")
    return _data(data, where, mistakes, find)


def _check_names(names: dict[str, str], profiling: bool, mistakes: Mistakes) -> None:
    """Note files that would be written over each other."""
    curve, profile, checkpoint = names["disp_file"], names["profiling_file"], names["save_ckpt"]
    if profiling and profile == curve:
        mistakes.add("training/profiling_file", profile, "another file than training/disp_file")
    for key in ("disp_file", "profiling_file"):
        if re.fullmatch(re.escape(checkpoint) + r"-\d+\.npz", names[key]):
            mistakes.add(f"training/{key}", names[key],
                         "no name of a checkpoint, which training/save_ckpt begins")


def _data(section: dict[str, Any], where: str, mistakes: Mistakes, find: bool) -> dict[str, Any]:
    """The systems of a section, a batch size for each, and how often each is drawn.

    Empty where the systems are not known.
    """
    path, named = f"{where}/systems", section.get("systems")
    if named is None:
        return {}
    systems = _systems(named, path, mistakes, find)
    if not systems:
        return {}
    size = section.get("batch_size", "auto")
    head, _, number = size.partition(":") if isinstance(size, str) else ("", "", "")
    if head == "mixed":
        sizes = [int(number)] * len(systems)
    elif head == "auto":
        least = int(number or AUTO_ATOMS)
        sizes = [_auto_batch(folder, least, mistakes) if find and mistakes.sound(path) else 1
                 for folder in systems]
    else:
        sizes = [size] * len(systems) if isinstance(size, int) else size
        if len(sizes) != len(systems):
            mistakes.add(f"{where}/batch_size", size,
                         f"{len(systems)} integers, one for each system")
    style, given = section["auto_prob"], section["sys_probs"]
    if find or not isinstance(named, str):
        expected = problem(style, len(systems))
        if expected is not None:
            mistakes.add(f"{where}/auto_prob", style, expected)
        if given is not None and len(given) != len(systems):
            mistakes.add(f"{where}/sys_probs", given,
                         f"{len(systems)} numbers, one for each system")
    if given is not None and style != BY_SIZE:
        mistakes.add_text(f"{where}/auto_prob", f"got a second choice besides {where}/sys_probs, "
                                                "expected one of the two")
    return {"systems": tuple(systems), "batch_size": tuple(sizes),
            "mixed_batch": head == "mixed", "auto_prob": style,
            "set_prefix": section["set_prefix"],
            "sys_probs": None if given is None else tuple(float(value) for value in given)}


def _systems(named: str | list[str], path: str, mistakes: Mistakes, find: bool) -> list[str]:
    """The systems' names: folders, or groups of HDF5 files; none where there are none."""
    systems = [named] if isinstance(named, str) else list(named)
    if find and isinstance(named, str):
        try:
            return [str(folder) for folder in find_systems(named)]
        except InputError as error:
            if is_hdf5(named):
                mistakes.add_text(path, str(error))
            else:
                mistakes.add(path, named, "a folder with systems (type.raw) below it")
            return []
    for index, folder in enumerate(systems if find else ()):
        where = f"{path}/{index}"
        try:
            if not is_system(folder):
                mistakes.add(where, folder, "a system: a folder or FILE.hdf5#/PATH with a "
                                            "type.raw")
        except InputError as error:
            mistakes.add_text(where, str(error))
    return systems


def _auto_batch(folder: str, atoms: int, mistakes: Mistakes) -> int:
    """The least number of frames that together hold `atoms` atoms."""
    try:
        count = atom_count(folder)
    except InputError as error:
        mistakes.add_text("", str(error))
        return 1
    if not count:
        mistakes.add_text("", f"{folder}/type.raw: got no atoms, expected one type index per atom")
    return -(-atoms // max(count, 1))
