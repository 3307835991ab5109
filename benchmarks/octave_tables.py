"""The layouts of the tables beside each other: one network's weights, errors against it, speed.

    python benchmarks/quality.py --system water --data DATA/water --sides nvnmd --work WORK
    python benchmarks/octave_tables.py WORK/water/nvnmd_seed1_steps4000 --data WORK/water/data/held
    python benchmarks/octave_tables.py nvnmd_demo --data nvnmd_demo/data/validation

The folder is a run of `quality.py`, or of `nvnmd demo`. For each layout: the integer network's
forces and energies minus those of the continuous network of the same weights, over the frames held
back; bits of the tables of one type; time and memory of an evaluation. Times of the layouts
alternate, so that their ratios hold on a busy machine, too.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

LAYOUTS = ("vendor", "octave8", "octave")


def models_of(folder: Path) -> dict:
    """The frozen models of a run's first stage, by layout."""
    from nvnmd.deepmd.files import read_dict
    from nvnmd.deepmd.tables import tables_of_weights
    from nvnmd.deepmd.weights import from_deepmd
    from nvnmd.inputs.read import load_input
    from nvnmd.mapping.freeze import freeze_model

    documents = [folder / name for name in ("cnn.json", "input_cnn.json")]
    config = load_input(next(file for file in documents if file.exists()), find_systems=False)
    weights = from_deepmd(read_dict(folder / "nvnmd_cnn" / "weight.npy"), "weight.npy")
    radii = config.descriptor.rcut, config.descriptor.rcut_smth
    return {name: freeze_model(weights, tables_of_weights(weights, *radii, name=name), config)
            for name in LAYOUTS}


def main() -> None:
    """Measure and print."""
    from nvnmd.data.systems import find_systems, load_systems
    from nvnmd.evaluation.potential import Potential

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run folder of quality.py")
    parser.add_argument("--data", type=Path, required=True, help="systems to evaluate")
    parser.add_argument("--frames", type=int, default=1000, help="frames of each system, at most")
    parser.add_argument("--repeat", type=int, default=7, help="timed evaluations of each layout")
    args = parser.parse_args()
    models = models_of(args.run)
    potentials = {name: Potential(model) for name, model in models.items()}
    systems = load_systems(find_systems(args.data), models["vendor"].type_map)
    forces: dict[str, list] = {name: [] for name in LAYOUTS}
    energies: dict[str, list] = {name: [] for name in LAYOUTS}
    for system in systems:
        frames = system.coord[: args.frames], system.box[: args.frames], system.types
        exact = potentials["vendor"].evaluate(*frames, backend="float")
        for name, potential in potentials.items():
            found = potential.evaluate(*frames, backend="fixed")
            forces[name].append((found.force - exact.force).ravel())
            energies[name].append((found.energy - exact.energy) / system.natoms)
    frame = systems[0].coord[:1], systems[0].box[:1], systems[0].types
    times: dict[str, list] = {name: [] for name in LAYOUTS}
    for _ in range(args.repeat):
        for name, potential in potentials.items():
            start = time.perf_counter()
            potential.evaluate(*frame, backend="fixed")
            times[name].append(time.perf_counter() - start)
    print("layout    force error, eV/Å: RMS    largest   energy, meV/atom   table bits per type   "
          "us/atom   memory, kB")
    for name, model in models.items():
        error = np.concatenate(forces[name])
        shift = 1e3 * np.concatenate(energies[name]).mean()
        tables = [t for t in (model.table_u, model.table_u_grad, model.table_g,
                              model.table_g_grad) if t is not None]
        bits = sum(t[0].size for t in tables) * 29
        print(f"{name:8s} {np.sqrt(np.mean(error**2)):24.2e} {np.abs(error).max():10.2e} "
              f"{shift:+18.5f} {bits:21,d} {1e6 * min(times[name]) / systems[0].natoms:9.2f} "
              f"{sum(t.nbytes for t in tables) / 1e3:12.0f}")
    ratio = np.median(np.array(times["vendor"]) / np.array(times["octave"]))
    print(f"time of vendor over octave, median of pairs: {ratio:.3f}")


if __name__ == "__main__":
    main()
