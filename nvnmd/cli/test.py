"""`nvnmd test`: the errors of a model against labelled data."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvnmd.cli.common import (
    add_backend,
    add_command,
    add_mode,
    add_overflow,
    open_board,
    positive,
)
from nvnmd.cli.output import (
    TextTable,
    add_json,
    error_numbers,
    on_terminal,
    show_json,
    show_table,
)
from nvnmd.messages import log, warn

if TYPE_CHECKING:
    from nvnmd.data.systems import System
    from nvnmd.evaluation.backends import FloatNetwork
    from nvnmd.evaluation.evaluate import Errors
    from nvnmd.evaluation.frames import Prediction
    from nvnmd.quantize.model import Model

RULE = 47
# what is shown of each quantity: lines are "<name> MAE<per atom> : <value> <unit>"
SHOWN = (("energy", "Energy", "", "eV"), ("energy_peratom", "Energy", "/Natoms", "eV"),
         ("force", "Force ", "", "eV/Å"), ("virial", "Virial", "", "eV"),
         ("virial_peratom", "Virial", "/Natoms", "eV"))


def add_commands(commands: Any) -> None:
    """Add the command of this group."""
    parser = add_command(
        commands, "test", run, summary="errors of a model against labelled data",
        description="Evaluate a model on labelled data: mean absolute and root mean square errors "
                    "of energy, force and, where the data have them, virial.",
        examples=["-m nvnmd_qnn/model.nvnmd -s data/validation",
                  "-m nvnmd_qnn -s data/validation -n 10 -d detail",
                  "-m nvnmd_cnn -s data/validation --backend float"])
    parser.add_argument("-m", "--model", metavar="MODEL", required=True,
                        help="model.nvnmd, the folder that holds it, a run folder of DeePMD-kit, "
                             "a model.pb, or a folder of train-cnn (with --backend float)")
    parser.add_argument("-s", "--system", metavar="SYSTEM", required=True,
                        help="a system (folder or FILE.hdf5#/PATH), or a folder or file with "
                             "systems below it")
    parser.add_argument("-n", "--numb-test", metavar="N", type=positive,
                        help="frames of each system, from the first (default: all)")
    parser.add_argument("-d", "--detail-file", metavar="PREFIX",
                        help="write labels and predictions to PREFIX.e.out, .e_peratom.out, "
                             ".f.out, .v.out and .v_peratom.out")
    add_backend(parser)
    parser.add_argument("--strict", action="store_true",
                        help="an atom nearer to another than any in training is an error, "
                             "not a warning")
    add_mode(parser)
    add_overflow(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Run `nvnmd test`."""
    model = load_network(args.model)
    from nvnmd.data.mixed import first_frames
    from nvnmd.data.systems import find_systems, load_groups
    from nvnmd.evaluation.evaluate import combine, errors_against_labels, evaluate_system
    from nvnmd.evaluation.outside import check_inside, outside_line
    from nvnmd.progress import Progress

    if args.backend == "sim":
        from nvnmd.sim.simulators import check_simulation_tools

        check_simulation_tools()
    parts, systems = [], []
    # one folder for all systems, so that the simulator is built once
    with (tempfile.TemporaryDirectory(prefix="nvnmd-test-") as work,
          open_board(args, args.backend == "board") as board):
        backend = args.backend if board is None else board
        for index, folder in enumerate(find_systems(args.system)):
            groups = load_groups(folder, model.type_map, require=())
            count = sum(group.nframes for group in groups)
            count = min(args.numb_test or count, count)
            # one in all but the mixed layout
            with Progress(f"{folder}, frames", count) as bar:
                found = [(group, evaluate_system(model, group, backend, frames=frames,
                                                 overflow=args.overflow, work_dir=Path(work),
                                                 mode=args.mode, tick=bar.tick))
                         for group, frames in zip(groups, first_frames(groups, count), strict=True)
                         if frames]
            dropped = sum(prediction.dropped for _, prediction in found)
            if dropped:
                warn(f"{folder}: {dropped} neighbours beyond sel were dropped")
            predictions = [prediction for _, prediction in found]
            if args.strict:
                check_inside(model, predictions, str(folder))
            beyond = outside_line(model, predictions)
            if beyond:
                warn(f"{folder}: {beyond}")
            errors = combine([errors_against_labels(*one) for one in found])
            parts.append(errors)
            systems.append({"system": str(folder), "frames": count, "dropped": dropped,
                            "errors": error_numbers(errors)})
            if args.detail_file:
                write_details(args.detail_file, found, append=index > 0)
            if not args.json:
                show_errors("output of nvnmd test", {"testing system": folder,
                                                     "number of test data": count}, errors)
    if args.json:
        show_json("test", {"model": args.model, "backend": args.backend, "systems": systems,
                           "average": error_numbers(combine(parts))})
        return 0
    show_errors("weighted average of errors", {"number of systems": len(parts)}, combine(parts))
    if not on_terminal():
        log("# " + "-" * RULE)
    return 0


