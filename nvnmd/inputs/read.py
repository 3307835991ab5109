"""From an input document to a `RunConfig`: the checks between keys, and the defaults."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from nvnmd.errors import InputError
from nvnmd.inputs.check import check_section
from nvnmd.inputs.config import (
    DescriptorConfig,
    FittingConfig,
    LearningRateConfig,
    LossConfig,
    PrecisionConfig,
    RunConfig,
    StageFiles,
    StatisticsConfig,
    Switches,
    TrainingConfig,
)
from nvnmd.inputs.data_section import training_config
from nvnmd.inputs.first_release import take_defaults
from nvnmd.inputs.json_text import read_json, without_comments
from nvnmd.inputs.limits import DEVICES, STEPPED_SLOTS, auto_factor
from nvnmd.inputs.loss_terms import active
from nvnmd.inputs.mistakes import Mistakes, show
from nvnmd.inputs.policy import DESCRIPTOR, table
from nvnmd.inputs.sizes import read_sizes
from nvnmd.inputs.stage import FILES, SWITCHES, read_stage, settle_stage, stage_folder
from nvnmd.inputs.stairs import settle_stair
from nvnmd.inputs.tree import DESCRIPTOR_DEFAULT, document_tree, with_defaults
from nvnmd.inputs.unused import tell_unused
from nvnmd.inputs.written import normalized_document

# the terms of the loss, whose prefactors have a start and a limit
TERMS = ("e", "f", "v", "ae", "pf", "gf")
MAX_TYPES = {0: 4, 1: 32}
DEFAULT_RCUT = 6.0
DEFAULT_RCUT_SMTH = 0.5
DEFAULT_STOP_LR = 1e-8
VENDOR_CAPACITIES = (128, 256)
SHARED_KEYS = ("sel", "rcut", "rcut_smth", "type_map")

Warn = Callable[[str], None]


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=3)


def load_input(path: str | Path, *, warn: Warn = _warn, find_systems: bool = True) -> RunConfig:
    """Read and validate an input document.

    Parameters
    ----------
    path : str or Path
        The JSON document.
    warn : callable
        Takes a line about a key that has no effect.
    find_systems : bool
        Look for the systems' folders (relative to the working directory) and settle the batch
        sizes. Without it the data may be absent, an `auto` batch size counts as 1, and an `auto`
        sel as 4 slots.

    Raises
    ------
    InputError
        One line `FILE: path/to/key: got X, expected Y` for each mistake.
    """
    return parse_document(read_json(path), str(path), warn=warn, find_systems=find_systems)


def parse_document(document: dict[str, Any], source: str, *, warn: Warn = _warn,
                   find_systems: bool = True) -> RunConfig:
    """Validate a document that is already in memory; `source` is its name in messages."""
    mistakes = Mistakes(source)
    document = without_comments(document)
    section = document.get("nvnmd")
    version = int(isinstance(section, dict) and _is(1, section.get("version")))
    newer = isinstance(section, dict) and _is(2, section.get("sub_version"))
    sub_version = 2 if version and newer else 1
    tree = document_tree()
    given = check_section(tree, document, "", mistakes, table(version, sub_version),
                          {DESCRIPTOR: DESCRIPTOR_DEFAULT[version]})
    # what follows looks at sound values only, so that a document's mistakes come all at once
    for name in ("nvnmd", "training", "model"):
        given.setdefault(name, {})
    model = given["model"]
    for part in ("descriptor", "fitting_net"):
        model.setdefault(part, {})
    taken = take_defaults(given, mistakes, find_systems)
    full = {name: with_defaults(tree[name], given.get(name, {}))
            for name in ("learning_rate", "loss", "training")}

    stage, switches, stage_files = "none", Switches(), StageFiles()
    if mistakes.sound(*(f"nvnmd/{name}" for name in (*SWITCHES, *FILES))):
        stage, switches, stage_files = read_stage(given["nvnmd"], mistakes)
    type_map, descriptor = _descriptor(given, version, sub_version, mistakes)
    _check_sub_version(given["nvnmd"], version, mistakes)
    learning_rate = _learning_rate(given.get("learning_rate", {}), full["learning_rate"], mistakes)
    loss = _loss(full["loss"], mistakes)
    neuron, axis_neuron, widths = read_sizes(given, mistakes)
    descriptor = replace(descriptor, neuron=neuron, axis_neuron=axis_neuron)
    fitting = _fitting(given, widths, len(type_map), mistakes)
    precision = _precision(given, mistakes)
    _check_aim(loss, descriptor, fitting, given["training"], mistakes)
    training = training_config(given["training"], full["training"], full["learning_rate"],
                               mistakes, find_systems, warn)
    learning_rate = settle_stair(learning_rate, given.get("learning_rate", {}), training, source,
                                 warn)
    if find_systems:
        path, sel = _sel(given, mistakes)
        if isinstance(sel, str):
            descriptor = _auto_sel(descriptor, sel, type_map, training, version)
            _check_sum(path, list(descriptor.sel), given, mistakes)
            mistakes.check()
        tell_unused(training, loss, source, warn)
    if sub_version == 2:
        descriptor = replace(descriptor, sel=_raised(descriptor.sel))
    if taken:
        warn(f"{source}: {taken}, as in documents of NVNMD's first release")
    if "numb_test" in given["training"]:
        warn(f"{source}: training/numb_test: has no effect; "
             "use training/validation_data/numb_btch, or `nvnmd test -n`")
    config = RunConfig(
        version=version, sub_version=sub_version,
        device=given["nvnmd"].get("device", DEVICES[0]),
        max_nnei=given["nvnmd"]["max_nnei"], type_map=type_map,
        descriptor=descriptor,
        fitting=fitting,
        learning_rate=learning_rate,
        loss=loss,
        training=training,
        statistics=StatisticsConfig(
            nbatch=model.get("data_stat_nbatch", 10),
            protect=float(model.get("data_stat_protect", 0.01))),
        precision=precision,
        tables=given["nvnmd"].get("tables", "vendor"),
        source=source, stage=stage, switches=switches,
        files=stage_files, cnn_folder=stage_folder(stage_files, stage))
    config.normalized.update(normalized_document(config))
    return config


def _is(number: int, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value == number


def _check_sub_version(section: dict[str, Any], version: int, mistakes: Mistakes) -> None:
    """Note a mistake where a document of another arithmetic speaks of sub_version 2."""
    if not mistakes.sound("nvnmd/version", "nvnmd/sub_version", "nvnmd/device",
                          "nvnmd/max_nnei"):
        return
    if section.get("sub_version", 1) == 2 and version == 0:
        mistakes.add_text("nvnmd/sub_version", "got 2, expected 1 in version 0")
    elif section.get("sub_version", 1) == 2 and section["max_nnei"] not in VENDOR_CAPACITIES:
        mistakes.add_text("nvnmd/max_nnei", f"got {section['max_nnei']}, expected 128 or 256 with "
                                            "sub_version 2")
    elif section.get("sub_version", 1) == 2 and section.get("tables", "vendor") != "vendor":
        mistakes.add_text("nvnmd/tables", f"got {show(section['tables'])}, "
                                          'expected "vendor" with sub_version 2')
    elif "device" in section and section.get("sub_version", 1) == 1:
        mistakes.add_text("nvnmd/device", f"got {show(section['device'])}, expected sub_version 2 "
                                          "with it: other files are the same for all devices")


def _raised(sel: tuple[int, ...]) -> tuple[int, ...]:
    """The slots that the hardware of sub_version 2 has for so many neighbours."""
    return (next((slots for slots in STEPPED_SLOTS if slots >= sum(sel)), sum(sel)),)


def _check_aim(loss: LossConfig, descriptor: DescriptorConfig, fitting: FittingConfig,
               training: dict[str, Any], mistakes: Mistakes) -> None:
    """Note a mistake where the steps of a document would train nothing."""
    if not training.get("numb_steps", training.get("numb_epoch")):
        return
    if mistakes.sound("loss") and not any(active(loss).values()):
        mistakes.add_text("loss", "every prefactor is 0, so that nothing is trained; expected one "
                                  "above 0, or training/numb_steps = 0")
    if not descriptor.trainable and len(fitting.fixed_layers) > len(fitting.neuron):
        mistakes.add_text("model/fitting_net/trainable", "false like model/descriptor/trainable, "
                          "so that nothing is trained; expected true for one, or "
                          "training/numb_steps = 0")


def _seed(part: str, given: dict[str, Any], mistakes: Mistakes) -> int | None:
    """The seed of a net: its own, that of both, or that of the training."""
    own, both = given["model"][part].get("seed"), given["nvnmd"].get("seed")
    if own is not None and both is not None:
        mistakes.add_text("nvnmd/seed", f"got a second value besides model/{part}/seed, expected "
                                        "one of the two")
    found = own if own is not None else both
    return found if found is not None else given["training"].get("seed")


def _places(key: str) -> tuple[str, str]:
    """Both paths of a key that is allowed in `nvnmd` and in `model`."""
    return f"nvnmd/{key}", f"model/{key}" if key == "type_map" else f"model/descriptor/{key}"


def _shared_keys(full: dict[str, Any], mistakes: Mistakes) -> dict[str, tuple[str, Any]]:
    """Path and value of each key that may stand in `nvnmd` or in `model`."""
    found: dict[str, tuple[str, Any]] = {}
    model = full["model"]
    for key in SHARED_KEYS:
        here, where = ((model, "model") if key == "type_map"
                       else (model["descriptor"], "model/descriptor"))
        places = [(f"{path}/{key}", section[key])
                  for section, path in ((full["nvnmd"], "nvnmd"), (here, where)) if key in section]
        if len(places) == 2:
            mistakes.add_text(places[0][0], f"got a second value besides {places[1][0]}, "
                                            "expected one of the two")
        if places:
            found[key] = places[0]
    return found


def _descriptor(full: dict[str, Any], version: int, sub_version: int,
                mistakes: Mistakes) -> tuple[tuple[str, ...], DescriptorConfig]:
    found = _shared_keys(full, mistakes)
    # the contract's default, for the full form
    if "sel" not in found and full["model"]["descriptor"]:
        found["sel"] = ("model/descriptor/sel", "auto")
    slots = ("one integer, the slots of all types, or one for each" if version
             else "a list of integers")
    for key, what in (("sel", slots), ("type_map", "a list of strings")):
        if key not in found and mistakes.sound(*_places(key)):
            mistakes.add_text(f"nvnmd/{key}", f"missing key, expected {what}")
    types_path, type_map = found.get("type_map", ("", []))
    rcut_path, rcut = found.get("rcut", ("nvnmd/rcut", DEFAULT_RCUT))
    smth_path, rcut_smth = found.get("rcut_smth", ("nvnmd/rcut_smth", DEFAULT_RCUT_SMTH))
    if mistakes.sound("nvnmd/version") and len(type_map) > MAX_TYPES[version]:
        mistakes.add_text(types_path, f"got {len(type_map)} types, expected at most "
                                      f"{MAX_TYPES[version]} in version {version}")
    for name in sorted({name for name in type_map if type_map.count(name) > 1 or not name}):
        mistakes.add(types_path, name, "every element named, and once only")
    sel = _slots(found, version, slots, mistakes)
    if sel and mistakes.sound("nvnmd/max_nnei"):
        _check_sum(found["sel"][0], sel, full, mistakes)
    if mistakes.sound(*_places("rcut"), *_places("rcut_smth")) and not rcut_smth < rcut:
        mistakes.add(smth_path, rcut_smth, f"a distance below {rcut_path} = {show(rcut)}")
    config = DescriptorConfig(sel=tuple(sel), rcut=float(rcut), rcut_smth=float(rcut_smth),
                              seed=_seed("descriptor", full, mistakes),
                              set_davg_zero=(bool(version) and sub_version == 1)
                              or full["model"]["descriptor"].get("set_davg_zero", False),
                              trainable=full["model"]["descriptor"].get("trainable", True),
                              exclude_types=_excluded(full, len(type_map), mistakes))
    return tuple(type_map), config


def _slots(found: dict[str, tuple[str, Any]], version: int, slots: str,
           mistakes: Mistakes) -> list[int]:
    """The neighbour slots, 4 of each kind for an `auto` until the data have been seen.

    Empty where they are not known.
    """
    types_path, type_map = found.get("type_map", ("", []))
    path, sel = found.get("sel", ("", None))
    if sel is None or not type_map or not mistakes.sound("nvnmd/version", *_places("sel")):
        return []
    if isinstance(sel, str):
        return [4] * (1 if version else len(type_map))
    if version == 1 and not isinstance(sel, list):
        return [sel]
    if not isinstance(sel, list) or (version == 1 and len(sel) not in (1, len(type_map))):
        mistakes.add(path, sel, slots)
        return []
    if version == 0 and len(sel) != len(type_map):
        mistakes.add(path, sel, f"{len(type_map)} integers, one for each of {types_path}")
    # of numbers for the types only the sum counts in version 1
    return [sum(sel)] if version == 1 else sel


def _sel(given: dict[str, Any], mistakes: Mistakes) -> tuple[str, Any]:
    """Path and value of `sel` as the document has it."""
    default = ("model/descriptor/sel", "auto")
    return _shared_keys(given, Mistakes(mistakes.source)).get("sel", default)


def _check_sum(path: str, sel: list[int], given: dict[str, Any], mistakes: Mistakes) -> None:
    """Note a mistake where the hardware holds fewer neighbours than `sel` has."""
    max_nnei = given["nvnmd"]["max_nnei"]
    if sum(sel) > max_nnei:
        mistakes.add_text(path, f"got a sum of {sum(sel)}, expected at most "
                                f"nvnmd/max_nnei = {max_nnei}")


def _auto_sel(descriptor: DescriptorConfig, sel: str, type_map: tuple[str, ...],
              training: TrainingConfig, version: int) -> DescriptorConfig:
    """Take as many slots as the training data ask for."""
    # only here: reading a document must not need what reads the data
    from nvnmd.data.neighbor_stat import auto_sel, neighbor_stat
    from nvnmd.data.systems import load_systems
    from nvnmd.progress import counted

    systems = load_systems(training.systems, type_map, require=(), set_prefix=training.set_prefix)
    with counted("neighbours") as progress:
        found = neighbor_stat(systems, len(type_map), descriptor.rcut, progress)
    return replace(descriptor, sel=auto_sel(found, auto_factor(sel), version))


def _excluded(full: dict[str, Any], ntypes: int,
              mistakes: Mistakes) -> tuple[tuple[int, int], ...]:
    """Pairs of types that are no neighbours of each other, ascending, from both places."""
    model = full["model"]
    found: set[tuple[int, int]] = set()
    for path, pairs in (("model/descriptor/exclude_types",
                         model["descriptor"].get("exclude_types", [])),
                        ("model/pair_exclude_types", model.get("pair_exclude_types", []))):
        if ntypes and any(not 0 <= kind < ntypes for pair in pairs for kind in pair):
            mistakes.add(path, pairs, f"pairs of type indices from 0 to {ntypes - 1}")
        found |= {(min(pair), max(pair)) for pair in pairs}
    return tuple(sorted(found))


def _learning_rate(given: dict[str, Any], section: dict[str, Any],
                   mistakes: Mistakes) -> LearningRateConfig:
    start, ratio = float(section["start_lr"]), section.get("stop_lr_ratio")
    if ratio is not None and given.get("stop_lr") is not None:
        mistakes.add_text("learning_rate/stop_lr_ratio", "got a second value besides "
                          "learning_rate/stop_lr, expected one of the two")
    stop = section["stop_lr"]
    if ratio is not None:
        stop = start * ratio
    stop = DEFAULT_STOP_LR if stop is None else float(stop)
    # zero from start to end is a run that must change nothing; an exponential to zero is none
    rate = section["decay_rate"]
    ends = ("learning_rate/start_lr", "learning_rate/stop_lr", "learning_rate/decay_rate")
    if mistakes.sound(*ends) and not (
            0 < stop <= start or start == stop == 0 or (rate is not None and stop <= start)):
        mistakes.add("learning_rate/stop_lr", stop if ratio is not None else section["stop_lr"],
                     f"a number above 0 and at most start_lr = {show(section['start_lr'])}"
                     if start else "0, as start_lr is 0")
    return LearningRateConfig(start_lr=start, stop_lr=stop, decay_steps=section["decay_steps"],
                              decay_rate=_float(rate), scale_by_worker=section["scale_by_worker"],
                              warmup_start_factor=float(section["warmup_start_factor"]))


def _fitting(given: dict[str, Any], widths: tuple[int, ...], ntypes: int, mistakes: Mistakes
             ) -> FittingConfig:
    section = given["model"]["fitting_net"]
    atom_ener = section.get("atom_ener", [])
    if ntypes and len(atom_ener) not in (0, ntypes):
        mistakes.add("model/fitting_net/atom_ener", atom_ener,
                     f"{ntypes} numbers or nulls, one for each type")
    config = FittingConfig(neuron=widths, seed=_seed("fitting_net", given, mistakes),
                           rcond=_float(section.get("rcond")),
                           atom_ener=tuple(_float(energy) for energy in atom_ener))
    layers = len(config.neuron) + 1
    trainable = section.get("trainable", True)
    if isinstance(trainable, bool):
        trainable = [trainable] * layers
    if len(trainable) != layers:
        mistakes.add("model/fitting_net/trainable", trainable,
                     f"{layers} truth values, one for each layer and one for the output")
    return config if all(trainable) else replace(config, trainable=tuple(trainable))


def _precision(given: dict[str, Any], mistakes: Mistakes) -> PrecisionConfig:
    mixed = given["training"].get("mixed_precision")
    formats = []
    for part in ("descriptor", "fitting_net"):
        named = given["model"][part].get("precision", "default")
        if mixed is not None and named not in ("default", "float32"):
            mistakes.add(f"model/{part}/precision", named,
                         "float32, as training/mixed_precision is given")
        formats.append("float32" if mixed is not None or named == "float32" else "float64")
    return PrecisionConfig(descriptor=formats[0], fitting=formats[1],
                           compute=None if mixed is None else mixed.get("compute_prec"))


def _loss(section: dict[str, Any], mistakes: Mistakes) -> LossConfig:
    pairs = {f"{side}_pref_{term}": float(section[f"{side}_pref_{term}"])
             for term in TERMS for side in ("start", "limit")}
    count = section["numb_generalized_coord"]
    if (pairs["start_pref_gf"] or pairs["limit_pref_gf"]) and count == 0 and mistakes.sound(
            "loss/numb_generalized_coord"):
        mistakes.add("loss/numb_generalized_coord", count,
                     "an integer above 0, as start_pref_gf or limit_pref_gf is not 0")
    return LossConfig(**pairs, relative_f=_float(section.get("relative_f")),
                      enable_atom_ener_coeff=section["enable_atom_ener_coeff"],
                      numb_generalized_coord=count)


def for_stage(config: RunConfig, stage: str, cnn_folder: str | Path | None = None) -> RunConfig:
    """The same run as that of a stage, its document written back so; see `normalized_document`.

    Parameters
    ----------
    stage : {"cnn", "qnn"}
        The command.
    cnn_folder : str or Path, optional
        Folder of the continuous stage; by default the one that the document names, else
        ``nvnmd_cnn``.

    Raises
    ------
    InputError
        The document is that of the other stage, or names another folder.
    """
    folder, switches, files = settle_stage(config, stage, cnn_folder)
    fitting = config.fitting
    if stage == "qnn" and config.training.numb_steps and (
            len(fitting.fixed_layers) > len(fitting.neuron)):
        raise InputError(f"{config.source}: model/fitting_net/trainable: got false for every "
                         "layer, so that train-qnn trains nothing; expected true for one, or "
                         "training/numb_steps = 0")
    config = replace(config, stage=stage, cnn_folder=folder, switches=switches, files=files)
    return replace(config, normalized=normalized_document(config))


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)
