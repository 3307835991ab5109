"""One kind of figure: its numbers, in JSON's types, and what draws them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nvnmd.errors import InputError, ModelFileError
from nvnmd.evaluation.error_budget import Budget
from nvnmd.mapping.table_error import TableError
from nvnmd.quantize.model import Model
from nvnmd.reports.collect import Run, collect
from nvnmd.reports.measure import (
    MOST_ATOMS,
    Measured,
    TablesSeen,
    backends_of,
    budget_ticks,
    choose_frames,
    measure,
    measure_budget,
    measure_tables,
)

if TYPE_CHECKING:
    from nvnmd.reports.drawing import Draw

Start = Callable[[int], Callable[[], None]]


class Numbers(Protocol):
    """Numbers behind a kind of figure."""

    def json(self) -> dict[str, Any]:
        """The numbers, in JSON's types and NumPy arrays."""

    def figures(self) -> Iterator[tuple[str, Draw]]:
        """Name of each figure, and what draws it; needs matplotlib."""


def numbers_of(kind: str, path: str | Path, *, systems: Sequence[str | Path] = (),
               type_map: Sequence[str] = (), most_atoms: int = MOST_ATOMS,
               start: Start = lambda total: lambda: None) -> Numbers:
    """Measure what one kind of figure shows.

    Parameters
    ----------
    kind : {"lcurve", "parity", "tables", "budget"}
        Which.
    path, systems, type_map
        See `nvnmd.reports.collect.collect`.
    most_atoms : int
        Atoms to evaluate, about.
    start : callable
        Gets the number of steps, returns what is called after each.

    Raises
    ------
    InputError
        What the kind needs is not there.
    NvnmdError
        What is there is damaged, or a frame cannot be evaluated.
    """
    run = collect(path, systems, type_map)
    if kind == "lcurve":
        if not run.curves:
            raise InputError(f"{path}: no lcurve.out, expected a folder of a training")
        return Curves(run)
    if run.network is None or not (run.systems or kind == "tables"):
        raise InputError(f"{path}: {'; '.join(run.notes) or 'no model in it'}")
    frames, available = ([], 0) if not run.systems else choose_frames(
        run.systems, run.network.type_map, most_atoms)
    if kind == "parity":
        tick = start(len(frames) * len(backends_of(run.network)))
        found = measure(run.network, frames, available, tick=tick)
        if not found.quantities:
            raise InputError(f"{run.systems[0]}: no labels, expected energies or forces")
        return Parity(run, found)
    if run.model is None:
        raise ModelFileError(f"{path}: a continuous network alone, expected a frozen model")
    if kind == "tables":
        return TableErrors(run, measure_tables(run.model, frames))
    tick = start(budget_ticks(run.systems, run.model.type_map))
    return Budgets(run, *measure_budget(run.model, run.systems, tick=tick))


@dataclass(frozen=True)
class Curves:
    """Learning curves."""

    run: Run

    def json(self) -> dict[str, Any]:
        return {"path": str(self.run.path), "curves": {
            folder: {"columns": list(curve.dtype.names or ()),
                     "rows": [list(row) for row in curve.tolist()]}
            for folder, curve in self.run.curves.items()}}

    def figures(self) -> Iterator[tuple[str, Draw]]:
        from nvnmd.reports.figures import curve_quantities, learning_curve

        for folder, curve in self.run.curves.items():
            for name in curve_quantities(curve):
                yield f"{folder}_{name}", learning_curve(curve, name)


@dataclass(frozen=True)
class Parity:
    """Predictions beside labels."""

    run: Run
    measured: Measured

    def json(self) -> dict[str, Any]:
        network = self.run.network
        assert network is not None
        quantities = []
        for one in self.measured.quantities:
            kinds = [] if one.element is None else [int(t) for t in np.unique(one.element)]
            quantities.append({
                "name": one.name, "unit": one.unit, "label": one.label,
                "predicted": one.predicted, "element": one.element,
                "errors": {backend: {
                    "all": errors_of(one.error(backend)),
                    "by_element": {network.type_map[t]: errors_of(one.error(backend, t))
                                   for t in kinds}} for backend in one.predicted}})
        return {**_head(self.run), "frames": self.measured.frames,
                "available": self.measured.available, "atoms": self.measured.atoms,
                "dropped": self.measured.dropped,
                "quantities": quantities}

    def figures(self) -> Iterator[tuple[str, Draw]]:
        from nvnmd.reports.figures import error_histogram, parity

        assert self.run.network is not None
        for one in self.measured.quantities:
            for backend in one.predicted:
                yield f"{one.name}_{backend}", parity(one, backend, self.run.network.type_map)
            yield f"{one.name}_errors", error_histogram(one)


@dataclass(frozen=True)
class TableErrors:
    """Errors of the tables and the density of the data."""

    run: Run
    seen: TablesSeen

    def json(self) -> dict[str, Any]:
        return {**_head(self.run), "layout": self.seen.layout, "smallest": self.seen.smallest,
                "pairs": self.seen.pairs,
                "errors": [self._one(error) for error in self.seen.errors],
                "others": {name: [self._one(error) for error in errors]
                           for name, errors in self.seen.others.items()},
                "density": {name: {"edges": one.edges, "counts": one.counts}
                            for name, one in self.seen.density.items()}}

    def _one(self, e: TableError) -> dict[str, Any]:
        return {"name": e.name, "argument": e.argument, "largest": e.largest, "where": e.where,
                "rms": e.rms, "over_data": self.seen.over_data(e), "x": e.x, "error": e.error}

    def figures(self) -> Iterator[tuple[str, Draw]]:
        from nvnmd.reports.figures import table_error

        for argument in self.seen.density:
            yield argument, table_error(self.seen, argument)


@dataclass(frozen=True)
class Budgets:
    """What each step of the quantization costs."""

    run: Run
    found: dict[str, Budget]
    frames: int

    def json(self) -> dict[str, Any]:
        return {**_head(self.run), "frames": self.frames,
                "quantities": {name: asdict(one) for name, one in self.found.items()}}

    def figures(self) -> Iterator[tuple[str, Draw]]:
        from nvnmd.reports.figures import budget

        for name, one in self.found.items():
            yield name, budget(one, name)


def errors_of(error: np.ndarray) -> dict[str, Any]:
    """RMSE, MAE, largest magnitude and number of some errors."""
    size = np.abs(error)
    return {"rmse": float(np.sqrt(np.mean(error**2))), "mae": float(size.mean()),
            "largest": float(size.max()), "count": len(error)}


def _head(run: Run) -> dict[str, Any]:
    """Which model, and which data."""
    digest = run.network.digest if isinstance(run.network, Model) else None
    return {"path": str(run.path), "digest": digest, "part": run.part,
            "type_map": list(run.network.type_map) if run.network is not None else [],
            "systems": [str(system) for system in run.systems]}
