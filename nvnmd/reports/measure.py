"""Numbers behind the figures: predictions beside labels, the data's density along the tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nvnmd.data.system import System
from nvnmd.data.systems import load_groups
from nvnmd.evaluation.backends import Backend, FloatNetwork
from nvnmd.evaluation.error_budget import Budget, error_budget, evaluations
from nvnmd.evaluation.frames import frame_neighborhood
from nvnmd.evaluation.potential import Potential
from nvnmd.mapping.build import radial_jet
from nvnmd.mapping.other_layout import with_layout
from nvnmd.mapping.table_error import SMALLEST, TableError, s_limits, table_errors
from nvnmd.quantize.model import Model
from nvnmd.quantize.table_layout import OCTAVE, VENDOR

Floats = NDArray[np.float64]

MOST_ATOMS = 20_000
"""Atoms whose predictions are drawn, over all frames."""
BUDGET_ATOMS = 400
"""Atoms for the error budget, which is some hundred times as slow."""
BINS = 120
Tick = Callable[[], None]
Frames = list[tuple[System, int]]


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One quantity of all frames: labels and predictions, one number each.

    Attributes
    ----------
    name, unit : str
        "energy" (eV/atom, one number per frame), "force" (eV/Å, one per component) or "virial"
        (eV/atom, nine per frame).
    label : (k,)
        Labels.
    predicted : dict of str to (k,)
        Predictions by backend.
    element : (k,) int64 or None
        Element of each number as an index into the type map; None where it has none.
    """

    name: str
    unit: str
    label: Floats
    predicted: dict[str, Floats]
    element: NDArray[np.int64] | None

    def error(self, backend: str, element: int | None = None) -> Floats:
        """Predictions less labels, of one element or of all."""
        error = self.predicted[backend] - self.label
        return error if element is None or self.element is None else error[self.element == element]


@dataclass(frozen=True, kw_only=True)
class Density:
    """How often an argument of a table occurs in the data: counts (bins,) between edges."""

    edges: Floats
    counts: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Everything measured of one model on some data.

    Attributes
    ----------
    frames, atoms : int
        Frames evaluated, and their atoms in all.
    available : int
        Frames that the data hold.
    quantities : list of Quantity
        Those that have labels.
    dropped : int
        Neighbours beyond the model's slots, which were left out, over all frames.
    """

    frames: int
    atoms: int
    available: int
    quantities: list[Quantity]
    dropped: int


def choose_frames(paths: Sequence[Path], type_map: Sequence[str], most_atoms: int
                  ) -> tuple[Frames, int]:
    """Frames spread evenly over systems, with at most so many atoms in all, but one at least.

    Returns
    -------
    frames : list of (System, int)
    available : int
        How many frames there are.
    """
    groups = [group for path in paths for group in load_groups(path, type_map, require=())]
    everything = [(group, k) for group in groups for k in range(group.nframes)]
    total = sum(group.natoms for group, _ in everything)
    count = len(everything)
    if total > most_atoms:
        count = max(1, int(count * most_atoms / total))
    # the middle of each part, so that neither end is preferred
    chosen = ((np.arange(count) + 0.5) * len(everything) / count).astype(int)
    return [everything[k] for k in chosen], len(everything)


def measure(network: Model | FloatNetwork, frames: Frames, available: int, *,
            tick: Tick = lambda: None) -> Measured:
    """Evaluate frames by every backend that the model has, but the simulation.

    Raises
    ------
    NvnmdError
        A frame cannot be evaluated.
    """
    parts: dict[str, list[tuple[Floats, dict[str, Floats], NDArray[np.int64] | None]]] = {}
    potential, backends, dropped = Potential(network), backends_of(network), 0
    for system, k in frames:
        cell = None if system.box is None else system.box[k : k + 1]
        found = {}
        for name in backends:
            found[name] = potential.evaluate(system.coord[k : k + 1], cell, system.types, name,
                                             overflow="truncate")
            tick()
        dropped += found[backends[0]].dropped
        n = system.natoms
        if system.energy is not None:
            parts.setdefault("energy", []).append(
                (system.energy[k : k + 1] / n, {b: p.energy / n for b, p in found.items()}, None))
        if system.force is not None:
            parts.setdefault("force", []).append(
                (system.force[k].ravel(), {b: p.force.ravel() for b, p in found.items()},
                 np.repeat(system.types, 3)))
        if system.virial is not None:
            parts.setdefault("virial", []).append(
                (system.virial[k].ravel() / n, {b: p.virial.ravel() / n for b, p in found.items()},
                 None))
    units = {"energy": "eV/atom", "force": "eV/Å", "virial": "eV/atom"}
    quantities = []
    for what, unit in units.items():
        rows = parts.get(what, [])
        if not rows:
            continue
        kinds = [kind for _, _, kind in rows if kind is not None]
        quantities.append(Quantity(
            name=what, unit=unit, label=np.concatenate([label for label, _, _ in rows]),
            predicted={b: np.concatenate([p[b] for _, p, _ in rows]) for b in backends},
            element=np.concatenate(kinds) if kinds else None))
    return Measured(frames=len(frames), atoms=sum(s.natoms for s, _ in frames),
                    available=available, quantities=quantities, dropped=dropped)


def backends_of(network: Model | FloatNetwork) -> list[Backend]:
    """Backends of a model that cost no simulation."""
    if isinstance(network, FloatNetwork):
        return ["float"]
    return ["float", "fixed"] if network.embedding else ["fixed"]


@dataclass(frozen=True, kw_only=True)
class TablesSeen:
    """Errors of a model's tables, and where the data look them up.

    Attributes
    ----------
    layout : str
        The model's, see `nvnmd.quantize.table_layout.LAYOUTS`.
    smallest : float
        Smallest distance in the data, in Å; the tables count from there on. Without data the
        training data's, if the model knows it.
    errors : list of TableError
        See `nvnmd.mapping.table_error`.
    others : dict of str to list of TableError
        The same of the model's network with tables of another layout, by name.
    density : dict of str to Density
        Of u and s.
    pairs : int
        Neighbours counted.
    """

    layout: str
    smallest: float
    errors: list[TableError]
    others: dict[str, list[TableError]]
    density: dict[str, Density]
    pairs: int

    def over_data(self, error: TableError) -> float | None:
        """Root of the mean square over the data's pairs, None without data."""
        density = self.density[error.argument]
        if not density.counts.any():
            return None
        middle = 0.5 * (density.edges[1:] + density.edges[:-1])
        square = np.interp(middle, error.x, error.square)
        return float(np.sqrt(np.average(square, weights=density.counts)))


