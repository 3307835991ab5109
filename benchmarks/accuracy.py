"""Errors of version 1 beside version 0 after equal steps, and what quantization costs.

    python benchmarks/accuracy.py --system gete --data DATA/gete
    python benchmarks/accuracy.py --system alloy --seeds 1 2 3 --steps 4000
    python benchmarks/accuracy.py --system alloy15 --versions 1 --seeds 1
    python benchmarks/accuracy.py --system alloy5 --versions 1 2 --seeds 1 2 3
    python benchmarks/accuracy.py --system alloy --neuron 4 8 16 --tables octave --tag small_

Version 2 stands for SUB_VERSION 2 of version 1.

Each run trains the float network (`train-cnn`) and then evaluates the frames that were held back:
with the float network, and with the integer network of the same weights. Both versions get the
same data, batches, schedule and divisor of the descriptor. Runs that are finished are not repeated;
a run that was stopped goes on from its last checkpoint. The table is printed after every run.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from accuracy_data import CASES, prepare


def document(name: str, version: int, seed: int, args: argparse.Namespace, data: Path) -> dict:
    """The input document of one run."""
    case = CASES[name]
    size = args.neuron[-1] * args.axis_neuron
    return {
        "model": {"descriptor": {"neuron": args.neuron, "axis_neuron": args.axis_neuron},
                  "fitting_net": {"neuron": [size] * 3}},
        "nvnmd": {"version": min(version, 1), **({"sub_version": 2} if version == 2 else {}),
                  "tables": args.tables, "max_nnei": 128, "net_size": size,
                  "sel": case.sel[min(version, 1)],
                  "rcut": case.rcut, "rcut_smth": args.rcut_smth, "type_map": list(case.type_map)},
        "learning_rate": {"type": "exp", "start_lr": args.rates[0], "stop_lr": args.rates[1],
                          "decay_steps": max(args.steps // 100, 1)},
        "loss": {"start_pref_e": args.energy[0], "limit_pref_e": args.energy[1],
                 "start_pref_f": 1000, "limit_pref_f": 1,
                 "start_pref_v": args.virial[0], "limit_pref_v": args.virial[1]},
        "training": {"seed": seed, "numb_steps": args.steps, "disp_freq": max(args.steps // 20, 1),
                     "save_freq": max(args.steps // 4, 1),
                     "training_data": {"systems": str(data / "training"),
                                       "batch_size": args.batch}},
    }


def run(name: str, version: int, seed: int, args: argparse.Namespace) -> dict[str, float]:
    """Train one model, or read what an earlier run found."""
    data = args.work / name / "data"
    folder = args.work / name / f"{args.tag}v{version}_seed{seed}_steps{args.steps}"
    result = folder / "result.json"
    if result.exists():
        return json.loads(result.read_text())
    from nvnmd.inputs.read import for_stage, parse_document
    from nvnmd.training.continuous.train import train_cnn

    config = for_stage(parse_document(document(name, version, seed, args, data), str(folder)),
                       "cnn", folder)
    restart = folder / "model.ckpt"
    started = (folder / "checkpoint").exists()
    trained = train_cnn(config, folder, restart=restart if started else None, log=args.log)
    found = {"seconds_per_step": trained.seconds_per_step, **evaluate(folder, config, data)}
    result.write_text(json.dumps(found, indent=1) + "\n")
    return found


def evaluate(folder: Path, config: Any, data: Path) -> dict[str, float]:
    """Errors of the float network, and differences of the integer network of equal weights."""
    from nvnmd.data.systems import find_systems, load_systems
    from nvnmd.deepmd.tables import read_map
    from nvnmd.evaluation.potential import Potential
    from nvnmd.mapping.freeze import freeze_model
    from nvnmd.network.weights import FloatWeights

    weights = FloatWeights.load(folder / "weights.npz")
    model = Potential(freeze_model(weights, read_map(folder / "map.npy"), config))
    found: dict[str, float] = {}
    for part in ("training", "held"):
        de, df, qe, qf = [], [], [], []
        for system in load_systems(find_systems(data / part), config.type_map):
            x = system.coord, system.box, system.types
            floating = model.evaluate(*x, backend="float")
            de.append((floating.energy - system.energy) / system.natoms)
            df.append((floating.force - system.force).ravel())
            if part == "held":
                fixed = model.evaluate(*x, backend="fixed")
                qe.append((fixed.energy - floating.energy) / system.natoms)
                qf.append((fixed.force - floating.force).ravel())
        found[f"{part}_energy"] = 1e3 * rms(de)
        found[f"{part}_mean"] = 1e3 * float(np.concatenate(de).mean())
        found[f"{part}_force"] = rms(df)
        if part == "held":
            found |= {"cost_mean": 1e3 * float(np.concatenate(qe).mean()), "cost_force": rms(qf)}
    return found


def rms(parts: list) -> float:
    """Root of the mean square of all numbers."""
    return float(np.sqrt(np.mean(np.concatenate(parts) ** 2)))


COLUMNS = {
    "held_energy": ("energy, meV/atom", "8.3f"), "held_mean": ("mean", "+7.3f"),
    "held_force": ("force, eV/Å", "8.4f"),
    "training_energy": ("(training) energy", "8.3f"), "training_mean": ("mean", "+7.3f"),
    "training_force": ("force", "8.4f"),
    "cost_mean": ("quantization: mean, meV/atom", "+9.5f"), "cost_force": ("force, eV/Å", "9.2e"),
}


def show(results: dict[tuple[int, int], dict[str, float]], versions: list[int]) -> None:
    """Print every run, the means over the seeds, and version 1's ratio to version 0."""
    print("\nversion  seed  " + "  ".join(title for title, _ in COLUMNS.values()))
    means = {}
    for version in versions:
        rows = {seed: row for (v, seed), row in results.items() if v == version}
        for seed, row in rows.items():
            _line(f"{version:7d} {seed:5d}", row)
        if rows:
            means[version] = {key: float(np.mean([row[key] for row in rows.values()]))
                              for key in COLUMNS}
            _line(f"{version:7d}  mean", means[version])
    for one, two in ((0, 1), (1, 2)):
        if {one, two} <= set(means):
            ratio = {f"{part}_{kind}": means[two][f"{part}_{kind}"] / means[one][f"{part}_{kind}"]
                     for part in ("held", "training") for kind in ("energy", "force")}
            print(f"version {two} / version {one}: " + ", ".join(
                f"{key} {value:.3f}" for key, value in ratio.items()))


