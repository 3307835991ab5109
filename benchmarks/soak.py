"""Very many atoms through the simulated accelerator: every preset, version and system it admits.

Of each cell of the matrix a model of initial weights is made, as a training on that system begins
with, and the words of all atoms are compared with the integer reference. Run:

    python benchmarks/soak.py [--atoms 10000] [--presets tiny small] [--versions 0 1]
        [--systems gete water] [--data gete=DIR water=DIR] [--folder soak]

Frames are made here, rattled and of the right density; `--data` takes those of a folder instead.
A preset admits a model whose multipliers and memory blocks its part has. Every finished batch is
kept in the folder, so that a run that was ended goes on where it was. Exit code 1 where a word
differs. Needs the extras `hdl` and `sim`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.atomic_file import atomic_write
from nvnmd.data.frame_pairs import NeighborCache
from nvnmd.data.system import System
from nvnmd.data.systems import find_systems, load_systems
from nvnmd.deepmd.tables import tables_of_weights
from nvnmd.hdl.budget import count_budget, total
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.presets import PRESETS
from nvnmd.hdl.verify.stimulus import expected_words
from nvnmd.hdl.verilog import generate_verilog
from nvnmd.inputs.config import (
    DescriptorConfig,
    FittingConfig,
    LearningRateConfig,
    LossConfig,
    RunConfig,
    TrainingConfig,
)
from nvnmd.mapping.freeze import freeze_model
from nvnmd.neighbors.slots import build_neighborhood
from nvnmd.network.initial_weights import initial_weights
from nvnmd.network.statistics import collect_statistics
from nvnmd.quantize.model import Model
from nvnmd.sim.accelerator import Atoms, run_accelerator

Frame = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]
BATCH = 500
"""Atoms of one simulation: the reference keeps every word of every stage of them."""


def _crystal(basis: NDArray[np.float64], cell: float, repeat: int) -> NDArray[np.float64]:
    """Sites of a cubic crystal in Å."""
    corner = np.stack(np.meshgrid(*[np.arange(repeat)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    return ((corner + basis) * cell).reshape(-1, 3)


FCC = np.array([[0, 0, 0], [0, .5, .5], [.5, 0, .5], [.5, .5, 0]])


@dataclass(frozen=True)
class Case:
    """A system.

    Attributes
    ----------
    elements : tuple of str
    sel : tuple of int
        Slots per type.
    rcut : float
        Å.
    cell, repeat : float, int
        Cubic cell in Å (of water: of one molecule), and how often it is repeated.
    shift : float
        Largest displacement of an atom along an axis, Å.
    kind : {"rocksalt", "fcc", "water"}
    """

    elements: tuple[str, ...]
    sel: tuple[int, ...]
    rcut: float
    cell: float
    repeat: int
    shift: float
    kind: str

    @property
    def capacity(self) -> int:
        """Neighbours that the accelerator has room for."""
        return 128 if sum(self.sel) <= 128 else 256

    def frame(self, rng: np.random.Generator) -> Frame:
        """Positions, cell vectors and types of a frame."""
        if self.kind == "water":
            places = _crystal(np.zeros((1, 3)), self.cell, self.repeat)
            first = rng.normal(size=places.shape)
            first /= np.linalg.norm(first, axis=1, keepdims=True)
            across = np.cross(first, rng.normal(size=places.shape))
            across /= np.linalg.norm(across, axis=1, keepdims=True)
            angle = np.deg2rad(104.5)
            length = rng.uniform(0.9, 1.05, (2, len(places), 1))
            arms = [first, np.cos(angle) * first + np.sin(angle) * across]
            coord = np.concatenate([places, *(places + size * arm for size, arm
                                              in zip(length, arms, strict=True))])
            types = np.repeat([0, 1, 1], len(places))
            shift = np.tile(rng.uniform(-self.shift, self.shift, places.shape), (3, 1))
        else:
            coord = _crystal(FCC, self.cell, self.repeat)
            if self.kind == "rocksalt":
                coord = np.concatenate([coord, coord + np.array([self.cell / 2, 0, 0])])
                types = np.repeat([0, 1], len(coord) // 2)
            else:
                types = np.sort(rng.integers(0, len(self.elements), len(coord)))
                coord = rng.permutation(coord)
            shift = rng.uniform(-self.shift, self.shift, coord.shape)
        return coord + shift, np.eye(3) * self.cell * self.repeat, types


CASES = {
    "gete": Case(("Ge", "Te"), (60, 60), 6.0, 6.0, 3, 0.3, "rocksalt"),
    "water": Case(("O", "H"), (46, 82), 6.0, 3.11, 5, 0.15, "water"),
    "alloy": Case(("Cu", "Au"), (64, 64), 6.0, 3.86, 4, 0.25, "fcc"),
    "metal": Case(("Cu",), (100,), 6.0, 3.62, 4, 0.2, "fcc"),
    # 200 neighbours in the mean
    "dense": Case(("Cu",), (232,), 8.0, 3.5, 5, 0.2, "fcc"),
}
TABLES = {"large": "vendor", "medium": "vendor", "small": "octave", "tiny": "octave"}
NETS = {"tiny": ((4, 8, 16), 64)}
FULL = ((8, 16, 32), 128)


def settings(case: Case, chosen: str, version: int) -> RunConfig:
    """The input document of a model of full size, of `tiny` of half of it."""
    neuron, width = NETS.get(chosen, FULL)
    sel = (sum(case.sel),) if version else case.sel
    return RunConfig(
        version=version, max_nnei=case.capacity, type_map=case.elements, tables=TABLES[chosen],
        descriptor=DescriptorConfig(sel=sel, rcut=case.rcut, rcut_smth=0.5, seed=1, neuron=neuron,
                                    axis_neuron=4),
        fitting=FittingConfig(neuron=(width,) * 3, seed=2), learning_rate=LearningRateConfig(),
        loss=LossConfig(),
        training=TrainingConfig(systems=("made",), batch_size=(1,), numb_steps=1))


def systems_of(case: Case, data: Path | None) -> list[System]:
    """Frames that the statistics of a model come from."""
    if data is not None:
        return load_systems(find_systems(data), case.elements)
    frames = [case.frame(np.random.default_rng([7, k])) for k in range(4)]
    return [System(path=Path("made"), types=types, coord=coord[None], box=box[None], energy=None,
                   force=None, virial=None) for coord, box, types in frames]


def model_of(config: RunConfig, systems: list[System]) -> Model:
    """The frozen model of initial weights."""
    descriptor = config.descriptor
    cache = NeighborCache(systems, descriptor.sel, descriptor.rcut, config.type_map,
                          overflow="truncate", shared=bool(config.version))
    statistics = collect_statistics(cache, descriptor.rcut_smth, zero_mean=bool(config.version))
    weights = initial_weights(descriptor, config.fitting, statistics, config.version)
    weights = replace(weights, fit_biases=tuple(0.1 * b for b in weights.fit_biases))
    tables = tables_of_weights(weights, descriptor.rcut, descriptor.rcut_smth, name=config.tables)
    return freeze_model(weights, tables, config)


def frames_of(case: Case, data: list[System] | None) -> Iterator[Frame]:
    """Frames without end: made ones, or those of the data again and again."""
    number = 0
    while True:
        if data is None:
            yield case.frame(np.random.default_rng([11, number]))
            number += 1
            continue
        for system in data:
            for k in range(system.nframes):
                box = None if system.box is None else system.box[k]
                yield system.coord[k], box, system.types


def batches(model: Model, frames: Iterator[Frame], skip: int, size: int) -> Iterator[Atoms]:
    """Atoms in batches of `size`, in the order of the frames, without the first `skip`."""
    waiting: list[Atoms] = []
    while True:
        while sum(len(part.mask) for part in waiting) < skip + size:
            coord, box, types = next(frames)
            if len(types) <= skip:
                skip -= len(types)
                continue
            hood = build_neighborhood(coord, box, types, model.sel, model.rcut,
                                      overflow="truncate", ntypes=model.shared_types)
            waiting.append(Atoms(hood.center_types, hood.rij, hood.mask, hood.neighbor_types))
        fields = [np.concatenate([getattr(part, name) for part in waiting])[skip:] for name in
                  ("center_types", "rij", "mask", "neighbor_types")]
        skip = 0
        yield Atoms(*(field[:size] for field in fields))
        waiting = [Atoms(*(field[size:] for field in fields))]


@dataclass
class Cell:
    """What is kept of a cell of the matrix, of one Verilog, model and data."""

    file: Path
    found: dict[str, Any]

    @classmethod
    def of(cls, file: Path, made_of: str) -> Cell:
        """What was kept, if it was made of the same; else a new one."""
        digest = hashlib.sha256(made_of.encode()).hexdigest()[:16]
        if file.exists():
            found = json.loads(file.read_text(encoding="utf-8"))
            if found["digest"] == digest:
                return cls(file, found)
        return cls(file, {"digest": digest, "atoms": 0, "neighbors": 0, "compared": 0,
                          "differing": 0, "cycles": 0, "status": [], "seconds": 0.0})

    def add(self, **more: Any) -> None:
        """Add a batch, and write the file."""
        for key, value in more.items():
            self.found[key] += value
        with atomic_write(self.file) as stream:
            stream.write((json.dumps(self.found, indent=1) + "\n").encode())

    def __str__(self) -> str:
        found = self.found
        status = "; " + ", ".join(sorted(set(found["status"]))) if found["status"] else ""
        return f"{found['differing']} of {found['compared']}{status}"


def soak(name: str, model: Model, cfg: AcceleratorConfig, frames: Iterator[Frame], cell: Cell,
         count: int, size: int) -> None:
    """Batches until `count` atoms went through."""
    parts = batches(model, frames, cell.found["atoms"], size)
    while cell.found["atoms"] < count:
        atoms = next(parts)
        begin = time.monotonic()
        trace = atoms.evaluate(model)
        with tempfile.TemporaryDirectory() as work:
            run = run_accelerator(model, cfg, atoms, Path(work), trace=trace)
        words = expected_words(trace, atoms.mask, model.widths).words
        # a word that did not come is one that differs
        missing = words - run.comparison.compared
        cell.add(atoms=len(atoms.mask), neighbors=int(atoms.mask.sum()),
                 compared=run.comparison.compared,
                 differing=run.comparison.differing + max(0, missing), cycles=run.cycles,
                 status=list(run.status), seconds=time.monotonic() - begin)
        print(f"{name}: {cell.found['atoms']} of {count} atoms, {cell} words differ, "
              f"{cell.found['seconds']:.0f} s", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, default=10000, help="in each cell")
    parser.add_argument("--batch", type=int, default=BATCH, help="atoms of one simulation")
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--versions", nargs="+", type=int, choices=(0, 1), default=[0, 1])
    parser.add_argument("--systems", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--data", nargs="+", default=[], metavar="SYSTEM=DIR")
    parser.add_argument("--folder", type=Path, default=Path("soak"), help="keeps what is done")
    options = parser.parse_args()
    data = dict(entry.partition("=")[::2] for entry in options.data)
    if unknown := set(data) - set(CASES):
        parser.error(f"argument --data: got {', '.join(sorted(unknown))}, expected of "
                     f"{', '.join(CASES)}, as SYSTEM=DIR")
    if options.atoms < 1 or options.batch < 1:
        parser.error("arguments --atoms and --batch: expected at least 1")
    options.folder.mkdir(parents=True, exist_ok=True)
    rows, differing = [], 0
    for chosen in options.presets:
        for version in options.versions:
            for system in options.systems:
                case = CASES[system]
                given = Path(data[system]) if system in data else None
                systems = systems_of(case, given)
                model = model_of(settings(case, chosen, version), systems)
                cfg = PRESETS[chosen].config(model)
                name = f"{chosen}, version {version}, {system}"
                if not total(count_budget(cfg)).fits(PRESETS[chosen].family):
                    rows.append((name, "is not admitted"))
                    continue
                cell = Cell.of(options.folder / f"{chosen}_v{version}_{system}.json",
                               f"{generate_verilog(cfg)} {model.digest} {given}")
                soak(name, model, cfg, frames_of(case, systems if given else None), cell,
                     options.atoms, options.batch)
                found = cell.found
                differing += found["differing"] + len(found["status"])
                rows.append((name, f"{found['atoms']} atoms, {found['neighbors']} neighbours, "
                             f"{found['cycles'] / found['atoms']:.0f} cycles each; {cell} words "
                             "differ"))
    print()
    for name, told in rows:
        print(f"{name:28s} {told}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
