"""The parts of the page that show one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nvnmd.evaluation.error_budget import Budget
from nvnmd.mapping.table_error import TableError
from nvnmd.reports import figures
from nvnmd.reports.collect import Run
from nvnmd.reports.drawing import Draw, to_page
from nvnmd.reports.html import Markup, join, table, tag
from nvnmd.reports.info import model_facts, weights_facts
from nvnmd.reports.measure import Measured, Quantity, TablesSeen

Figure = Callable[[Draw, str, str], Markup]


class Figures:
    """Draws figures for the page, each with ids of its own; tells when one is finished."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self._count, self._tick = 0, tick

    def __call__(self, draw: Draw, label: str, *caption: object, wide: bool = False) -> Markup:
        self._count += 1
        picture = to_page(draw, f"f{self._count}", label)
        self._tick()
        return tag("figure", picture, tag("figcaption", label, *caption),
                   class_="wide" if wide else None)


def section(title: str, *content: object) -> Markup:
    """A section with a heading."""
    return tag("section", tag("h3", title), *content)


def grid(pictures: Sequence[Markup]) -> Markup:
    """Figures beside each other as far as there is room."""
    return tag("div", *pictures, class_="figures")


def number(value: float, digits: int = 4) -> str:
    """A number as text."""
    return f"{value:.{digits}g}"


def about(run: Run) -> Markup:
    """Facts about the model."""
    if run.model is not None:
        facts = model_facts(run.model)
    elif run.network is not None:
        facts = {"type_map": list(run.network.type_map), "sel": list(run.network.sel),
                 "rcut": run.network.rcut,
                 **weights_facts(run.network.weights)}  # type: ignore[union-attr]
    else:
        facts = {}
    shown = ("version", "sub_version", "type_map", "sel", "max_nnei", "rcut", "rcut_smth",
             "embedding", "axis_neuron", "fitting", "fitting_nets", "table_layout", "digest")
    rows = [(key.replace("_", " "), _fact(facts[key])) for key in shown
            if facts.get(key) is not None]
    notes = [tag("p", note, class_="note") for note in run.notes]
    return join([*notes, table(("", ""), rows)] if rows else notes)


def _fact(value: Any) -> object:
    if isinstance(value, list):
        return " ".join(str(entry) for entry in value)
    return number(value, 6) if isinstance(value, float) else str(value)


def curves(run: Run, draw: Figures) -> Markup | None:
    """Learning curves of every stage."""
    parts = []
    for folder, curve in run.curves.items():
        if not len(curve):
            continue
        pictures = [draw(figures.learning_curve(curve, name), f"{folder}: {name} over the steps")
                    for name in figures.curve_quantities(curve)]
        parts += [tag("h4", folder), grid(pictures)]
    return section("Learning curves", *parts) if parts else None


def errors(measured: Measured, type_map: Sequence[str]) -> Markup:
    """Errors of every backend against the labels, in all and by element."""
    rows = []
    for quantity in measured.quantities:
        for backend in quantity.predicted:
            rows.append((quantity.name, "all", backend, *_errors(quantity.error(backend)),
                         quantity.unit))
            if quantity.element is not None:
                rows += [(quantity.name, type_map[t], backend,
                          *_errors(quantity.error(backend, int(t))), quantity.unit)
                         for t in np.unique(quantity.element)]
    return table(("quantity", "element", "backend", "RMSE", "MAE", "largest", "numbers", "unit"),
                 rows, numbers=(3, 4, 5, 6))


def _errors(error: np.ndarray) -> tuple[str, str, str, str]:
    size = np.abs(error)
    return (number(float(np.sqrt(np.mean(error**2)))), number(float(size.mean())),
            number(float(size.max())), str(len(error)))


def parity(measured: Measured, type_map: Sequence[str], part: str, draw: Figures) -> Markup:
    """Predictions beside labels, their errors, and histograms of these."""
    pictures = [draw(figures.parity(quantity, backend, type_map),
                     f"{quantity.name} of the backend {backend} beside the labels", _cut(quantity))
                for quantity in measured.quantities for backend in quantity.predicted]
    histograms = [draw(figures.error_histogram(quantity), f"errors of the {quantity.name}")
                  for quantity in measured.quantities]
    said = (f"{measured.frames} of {measured.available} frames of the {part} data, "
            f"{measured.atoms} atoms in all.")
    beyond = [] if not measured.dropped else [tag(
        "p", f"{measured.dropped} neighbours beyond the model's slots were left out.",
        class_="note")]
    return join([
        section("Errors against the labels", tag("p", said, class_="dim"), *beyond,
                errors(measured, type_map)),
        section("Predictions beside labels", grid(pictures)),
        section("Histograms of the errors", grid(histograms))])


def _cut(quantity: Quantity) -> str:
    if len(quantity.label) <= figures.MOST_POINTS:
        return ""
    return (f". Of more than {figures.MOST_POINTS} numbers of a kind, those with the largest "
            "errors are drawn and others evenly.")


def tables(seen: TablesSeen, draw: Figures) -> Markup:
    """Errors of the tables, above the density of the data."""
    captions = {"u": "Tables of s and h along u", "s": "Tables of G along s"}
    pictures = [draw(figures.table_error(seen, argument), caption,
                     ": largest error over types and features; beneath, how many pairs of the "
                     "data look there", wide=True)
                for argument, caption in captions.items()]
    return section(
        "Tables", tag("p", f"From the data's smallest distance, {number(seen.smallest)} Å, to the "
                      f"cut-off; {seen.pairs} pairs.", class_="dim"),
        grid(pictures), table(
            ("layout", "function", "along", "largest error", "at", "RMS", "RMS over the data"),
            [_table_row(seen, layout, error)
             for layout, errors in ((seen.layout, seen.errors), *seen.others.items())
             for error in errors], numbers=(3, 4, 5, 6)))


def _table_row(seen: TablesSeen, layout: str, error: TableError) -> tuple[str, ...]:
    weighted = seen.over_data(error)
    return (layout, error.name, error.argument, number(error.largest, 3), number(error.where),
            number(error.rms, 3), "" if weighted is None else number(weighted, 3))


def budget(found: Mapping[str, Budget], frames: int, draw: Figures) -> Markup:
    """What each step of the quantization costs."""
    pictures = [draw(figures.budget(one, name), f"What quantization costs the {name}, by stage")
                for name, one in found.items()]
    rows = []
    first = next(iter(found.values()))
    for stage in (*first.stages, "remainder"):
        costs = [one.remainder if stage == "remainder" else one.stages[stage]
                 for one in found.values()]
        rows.append((stage, *(text for cost in costs for text in (
            number(cost.rms, 3), number(cost.mean, 2),
            # without the sign of a zero
            f"{round(100 * cost.share, 2) + 0.0:.2f}"))))
    rows.append(("all", *(text for one in found.values()
                          for text in (number(one.rms, 3), number(one.mean, 2), "100"))))
    heads = ["stage"]
    for name, one in found.items():
        heads += [f"{name}, RMS, {one.unit}", "mean", "share, %"]
    said = ("Stages are quantized one after the other in the order of the data flow, each with the "
            "inputs it has in hardware, and what is behind it exact. A share is the mean of (change"
            " by the stage times whole difference) over the mean square of the whole difference, "
            "backend fixed less backend float; it is negative where a stage takes back what others "
            "do. The remainder is what the stages leave unexplained. "
            f"{frames} {'frame' if frames == 1 else 'frames'}; energies of atoms, components of "
            "forces.")
    return section("Error budget of the quantization", tag("p", said, class_="dim"),
                   grid(pictures), table(heads, rows, numbers=range(1, len(heads))))