def _line(head: str, row: dict[str, float]) -> None:
    cells = (f"{row[key]:{style}}".rjust(len(title)) for key, (title, style) in COLUMNS.items())
    print(head + "   " + "  ".join(cells), flush=True)


def main() -> None:
    """Run what is asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--system", choices=CASES, default="gete")
    parser.add_argument("--data", type=Path, help="folder of the GeTe system (deepmd/npy)")
    parser.add_argument("--versions", type=int, nargs="+", choices=(0, 1, 2), default=[0, 1])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=1, help="frames per step")
    parser.add_argument("--rates", type=float, nargs=2, default=[2e-3, 2e-6],
                        help="learning rate at the start and at the end")
    parser.add_argument("--energy", type=float, nargs=2, default=[0.02, 1.0],
                        help="prefactor of the energies at the start and at the end")
    parser.add_argument("--virial", type=float, nargs=2, default=[0.0, 0.0],
                        help="prefactor of the virials at the start and at the end")
    parser.add_argument("--rcut-smth", type=float, default=0.5, help="Å")
    parser.add_argument("--neuron", type=int, nargs=3, default=[8, 16, 32],
                        help="widths of the embedding net")
    parser.add_argument("--axis-neuron", type=int, default=4)
    parser.add_argument("--tables", choices=("vendor", "octave"), default="vendor")
    parser.add_argument("--tag", default="", help="prefix of the runs' folders")
    parser.add_argument("--work", type=Path, default=Path("accuracy"), help="folder of the runs")
    parser.add_argument("--verbose", action="store_true", help="print the trainings' lines")
    args = parser.parse_args()
    args.log = print if args.verbose else (lambda line: None)
    prepare(args.system, args.data, args.work / args.system / "data")
    versions = [v for v in args.versions if min(v, 1) in CASES[args.system].versions]
    results = {}
    for seed in args.seeds:
        for version in versions:
            results[version, seed] = run(args.system, version, seed, args)
            show(results, versions)


if __name__ == "__main__":
    main()
