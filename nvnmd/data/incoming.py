"""Frames of other programs, one by one, with every label that they bring.

Systems in DeePMD-kit's layouts are read as this program reads them, what ASE reads best (extended
XYZ, trajectories) by ASE, everything else by dpdata. One frame is the same whichever way it came:
its energy is the one that its forces belong to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.data.find import find_systems
from nvnmd.data.source import open_source
from nvnmd.data.system import COPIES, LABELS
from nvnmd.data.systems import load_groups
from nvnmd.errors import InputError

Warn = Callable[[str], None]
# labels per atom: name -> numbers per atom, where that is fixed
PER_ATOM = ("force", "atom_ener", "atom_pref", "atom_ener_coeff", "drdq")
_KEPT = {"coord", "box", "real_atom_types", COPIES, *LABELS, *PER_ATOM, "atomic_ener",
         "atomic_pref", "atomic_ener_coeff"}
# formats that ASE reads, and its names for them; None lets it look
ASE_FORMATS = {"extxyz": "extxyz", "ase/traj": None, "ase/structure": None, "traj": None,
               "nequip/xyz": "extxyz", "mace/xyz": "extxyz", "gpumd/xyz": "extxyz"}
# dpdata's formats whose files hold frames of several compositions
SEVERAL = ("quip/gap/xyz", "quip/gap/xyz_file", "deepmd/lmdb", "lmdb")
_ASE_LABELS = {"energy", "free_energy", "forces", "stress", "energies"}
_NAMES = "labels are read by the names energy, free_energy, forces, stress, virial and energies"
_LABEL_LIKE = re.compile(r"energ|force|virial|stress|grad", re.IGNORECASE)
_DPDATA = {"atom_names", "atom_numbs", "atom_types", "orig", "cells", "coords", "energies",
           "forces", "virials", "nopbc", "real_atom_types", "real_atom_names"}


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One frame.

    Attributes
    ----------
    place : str
        File and number, for messages.
    symbols : (n,) array of str
        Element names.
    coord : (n, 3)
        Positions in Å.
    cell : (3, 3) or None
        Cell vectors in rows, in Å; None for an open frame.
    labels : mapping of str to array
        By the names of their files: ``energy`` (), ``force`` (n, 3), ``virial`` (3, 3), labels per
        atom (n, ...), ``numb_copy`` ().
    unread : tuple of str
        What the file has beside, under names that look as if they were labels.
    """

    place: str
    symbols: NDArray[np.str_]
    coord: NDArray[np.float64]
    cell: NDArray[np.float64] | None
    labels: Mapping[str, NDArray] = field(default_factory=dict)
    unread: tuple[str, ...] = ()


