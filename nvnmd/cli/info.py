"""`nvnmd info`: what a model file is."""

from __future__ import annotations

import argparse
from typing import Any

from nvnmd.cli.common import add_command
from nvnmd.cli.output import TextTable, add_json, show_json, show_table


def add_commands(commands: Any) -> None:
    """Add the command of this group."""
    parser = add_command(
        commands, "info", run, summary="say what a model file is",
        description="Say what a model file or folder is: version, elements, slots, cut-off, sizes, "
                    "table layouts, largest values, origin and digest.",
        examples=["nvnmd_qnn/model.nvnmd", "nvnmd_cnn", "nvnmd_cnn/model.ckpt --json"])
    parser.add_argument("model", metavar="MODEL",
                        help="model.nvnmd, a folder of train-cnn or train-qnn, a checkpoint, a run "
                             "folder of DeePMD-kit, or a model.pb")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Run `nvnmd info`."""
    from nvnmd.reports.info import describe

    facts = describe(args.model)
    if args.json:
        show_json("info", facts)
        return 0
    table = TextTable(("", ""), title=str(facts["path"]))
    for key, value in facts.items():
        for name, text in _lines(key, value):
            table.add(name, text)
    show_table(table)
    return 0


def _lines(key: str, value: Any) -> list[tuple[str, str]]:
    """Rows of one fact: nested ones become several."""
    name = key.replace("_", " ")
    if key in ("path", "arrays") or value is None or value == {}:
        return []
    if key == "origin":
        # the documents that an imported model brings along are for --json
        value = {part: entry for part, entry in value.items() if isinstance(entry, str | int)}
    if key == "segments":
        text = "; ".join(f"from {s['from']:g} {s['rows']} steps of {s['step']:g}" for s in value)
        return [(name, text)]
    if isinstance(value, dict):
        return [(f"{name} {inner}", text) for part, entry in value.items()
                for inner, text in _lines(part, entry)]
    if isinstance(value, list):
        return [(name, " ".join(_short(entry) for entry in value) or "none")]
    return [(name, _short(value) + _UNITS.get(key, ""))]


_UNITS = {"rcut": " Å", "rcut_smth": " Å", "smallest_distance": " Å"}


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return "-".join(_short(entry) for entry in value)
    return str(value)
