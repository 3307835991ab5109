"""`nvnmd test`: the errors of a model against labelled data."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvnmd.cli_common import add_command, add_overflow, log, positive, warn

if TYPE_CHECKING:
    from nvnmd.data import System
    from nvnmd.evaluate import Errors, FloatNetwork, Prediction
    from nvnmd.quantize.model import Model

BACKENDS = ("float", "fixed", "sim")
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
    parser.add_argument("--backend", choices=BACKENDS, default="fixed",
                        help="float: the nets before quantization; fixed: the integer reference; "
                             "sim: the simulated hardware (default: fixed)")
    add_overflow(parser)


def run(args: argparse.Namespace) -> int:
    """Run `nvnmd test`."""
    model = load_network(args.model)
    from nvnmd.data import find_systems, load_groups
    from nvnmd.data_mixed import first_frames
    from nvnmd.evaluate import combine, errors_against_labels, evaluate_system

    if args.backend == "sim":
        from nvnmd.sim.runner import find_tools

        find_tools()
    parts = []
    # one folder for all systems, so that the simulator is built once
    with tempfile.TemporaryDirectory(prefix="nvnmd-test-") as work:
        for index, folder in enumerate(find_systems(args.system)):
            groups = load_groups(folder, model.type_map, require=())
            count = sum(group.nframes for group in groups)
            count = min(args.numb_test or count, count)
            # one in all but the mixed layout
            found = [(group, evaluate_system(model, group, args.backend, frames=frames,
                                             overflow=args.overflow, work_dir=Path(work)))
                     for group, frames in zip(groups, first_frames(groups, count), strict=True)
                     if frames]
            dropped = sum(prediction.dropped for _, prediction in found)
            if dropped:
                warn(f"{folder}: {dropped} neighbours beyond sel were dropped")
            errors = combine([errors_against_labels(*one) for one in found])
            parts.append(errors)
            log(banner("output of nvnmd test"))
            log(f"# testing system : {folder}")
            log(f"# number of test data : {count}")
            for line in error_lines(errors):
                log(line)
            if args.detail_file:
                write_details(args.detail_file, found, append=index > 0)
    log(banner("weighted average of errors"))
    log(f"# number of systems : {len(parts)}")
    for line in error_lines(combine(parts)):
        log(line)
    log("# " + "-" * RULE)
    return 0


def load_network(text: str) -> Model | FloatNetwork:
    """Read whatever `nvnmd.load_model` reads."""
    from nvnmd.api import load_model

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
