"""Small systems in the mixed layout, and any system as an HDF5 file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

# four frames in two sets: A2B and B2A in other orders, a virtual atom once
TYPES = {"set.000": [[0, 1, 0, -1], [1, 0, 1, 2]], "set.001": [[1, 0, 0, -1], [2, 1, 1, 0]]}


def write_mixed(folder: Path, types=TYPES, names=("Cu", "Au", "Ag"), virial=False) -> Path:
    """Write a small system in the mixed layout; every number differs."""
    rng = np.random.default_rng(7)
    natoms = len(next(iter(types.values()))[0])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "type.raw").write_text("0\n" * natoms)
    (folder / "type_map.raw").write_text("\n".join(names) + "\n")
    for name, rows in types.items():
        part, count = folder / name, len(rows)
        part.mkdir()
        grid = 2.5 * np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), -1).reshape(-1, 3)
        coord = grid[:natoms] + rng.uniform(-0.3, 0.3, (count, natoms, 3))
        np.save(part / "coord.npy", coord.reshape(count, -1))
        np.save(part / "box.npy", np.tile(np.eye(3).ravel() * 6, (count, 1)))
        np.save(part / "energy.npy", rng.normal(size=count))
        np.save(part / "force.npy", rng.normal(size=(count, 3 * natoms)))
        if virial:
            np.save(part / "virial.npy", rng.normal(size=(count, 9)))
        np.save(part / "real_atom_types.npy", np.array(rows))
    return folder


def as_hdf5(folder: Path, file: Path, group: str = "/") -> str:
    """Copy a system into an HDF5 file; return its name."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(file, "a") as out:
        top = out.require_group(group)
        top["type.raw"] = np.loadtxt(folder / "type.raw", dtype=int, ndmin=1)
        names = (folder / "type_map.raw").read_text().split()
        top.create_dataset("type_map.raw", data=names, dtype=h5py.string_dtype())
        if (folder / "nopbc").exists():
            top["nopbc"] = True
        for part in sorted(folder.glob("set.*")):
            for array in part.glob("*.npy"):
                top[f"{part.name}/{array.name}"] = np.load(array)
    return f"{file}#{group}"
