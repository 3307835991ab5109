"""A pair of input documents to begin with, fitted to some data, with comments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nvnmd.data.find import find_systems
from nvnmd.data.neighbor_stat import auto_sel, neighbor_stat
from nvnmd.data.source import open_source
from nvnmd.data.system import System
from nvnmd.data.systems import load_systems
from nvnmd.errors import InputError
from nvnmd.inputs.limits import AUTO_FACTOR
from nvnmd.progress import counted

CNN, QNN = "input_cnn.json", "input_qnn.json"
RCUT, RCUT_SMTH, LEAST_RCUT = 6.0, 0.5, 3.0
CAPACITIES = (128, 256)
MOST_TYPES = (4, 32)
CNN_STEPS, QNN_STEPS = 40_000, 2_000
_TRAINING, _VALIDATION = ("training", "train"), ("validation", "valid", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the documents say of the data.

    Attributes
    ----------
    type_map : tuple of str
        Elements.
    version : int
        NVNMD version.
    sel : tuple of int
        Neighbour slots: per type in version 0, one number in version 1; empty to have them counted
        by the training.
    max_nnei : int
        Capacity of the hardware, 128 or 256.
    rcut : float
        Cut-off in Å.
    training, validation : list of str
        Folders of data.
    energy, force, virial : bool
        Which labels all systems have.
    said : dict of str to str
        Why a key has its value, by the key.
    """

    type_map: tuple[str, ...]
    version: int
    sel: tuple[int, ...] = ()
    max_nnei: int = CAPACITIES[0]
    rcut: float = RCUT
    training: list[str] = field(default_factory=lambda: ["data/training"])
    validation: list[str] = field(default_factory=list)
    energy: bool = True
    force: bool = True
    virial: bool = False
    said: dict[str, str] = field(default_factory=dict)


def facts_of(data: str | Path, type_map: Sequence[str] = (), version: int | None = None,
             rcut: float | None = None) -> Facts:
    """Look at data: elements, neighbours, labels, and which part is for validation.

    Parameters
    ----------
    data : path-like
        A system, or a folder of systems; folders in it that are called training and validation (or
        train, valid, val, test) become these parts, else everything is for training.
    type_map : sequence of str
        Elements; by default those that the data name.
    version : int, optional
        NVNMD version; by default 0 up to four elements, else 1.
    rcut : float, optional
        Cut-off in Å; by default 6, or the next smaller half Å at which the neighbours fit.

    Raises
    ------
    InputError
        The data are not usable, name no elements, or have too many elements or neighbours.
    """
    training, validation = _parts(Path(data))
    paths = [path for part in (*training, *validation) for path in find_systems(part)]
    names = tuple(type_map) or _elements(paths)
    chosen = (0 if len(names) <= MOST_TYPES[0] else 1) if version is None else version
    if len(names) > MOST_TYPES[chosen]:
        raise InputError(f"{data}: {len(names)} elements, expected at most {MOST_TYPES[chosen]} in "
                         f"version {chosen}")
    systems = load_systems(paths, names, require=())
    cut, sel, capacity, said = _slots(systems, len(names), chosen, rcut, str(data))
    labels = {key: all(getattr(system, key) is not None for system in systems)
              for key in ("energy", "force", "virial")}
    if not labels["energy"] and not labels["force"]:
        raise InputError(f"{data}: neither energies nor forces in all systems, expected labels to "
                         "train on")
    return Facts(type_map=names, version=chosen, sel=sel, max_nnei=capacity, rcut=cut,
                 training=[str(part) for part in training],
                 validation=[str(part) for part in validation], said=said, **labels)


def _parts(data: Path) -> tuple[list[Path], list[Path]]:
    """Folders for training and for validation."""
    parts = [[data / name for name in names if (data / name).is_dir()]
             for names in (_TRAINING, _VALIDATION)]
    return (parts[0], parts[1]) if all(parts) else ([data], [])


def _elements(paths: Sequence[Path]) -> tuple[str, ...]:
    """Names of the elements, in the order in which the data bring them."""
    found: dict[str, None] = {}
    for path in paths:
        source = open_source(path)
        if "type_map.raw" not in source:
            raise InputError(f"{path}: no type_map.raw, so the elements have no names; expected "
                             "them from --type-map")
        found.update(dict.fromkeys(source.words("type_map.raw")))
    return tuple(found)


