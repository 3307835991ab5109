"""The section `training` of an input document: where data are, how they are drawn, how long."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nvnmd.data.find import atom_count, find_systems, frame_counts
from nvnmd.data.probability import BY_SIZE, given_problem, problem, system_probabilities
from nvnmd.data.source import is_hdf5
from nvnmd.errors import InputError
from nvnmd.inputs.config import TrainingConfig
from nvnmd.inputs.mistakes import Mistakes

AUTO_ATOMS = 32
DATA_KEYS = ("systems", "batch_size", "set_prefix", "auto_prob", "sys_probs", "rglob_patterns",
             "min_pair_dist")
# Every name of the two keys that say how long a training is
STEP_KEYS = ("numb_steps", "num_steps", "num_step", "numb_step", "stop_batch", "numb_epoch",
             "num_epoch", "num_epochs", "numb_epochs")


def training_config(given: dict[str, Any], full: dict[str, Any], rate: dict[str, Any],
                    mistakes: Mistakes, find: bool,
                    warn: Callable[[str], None]) -> TrainingConfig:
    """Settings of the training.

    Parameters
    ----------
    given, full : dict
        The section as the document has it, and with its defaults; without what is wrong in it.
    rate : dict
        The section `learning_rate` with its defaults.
    mistakes : Mistakes
        Takes what is wrong, and is raised with everything that it holds.
    find : bool
        Look for the systems' folders.
    warn : callable
        Takes a line about systems that a ``filter:N`` leaves out.
    """
    training = _training_data(given, full, mistakes, find, warn)
    held_out: dict[str, Any] = {}
    validation = full["validation_data"]
    if validation is not None:
        part = _data(validation, "training/validation_data", mistakes, find, warn)
        # the contract draws validation batches from one system each
        part.pop("mixed_batch", None)
        held_out = {f"validation_{key}": value for key, value in part.items()}
        held_out["validation_numb_btch"] = validation["numb_btch"]
    steps = _steps(given, full, training, mistakes, find)
    warmup = _warmup(given, rate, steps, mistakes)
    # files go into the command's own folder, whichever folder the document names
    names = {key: full[key].rsplit("/", 1)[-1]
             for key in ("disp_file", "profiling_file", "save_ckpt")}
    _check_names(names, full["profiling"], mistakes)
    mistakes.check()
    plain: dict[str, Any] = {key: full.get(key) for key in (
        "seed", "disp_freq", "save_freq", "max_ckpt_keep", "disp_training",
        "time_training", "tensorboard", "tensorboard_log_dir", "tensorboard_freq", "profiling",
        "enable_profiler")}
    return TrainingConfig(
        **training, **held_out, **plain, **names, numb_steps=steps, warmup_steps=warmup,
        gradient_max_norm=float(full.get("gradient_max_norm", 0.0)),
        stat_file=full.get("stat_file"))


def _steps(given: dict[str, Any], full: dict[str, Any], data: dict[str, Any], mistakes: Mistakes,
           find: bool) -> int:
    """Steps of the training: given, or as many as some passes over the data take.

    1 for passes where the data are not to be looked at.
    """
    if "numb_steps" in given:
        if "numb_epoch" in given:
            mistakes.add_text("training/numb_epoch", "got a second value besides "
                              "training/numb_steps, expected one of the two")
        return int(full["numb_steps"])
    if "numb_epoch" not in given:
        if mistakes.sound(*(f"training/{name}" for name in STEP_KEYS)):
            mistakes.add_text("training/numb_steps", "missing key, expected an integer, or "
                                                     "training/numb_epoch")
        return 0
    if not find or not data or not mistakes.sound("training"):
        return 1
    try:
        # as DeePMD-kit counts: whole batches of each set, at least one
        batches = [sum(max(frames // size, 1)
                       for frames in frame_counts(system, data["set_prefix"]))
                   for system, size in zip(data["systems"], data["batch_size"], strict=True)]
    except InputError as error:
        mistakes.add_text("", str(error))
        return 1
    share = system_probabilities(batches, data["auto_prob"], data["sys_probs"])
    drawn = share > 0
    whole = math.ceil(float(np.max(np.array(batches)[drawn] / share[drawn])))
    return math.ceil(given["numb_epoch"] * whole)


def _warmup(given: dict[str, Any], rate: dict[str, Any], steps: int, mistakes: Mistakes) -> int:
    """Steps of the warm-up, from the one place that names them; a 0 names none."""
    places = {"training/warmup_steps": given.get("warmup_steps", 0),
              "learning_rate/warmup_steps": rate.get("warmup_steps", 0),
              "learning_rate/warmup_ratio": rate.get("warmup_ratio") or 0}
    named = [path for path, value in places.items() if value]
    for path in named[1:]:
        mistakes.add_text(path, f"got a second value besides {named[0]}, expected one of the two")
    if not named:
        return 0
    value = places[named[0]]
    warmup = int(value * steps) if named[0].endswith("ratio") else int(value)
    if mistakes.sound("training/numb_steps", "training/stop_batch", named[0]) and warmup >= max(
            steps, 1):
        mistakes.add(named[0], value, f"fewer than training/numb_steps = {steps}")
    return warmup


def _training_data(given: dict[str, Any], full: dict[str, Any], mistakes: Mistakes,
                   find: bool, warn: Callable[[str], None]) -> dict[str, Any]:
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
    return _data(data, where, mistakes, find, warn)


def _check_names(names: dict[str, str], profiling: bool, mistakes: Mistakes) -> None:
    """Note files that would be written over each other."""
    curve, profile, checkpoint = names["disp_file"], names["profiling_file"], names["save_ckpt"]
    if profiling and profile == curve:
        mistakes.add("training/profiling_file", profile, "another file than training/disp_file")
    for key in ("disp_file", "profiling_file"):
        if re.fullmatch(re.escape(checkpoint) + r"-\d+\.npz", names[key]):
            mistakes.add(f"training/{key}", names[key],
                         "no name of a checkpoint, which training/save_ckpt begins")


def _data(section: dict[str, Any], where: str, mistakes: Mistakes, find: bool,
          warn: Callable[[str], None]) -> dict[str, Any]:
    """The systems of a section, a batch size for each, and how often each is drawn.

    Empty where the systems are not known.
    """
    path, named = f"{where}/systems", section.get("systems")
    if named is None:
        return {}
    systems = expand(named, section.get("rglob_patterns"), path, mistakes, find)
    if not systems:
        return {}
    size = section.get("batch_size", "auto")
    head, _, number = size.partition(":") if isinstance(size, str) else ("", "", "")
    if head in ("auto", "max", "filter"):
        atoms = [_atoms(folder, mistakes) if find and mistakes.sound(path) else 0
                 for folder in systems]
        limit = int(number or AUTO_ATOMS)
        if head == "filter":
            systems, atoms = _filtered(systems, atoms, limit, f"{where}/batch_size", mistakes,
                                       warn)
        # no frames are counted without looking at the data
        sizes = [1 if not n else -(-limit // n) if head == "auto" else max(limit // n, 1)
                 for n in atoms]
    elif head == "mixed":
        sizes = [int(number)] * len(systems)
    else:
        sizes = [size] * len(systems) if isinstance(size, int) else size
        if len(sizes) != len(systems) and (find or section.get("rglob_patterns") is None):
            mistakes.add(f"{where}/batch_size", size,
                         f"{len(systems)} integers, one for each system")
    style, given = section["auto_prob"], section["sys_probs"]
    if find and mistakes.sound(path, f"{where}/batch_size"):
        expected = problem(style, len(systems))
        if expected is not None:
            mistakes.add(f"{where}/auto_prob", style, expected)
        wrong = None if given is None else given_problem(given, len(systems))
        if wrong is not None:
            mistakes.add(f"{where}/sys_probs", given, wrong)
    if given is not None and style != BY_SIZE:
        mistakes.add_text(f"{where}/auto_prob", f"got a second choice besides {where}/sys_probs, "
                                                "expected one of the two")
    return {"systems": tuple(systems), "batch_size": tuple(sizes),
            "mixed_batch": head == "mixed", "auto_prob": style,
            "set_prefix": section["set_prefix"],
            "sys_probs": None if given is None else tuple(float(value) for value in given)}


def expand(named: str | list[str], patterns: list[str] | None, path: str, mistakes: Mistakes,
           find: bool) -> list[str]:
    """The systems at and below what a document names; none where one of the names is wrong.

    Parameters
    ----------
    named : str or list of str
        Folders, or HDF5 files or groups of them.
    patterns : list of str, optional
        See `nvnmd.data.find.find_systems`.
    path : str
        The key, for messages.
    mistakes : Mistakes
        Takes what is wrong.
    find : bool
        Look for them; else the names are returned as they are.
    """
    names = [named] if isinstance(named, str) else list(named)
    if not find:
        return names
    systems: list[str] = []
    wrong = False
    for index, name in enumerate(names):
        where = path if isinstance(named, str) else f"{path}/{index}"
        try:
            systems += [str(folder) for folder in find_systems(name, patterns)]
        except InputError as error:
            wrong = True
            if is_hdf5(name) or (patterns is not None and Path(name).is_dir()):
                mistakes.add_text(where, str(error))
            else:
                mistakes.add(where, name, "a system or a folder with systems (type.raw) below it, "
                                          "or FILE.hdf5#/PATH" + _remark(name))
    return [] if wrong else systems


def _remark(name: str) -> str:
    """What a name of data that there are none of perhaps was meant to be."""
    if name.rstrip("/").endswith(".lmdb") or (Path(name) / "data.mdb").is_file():
        return "; LMDB is not read"
    if any(sign in name for sign in "*?["):
        return "; patterns belong into rglob_patterns"
    if name.startswith(("~", "$")):
        return "; the name is taken as it is, ~ and $ too"
    return ""


def _filtered(systems: list[str], atoms: list[int], limit: int, path: str, mistakes: Mistakes,
              warn: Callable[[str], None]) -> tuple[list[str], list[int]]:
    """The systems of at most `limit` atoms, with their atoms."""
    kept = [index for index, count in enumerate(atoms) if count <= limit]
    if not kept:
        mistakes.add(path, f"filter:{limit}", f"a number of atoms that a system has; the smallest "
                                              f"has {min(atoms)}")
        return systems, atoms
    if len(kept) < len(systems):
        warn(f"{mistakes.source}: {path}: {len(systems) - len(kept)} of {len(systems)} systems "
             f"have more than {limit} atoms and are left out")
    return [systems[index] for index in kept], [atoms[index] for index in kept]


def _atoms(folder: str, mistakes: Mistakes) -> int:
    """Atoms of a frame of a system; 0 where they are not known."""
    try:
        count = atom_count(folder)
    except InputError as error:
        mistakes.add_text("", str(error))
        return 0
    if not count:
        mistakes.add_text("", f"{folder}/type.raw: got no atoms, expected one type index per atom")
    return count
