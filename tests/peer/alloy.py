"""Small alloy data sets, labelled with ASE's effective medium theory (EMT).

Alloys of more than seven elements have the labels of pair_alloy.py. Everything here is
deterministic: the structures follow from a seed, the potentials have no free choice. Runs in any
environment that has NumPy and ASE, so also in the one DeePMD-kit lives in.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pair_alloy
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

ELEMENTS = ("Cu", "Au", "Ag", "Ni", "Pd", "Pt", "Al",
            "Pb", "Rh", "Ir", "Ca", "Sr", "Ac", "Yb", "Th")  # fmt: skip
"""Metals of fcc lattice; EMT knows the first seven."""

TYPE_MAPS = {n: ELEMENTS[:n] for n in range(1, 16)}
EMT_TYPES = 7


def binary32(values: Any) -> np.ndarray:
    """Round to binary32, the precision of coordinate files, and hold as binary64."""
    return np.asarray(values, dtype=np.float32).astype(np.float64)


def fcc(lattice: float, repeat: tuple[int, int, int], types: np.ndarray, type_map: tuple) -> Atoms:
    """An fcc crystal of cubic cells, its sites filled with the given types."""
    atoms = bulk("Cu", "fcc", a=lattice, cubic=True).repeat(repeat)
    atoms.set_chemical_symbols([type_map[t] for t in types])
    return atoms


def distort(atoms: Atoms, rng: np.random.Generator, strain: float, rattle: float) -> Atoms:
    """Strain the cell (shear included), shift every atom, then round to binary32."""
    out = atoms.copy()
    deformation = np.eye(3) + rng.uniform(-strain, strain, (3, 3))
    out.set_cell(out.cell.array @ deformation, scale_atoms=True)
    out.positions += rng.normal(0.0, rattle, out.positions.shape)
    return rounded(out)


def rounded(atoms: Atoms) -> Atoms:
    """The structure with positions and cell that binary32 files hold exactly."""
    out = atoms.copy()
    out.set_cell(binary32(out.cell.array))
    out.set_positions(binary32(out.positions))
    return out


def label(atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
    """EMT energy (eV), forces (eV/Å) and virial (eV, 3 x 3; minus stress times volume)."""
    atoms = atoms.copy()
    atoms.calc = EMT()
    virial = -atoms.get_stress(voigt=False) * atoms.get_volume()
    return atoms.get_potential_energy(), atoms.get_forces(), virial


def write_system(folder: Path, frames: list[Atoms], types: np.ndarray, type_map: tuple) -> None:
    """Label the frames and write them as one deepmd/npy system of one set."""
    (folder / "set.000").mkdir(parents=True, exist_ok=True)
    (folder / "type.raw").write_text("\n".join(str(t) for t in types) + "\n")
    (folder / "type_map.raw").write_text("\n".join(type_map) + "\n")
    if len(type_map) <= EMT_TYPES:
        labels = [label(frame) for frame in frames]
    else:
        labels = [pair_alloy.label(frame, types, len(type_map)) for frame in frames]
    arrays = {
        "coord": [f.positions.ravel() for f in frames],
        "box": [f.cell.array.ravel() for f in frames],
        "energy": [e for e, _, _ in labels],
        "force": [f.ravel() for _, f, _ in labels],
        "virial": [v.ravel() for _, _, v in labels],
    }
    for name, rows in arrays.items():
        np.save(folder / "set.000" / f"{name}.npy", np.asarray(rows, dtype=np.float32))


def training_set(
    folder: Path,
    ntypes: int,
    *,
    lattice: tuple[float, float],
    seed: int,
    frames: int = 16,
    present: int | None = None,
) -> None:
    """Write a training system: strained and rattled crystals of 32 atoms.

    `lattice` is the range of lattice constants in Å; of the types only the first `present` occur.
    """
    rng = np.random.default_rng(seed)
    type_map = TYPE_MAPS[ntypes]
    types = rng.permutation(np.arange(32) % (present or ntypes))
    out = []
    for i in range(frames):
        a = lattice[0] + (lattice[1] - lattice[0]) * i / (frames - 1)
        perfect = fcc(a, (2, 2, 2), types, type_map)
        out.append(distort(perfect, rng, strain=0.03, rattle=0.03 + 0.1 * rng.random()))
    write_system(folder, out, types, type_map)


def write_input(
    path: Path,
    *,
    max_nnei: int,
    sel: list[int] | int,
    rcut: float,
    ntypes: int,
    system: str | list[str],
    steps: int,
    rates: tuple[float, float],
) -> None:
    """Write a training input of DeePMD-kit's NVNMD form; one `sel` for all types is version 1."""
    systems = [system] if isinstance(system, str) else system
    document = {
        "nvnmd": {
            "version": int(isinstance(sel, int)),
            "max_nnei": max_nnei,
            "net_size": 128,
            "sel": sel,
            "rcut": rcut,
            "rcut_smth": 0.5,
            "type_map": list(TYPE_MAPS[ntypes]),
        },
        "learning_rate": {
            "type": "exp",
            "start_lr": rates[0],
            "stop_lr": rates[1],
            "decay_steps": max(steps // 10, 1),
        },
        "loss": {
            "start_pref_e": 0.02,
            "limit_pref_e": 1,
            "start_pref_f": 1000,
            "limit_pref_f": 1,
            "start_pref_v": 0,
            "limit_pref_v": 0,
        },
        "training": {
            "seed": 1,
            "stop_batch": steps,
            "disp_file": "lcurve.out",
            "disp_freq": max(steps // 10, 1),
            "save_ckpt": "model.ckpt",
            "save_freq": steps,
            "training_data": {"systems": systems, "batch_size": [1] * len(systems)},
        },
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