def deepmd_frames(path: str, names: list[str] | None, warn: Warn) -> Iterator[Frame]:
    """Frames of every system at or below a folder or in an HDF5 file."""
    for folder in find_systems(path):
        source = open_source(folder)
        if "type_map.raw" in source:
            own = source.words("type_map.raw")
        elif names is not None:
            own = names
        else:
            raise InputError(f"{folder}: has no type_map.raw, expected the names of its types by "
                             "--type-map")
        shapes: dict[str, tuple[int, ...]] = {}
        for part in source.sets("set"):
            for array in source.labels(part):
                name = array.removesuffix(".npy")
                if array.endswith(".npy") and name not in _KEPT:
                    warn(f"{folder}/{part}/{array}: not kept, as nothing here uses it")
            if f"{part}/drdq.npy" in source:
                width = int(np.prod(source.shape(f"{part}/drdq.npy")[1:]))
                atoms = len(source.words("type.raw"))
                shapes["drdq"] = (3, max(1, width // max(1, 3 * atoms)))
        shapes |= {"atom_ener": (), "atom_pref": (), "atom_ener_coeff": ()}
        for group in load_groups(folder, own, require=(), atom_labels=shapes):
            for k in range(group.nframes):
                labels = {key: getattr(group, key)[k] for key in LABELS
                          if getattr(group, key) is not None}
                labels |= {key: array[k] for key, array in group.atom_labels.items()}
                if group.copies is not None:
                    labels[COPIES] = group.copies[k]
                yield Frame(place=f"{folder}: frame {group.number(k)}",
                            symbols=np.array(own)[group.types], coord=group.coord[k],
                            cell=group.cell(k), labels=labels)


def ase_frames(path: str, kind: str, warn: Warn) -> Iterator[Frame]:
    """Frames of a file that ASE reads."""
    from ase.io import iread

    lost: dict[str, None] = {}
    smeared = False
    for k, atoms in enumerate(iread(path, index=":", format=ASE_FORMATS[kind])):
        place = f"{path}: frame {k}"
        found = {} if atoms.calc is None else dict(atoms.calc.results)
        lost |= dict.fromkeys(name for name, value in found.items()
                              if name not in _ASE_LABELS and value is not None)
        unread = tuple(name for name in (*atoms.arrays, *atoms.info)
                       if _LABEL_LIKE.search(name) and name not in ("virial", "virials"))
        lost |= dict.fromkeys(unread)
        periodic = atoms.pbc.tolist()
        if any(periodic) and not all(periodic):
            raise InputError(f"{place}: periodic in {sum(periodic)} of 3 directions, expected all "
                             "or none, as a system is either")
        energy, free = found.get("energy"), found.get("free_energy")
        smeared |= energy is not None and free is not None and energy != free
        labels: dict[str, Any] = {"energy": free if free is not None else energy,
                                  "force": found.get("forces"), "atom_ener": found.get("energies")}
        labels["virial"] = _virial(atoms, found.get("stress"), place)
        yield Frame(
            place=place, symbols=np.array(atoms.get_chemical_symbols(), dtype=np.str_),
            coord=np.array(atoms.positions, dtype=np.float64),
            cell=np.array(atoms.cell.array) if all(periodic) else None,
            labels={key: np.asarray(value, dtype=np.float64) for key, value in labels.items()
                    if value is not None}, unread=unread)
    if smeared:
        warn(f"{path}: the energy is the free energy, which the forces belong to")
    if lost:
        warn(f"{path}: not kept: {', '.join(lost)}"
             f"{'; ' + _NAMES if any(map(_LABEL_LIKE.search, lost)) else ''}")


def _virial(atoms: Any, stress: Any, place: str) -> NDArray[np.float64] | None:
    """The virial in eV: as the file has it, or from the stress."""
    given = next((atoms.info[key] for key in ("virial", "virials") if key in atoms.info), None)
    if given is not None:
        array = np.asarray(given, dtype=np.float64)
        if array.size != 9:
            raise InputError(f"{place}: a virial of {array.size} numbers, expected 9")
        return array.reshape(3, 3)
    if stress is None:
        return None
    from ase.stress import voigt_6_to_full_3x3_stress

    full = np.asarray(stress, dtype=np.float64)
    full = voigt_6_to_full_3x3_stress(full) if full.size == 6 else full.reshape(3, 3)
    return np.asarray(-atoms.get_volume() * full)


def dpdata_frames(path: str, kind: str, names: list[str] | None, labelled: bool, warn: Warn
                  ) -> Iterator[Frame]:
    """Frames of a file or folder that dpdata reads."""
    import dpdata

    options: dict[str, Any] = {"fmt": kind, "type_map": None if names is None else list(names)}
    try:
        if kind in SEVERAL:
            # options that the reader of xyz does not know would be errors
            if not kind.startswith("deepmd"):
                del options["type_map"]
            found = list(dpdata.MultiSystems.from_file(
                path, labeled=labelled, **options).systems.values())
        else:
            found = [(dpdata.LabeledSystem if labelled else dpdata.System)(path, **options)]
    except NotImplementedError:
        what = "energies and forces; see --no-labels" if labelled else "reader without labels"
        raise InputError(f"-f: {kind} has no {what}") from None
    number = 0
    for system in found:
        data = system.data
        lost = [key for key in data if key not in _DPDATA]
        if lost:
            warn(f"{path}: not kept: {', '.join(lost)}")
        symbols = np.array(data["atom_names"], dtype=np.str_)[data["atom_types"]]
        keys = {"energy": "energies", "force": "forces", "virial": "virials"}
        for k in range(len(data["coords"])):
            yield Frame(
                place=f"{path}: frame {number}", symbols=symbols,
                coord=np.asarray(data["coords"][k], dtype=np.float64),
                cell=None if data.get("nopbc", False) else np.asarray(data["cells"][k]),
                labels={name: np.asarray(data[key][k], dtype=np.float64)
                        for name, key in keys.items() if labelled and key in data})
            number += 1


def is_deepmd(kind: str) -> bool:
    """Whether a format of dpdata is one of DeePMD-kit's layouts that this program reads."""
    return kind in ("deepmd/npy", "deepmd/hdf5", "deepmd/npy/mixed", "deepmd/hdf5/mixed")


def check_frame(frame: Frame, labelled: bool) -> Frame:
    """Return the frame as it is asked for: with energy and force, or without any label.

    Raises
    ------
    InputError
        It has no energy, a number is not finite, or its cell is none.
    """
    if not labelled:
        frame = replace(frame, labels={}, unread=())
    _check_numbers(frame)
    if not labelled:
        return frame
    if "energy" not in frame.labels:
        beside = f" but {', '.join(frame.unread)}" if frame.unread else ""
        raise InputError(f"{frame.place}: has no energy{beside}, expected energies and forces; see "
                         "--no-labels")
    return frame


def _check_numbers(frame: Frame) -> None:
    """Raise InputError where a number is not finite, or the cell is none."""
    for name, array in {"coord": frame.coord, "cell": frame.cell, **frame.labels}.items():
        if array is not None and not np.isfinite(array).all():
            per_atom = np.ndim(array) > 1 and len(array) == len(frame.symbols) and name != "cell"
            at = f" of atom {int(np.argwhere(~np.isfinite(array))[0][0])}" if per_atom else ""
            raise InputError(f"{frame.place}: {name}{at} has a value that is not finite")
    if frame.cell is None:
        return
    volume = float(np.linalg.det(frame.cell))
    if not volume > 0.0:
        what = "span no volume" if volume == 0.0 else "are left-handed; swap two of them"
        raise InputError(f"{frame.place}: the vectors of the cell {what}")


def exists(path: str) -> bool:
    """Whether an input is there; ``file.hdf5#/group`` if its file is."""
    return Path(path.partition("#")[0]).exists()
