"""The report: one page that shows what a run, or two, came to."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from nvnmd.atomic_file import atomic_write
from nvnmd.errors import NvnmdError
from nvnmd.reports import sections
from nvnmd.reports.collect import Run, collect
from nvnmd.reports.difference import difference
from nvnmd.reports.hardware import hardware
from nvnmd.reports.html import Markup, join, tag
from nvnmd.reports.measure import (
    MOST_ATOMS,
    Frames,
    backends_of,
    budget_ticks,
    choose_frames,
    measure,
    measure_budget,
    measure_tables,
)
from nvnmd.reports.provenance import provenance, written_by
from nvnmd.reports.style import style_sheet

# no script, nothing from anywhere: the browser itself refuses what the page must not ask for
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_COMPARE_ATOMS = 2000
_ABOUT_FIGURES = 12

Start = Callable[[int], Callable[[], None]]


def write_report(paths: Sequence[str | Path], output: Path, *,
                 systems: Sequence[str | Path] = (), type_map: Sequence[str] = (),
                 most_atoms: int = MOST_ATOMS,
                 start: Start = lambda total: lambda: None) -> list[Run]:
    """Write the report of some runs as one HTML file.

    Parameters
    ----------
    paths : sequence of path-like
        See `nvnmd.reports.collect.collect`; the second is compared with the first.
    output : Path
        The file, replaced in one step.
    systems : sequence of path-like
        Data to measure on, for all runs; by default those of each run's own input.
    type_map : sequence of str
        Element names for a `model.pb`.
    most_atoms : int
        Atoms whose predictions are drawn.
    start : callable
        Gets the number of steps, returns what is called after each.

    Returns
    -------
    list of Run
        What was found.

    Raises
    ------
    InputError
        There is nothing to show in a path.
    NvnmdError
        What is there is damaged, or a frame cannot be evaluated.
    """
    runs = [collect(path, systems, type_map) for path in paths]
    chosen = [_frames(run, most_atoms) for run in runs]
    tick = start(sum(_steps(run, frames) for run, (frames, _) in zip(runs, chosen, strict=True)))
    draw = sections.Figures(tick)
    shown = [_run(run, *frames, k, draw, tick)
             for k, (run, frames) in enumerate(zip(runs, chosen, strict=True))]
    if len(runs) > 1:
        few = [] if not chosen[0][0] else choose_frames(
            runs[0].systems, _type_map(runs[0]), min(most_atoms, _COMPARE_ATOMS))[0]
        shown += [tag("section", tag("h2", f"{run.title} less {runs[0].title}"),
                      difference(runs[0], run, few), id=f"difference-{k}")
                  for k, run in enumerate(runs[1:], start=1)]
    text = _page(runs, shown)
    with atomic_write(output) as file:
        file.write(text.encode())
    return runs


def _type_map(run: Run) -> tuple[str, ...]:
    return run.network.type_map if run.network is not None else ()


def _frames(run: Run, most_atoms: int) -> tuple[Frames, int]:
    if run.network is None or not run.systems:
        return [], 0
    return choose_frames(run.systems, run.network.type_map, most_atoms)


def _steps(run: Run, frames: Frames) -> int:
    """How many steps the page of one run takes, about."""
    if run.network is None or not frames:
        return _ABOUT_FIGURES
    steps = len(frames) * len(backends_of(run.network)) + _ABOUT_FIGURES
    if run.model is not None and run.model.embedding:
        steps += budget_ticks(run.systems, run.network.type_map)
    return steps


def _run(run: Run, frames: Frames, available: int, place: int, draw: sections.Figures,
         tick: Callable[[], None]) -> Markup:
    """Everything of one run; what fails is said in its place."""
    parts: list[object] = [sections.about(run), sections.curves(run, draw)]
    if frames and run.network is not None:
        network = run.network
        parts.append(_or_why_not("Errors against the labels", lambda: sections.parity(
            measure(network, frames, available, tick=tick), network.type_map, run.part, draw)))
        if run.model is not None and run.model.embedding:
            parts += _inside(run, frames, draw, tick)
        elif run.model is not None:
            parts.append(tag("p", "The model holds no continuous network, so the errors of its "
                             "tables and the costs of its stages cannot be told.", class_="note"))
    parts += [hardware(run, draw), provenance(run)]
    return tag("section", tag("h2", run.title),
               *(part for part in parts if part is not None), id=f"run-{place}")


def _inside(run: Run, frames: Frames, draw: sections.Figures,
            tick: Callable[[], None]) -> list[Markup]:
    """Tables and budget of a frozen model with its float network."""
    model = run.model
    assert model is not None

    def tables() -> Markup:
        return sections.tables(measure_tables(model, frames), draw)

    def budget() -> Markup:
        return sections.budget(*measure_budget(model, run.systems, tick=tick), draw)

    return [_or_why_not("Tables", tables),
            _or_why_not("Error budget of the quantization", budget)]


def _or_why_not(title: str, part: Callable[[], Markup]) -> Markup:
    """A section, or its title and why it could not be made."""
    try:
        return part()
    except NvnmdError as error:
        return sections.section(title, tag("p", f"Not measured: {error}", class_="note"))


def _page(runs: Sequence[Run], shown: Sequence[Markup]) -> str:
    title = "nvnmd report: " + ", ".join(run.title for run in runs)
    links = [(f"run-{k}", run.title) for k, run in enumerate(runs)]
    links += [(f"difference-{k}", f"differences of {run.title}")
              for k, run in enumerate(runs) if k]
    head = tag("head", tag("meta", charset="utf-8"),
               tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
               tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
               tag("meta", name="referrer", content="no-referrer"),
               tag("title", title), tag("style", Markup(style_sheet())))
    stamp = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    body = tag("body", tag("header", tag("h1", "nvnmd report"),
                           tag("p", "Written ", tag("time", stamp), ".", class_="dim")),
               tag("nav", *(tag("a", text, href=f"#{place}") for place, text in links)),
               tag("main", *shown, written_by()))
    return "<!DOCTYPE html>\n" + tag("html", join([head, body]), lang="en") + "\n"
