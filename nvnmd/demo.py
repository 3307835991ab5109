"""The whole chain on data that the program makes itself, and one table of what came out."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvnmd.cli_common import log
from nvnmd.cli_hardware import result_lines
from nvnmd.errors import InputError

if TYPE_CHECKING:
    from nvnmd.evaluate import Errors, FloatNetwork, Prediction
    from nvnmd.quantize.model import Model
    from nvnmd.simulate import Simulation

MARK = "made-by-nvnmd-demo"
PARTS = ("data", "nvnmd_cnn", "nvnmd_qnn", "hdl", "sim")
SEED = 1
CNN_STEPS = 4000
QNN_STEPS = 200
FOLD = 32


@dataclass
class Report:
    """What the summary shows.

    Attributes
    ----------
    seconds : dict
        Wall time of each stage.
    errors : dict
        Errors on the validation part, of each network.
    cost : dict
        Integer reference minus the same weights without quantization, on the validation part.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    errors: dict[str, dict[str, Errors]] = field(default_factory=dict)
    cost: dict[str, Errors] = field(default_factory=dict)
    simulation: Simulation | None = None

    @contextmanager
    def stage(self, title: str) -> Iterator[None]:
        """Announce a stage and note how long it took."""
        log(f"\n== {title}")
        begin = time.monotonic()
        yield
        self.seconds[title] = time.monotonic() - begin


def run_demo(folder: Path, version: int = 0) -> int:
    """Run the whole chain in `folder`; the exit code is that of the simulation.

    Parameters
    ----------
    folder : Path
        Where everything goes.
    version : int
        NVNMD version.

    Raises
    ------
    InputError
        The folder holds something else.
    """
    from nvnmd.demo_data import RECIPES, make_data
    from nvnmd.sim.runner import find_tools

    find_tools()
    prepare(folder)
    report = Report()
    recipe = RECIPES[version]
    with report.stage(f"data: {recipe.title}, labelled with ASE"):
        make_data(folder / "data", recipe, seed=SEED)
    train(folder, report, version)
    from nvnmd.evaluate import FloatNetwork
    from nvnmd.quantize.model import Model

    model = Model.load(folder / "nvnmd_qnn" / "model.nvnmd")
    with report.stage("errors on the validation part"):
        compare(FloatNetwork.load(folder / "nvnmd_cnn"), model,
                folder / "data" / "validation", report)
    hardware(folder, model, report)
    summary(folder, report, f"{recipe.title}, NVNMD version {version}")
    assert report.simulation is not None
    for line in result_lines(report.simulation)[1:]:
        log(line)
    log(report.simulation.line)
    return 1 if report.simulation.problems else 0


def train(folder: Path, report: Report, version: int) -> None:
    """Write the input documents and run both trainings."""
    import json

    from nvnmd.input_schema import for_stage, load_input
    from nvnmd.tf_qnn import train_qnn
    from nvnmd.tf_train import train_cnn

    for name, document in documents(folder, version).items():
        (folder / name).write_text(json.dumps(document, indent=2) + "\n")
    cnn, qnn = folder / "nvnmd_cnn", folder / "nvnmd_qnn"
    with report.stage("train-cnn, tables"):
        train_cnn(for_stage(load_input(folder / "input_cnn.json"), "cnn", cnn), cnn, log=log)
    with report.stage("train-qnn"):
        train_qnn(for_stage(load_input(folder / "input_qnn.json"), "qnn", cnn), cnn, qnn, log=log)


def hardware(folder: Path, model: Model, report: Report) -> None:
    """Write the accelerator and simulate it on a whole frame."""
    from nvnmd.data import find_systems, load_system
    from nvnmd.evaluate import frame_neighborhood
    from nvnmd.hdl.export import config_for, export_hdl
    from nvnmd.simulate import simulate_hood

    cfg = config_for(model, fold=FOLD)
    with report.stage("export-hdl"):
        export_hdl(model, folder / "hdl", cfg)
    with report.stage("simulate"):
        # the last frame is one of the melt
        system = load_system(find_systems(folder / "data" / "validation")[-1], model.type_map)
        hood = frame_neighborhood(model, system, system.nframes - 1)
        report.simulation = simulate_hood(model, hood, cfg, folder / "sim", log=log)


