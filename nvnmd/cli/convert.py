"""`nvnmd convert`: data of other programs as systems to train on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nvnmd.cli.common import add_command, need
from nvnmd.messages import log, warn

OUTPUTS = ("deepmd/npy", "deepmd/hdf5", "deepmd/npy/mixed")


def add_commands(commands: Any) -> None:
    """Add the command of this group."""
    parser = add_command(
        commands, "convert", run, summary="data of other programs as systems to train on",
        description="Read data in any format that dpdata knows and write them as systems. Frames "
                    "of the same composition make one system.",
        examples=["OUTCAR -f vasp/outcar -o data",
                  "run1/OUTCAR run2/OUTCAR -o data.hdf5 --format deepmd/hdf5 --type-map Cu Au",
                  "train.xyz -f extxyz -o data --format deepmd/npy/mixed"])
    parser.add_argument("inputs", metavar="INPUT", nargs="+",
                        help="a file or folder, or FILE.hdf5#/PATH")
    parser.add_argument("-f", "--from", metavar="FORMAT", dest="source", default="auto",
                        help="their format, by dpdata's name for it (default: auto, by the end of "
                             "the file's name)")
    parser.add_argument("-o", "--output", metavar="OUTPUT", type=Path, required=True,
                        help="folder to write, for deepmd/hdf5 the file; must not exist")
    parser.add_argument("--format", choices=OUTPUTS, default=OUTPUTS[0],
                        help=f"what to write (default: {OUTPUTS[0]})")
    parser.add_argument("-t", "--type-map", metavar="NAME", nargs="+",
                        help="order of the elements, all of them (default: that of the data)")
    parser.add_argument("--no-labels", action="store_true",
                        help="positions and cells only, for formats without energies and forces")


def run(args: argparse.Namespace) -> int:
    """Run `nvnmd convert`."""
    need("convert", "data", "dpdata", "h5py")
    from nvnmd.data.convert import convert

    done = convert(args.inputs, args.output, source=args.source, target=args.format,
                   type_map=args.type_map, labelled=not args.no_labels, warn=warn)
    for system in done.systems:
        log(str(system))
    log(f"{len(done.systems)} systems, {done.frames} frames, "
        f"labels: {', '.join(done.labels) or 'none'}; type_map: {' '.join(done.type_map)}")
    return 0
