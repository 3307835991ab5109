"""The whole chain on data that the program makes itself, and one table of what came out."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvnmd.errors import InputError
from nvnmd.messages import log
from nvnmd.progress import Log, elapsing

if TYPE_CHECKING:
    from nvnmd.evaluation.backends import FloatNetwork
    from nvnmd.evaluation.evaluate import Errors
    from nvnmd.evaluation.frames import Prediction
    from nvnmd.evaluation.simulate import Simulation
    from nvnmd.neighbors.slots import Neighborhood
    from nvnmd.quantize.model import Model

MARK = "made-by-nvnmd-demo"
PARTS = ("data", "nvnmd_cnn", "nvnmd_qnn", "hdl", "sim")
SEED = 1
CNN_STEPS = 4000
QNN_STEPS = 200
FOLD = 32


@dataclass
class Report:
    """Figures of the summary.

    Attributes
    ----------
    seconds : dict
        Wall time of each stage.
    errors : dict
        Errors on the validation part, of each network.
    cost : dict
        Integer reference minus the same weights without quantization, on the validation part.
    simulation : Simulation or None
        Of a whole frame.
    title : str
        What the data are.
    say : callable
        Takes lines of progress.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    errors: dict[str, dict[str, Errors]] = field(default_factory=dict)
    cost: dict[str, Errors] = field(default_factory=dict)
    simulation: Simulation | None = None
    title: str = ""
    say: Log = log

    @contextmanager
    def stage(self, title: str) -> Iterator[None]:
        """Announce a stage and note how long it took."""
        self.say(f"\n== {title}")
        begin = time.monotonic()
        yield
        self.seconds[title] = time.monotonic() - begin


def run_demo(folder: Path, version: int = 0, say: Log = log) -> Report:
    """Run the whole chain in `folder`.

    Parameters
    ----------
    folder : Path
        Where everything goes.
    version : int
        NVNMD version.
    say : callable
        Takes lines of progress.

    Returns
    -------
    Report
        With its `simulation`, whose `problems` say whether the demo has failed.

    Raises
    ------
    InputError
        The folder holds something else.
    """
    from nvnmd.demo.data import RECIPES
    from nvnmd.sim.simulators import check_simulation_tools, tool_lines

    for line in tool_lines(check_simulation_tools()):
        say(line)
    report = Report(say=say, title=f"{RECIPES[version].title}, NVNMD version {version}")
    prepare_inputs(folder, version, report)
    train(folder, report)
    from nvnmd.evaluation.backends import FloatNetwork
    from nvnmd.quantize.model import Model

    model = Model.load(folder / "nvnmd_qnn" / "model.nvnmd")
    with report.stage("errors on the validation part"):
        compare(FloatNetwork.load(folder / "nvnmd_cnn"), model,
                folder / "data" / "validation", report)
    hardware(folder, model, report)
    return report


def prepare_inputs(folder: Path, version: int, report: Report | None = None) -> None:
    """Write the data and the input documents of both stages; see `run_demo` for the rest."""
    from nvnmd.demo.data import RECIPES, make_data

    prepare(folder)
    recipe = RECIPES[version]
    report = report or Report()
    with report.stage(f"data: {recipe.title}, labelled with ASE"):
        make_data(folder / "data", recipe, seed=SEED)
    for name, document in documents(folder, version).items():
        (folder / name).write_text(json.dumps(document, indent=2) + "\n",
                                   encoding="utf-8")
        report.say(str(folder / name))


def train(folder: Path, report: Report) -> None:
    """Run both trainings."""
    from nvnmd.inputs.read import for_stage, load_input
    from nvnmd.training.continuous.train import train_cnn
    from nvnmd.training.quantized.train import train_qnn

    cnn, qnn = folder / "nvnmd_cnn", folder / "nvnmd_qnn"
    with report.stage("train-cnn, tables"):
        train_cnn(for_stage(load_input(folder / "input_cnn.json"), "cnn", cnn), cnn,
                  log=report.say)
    with report.stage("train-qnn"):
        train_qnn(for_stage(load_input(folder / "input_qnn.json"), "qnn", cnn), cnn, qnn,
                  log=report.say)


def hardware(folder: Path, model: Model, report: Report) -> None:
    """Write the accelerator and simulate it on a whole frame."""
    from nvnmd.evaluation.simulate import simulate_hood
    from nvnmd.hdl.budget import count_budget, document, total
    from nvnmd.hdl.export import config_for, export_hdl

    cfg = config_for(model, fold=FOLD)
    with report.stage("export-hdl"), elapsing("elaborating"):
        export_hdl(model, folder / "hdl", cfg)
        units = count_budget(cfg)
        # for the report; cells, which take minutes, are counted by `export-hdl --count-cells`
        (folder / "hdl" / "budget.json").write_text(
            json.dumps(document(units | {"all": total(units)}), indent=1) + "\n",
            encoding="utf-8")
    with report.stage("simulate"), elapsing("simulating"):
        report.simulation = simulate_hood(model, last_frame(folder, model), cfg, folder / "sim",
                                          log=report.say)


def last_frame(folder: Path, model: Model) -> Neighborhood:
    """The frame that is simulated: the last of the validation part, one of the melt."""
    from nvnmd.data.systems import find_systems, load_system
    from nvnmd.evaluation.frames import frame_neighborhood

    system = load_system(find_systems(folder / "data" / "validation")[-1], model.type_map)
    return frame_neighborhood(model, system, system.nframes - 1)


def compare(cnn: FloatNetwork, model: Model, folder: Path, report: Report) -> None:
    """Errors of both networks, and the cost of quantization with equal weights."""
    from nvnmd.data.systems import System, find_systems, load_systems
    from nvnmd.evaluation.evaluate import combine, errors_against_labels, evaluate_system

    systems = load_systems(find_systems(folder), model.type_map)
    fixed = [evaluate_system(model, system, "fixed") for system in systems]
    floating = [evaluate_system(model, system, "float") for system in systems]
    report.errors["continuous network"] = combine(
        [errors_against_labels(s, evaluate_system(cnn, s, "float")) for s in systems])
    report.errors["quantized network"] = combine(
        [errors_against_labels(s, p) for s, p in zip(systems, fixed, strict=True)])

    def labelled(system: System, prediction: Prediction) -> System:
        return replace(system, energy=prediction.energy, force=prediction.force,
                       virial=prediction.virial)

    report.cost = combine([errors_against_labels(labelled(s, f), p)
                           for s, f, p in zip(systems, floating, fixed, strict=True)])


def sizes(folder: Path) -> dict[str, tuple[int, int]]:
    """Files and bytes of each part of the demo's folder, by its name there."""
    found = {}
    for name in ("input_cnn.json", "input_qnn.json", *PARTS):
        files = [p for p in [folder / name, *(folder / name).rglob("*")] if p.is_file()]
        found[name] = len(files), sum(p.stat().st_size for p in files)
    return found


def documents(folder: Path, version: int = 0) -> dict[str, dict[str, Any]]:
    """The input documents of both stages."""
    from nvnmd.demo.data import RCUT, RECIPES

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
