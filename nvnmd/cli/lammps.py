"""`nvnmd lammps`: a LAMMPS script with a model in the place of its potential."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from nvnmd.cli.common import (
    add_backend,
    add_command,
    add_mode,
    add_overflow,
    need,
    open_backend,
    positive,
)
from nvnmd.errors import InputError, ModelFileError, NvnmdError
from nvnmd.threads import threads


def add_commands(commands: Any) -> None:
    """Add the command of this group."""
    parser = add_command(
        commands, "lammps", run, summary="run a LAMMPS script with a model",
        description="Run a LAMMPS script. Its lines `pair_style nvnmd MODEL` (or deepmd) and "
                    "`pair_coeff * *` are translated; LAMMPS itself runs all others, with its own "
                    "neighbour lists. Units are metal or real.",
        examples=["in.lammps", "in.lammps -m nvnmd_qnn/model.nvnmd",
                  "in.lammps -m nvnmd_qnn -np 4"])
    parser.add_argument("script", metavar="SCRIPT", help="a LAMMPS input script")
    parser.add_argument("-m", "--model", metavar="MODEL",
                        help="model.nvnmd, the folder that holds it, a run folder of DeePMD-kit, "
                             "a model.pb (default: the one that pair_style names)")
    add_backend(parser, ranks=True)
    parser.add_argument("-np", "--ranks", metavar="N", type=positive, default=1,
                        help="MPI ranks, each with an evaluator of its own (default: 1)")
    parser.add_argument("-v", "--var", metavar=("NAME", "VALUE"), nargs=2, action="append",
                        default=[], help="set a variable, like LAMMPS's -var")
    parser.add_argument("--log", metavar="FILE", default="log.lammps",
                        help="LAMMPS's log (default: log.lammps)")
    add_mode(parser)
    add_overflow(parser)


def run(args: argparse.Namespace) -> int:
    """Run `nvnmd lammps`."""
    need("lammps", "md", "lammps", "mpi4py")
    from nvnmd.integrations.lammps_script import read_script

    script = read_script(Path(args.script))
    name = args.model or script.model
    if name is None:
        raise InputError(f"{args.script}: pair_style names no model, expected one there or "
                         "--model")
    if "$" in name:
        raise InputError(f"{args.script}: pair_style names {name}, a variable; expected --model")
    if args.backend == "board":
        _choose_board(args)
    if args.ranks > 1 and "PMI_RANK" not in os.environ:
        return _on_ranks(args)
    from nvnmd.evaluation.potential import load_model
    from nvnmd.integrations.lammps import run_script

    names = script.elements if name.endswith(".pb") and script.elements else None
    try:
        potential = load_model(name, type_map=names)
    except ModelFileError as error:
        if args.model is not None:
            raise
        raise ModelFileError(f"{error}; the script names it, --model names another") from None
    script = read_script(Path(args.script), potential.rcut)
    words = ["-log", args.log]
    for variable, value in args.var:
        words += ["-var", variable, value]
    try:
        with ExitStack() as stack:
            backend = _on_all_ranks(lambda: stack.enter_context(open_backend(args)))
            run_script(script, potential, backend=backend, overflow=args.overflow,
                       mode=args.mode, arguments=tuple(words))
    except NvnmdError as error:
        # all ranks have the same error; one says it
        if os.environ.get("PMI_RANK", "0") == "0":
            raise
        return error.exit_code
    return 0


def _choose_board(args: argparse.Namespace) -> None:
    """Of the boards, take that of this rank."""
    names = args.board.split(",")
    if names == ["sim"]:
        return
    if len(names) != args.ranks:
        raise InputError(f"--board: got {len(names)} for {args.ranks} ranks, expected one each")
    args.board = names[int(os.environ.get("PMI_RANK", "0"))]


def _on_all_ranks(work: Callable[[], Any]) -> Any:
    """Do it on each rank; where one cannot, all end, as the others would wait for it."""
    from nvnmd.integrations.mpi import communicator

    found, failed = None, None
    try:
        found = work()
    except NvnmdError as error:
        failed = error
    texts = communicator().allgather("" if failed is None else str(failed))
    if failed is None and any(texts):
        failed = NvnmdError(next(text for text in texts if text))
    if failed is not None:
        raise failed
    return found


def _on_ranks(args: argparse.Namespace) -> int:
    """Start the same command once per rank."""
    from nvnmd.integrations.mpi import launcher

    environment = os.environ.copy()
    environment.setdefault("OMP_NUM_THREADS", str(max(threads() // args.ranks, 1)))
    words = [launcher(), "-n", str(args.ranks), sys.executable, "-P", "-m", "nvnmd", *args.argv]
    return subprocess.run(words, env=environment, check=False).returncode