def compare(cnn: FloatNetwork, model: Model, folder: Path, report: Report) -> None:
    """Errors of both networks, and the cost of quantization with equal weights."""
    from nvnmd.data import System, find_systems, load_systems
    from nvnmd.evaluate import combine, errors_against_labels, evaluate_system

    systems = load_systems(find_systems(folder), model.type_map)
    fixed = [evaluate_system(model, system, "fixed") for system in systems]
    floating = [evaluate_system(model, system, "float") for system in systems]
    report.errors["float network (CNN)"] = combine(
        [errors_against_labels(s, evaluate_system(cnn, s, "float")) for s in systems])
    report.errors["integer network (QNN)"] = combine(
        [errors_against_labels(s, p) for s, p in zip(systems, fixed, strict=True)])

    def labelled(system: System, prediction: Prediction) -> System:
        return replace(system, energy=prediction.energy, force=prediction.force,
                       virial=prediction.virial)

    report.cost = combine([errors_against_labels(labelled(s, f), p)
                           for s, f, p in zip(systems, floating, fixed, strict=True)])


def summary(folder: Path, report: Report, title: str) -> None:
    """Print everything in one table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"nvnmd demo: {title}")
    table.add_column("what")
    table.add_column("energy, meV/atom", justify="right")
    table.add_column("force, eV/Å", justify="right")
    table.add_column("virial, meV/atom", justify="right")
    rows = {f"RMSE of the {name}": errors for name, errors in report.errors.items()}
    for name, errors in {**rows, "cost of quantization (RMS)": report.cost}.items():
        table.add_row(name, f"{1e3 * errors['energy_peratom'].rmse:.3g}",
                      f"{errors['force'].rmse:.3g}", f"{1e3 * errors['virial_peratom'].rmse:.3g}")
    simulation = report.simulation
    assert simulation is not None
    table.add_section()
    table.add_row("RTL against the float network (RMS)", f"{1e3 * simulation.energy_rms:.3g}",
                  f"{simulation.force_rms:.3g}", "")
    table.add_row("words of RTL and reference", f"{simulation.compared} compared",
                  f"{simulation.differing} differ", "")
    table.add_row(f"cycles per atom (fold {FOLD})", f"{simulation.cycles_per_atom:.0f}", "", "")
    table.add_section()
    for title, seconds in report.seconds.items():
        table.add_row(title, f"{seconds:.0f} s", "", "")
    table.add_section()
    for name in ("input_cnn.json", "input_qnn.json", *PARTS):
        files = [p for p in [folder / name, *(folder / name).rglob("*")] if p.is_file()]
        size = sum(p.stat().st_size for p in files) / 1e6
        table.add_row(str(folder / name), f"{len(files)} files", f"{size:.1f} MB", "")
    log("")
    Console(width=100).print(table)


def documents(folder: Path, version: int = 0) -> dict[str, dict[str, Any]]:
    """The input documents of both stages."""
    from nvnmd.demo_data import RCUT, RECIPES

    recipe = RECIPES[version]
    sel = list(recipe.sel) if version == 0 else recipe.sel[0]
    nvnmd = {"version": version, "max_nnei": 128, "net_size": 128, "sel": sel, "rcut": RCUT,
             "rcut_smth": 0.5, "type_map": list(recipe.type_map)}
    data = {"training_data": {"systems": str(folder / "data" / "training"), "batch_size": 2},
            "validation_data": {"systems": str(folder / "data" / "validation"), "batch_size": 6,
                                "numb_btch": 3}}
    return {
        "input_cnn.json": {
            "nvnmd": nvnmd,
            "learning_rate": {"type": "exp", "start_lr": 1e-3, "stop_lr": 5e-6,
                              "decay_steps": CNN_STEPS // 40},
            "loss": {"start_pref_e": 0.02, "limit_pref_e": 5, "start_pref_f": 1000,
                     "limit_pref_f": 2, "start_pref_v": 0.02, "limit_pref_v": 0.1},
            "training": {"seed": SEED, "numb_steps": CNN_STEPS, "disp_freq": CNN_STEPS // 10,
                         "save_freq": CNN_STEPS // 2, **data}},
        "input_qnn.json": {
            "nvnmd": nvnmd,
            "learning_rate": {"type": "exp", "start_lr": 1e-4, "stop_lr": 1e-6,
                              "decay_steps": QNN_STEPS // 40},
            "loss": {"start_pref_e": 1, "limit_pref_e": 1, "start_pref_f": 100, "limit_pref_f": 100,
                     "start_pref_v": 0.1, "limit_pref_v": 0.1},
            "training": {"seed": SEED, "numb_steps": QNN_STEPS, "disp_freq": QNN_STEPS // 10,
                         "save_freq": QNN_STEPS, **data}},
    }


def prepare(folder: Path) -> None:
    """Make the folder, or empty one that an earlier demo made."""
    mark = folder / MARK
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: a file is in the way, expected an output folder")
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        raise InputError(f"{folder}: not empty and not made by `nvnmd demo`, expected a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    mark.touch()
    for name in PARTS:
        shutil.rmtree(folder / name, ignore_errors=True)