def measure_tables(model: Model, frames: Frames) -> TablesSeen:
    """Compare tables of both layouts with their functions, and count the data's arguments."""
    u_of, s_of = [np.empty(0)], [np.empty(0)]
    for system, k in frames:
        hood = frame_neighborhood(model, system, k, "truncate")
        center, slot = np.nonzero(hood.mask)
        u = np.square(hood.rij[center, slot]).sum(axis=1)
        kind = hood.center_types[center]
        (s, _, _), _ = radial_jet(u, model.rcut, model.rcut_smth, 0.0)
        mean = model.davg[kind, 0] if model.version == 0 or model.sub_version == 2 else 0.0
        s = (s - mean) / model.dstd[kind, 0]
        u_of.append(u)
        s_of.append(s)
    u, s = np.concatenate(u_of), np.concatenate(s_of)
    smallest = float(np.sqrt(u.min())) if len(u) else Potential(model).min_distance or SMALLEST
    limits = {"u": (0.0, model.rcut**2), "s": s_limits(model, smallest)}
    density = {}
    for name, values in (("u", u), ("s", s)):
        counts, edges = np.histogram(values, bins=BINS, range=limits[name])
        density[name] = Density(edges=edges, counts=counts)
    errors = table_errors(model, smallest)
    # SUB_VERSION 2 has the vendor's tables alone
    names = (VENDOR, OCTAVE) if model.sub_version == 1 else ()
    others = {name: table_errors(with_layout(model, name, smallest), smallest)
              for name in names if name != model.tables}
    return TablesSeen(layout=model.tables, smallest=smallest, errors=errors, others=others,
                      density=density, pairs=len(u))


def measure_budget(model: Model, paths: Sequence[Path], *, most_atoms: int = BUDGET_ATOMS,
                   tick: Tick = lambda: None) -> tuple[dict[str, Budget], int]:
    """The error budget on a few frames; returns it and how many frames these are."""
    frames, _ = choose_frames(paths, model.type_map, most_atoms)
    return error_budget(model, frames, tick=tick), len(frames)


def budget_ticks(paths: Sequence[Path], type_map: Sequence[str]) -> int:
    """How often `measure_budget` ticks."""
    return evaluations(len(choose_frames(paths, type_map, BUDGET_ATOMS)[0]))