def _slots(systems: Sequence[System], ntypes: int, version: int, rcut: float | None, data: str
           ) -> tuple[float, tuple[int, ...], int, dict[str, str]]:
    """Cut-off, slots and capacity that hold every neighbour, and why."""
    cut = RCUT if rcut is None else rcut
    while True:
        with counted(f"neighbours within {cut:g} Å") as progress:
            found = neighbor_stat(systems, ntypes, cut, progress)
        for factor in (AUTO_FACTOR, 1.0):
            sel = auto_sel(found, factor, version)
            fitting = [capacity for capacity in CAPACITIES if sum(sel) <= capacity]
            if fitting:
                most = found.most.tolist() if version == 0 else found.most_in_all
                said = {"sel": f"most neighbours in the data: {most}, times {factor:g}, in "
                               "multiples of 4",
                        "rcut": f"Å; smallest distance in the data: {found.nearest:.3f} Å"}
                if rcut is None and cut < RCUT:
                    said["rcut"] += f"; at {RCUT:g} Å an atom has too many neighbours"
                return cut, sel, fitting[0], said
        if rcut is not None or cut <= LEAST_RCUT:
            raise InputError(f"{data}: an atom has {found.most_in_all} neighbours within {cut:g} Å,"
                             f" expected slots for all of them within {CAPACITIES[-1]}; a smaller "
                             "--rcut has fewer")
        cut -= 0.5


def documents(facts: Facts) -> dict[str, dict[str, Any]]:
    """The documents of both stages, by file name; keys that begin with "_" are comments."""
    sel: Any = "auto"
    if facts.sel:
        sel = list(facts.sel) if facts.version == 0 else facts.sel[0]
    said = {f"_{key}": text for key, text in facts.said.items()}
    network = {
        "_version": "0: up to 4 elements; 1: up to 32", "version": facts.version,
        "_max_nnei": "neighbours that the hardware holds: 128 or 256", "max_nnei": facts.max_nnei,
        "net_size": 128,
        **{key: said[key] for key in ("_sel",) if key in said}, "sel": sel,
        "_rcut": said.get("_rcut", "Å"), "rcut": facts.rcut, "rcut_smth": RCUT_SMTH,
        "_type_map": "their order numbers the types", "type_map": list(facts.type_map)}
    data: dict[str, Any] = {"training_data": {
        "_systems": "a folder stands for every system below it", "systems": _one(facts.training),
        "_batch_size": "frames per step: auto has at least 32 atoms", "batch_size": "auto"}}
    if facts.validation:
        data["validation_data"] = {"systems": _one(facts.validation), "batch_size": "auto",
                                   "numb_btch": 4}
    else:
        data["_validation_data"] = "none: name data here that the training does not see"
    return {
        CNN: {
            "_": "the float network: nvnmd train-cnn " + CNN, "nvnmd": network,
            "learning_rate": {"type": "exp", "start_lr": 1e-3, "stop_lr": 1e-6,
                              "_decay_steps": "the rate falls every so many steps",
                              "decay_steps": CNN_STEPS // 200},
            "loss": {"_": "forces count most at the start, energies more and more",
                     **_loss(facts, (0.02, 1), (1000, 1), (0.02, 0.1))},
            "training": {"seed": 1, "numb_steps": CNN_STEPS, "disp_freq": 1000,
                         "save_freq": CNN_STEPS // 10, **data}},
        QNN: {
            "_": "the quantized network, from the float one: nvnmd train-qnn " + QNN,
            "nvnmd": network,
            "learning_rate": {"_start_lr": "small: the weights are good already", "type": "exp",
                              "start_lr": 1e-5, "stop_lr": 1e-7, "decay_steps": QNN_STEPS // 40},
            "loss": _loss(facts, (1, 1), (100, 100), (0.1, 0.1)),
            "training": {"seed": 1, "numb_steps": QNN_STEPS, "disp_freq": 100,
                         "save_freq": QNN_STEPS // 2, **data}},
    }


def _one(parts: list[str]) -> str | list[str]:
    return parts[0] if len(parts) == 1 else parts


def _loss(facts: Facts, energy: tuple[float, float], force: tuple[float, float],
          virial: tuple[float, float]) -> dict[str, float]:
    """Prefactors at the start and at the end, 0 of what the data do not have."""
    found: dict[str, float] = {}
    for letter, have, pair in (("e", facts.energy, energy), ("f", facts.force, force),
                               ("v", facts.virial, virial)):
        start, limit = pair if have else (0, 0)
        found |= {f"start_pref_{letter}": start, f"limit_pref_{letter}": limit}
    return found
