"""`nvnmd md`, `relax` and `model-devi`: a model at work on structures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvnmd.cli.common import (
    add_backend,
    add_command,
    add_mode,
    add_overflow,
    need,
    open_backend,
    positive,
)
from nvnmd.errors import InputError
from nvnmd.messages import log, warn

if TYPE_CHECKING:
    from ase import Atoms

    from nvnmd.integrations.ase import NVNMD


def add_commands(commands: Any) -> None:
    """Add the commands of this group."""
    _add_md(commands)
    _add_relax(commands)
    _add_deviation(commands)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add model, backend and what goes with them."""
    parser.add_argument("-m", "--model", metavar="MODEL", required=True,
                        help="model.nvnmd, the folder that holds it, a run folder of DeePMD-kit, "
                             "a model.pb, or a folder of train-cnn (with --backend float)")
    add_backend(parser)
    parser.add_argument("--skin", metavar="ANGSTROM", type=float, default=1.0,
                        help="list neighbours this far beyond the cut-off and keep the list while "
                             "it holds; the results have the same bits (default: 1)")
    parser.add_argument("--strict", action="store_true",
                        help="an atom nearer to another than any in training is an error")
    add_mode(parser)
    add_overflow(parser)


def _add_md(commands: Any) -> None:
    parser = add_command(
        commands, "md", run_md, summary="molecular dynamics of a structure",
        description="Molecular dynamics through ASE. Writes PREFIX.extxyz (frames), PREFIX.log and "
                    "PREFIX.state; after Ctrl-C, or a kill, the same command with --restart goes "
                    "on, and the files become those of a run that was not stopped, byte by byte.",
        examples=["start.extxyz -m nvnmd_qnn --temperature 300 --steps 10000",
                  "POSCAR -m nvnmd_qnn --ensemble langevin --temperature 600 --steps 40000 "
                  "-o melt",
                  "POSCAR -m nvnmd_qnn --ensemble langevin --temperature 600 --steps 40000 "
                  "-o melt --restart"])
    parser.add_argument("structure", metavar="STRUCTURE",
                        help="a file that ASE reads; of several frames the last")
    add_model(parser)
    parser.add_argument("--steps", metavar="N", type=positive, required=True,
                        help="steps of the whole run")
    parser.add_argument("--temperature", metavar="K", type=float,
                        help="draw velocities for this temperature at the start, the same ones for "
                             "the same --seed; without it (nve only) take those of the structure")
    parser.add_argument("--ensemble", choices=("nve", "langevin", "npt"), default="nve",
                        help="constant energy, Langevin thermostat, or constant pressure with the "
                             "shape of the cell kept (default: nve)")
    parser.add_argument("--dt", metavar="FS", type=float, default=0.5,
                        help="time step (default: 0.5 fs)")
    parser.add_argument("--pressure", metavar="BAR", type=float, default=0.0,
                        help="pressure, with npt (default: 0)")
    parser.add_argument("--friction", metavar="1/PS", type=float, default=5.0,
                        help="friction of the thermostat (default: 5)")
    parser.add_argument("--barostat-time", metavar="PS", type=float, default=1.0,
                        help="time constant of the volume, with npt (default: 1)")
    parser.add_argument("--every", metavar="N", type=positive, default=100,
                        help="steps between frames (default: 100)")
    parser.add_argument("--log-every", metavar="N", type=positive, default=10,
                        help="steps between lines of the log (default: 10)")
    parser.add_argument("--seed", metavar="N", type=int, default=1,
                        help="seed of the random velocities and of the thermostat (default: 1)")
    parser.add_argument("--repeat", metavar="N", type=positive, nargs=3,
                        help="repeat the cell along its vectors")
    parser.add_argument("-o", "--output", metavar="PREFIX", default="md",
                        help="how the names of the files begin (default: md)")
    parser.add_argument("--restart", action="store_true", help="go on from PREFIX.state")


def _add_relax(commands: Any) -> None:
    parser = add_command(
        commands, "relax", run_relax, summary="relax a structure, and its cell",
        description="Move the atoms, and with --cell the cell, until no force is larger than "
                    "--fmax. The exit code is 1 if the steps were not enough; the file is "
                    "written all the same.",
        examples=["POSCAR -m nvnmd_qnn -o relaxed.extxyz",
                  "POSCAR -m nvnmd_qnn --cell --fmax 0.01 -o CONTCAR"])
    parser.add_argument("structure", metavar="STRUCTURE",
                        help="a file that ASE reads; of several frames the last")
    add_model(parser)
    parser.add_argument("--fmax", metavar="EV/ANGSTROM", type=float, default=0.05,
                        help="largest force on an atom at the end (default: 0.05)")
    parser.add_argument("--steps", metavar="N", type=positive, default=500,
                        help="most steps to take (default: 500)")
    parser.add_argument("--cell", action="store_true", help="relax the cell, too")
    parser.add_argument("--pressure", metavar="BAR", type=float, default=0.0,
                        help="pressure on the cell, with --cell (default: 0)")
    parser.add_argument("--optimizer", choices=("FIRE", "LBFGS", "BFGS"), default="FIRE",
                        help="which of ASE's optimizers (default: FIRE)")
    parser.add_argument("-o", "--output", metavar="FILE", default="relaxed.extxyz",
                        help="where the result goes, in a format that ASE knows by the name "
                             "(default: relaxed.extxyz)")


