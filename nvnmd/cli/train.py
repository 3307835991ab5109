"""`nvnmd train-cnn`, `nvnmd train-qnn` and `nvnmd map`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvnmd.cli.common import add_command, add_overflow, need
from nvnmd.cli.record import record
from nvnmd.errors import InputError
from nvnmd.messages import log, warn

if TYPE_CHECKING:
    from nvnmd.inputs.config import RunConfig
    from nvnmd.training.workers import Workers

CNN_FOLDER = Path("nvnmd_cnn")
QNN_FOLDER = Path("nvnmd_qnn")


def add_commands(commands: Any) -> None:
    """Add the commands of this group."""
    cnn = add_command(
        commands, "train-cnn", train_cnn, summary="train the continuous network",
        description="Train the continuous (float) network and build its tables.",
        examples=["input.json", "input.json -o run/nvnmd_cnn",
                  "input.json --restart nvnmd_cnn/model.ckpt"])
    cnn.add_argument("input", metavar="INPUT.json", type=Path, help="the input document")
    cnn.add_argument("-o", "--output", metavar="DIR", type=Path,
                     help="output folder (default: that of nvnmd/config_file in the document, else "
                          f"{CNN_FOLDER})")
    begin = cnn.add_mutually_exclusive_group()
    begin.add_argument("--restart", metavar="CKPT", type=Path,
                       help="continue a training exactly where this checkpoint was written")
    begin.add_argument("--init-model", metavar="CKPT", type=Path,
                       help="begin a new training with the weights of this checkpoint")
    _add_folder(cnn)
    add_overflow(cnn)

    qnn = add_command(
        commands, "train-qnn", train_qnn, summary="train the quantized network",
        description="Train the quantized network from the continuous one, and write the model file "
                    "that every later command takes.",
        examples=["input.json", "input.json --cnn run/nvnmd_cnn -o run/nvnmd_qnn"])
    qnn.add_argument("input", metavar="INPUT.json", type=Path, help="the input document")
    qnn.add_argument("--cnn", metavar="DIR", type=Path,
                     help="folder of the continuous network (default: that of nvnmd/config_file "
                          f"in the document, else {CNN_FOLDER})")
    qnn.add_argument("-o", "--output", metavar="DIR", type=Path, default=QNN_FOLDER,
                     help=f"output folder (default: {QNN_FOLDER})")
    qnn.add_argument("--restart", metavar="CKPT", type=Path,
                     help="continue a training exactly where this checkpoint was written")
    qnn.add_argument("--keep-last", action="store_true",
                     help="keep the weights of the last step even if the validation errors did "
                          "not fall (default: then keep those of the continuous network)")
    _add_folder(qnn)
    add_overflow(qnn)

    tables = add_command(
        commands, "map", build_map, summary="build the tables of a continuous network",
        description="Build the tables (map.npy) of a continuous network again, as train-cnn does "
                    "at its end.",
        examples=["", "run/nvnmd_cnn"])
    tables.add_argument("cnn", metavar="DIR", type=Path, nargs="?", default=CNN_FOLDER,
                        help=f"folder of the continuous network (default: {CNN_FOLDER})")


def _add_folder(parser: argparse.ArgumentParser) -> None:
    """Add what is asked where an output folder or a checkpoint is not what was expected."""
    parser.add_argument("--force", action="store_true",
                        help="replace a training that is in the output folder")
    parser.add_argument("--allow-changed-data", action="store_true",
                        help="with --restart: go on although the data have changed since")


def _folder(path: Path) -> Path:
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: a file is in the way, expected an output folder")
    return path


@contextmanager
def _workers(command: str) -> Iterator[Workers]:
    """Connect the workers of a shared training, if it is one, before anything can go wrong."""
    from nvnmd.training.workers import OneWorker, guarded, place_of

    workers: Workers = OneWorker()
    if place_of(os.environ).count > 1:
        need(command, "train", "tensorflow")
        from nvnmd.training.tf_workers import workers_of_environment

        workers = workers_of_environment()
    with guarded(workers):
        yield workers


def train_cnn(args: argparse.Namespace) -> int:
    """Run `nvnmd train-cnn`."""
    from nvnmd.inputs.read import for_stage, load_input

    with _workers("train-cnn") as workers:
        config = for_stage(load_input(args.input, warn=warn), "cnn", args.output)
        output = _folder(Path(config.cnn_folder or CNN_FOLDER))
        need("train-cnn", "train", "tensorflow")
        from nvnmd.training.continuous.train import train_cnn as train

        train(config, output, restart=args.restart, init_model=args.init_model, log=log,
              overflow=args.overflow, workers=workers, force=args.force,
              allow_changed_data=args.allow_changed_data)
        if workers.place.chief:
            record(output, args, after=args.restart is not None)
    return 0


def train_qnn(args: argparse.Namespace) -> int:
    """Run `nvnmd train-qnn`."""
    from nvnmd.inputs.read import for_stage, load_input

    with _workers("train-qnn") as workers:
        output = _folder(args.output)
        config = for_stage(load_input(args.input, warn=warn), "qnn", args.cnn)
        need("train-qnn", "train", "tensorflow")
        _train_quantized(config, output, args, workers)
        if workers.place.chief:
            record(output, args, after=args.restart is not None)
    return 0


def _train_quantized(config: RunConfig, output: Path, args: argparse.Namespace,
                     workers: Workers) -> None:
    """Train what the switches quantize: both halves of the network, or one."""
    switches, folder = config.switches, Path(config.cnn_folder or CNN_FOLDER)
    common: dict[str, Any] = {"restart": args.restart, "log": log, "overflow": args.overflow,
                              "workers": workers, "force": args.force,
                              "allow_changed_data": args.allow_changed_data}
    if not switches.quantize_descriptor:
        from nvnmd.training.partial.fixed_fitting import train_fixed_fitting

        train_fixed_fitting(config, output, **common)
    elif switches.quantize_fitting_net:
        from nvnmd.training.quantized.train import train_qnn

        train_qnn(config, folder, output, keep_last=args.keep_last, **common)
    else:
        from nvnmd.training.partial.table_stage import train_table_descriptor

        train_table_descriptor(config, folder, output, **common)


def build_map(args: argparse.Namespace) -> int:
    """Run `nvnmd map`."""
    from nvnmd.deepmd.tables import map_folder

    log(f"tables: {map_folder(args.cnn)}")
    record(args.cnn, args, after=True)
    return 0
