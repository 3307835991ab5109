"""`nvnmd init`: a pair of input documents to begin with."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from nvnmd.cli.common import add_command
from nvnmd.errors import InputError
from nvnmd.messages import log

# without data, names to be replaced
_NAMES = ("Cu", "Au")


def add_commands(commands: Any) -> None:
    """Add the command of this group."""
    parser = add_command(
        commands, "init", run, summary="write a pair of input documents",
        description="Write input documents for both trainings, with comments. With --from they fit "
                    "the data: elements, neighbour slots, cut-off, labels, parts for training and "
                    "validation.",
        examples=["", "--from data", "--from data -t O H --rcut 5.5 -o water"])
    parser.add_argument("--from", metavar="DATA", dest="data", type=Path,
                        help="a system, or a folder with systems; its folders training and "
                             "validation become these parts")
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, default=Path("."),
                        help="folder for the documents, which is made if missing (default: this "
                             "one)")
    parser.add_argument("-t", "--type-map", metavar="NAME", nargs="+", default=[],
                        help="elements in the order of the types (default: those of the data)")
    parser.add_argument("--version", type=int, choices=(0, 1),
                        help="NVNMD version (default: 0 up to four elements, else 1)")
    parser.add_argument("-r", "--rcut", metavar="R", type=float,
                        help="cut-off in Å (default: 6, or the most at which the neighbours fit)")


def run(args: argparse.Namespace) -> int:
    """Run `nvnmd init`."""
    from nvnmd.atomic_file import atomic_write
    from nvnmd.inputs.read import parse_document
    from nvnmd.inputs.starter import MOST_TYPES, RCUT, Facts, documents, facts_of

    if args.rcut is not None and not 0.0 < args.rcut < math.inf:
        raise InputError(f"--rcut: got {args.rcut}, expected a radius above 0 Å")
    if args.data is not None:
        facts = facts_of(args.data, args.type_map, args.version, args.rcut)
    else:
        names = tuple(args.type_map) or _NAMES
        version = (0 if len(names) <= MOST_TYPES[0] else 1) if args.version is None else (
            args.version)
        facts = Facts(type_map=names, version=version, rcut=args.rcut or RCUT,
                      validation=["data/validation"])
    found = {args.output / name: document for name, document in documents(facts).items()}
    for path, document in found.items():
        if path.exists():
            raise InputError(f"{path}: is there already, expected another folder (-o)")
        # what is written is valid, or nothing is
        parse_document(document, str(path), find_systems=False)
    args.output.mkdir(parents=True, exist_ok=True)
    for path, document in found.items():
        with atomic_write(path) as file:
            file.write((json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())
        log(str(path))
    return 0