def show_errors(title: str, facts: dict[str, object], errors: dict[str, Errors]) -> None:
    """A table on a terminal; where the output is piped, the lines that scripts look for."""
    if not on_terminal():
        log(banner(title))
        for name, value in facts.items():
            log(f"# {name} : {value}")
        for line in error_lines(errors):
            log(line)
        return
    said = ", ".join(f"{name} {value}" for name, value in facts.items())
    table = TextTable(("quantity", ">MAE", ">RMSE", "unit"), title=f"{title}: {said}")
    for key, name, per_atom, unit in SHOWN:
        if key in errors:
            found = errors[key]
            table.add(name.strip() + (" per atom" if per_atom else ""), f"{found.mae:.4e}",
                      f"{found.rmse:.4e}", unit)
    if not table.rows:
        table.add("no labels to compare with", "", "", "")
    show_table(table)


def load_network(text: str) -> Model | FloatNetwork:
    """Read whatever `nvnmd.load_model` reads."""
    from nvnmd.evaluation.potential import load_model

    return load_model(text).network


def banner(text: str) -> str:
    """A rule with a title in its middle."""
    return "# " + text.center(RULE, "-")


def error_lines(errors: dict[str, Errors]) -> list[str]:
    """Lines of MAE and RMSE for each quantity that has labels."""
    lines = []
    for key, name, per_atom, unit in SHOWN:
        if key in errors:
            for kind in ("MAE", "RMSE"):
                value = getattr(errors[key], kind.lower())
                lines.append(f"{name} {kind + per_atom:<11} : {value:e} {unit}")
    return lines or ["no labels to compare with"]


def write_details(prefix: str, parts: list[tuple[System, Prediction]], *, append: bool) -> None:
    """Write label and prediction side by side, one file per quantity that has labels.

    `parts` are the compositions of one system; frames and atoms are written in the order of its
    files.
    """
    import numpy as np

    axes = "xyz"
    columns = {"e": ["e"], "e_peratom": ["e"], "f": [f"f{a}" for a in axes],
               "v": [f"v{a}{b}" for a in axes for b in axes]}
    columns["v_peratom"] = columns["v"]
    rows: dict[str, list[tuple[int, Any]]] = {name: [] for name in columns}
    for system, found in parts:
        count, n = found.atom_energy.shape
        for k in range(count):
            frame = system.number(k)
            if system.energy is not None:
                energy = np.array([[system.energy[k], found.energy[k]]])
                rows["e"].append((frame, energy))
                rows["e_peratom"].append((frame, energy / n))
            if system.force is not None:
                both = np.concatenate([system.force[k], found.force[k]], axis=1)
                order = slice(None) if system.atoms is None else np.argsort(system.atoms[k])
                rows["f"].append((frame, both[order]))
            if system.virial is not None:
                virial = np.concatenate([system.virial[k].ravel(), found.virial[k].ravel()])[None]
                rows["v"].append((frame, virial))
                rows["v_peratom"].append((frame, virial / n))
    for suffix, blocks in rows.items():
        if not blocks:
            continue
        blocks.sort(key=lambda block: block[0])
        header = " ".join(f"{side}_{name}" for side in ("data", "pred")
                          for name in columns[suffix])
        path = Path(f"{prefix}.{suffix}.out")
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a" if append else "w", encoding="utf-8") as file:
            np.savetxt(file, np.concatenate([block for _, block in blocks]),
                       header=f"{parts[0][0].path}: {header}")
