"""What both programs have learnt after equal input and steps: nvnmd beside `dp train-nvnmd`.

    python benchmarks/quality.py --system water --data DATA/water --peer PYTHON
    python benchmarks/quality.py --system gete --data DATA/gete --sides nvnmd --seeds 1 2 3

Both sides train both stages with the same documents. All errors are those of the same frames, which
no training saw: system 3 of the water data, every fourth frame of GeTe; and of the same evaluator,
nvnmd's, which gives DeePMD-kit's numbers for its models. Three lines per run: the float network,
the integer network of the same weights (before `train-qnn`), and the integer network after it.
PYTHON is that of an environment with DeePMD-kit (`make peer` makes one); without --peer only nvnmd
runs. Runs that are finished are not repeated; with a --tag a second stage of other settings goes
beside the one that is there:

    python benchmarks/quality.py --system gete --data DATA/gete --sides nvnmd --seeds 1 \\
        --qnn-steps 400 --qnn-rates 1e-4 1e-6 --qnn-prefactors 1 10 --tag _larger
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from accuracy_data import split

CASES: dict[str, dict[str, Any]] = {
    "gete": {"type_map": ["Ge", "Te"], "sel": [60, 60]},
    "water": {"type_map": ["O", "H"], "sel": [46, 82]},
}
STATES = {"float": "float network", "before": "integer, same weights", "after": "after train-qnn"}


def prepare(name: str, source: Path, folder: Path) -> None:
    """Write ``training/*`` and ``held/*`` below the folder, unless they are there."""
    if (folder / "complete").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    if name == "gete":
        split(source, folder)
    else:
        for k in range(4):
            target = folder / ("held" if k == 3 else "training") / f"data_{k}"
            shutil.copytree(source / f"data_{k}", target)
    (folder / "complete").touch()


def documents(name: str, seed: int, data: Path, args: argparse.Namespace) -> dict[str, dict]:
    """The input documents of both stages, as DeePMD-kit reads them."""
    systems = sorted(str(path.parent) for path in (data / "training").rglob("type.raw"))
    out = {}
    # steps, rates, prefactors of energy and force at the start and in the end
    stages: dict[str, tuple] = {
        "cnn": (args.steps, args.rates, (0.02, 1000), (1, 1)),
        "qnn": (args.qnn_steps, args.qnn_rates, args.qnn_prefactors, args.qnn_prefactors)}
    for stage, (steps, rates, start, limit) in stages.items():
        out[stage] = {
            "nvnmd": {"version": 0, "max_nnei": 128, "net_size": 128, "rcut": 6.0,
                      "rcut_smth": 0.5, **CASES[name]},
            "learning_rate": {"type": "exp", "start_lr": rates[0], "stop_lr": rates[1],
                              "decay_steps": 5000 if stage == "cnn" else 1},
            "loss": {"start_pref_e": start[0], "limit_pref_e": limit[0], "start_pref_f": start[1],
                     "limit_pref_f": limit[1], "start_pref_v": 0, "limit_pref_v": 0},
            "training": {"seed": seed, "stop_batch": steps, "disp_file": "lcurve.out",
                         "disp_freq": max(steps // 20, 1), "save_ckpt": "model.ckpt",
                         "save_freq": steps,
                         "training_data": {"systems": systems, "batch_size": [1] * len(systems)}},
        }
    return out


def train(side: str, folder: Path, args: argparse.Namespace) -> dict[str, float]:
    """Run the stages that are not there yet; seconds of each."""
    threads = {"OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    seconds = {}
    for stage, name, number in (("cnn", "cnn", 1), ("qnn", f"qnn{args.tag}", 2)):
        target = folder / f"nvnmd_{name}"
        if (target / "done").exists():
            continue
        more_options = ["--keep-last"] if stage == "qnn" and args.keep_last else []
        command = ([sys.executable, "-m", "nvnmd", f"train-{stage}", f"{name}.json",
                    "-o", f"nvnmd_{name}", *more_options]
                   if side == "nvnmd" else
                   [str(Path(args.peer).parent / "dp"), "train-nvnmd", f"{stage}.json", "-s",
                    f"s{number}"])
        more = {f"{library}_{kind}_PARALLELISM_THREADS": "1" for library in ("DP", "TF")
                for kind in ("INTRA_OP", "INTER_OP")}
        start = time.perf_counter()
        with open(folder / f"{name}.log", "w") as log:
            done = subprocess.run(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT,
                                  env={**os.environ, **threads, **more}, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed; see {folder / name}.log")
        seconds[f"{stage}_seconds"] = time.perf_counter() - start
        (target / "done").touch()
    return seconds


def measure(side: str, folder: Path, data: Path, tag: str) -> dict[str, dict[str, float]]:
    """Errors of the three states on the frames held back."""
    import nvnmd
    from nvnmd.data.systems import find_systems, load_systems
    from nvnmd.deepmd.files import read_dict
    from nvnmd.deepmd.tables import read_map
    from nvnmd.deepmd.weights import from_deepmd
    from nvnmd.evaluation.potential import Potential
    from nvnmd.inputs.read import load_input
    from nvnmd.mapping.freeze import freeze_model

    cnn = folder / "nvnmd_cnn"
    config = load_input(folder / "cnn.json", find_systems=False)
    weights = from_deepmd(read_dict(cnn / "weight.npy"), "weight.npy")
    before = freeze_model(weights, read_map(cnn / "map.npy"), config)
    after = nvnmd.load_model(folder / f"nvnmd_qnn{tag}" if side == "nvnmd" else folder)
    systems = load_systems(find_systems(data / "held"), config.type_map)
    found = {}
    for state, model, backend in (("float", nvnmd.load_model(cnn), "float"),
                                  ("before", Potential(before), "fixed"),
                                  ("after", after, "fixed")):
        energies, forces = [], []
        for system in systems:
            result = model.evaluate(system.coord, system.box, system.types, backend=backend)
            energies.append((result.energy - system.energy) / system.natoms)
            forces.append((result.force - system.force).ravel())
        error = np.concatenate(energies) * 1e3
        found[state] = {
            "energy": float(np.sqrt(np.mean(error**2))), "mean": float(error.mean()),
            "force": float(np.sqrt(np.mean(np.concatenate(forces) ** 2)))}
    return found


def run(name: str, side: str, seed: int, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Train and measure, or read what an earlier run found."""
    data = args.work / name / "data"
    folder = args.work / name / f"{side}_seed{seed}_steps{args.steps}"
    result = folder / f"result{args.tag}.json"
    if result.exists():
        return json.loads(result.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    for stage, document in documents(name, seed, data.resolve(), args).items():
        file = f"{stage}{args.tag}" if stage == "qnn" else stage
        (folder / f"{file}.json").write_text(json.dumps(document, indent=1) + "\n")
    seconds = train(side, folder, args)
    found = measure(side, folder, data, args.tag)
    result.write_text(json.dumps({**found, "seconds": seconds}, indent=1) + "\n")
    return found


def show(results: dict[tuple[str, int], dict], sides: list[str], seeds: list[int]) -> None:
    """Print all runs and the means over the seeds."""
    print(f"\n{'':8s} {'seed':>5s}  {'':22s} energy, meV/atom   mean error   force, eV/Å")
    for side in sides:
        found = {seed: results[side, seed] for seed in seeds if (side, seed) in results}
        lines = [(str(seed), row) for seed, row in found.items()]
        if len(found) > 1:
            average = {state: {key: np.mean([row[state][key] for row in found.values()])
                               for key in ("energy", "mean", "force")} for state in STATES}
            lines.append(("mean", average))
        for seed, row in lines:
            for state, title in STATES.items():
                one = row[state]
                print(f"{side:8s} {seed:>5s}  {title:22s} {one['energy']:16.4f} "
                      f"{one['mean']:+12.4f} {one['force']:14.5f}", flush=True)


def main() -> None:
    """Run what is asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--system", choices=CASES, default="water")
    parser.add_argument("--data", type=Path, required=True,
                        help="folder of the GeTe system, or the one with the water systems")
    parser.add_argument("--peer", help="a Python that has DeePMD-kit")
    parser.add_argument("--sides", nargs="+", choices=("nvnmd", "deepmd"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=4000, help="of the float network")
    parser.add_argument("--rates", type=float, nargs=2, default=[1e-3, 3e-8],
                        help="learning rate of the float network, start and end")
    parser.add_argument("--qnn-steps", type=int, default=100)
    parser.add_argument("--qnn-rates", type=float, nargs=2, default=[1e-8, 1e-9],
                        help="learning rate of the integer network, start and end")
    parser.add_argument("--qnn-prefactors", type=float, nargs=2, default=[1, 1],
                        help="of energy and force in the loss of the integer network")
    parser.add_argument("--keep-last", action="store_true",
                        help="take the integer network of the last step, better or not")
    parser.add_argument("--tag", default="",
                        help="part of the names of the second stage's folder and of the results")
    parser.add_argument("--work", type=Path, default=Path("quality"), help="folder of the runs")
    args = parser.parse_args()
    sides = args.sides or ["nvnmd", *(["deepmd"] if args.peer else [])]
    if "deepmd" in sides and not args.peer:
        parser.error("--peer is needed for the side deepmd")
    if "deepmd" in sides and (args.tag or args.keep_last):
        parser.error("--tag and --keep-last are for the side nvnmd alone")
    prepare(args.system, args.data, args.work / args.system / "data")
    results = {}
    for seed in args.seeds:
        for side in sides:
            results[side, seed] = run(args.system, side, seed, args)
            show(results, sides, args.seeds)


if __name__ == "__main__":
    main()
