"""`fixed` with the vendor's and with octave tables, here and in an earlier checkout, in turns.

    python benchmarks/table_speed.py --before EARLIER/.venv/bin/python

Each process loads one model of random weights at the vendor's sizes (two types), makes a rattled
crystal at a liquid's density and evaluates its atoms again and again in one thread: the compiled
integer network alone, without the search of neighbours and without what scatters forces. Processes
take turns, so that what else the machine does meets all of them; the time is the processor's. The
memory is what Python and NumPy hold of a model that was loaded and has evaluated once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

RCUT, RCUT_SMTH, SEL = 6.0, 0.5, (60, 60)


def make_model(path: Path, name: str) -> None:
    """A model file with tables of a layout, in the format that all versions read if they can."""
    from nvnmd.deepmd.tables import tables_of_weights
    from nvnmd.inputs.config import (
        DescriptorConfig,
        FittingConfig,
        LearningRateConfig,
        LossConfig,
        RunConfig,
        TrainingConfig,
    )
    from nvnmd.mapping.freeze import freeze_model
    from nvnmd.network.initial_weights import initial_weights
    from nvnmd.network.statistics import Statistics

    config = RunConfig(
        version=0, max_nnei=128, type_map=("Ge", "Te"), tables=name,
        descriptor=DescriptorConfig(sel=SEL, rcut=RCUT, rcut_smth=RCUT_SMTH, seed=1),
        fitting=FittingConfig(seed=1), learning_rate=LearningRateConfig(), loss=LossConfig(),
        training=TrainingConfig(systems=(), batch_size=(), numb_steps=0))
    statistics = Statistics(
        davg=np.array([[0.06, 0.0], [0.06, 0.0]]), dstd=np.full((2, 2), 0.12),
        t_bias_atom_e=np.array([-3.0, -4.0]), min_nbor_dist=2.0, largest_counts=np.array([50, 50]),
        s_sample=np.linspace(-0.4, 3.0, 64), mean_neighbors=40.0)
    weights = initial_weights(config.descriptor, config.fitting, statistics)
    freeze_model(weights, tables_of_weights(weights, RCUT, RCUT_SMTH, name=name), config).save(path)
    if name != "vendor":
        return
    with zipfile.ZipFile(path) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    document = json.loads(entries["header.json"])
    # nothing of a later format is in it
    document["format"] = 1
    entries["header.json"] = json.dumps(document).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in entries.items():
            archive.writestr(entry, data)


def work(path: str, atoms: int) -> None:
    """A process: one line with memory, then the processor's seconds of an evaluation per line."""
    import gc
    import time
    import tracemalloc

    try:
        from nvnmd.quantize.compiled.model import FastModel
    except ImportError:
        from nvnmd.quantize.fast import FastModel
    from nvnmd.quantize.model import Model

    def slots(model: Model) -> tuple[np.ndarray, ...]:
        # some 40 neighbours of an atom at random places from 2.4 Å on, half of each type
        rng = np.random.default_rng(1)
        center = np.arange(atoms) % 2
        rij = rng.normal(size=(atoms, model.nnei, 3))
        radius = np.cbrt(rng.uniform(2.4**3, RCUT**3, (atoms, model.nnei, 1)))
        rij *= radius / np.linalg.norm(rij, axis=2, keepdims=True)
        mask = np.arange(model.nnei) % SEL[0] < 20
        return center, rij, np.tile(mask, (atoms, 1))

    # compiles, or reads what is compiled; not part of what a model holds
    first = Model.load(path)
    FastModel(first).evaluate(*slots(first))
    del first
    gc.collect()
    tracemalloc.start()
    model = Model.load(path)
    fast = FastModel(model)
    few = tuple(part[:1].copy() for part in slots(model))
    fast.evaluate(*few)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    arguments = slots(model)
    print(held, flush=True)
    for _ in sys.stdin:
        start = time.process_time()
        fast.evaluate(*arguments)
        print(time.process_time() - start, flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", help="Python of an earlier checkout's environment")
    parser.add_argument("--rounds", type=int, default=25, help="turns of every process")
    parser.add_argument("--atoms", type=int, default=1000, help="atoms of an evaluation")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.work, args.atoms)
        return
    with tempfile.TemporaryDirectory() as folder:
        sides = {}
        for name in ("vendor", "octave"):
            make_model(Path(folder) / name, name)
            sides[name] = (sys.executable, name)
        if args.before:
            sides["vendor, before"] = (args.before, "vendor")
        processes = {side: subprocess.Popen(
            [python, "-P", __file__, "--atoms", str(args.atoms), "--work", f"{folder}/{name}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder,
            env={"OMP_NUM_THREADS": "1", "HOME": str(Path.home()), "PATH": "/usr/bin:/bin"})
            for side, (python, name) in sides.items()}
        memory = {side: int(process.stdout.readline()) for side, process in processes.items()}
        times: dict[str, list[float]] = {side: [] for side in sides}
        for turn in range(args.rounds):
            for side in list(processes)[:: 1 if turn % 2 else -1]:
                process = processes[side]
                process.stdin.write("\n")
                process.stdin.flush()
                times[side].append(float(process.stdout.readline()))
        for process in processes.values():
            process.stdin.close()
            process.wait()
    print("tables           us/atom, least   median   memory of a loaded model, kB")
    for side, some in times.items():
        unit = 1e6 / args.atoms
        print(f"{side:16s} {unit * min(some):14.2f} {unit * np.median(some):8.2f} "
              f"{memory[side] / 1e3:10.0f}")
    for other in list(sides)[1:]:
        first, second = ("vendor", other) if other == "octave" else (other, "vendor")
        pairs = np.array(times[first]) / np.array(times[second])
        low, middle, high = np.quantile(pairs, (0.25, 0.5, 0.75))
        least = min(times[first]) / min(times[second])
        print(f"time of {first} over {second}, median of pairs (quartiles): {middle:.3f} "
              f"({low:.3f} to {high:.3f}), of the least {least:.3f}")


if __name__ == "__main__":
    main()
