"""What differs between two runs: settings, weights, predictions, the first word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from nvnmd.errors import NvnmdError
from nvnmd.evaluation.compare import compare_models
from nvnmd.evaluation.frames import frame_neighborhood
from nvnmd.evaluation.potential import Potential
from nvnmd.quantize.model import Model
from nvnmd.reports.collect import Run
from nvnmd.reports.html import Markup, table, tag
from nvnmd.reports.info import model_facts
from nvnmd.reports.measure import Frames, backends_of
from nvnmd.reports.sections import number, section


def difference(a: Run, b: Run, frames: Frames) -> Markup:
    """Compare two runs, named by their paths; predictions on frames of the first one's data."""
    parts: list[object] = []
    if a.model is None or b.model is None:
        return section("Differences", tag("p", "Two frozen models are needed to compare.",
                                          class_="note"))
    if a.model.digest == b.model.digest:
        parts.append(tag("p", f"Both are the same model (digest {a.model.digest[:12]})."))
    else:
        rows = list(differing(facts_of(a.model), facts_of(b.model)))
        parts += [tag("h4", "Settings"),
                  table(("", str(a.path), str(b.path)), rows) if rows else tag(
                      "p", "The settings are the same.")]
        parts += [tag("h4", "Weights and tables"),
                  table(("array", "largest difference"), list(array_differences(a.model, b.model)),
                        numbers=(1,))]
    if frames:
        parts += [tag("h4", "Predictions"), *_predictions(a.model, b.model, frames)]
    rows = list(differing(_documents(a), _documents(b)))
    if rows:
        parts.append(tag("details", tag("summary", f"Input documents: {len(rows)} keys differ"),
                         table(("key", str(a.path), str(b.path)), rows)))
    return section("Differences", *parts)


def facts_of(model: Model) -> dict[str, Any]:
    """Facts about a model, one level deep, without its origin."""
    facts = model_facts(model)
    facts.pop("origin")
    return dict(flat(facts))


def flat(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every entry of nested dictionaries with its path."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from flat(entry, f"{where}/{key}" if where else str(key))
    else:
        yield where, value


def differing(a: dict[str, Any], b: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Keys whose values are not equal, with both values."""
    for key in dict.fromkeys([*a, *b]):
        if a.get(key) != b.get(key):
            first, second = (str(d[key]) if key in d else "absent" for d in (a, b))
            yield key, first, second


def array_differences(a: Model, b: Model) -> Iterator[tuple[str, str]]:
    """Every array of the models with the largest magnitude of their difference."""
    for name in ("table_u", "table_u_grad", "table_g", "table_g_grad", "t_bias_atom_e", "davg",
                 "dstd"):
        first, second = getattr(a, name), getattr(b, name)
        if first is not None or second is not None:
            yield name, _largest(first, second)
    for name in ("fit_weights", "fit_biases"):
        for k, (x, y) in enumerate(zip(getattr(a, name), getattr(b, name), strict=False)):
            yield f"{name}, layer {k}", _largest(x, y)


def _largest(x: Any, y: Any) -> str:
    if np.shape(x) != np.shape(y):
        return f"shapes {np.shape(x)} and {np.shape(y)}"
    return number(float(np.abs(np.asarray(x) - np.asarray(y)).max(initial=0.0)), 3)


def _predictions(a: Model, b: Model, frames: Frames) -> Iterator[Markup]:
    """Differences of energies and forces, and the first word that differs."""
    if a.type_map != b.type_map:
        yield tag("p", "Not compared: the elements differ.", class_="note")
        return
    rows = []
    common = [name for name in backends_of(a) if name in backends_of(b)]
    try:
        for backend in common:
            energy, force = [], []
            both = Potential(a), Potential(b)
            for system, k in frames:
                cell = None if system.box is None else system.box[k : k + 1]
                x, y = (one.evaluate(system.coord[k : k + 1], cell, system.types, backend,
                                     overflow="truncate") for one in both)
                energy.append((y.energy - x.energy) / system.natoms)
                force.append((y.force - x.force).ravel())
            for name, parts, unit in (("energy", energy, "eV/atom"), ("force", force, "eV/Å")):
                change = np.concatenate(parts)
                rows.append((name, backend, number(float(np.sqrt(np.mean(change**2))), 3),
                             number(float(np.abs(change).max()), 3), unit))
        yield table(("quantity", "backend", "RMS", "largest", "unit"), rows, numbers=(2, 3))
        system, k = frames[0]
        outcome = compare_models(a, b, frame_neighborhood(a, system, k, "truncate"))
        yield tag("p", tag("code", outcome.line),
                  *([] if outcome.first is None else ["; ", tag("code", outcome.first)]))
    except NvnmdError as error:
        yield tag("p", f"Not compared: {error}", class_="note")


def _documents(run: Run) -> dict[str, Any]:
    """Entries of the input documents, without paths, which differ in any two folders."""
    return {key: value for key, value in flat(run.documents)
            if not key.endswith(("_file", "/systems"))}
