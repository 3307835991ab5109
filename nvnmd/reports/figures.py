"""The figures: each function returns one that draws, for a page or for a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nvnmd.evaluation.error_budget import Budget
from nvnmd.reports.drawing import Draw, Palette, new_figure, powers
from nvnmd.reports.measure import Quantity, TablesSeen

MOST_POINTS = 1200
"""Points of one cloud of a parity plot."""
_CURVES = {"rmse_e": "energy, eV/atom", "rmse_f": "force, eV/Å", "rmse_v": "virial, eV/atom",
           "rmse": "loss"}
_MARKERS = "os^Dv<>P"


def curve_quantities(curve: NDArray[np.void]) -> list[str]:
    """Names of the quantities of a learning curve that hold a number."""
    columns = curve.dtype.names or ()
    names = dict.fromkeys(name.removesuffix("_trn").removesuffix("_val")
                          for name in columns if name.endswith(("_trn", "_val")))
    return [name for name in names if any(
        np.isfinite(curve[f"{name}_{part}"]).any() for part in ("trn", "val")
        if f"{name}_{part}" in columns)]


def learning_curve(curve: NDArray[np.void], quantity: str) -> Draw:
    """Errors of one quantity over the steps, on the training batch and the validation part."""

    def draw(palette: Palette) -> Figure:
        figure, (axes,) = new_figure()
        for number, (part, title) in enumerate((("trn", "training batch"),
                                                ("val", "validation"))):
            name = f"{quantity}_{part}"
            if name in (curve.dtype.names or ()):
                axes.plot(curve["step"], curve[name], color=palette(number), label=title,
                          marker="." if len(curve) < 40 else "")
        axes.set_yscale("log")
        powers(axes.yaxis)
        axes.set_xlabel("step")
        axes.set_ylabel(f"RMSE, {_CURVES[quantity]}" if quantity in _CURVES else quantity)
        axes.legend()
        return figure

    return draw


def parity(quantity: Quantity, backend: str, type_map: Sequence[str]) -> Draw:
    """Predictions over labels, by element where the numbers have one.

    Of more than `MOST_POINTS` numbers of an element the largest errors are drawn, and others
    evenly. Energies are counted from the mean label.
    """

    def draw(palette: Palette) -> Figure:
        figure, (axes,) = new_figure(4.2, 4.0)
        shift = float(quantity.label.mean()) if quantity.name == "energy" else 0.0
        label, predicted = quantity.label - shift, quantity.predicted[backend] - shift
        low = float(min(label.min(), predicted.min()))
        high = float(max(label.max(), predicted.max()))
        room = 0.04 * (high - low) or 1e-6
        axes.plot([low - room, high + room], [low - room, high + room], color=palette.ink, lw=0.8)
        for number, name, here in _clouds(quantity, type_map):
            some = thinned(np.abs(predicted - label)[here])
            # the first ones larger, so that they look out from under the later ones
            axes.plot(label[here][some], predicted[here][some], ls="", ms=max(4.6 - number, 2.4),
                      alpha=0.55, marker=_MARKERS[number % len(_MARKERS)], mew=0,
                      color=palette(number), label=name)
        axes.set_xlim(low - room, high + room)
        axes.set_ylim(low - room, high + room)
        axes.set_aspect("equal")
        relative = " less the mean label" if quantity.name == "energy" else ""
        axes.set_xlabel(f"label{relative}, {quantity.unit}")
        axes.set_ylabel(f"{backend}{relative}, {quantity.unit}")
        axes.set_title(f"{quantity.name}, {backend}")
        if quantity.element is not None:
            axes.legend(ncols=1 + len(type_map) // 9, markerscale=1.6)
        return figure

    return draw


def _clouds(quantity: Quantity, type_map: Sequence[str]
            ) -> list[tuple[int, str, NDArray[np.bool_]]]:
    """Number, name and members of every cloud of points."""
    if quantity.element is None:
        return [(0, "", np.ones(len(quantity.label), dtype=bool))]
    return [(int(t), type_map[t], quantity.element == t) for t in np.unique(quantity.element)]


def thinned(error: NDArray[np.float64], most: int = MOST_POINTS) -> NDArray[np.int64]:
    """Which of some numbers to draw: the tenth of `most` with the largest errors, others evenly."""
    if len(error) <= most:
        return np.arange(len(error))
    worst = np.argsort(-error, kind="stable")[: most // 10]
    even = np.linspace(0, len(error) - 1, most - most // 10).astype(np.int64)
    return np.unique(np.concatenate([worst, even]))


def error_histogram(quantity: Quantity) -> Draw:
    """How often errors of each size occur, of every backend."""

    def draw(palette: Palette) -> Figure:
        figure, (axes,) = new_figure()
        errors = {name: quantity.error(name) for name in quantity.predicted}
        reach = max(float(np.abs(error).max()) for error in errors.values()) or 1e-9
        bins = np.linspace(-reach, reach, 61).tolist()
        for number, (name, error) in enumerate(errors.items()):
            axes.hist(error, bins=bins, histtype="step", color=palette(number), label=name,
                      ls="-" if number == 0 else "--", lw=1.6)
        axes.set_yscale("log")
        powers(axes.yaxis, ".0f")
        # more ticks would run into each other on some errors
        axes.locator_params(axis="x", nbins=6)
        axes.set_xlabel(f"{quantity.name}, prediction less label, {quantity.unit}")
        axes.set_ylabel("numbers")
        axes.legend()
        return figure

    return draw


def table_error(seen: TablesSeen, argument: str) -> Draw:
    """Errors of the tables along u or s, and the data's own density beneath.

    Those of the other layout are dashed.
    """

    def draw(palette: Palette) -> Figure:
        figure, (above, below) = new_figure(7.4, 4.4, rows=2, ratios=(3.0, 1.0))
        layouts = [(seen.layout, seen.errors, "-"), *(
            (name, found, "--") for name, found in seen.others.items())]
        for layout, found, line in layouts:
            errors = [error for error in found if error.argument == argument]
            for number, error in enumerate(errors):
                # a point without any error has no place on a logarithmic axis
                above.plot(error.x, np.where(error.error > 0, error.error, np.nan), lw=0.8, ls=line,
                           color=palette(number), label=f"{error.name}, {layout}")
        above.set_yscale("log")
        powers(above.yaxis)
        above.set_ylabel("largest error")
        above.legend(ncols=len(layouts))
        density = seen.density[argument]
        below.stairs(density.counts, density.edges, fill=True, color=palette(7))
        below.set_ylabel("pairs")
        below.ticklabel_format(axis="y", style="plain")
        below.set_xlabel("u = r², Å²" if argument == "u" else "s")
        below.set_ylim(0, None if density.counts.any() else 1)
        return figure

    return draw


def budget(found: Budget, quantity: str, digits: int = 1) -> Draw:
    """Share of every stage in the mean square of the quantization's error, and the remainder."""

    def draw(palette: Palette) -> Figure:
        costs = [*found.stages.items(), ("remainder", found.remainder)]
        figure, (axes,) = new_figure(5.2, 3.9)
        places = np.arange(len(costs))[::-1]
        shares = np.array([100.0 * cost.share for _, cost in costs])
        fills = [palette(1 if name == "remainder" else 0) for name, _ in costs]
        axes.barh(places, shares, color=fills, height=0.7)
        axes.axvline(0.0, color=palette.ink, lw=0.8)
        for place, share in zip(places, shares, strict=True):
            # without the sign of a zero
            text = f"{round(share, digits) + 0.0:.{digits}f}"
            axes.annotate(text, (max(share, 0.0), place), (3, 0), va="center",
                          textcoords="offset points", fontsize=8.5)
        axes.set_yticks(places, [name for name, _ in costs])
        axes.margins(x=0.14)
        axes.grid(False, axis="y")
        axes.set_xlabel(f"share of the mean square, %\n({quantity}: RMS {found.rms:.3g} "
                        f"{found.unit})")
        return figure

    return draw


def memory_map(sections: Sequence[Mapping[str, Any]], beat_bits: int = 128) -> Draw:
    """Size of every section of the model in the accelerator's memory."""

    def draw(palette: Palette) -> Figure:
        figure, (axes,) = new_figure(5.2, 0.9 + 0.28 * len(sections))
        places = np.arange(len(sections))[::-1]
        sizes = np.array([int(s["beats"]) * beat_bits / 8192.0 for s in sections])
        axes.barh(places, sizes, color=palette(2), height=0.7)
        for place, size in zip(places, sizes, strict=True):
            axes.annotate(f"{size:.3g}", (size, place), (3, 0), va="center",
                          textcoords="offset points", fontsize=8.5)
        axes.set_yticks(places, [str(s["section"]) for s in sections])
        axes.margins(x=0.14)
        axes.grid(False, axis="y")
        axes.set_xlabel("KiB")
        return figure

    return draw