def _add_deviation(commands: Any) -> None:
    parser = add_command(
        commands, "model-devi", run_deviation,
        summary="how far several models are apart on a system",
        description="Deviations of the forces, virials and energies of several models from their "
                    "mean, frame by frame, in the columns of DeePMD-kit's `dp model-devi`.",
        examples=["-m a/model.nvnmd b/model.nvnmd c/model.nvnmd -s frames -o model_devi.out"])
    parser.add_argument("-m", "--models", metavar="MODEL", nargs="+", required=True,
                        help="two or more models, each as for `nvnmd test`")
    parser.add_argument("-s", "--system", metavar="SYSTEM", required=True,
                        help="a system, or a folder or file with systems below it")
    parser.add_argument("-o", "--output", metavar="FILE", default="model_devi.out",
                        help="the file to write (default: model_devi.out)")
    parser.add_argument("-f", "--frequency", metavar="N", type=positive, default=1,
                        help="MD steps between two frames, for the first column (default: 1)")
    add_backend(parser)
    add_mode(parser)
    add_overflow(parser)


def calculator(args: argparse.Namespace, backend: Any) -> NVNMD:
    """The calculator that the arguments describe."""
    from nvnmd.integrations.ase import NVNMD

    if not args.skin >= 0:
        raise InputError(f"--skin: got {args.skin}, expected 0 Å or more")
    return NVNMD(args.model, backend, skin=args.skin, overflow=args.overflow, mode=args.mode,
                 strict=args.strict)


def read_structure(name: str) -> Atoms:
    """The last frame of a file that ASE reads."""
    import ase.io

    if not Path(name).is_file():
        raise InputError(f"{name}: no such file, expected a structure")
    try:
        found = ase.io.read(name, index=-1)
    # readers of some eighty formats raise what they like
    except Exception as error:
        raise InputError(f"{name}: ASE cannot read it: {type(error).__name__}: "
                         f"{' '.join(str(error).split())}") from None
    if len(found) == 0:
        raise InputError(f"{name}: no atoms")
    return found


def run_md(args: argparse.Namespace) -> int:
    """Run `nvnmd md`."""
    need("md", "md", "ase")
    from nvnmd.integrations.dynamics import Settings, run_dynamics

    settings = Settings(
        ensemble=args.ensemble, timestep=args.dt, temperature=args.temperature,
        pressure=args.pressure, friction=args.friction, barostat_time=args.barostat_time,
        every=args.every, log_every=args.log_every, seed=args.seed)
    atoms = read_structure(args.structure)
    settings.check(atoms)
    if args.repeat:
        atoms = atoms.repeat(args.repeat)
    with open_backend(args) as backend:
        found = run_dynamics(atoms, calculator(args, backend), settings, args.steps, args.output,
                             restart=args.restart)
    for line in found.lines():
        log(line)
    return 0


def run_relax(args: argparse.Namespace) -> int:
    """Run `nvnmd relax`."""
    need("relax", "md", "ase")
    import ase.io

    from nvnmd.integrations.relax import relax

    atoms = read_structure(args.structure)
    with open_backend(args) as backend:
        found = relax(atoms, calculator(args, backend), fmax=args.fmax, steps=args.steps,
                      cell=args.cell, pressure=args.pressure, optimizer=args.optimizer, say=log)
    output = Path(args.output)
    beside = output.with_name(f".{output.name}.part{output.suffix}")
    try:
        kind = ase.io.formats.filetype(str(output), read=False)
        ase.io.write(beside, atoms, format=kind)
        beside.replace(output)
    except ase.io.formats.UnknownFileTypeError:
        raise InputError(f"{output}: ASE knows no format of that name") from None
    finally:
        beside.unlink(missing_ok=True)
    log(f"{output}: largest force {found.force:.6f} eV/Å after {found.steps} steps")
    if not found.converged:
        warn(f"not converged: the largest force is above {args.fmax:g} eV/Å")
    return 0 if found.converged else 1


def run_deviation(args: argparse.Namespace) -> int:
    """Run `nvnmd model-devi`."""
    import tempfile

    import numpy as np

    from nvnmd.atomic_file import atomic_write
    from nvnmd.data.systems import find_systems, load_groups
    from nvnmd.evaluation.deviation import deviation, table_text
    from nvnmd.evaluation.evaluate import evaluate_system
    from nvnmd.evaluation.potential import load_model

    if len(args.models) < 2:
        raise InputError("--models: got 1, expected two or more")
    models = [load_model(name).network for name in args.models]
    for name, model in zip(args.models, models, strict=True):
        if model.type_map != models[0].type_map:
            raise InputError(f"{name}: its elements are {' '.join(model.type_map)}, expected "
                             f"those of {args.models[0]}: {' '.join(models[0].type_map)}")
    text = ""
    with tempfile.TemporaryDirectory(prefix="nvnmd-devi-") as work, open_backend(args) as backend:
        for folder in find_systems(args.system):
            rows = []
            for group in load_groups(folder, models[0].type_map, require=()):
                found = [evaluate_system(model, group, backend, overflow=args.overflow,
                                         mode=args.mode, work_dir=Path(work) / str(number))
                         for number, model in enumerate(models)]
                rows += [(group.number(k), row)
                         for k, row in enumerate(deviation(found, args.frequency))]
            rows.sort(key=lambda one: one[0])
            table = np.stack([row for _, row in rows])
            table[:, 0] = [number * args.frequency for number, _ in rows]
            text += table_text(str(folder), table)
            log(f"{folder}: {len(table)} frames, largest max_devi_f {table[:, 4].max():.3e} eV/Å, "
                f"largest devi_e {table[:, 7].max():.3e} eV/atom")
    with atomic_write(args.output) as file:
        file.write(text.encode())
    return 0
