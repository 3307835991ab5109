"""The part of the page that shows the accelerator: simulation, sizes, resources, memory map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nvnmd.reports import figures
from nvnmd.reports.collect import Run
from nvnmd.reports.html import Markup, table, tag
from nvnmd.reports.sections import Figures, grid, number, section

_SIMULATED = ("atoms", "words_compared", "words_differing", "first_difference", "cycles_per_atom",
              "cycles", "load_cycles", "status", "problems")
_BUILT = {"board": "board", "part": "FPGA, or the simulator",
          "cycles_per_atom": "cycles per atom, full list", "clock_asked": "clock asked, MHz",
          "clock_achieved": "clock reached, MHz", "seed": "seed of the placement",
          "microseconds_per_atom": "µs per atom, full list"}


def hardware(run: Run, draw: Figures) -> Markup | None:
    """Sizes, cycles, resources and memory map, from export, simulation and build."""
    parts = [*_simulation(run), *_export(run, draw), *_blocks(run), *_cells(run), *_build(run)]
    return section("Hardware", *parts) if parts else None


def _simulation(run: Run) -> Iterator[Markup]:
    found = run.simulation
    if found is None:
        return
    rows: list[tuple[str, object]] = [
        (key.replace("_", " "), _text(found[key])) for key in _SIMULATED if key in found]
    differ = found.get("float_difference")
    if isinstance(differ, dict):
        rows += [(f"RTL less continuous network, {key.replace('_', ' ')}", _whole(value))
                 for key, value in differ.items()]
    yield tag("h4", "Simulation")
    yield table(("", ""), rows)


def _export(run: Run, draw: Figures) -> Iterator[Markup]:
    """Sizes, widths, latencies and memory map of the manifest."""
    if run.manifest is None:
        return
    for title, key in (("Sizes", "parameters"), ("Widths, bits", "widths"),
                       ("Latency, cycles", "latency")):
        found = run.manifest.get(key)
        if isinstance(found, dict):
            rows = [(name.replace("_", " "), _text(value)) for name, value in found.items()]
            yield tag("details", tag("summary", title), table(("", ""), rows),
                      open="" if key == "latency" else None)
    sections = list(memory_sections(run.manifest))
    if sections:
        kib = sum(s["beats"] for s in sections) * 128 / 8192
        places = [(s["section"], s["first_beat"], s["beats"]) for s in sections]
        yield tag("h4", "Memory map")
        yield grid([draw(figures.memory_map(sections), f"The model in memory, {kib:.0f} KiB in "
                         "all")])
        yield table(("section", "first beat", "beats of 128 bits"), places, numbers=(1, 2))


def memory_sections(manifest: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The sections of a manifest's memory map that are whole."""
    found = manifest.get("memory_map")
    for entry in found if isinstance(found, list) else []:
        if isinstance(entry, dict) and all(
                type(entry.get(key)) is int and 0 <= entry[key] < 2**40
                for key in ("beats", "first_beat")) and "section" in entry:
            yield entry | {"section": str(entry["section"])[:80]}


def _blocks(run: Run) -> Iterator[Markup]:
    """Multipliers and memories by unit, as blocks of every family of FPGAs."""
    units, parts = _units(run.budget), (run.budget or {}).get("parts")
    if not units or not isinstance(parts, dict):
        return
    kinds = [(family, block, part) for family, part in parts.items() if isinstance(part, dict)
             for block in part if block != "part"]
    rows = [(_text(unit.get("unit", "")), *(
        _text(_entry(_entry(unit.get("blocks"), family), block)) for family, block, _ in kinds))
        for unit in units]
    rows.append(("the part has", *(_text(part[block]) for *_, block, part in kinds)))
    heads = [f"{block}, {_text(part.get('part', family))}" for family, block, part in kinds]
    yield tag("h4", "Multipliers and memories")
    yield tag("p", "Blocks that the units take, counted without synthesis; logic is not counted.",
              class_="dim")
    yield table(("unit", *heads), rows, numbers=range(1, len(heads) + 1))


def _cells(run: Run) -> Iterator[Markup]:
    """Cells by unit, if Yosys counted them."""
    units = _units(run.resources)
    if not units:
        if run.manifest is not None:
            yield tag("p", "Cells were not counted; nvnmd export-hdl --count-cells does it.",
                      class_="dim")
        return
    keys = list(dict.fromkeys(key for unit in units for key in unit if key != "unit"))
    rows = [(_text(unit.get("unit", "")), *(_text(unit.get(key, "")) for key in keys))
            for unit in units]
    yield tag("h4", "Cells")
    yield table(("unit", *(key.replace("_", " ") for key in keys)), rows,
                numbers=range(1, len(keys) + 1))


def _build(run: Run) -> Iterator[Markup]:
    """What `nvnmd build` found: clock, time per atom, cells of what there is, tools."""
    found = run.build
    if found is None:
        return
    rows = [(title, _whole(found[key])) for key, title in _BUILT.items() if key in found]
    used = found.get("used")
    if isinstance(used, dict):
        rows += [(name, f"{_text(count)} of {_text(_entry(found.get('available'), name))}")
                 for name, count in used.items()]
    tools = found.get("tools")
    if isinstance(tools, dict):
        rows += [(f"{name}, version", _text(version)) for name, version in tools.items()]
    yield tag("h4", "Build for a board")
    yield table(("", ""), rows)


def _units(found: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The units of a file, none if it has another form."""
    units = (found or {}).get("units")
    if not isinstance(units, list) or not all(isinstance(unit, dict) for unit in units):
        return []
    return units


def _entry(found: Any, key: str) -> Any:
    """An entry of what may be no object, or have no such key."""
    return found.get(key) if isinstance(found, dict) else None


def _whole(value: Any) -> object:
    """A number that breaks over no line, or text."""
    return tag("span", _text(value), class_="n") if isinstance(value, float) else _text(value)


def _text(value: Any) -> str:
    if value is None or value == []:
        return "none"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list):
        return ", ".join(_text(entry) for entry in value)
    return str(value)
