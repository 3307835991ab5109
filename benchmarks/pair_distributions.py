"""Pair distributions of `fixed` beside those of `float`, with the spread of `float` alone.

    python benchmarks/pair_distributions.py --model M --system S --keep FOLDER [--pairs O-O O-H H-H]
        [--seeds 5] [--ps 20] [--equilibrate 5] [--dt 0.5] [--temperature 330] [--round 1]

M is what `nvnmd.load_model` reads and S a system of DeePMD-kit's layout, whose first frame every
run starts from, with velocities and a Langevin thermostat (friction 2/ps) of its own seed. The runs
take turns of `--round` ps, so that all are equally long whenever it is stopped; FOLDER holds where
they are, and the same command goes on from there. After each turn it prints, of the ps since the
equilibration:

- the largest difference of g(r) between the mean of the `fixed` runs and that of the `float` runs;
- the same of two means of `float` runs, drawn again and again with replacement (2000 times): mean,
  and the value below which 95 % are;
- the mean temperature of both.

g(r) has bins of 0.05 Å up to half of the shortest edge, at most 6 Å.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from md import structure

BACKENDS = ("float", "fixed")
WIDTH = 0.05
FRICTION = 2e-3


def histogram(atoms: Any, pair: str, bins: np.ndarray) -> np.ndarray:
    """g(r) of a pair of elements in one frame."""
    first, second = pair.split("-")
    symbols = np.array(atoms.get_chemical_symbols())
    a, b = np.flatnonzero(symbols == first), np.flatnonzero(symbols == second)
    d = atoms.positions[a][:, None] - atoms.positions[b][None]
    fractional = d @ np.linalg.inv(atoms.cell[:])
    r = np.linalg.norm((fractional - np.rint(fractional)) @ atoms.cell[:], axis=2)
    found = np.histogram(r[r > 1e-6], bins)[0]
    pairs = len(a) * len(b) - (len(a) if first == second else 0)
    shells = 4 * np.pi / 3 * np.diff(bins**3)
    return found * atoms.get_volume() / shells / pairs


class Run:
    """One run of a backend and a seed, and where it is kept."""

    def __init__(self, args: argparse.Namespace, potential: Any, backend: str, seed: int) -> None:
        from ase.md.velocitydistribution import thermalize_momenta

        from nvnmd.integrations.ase import NVNMD

        self.args, self.backend = args, backend
        self.file = Path(args.keep) / f"{backend}-{seed}.npz"
        self.rng = np.random.default_rng(seed)
        self.atoms = structure(args)
        half = self.atoms.get_volume() / np.linalg.norm(np.cross(
            *self.atoms.cell[[1, 2]])) / 2
        self.bins = np.arange(0.5, min(half, 6.0) + 1e-9, WIDTH)
        self.steps, self.frames = 0, 0
        self.sums = np.zeros((len(args.pairs), len(self.bins) - 1))
        self.temperature = 0.0
        if self.file.exists():
            self._load()
        else:
            thermalize_momenta(self.atoms, args.temperature, rng=self.rng)
        self.atoms.calc = NVNMD(potential, backend)

    def advance(self, steps: int) -> None:
        """Take so many steps; frames count after the equilibration."""
        from ase import units
        from ase.md.langevin import Langevin

        args = self.args
        run = Langevin(self.atoms, args.dt * units.fs, temperature_K=args.temperature,
                       friction=FRICTION / units.fs, rng=self.rng, fixcm=False)
        for _ in range(steps // args.every):
            run.run(args.every)
            self.steps += args.every
            if self.steps * args.dt > args.equilibrate * 1e3:
                self.frames += 1
                self.temperature += self.atoms.get_temperature()
                for k, pair in enumerate(args.pairs):
                    self.sums[k] += histogram(self.atoms, pair, self.bins)
        self._save()

    def means(self) -> np.ndarray:
        """g(r) by pair."""
        return self.sums / self.frames

    def _identity(self) -> str:
        known = vars(self.args)
        return json.dumps({name: known[name] for name in (
            "system", "pairs", "dt", "temperature", "every", "equilibrate")})

    def _save(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.file.parent, delete=False) as file:
            np.savez(file, positions=self.atoms.positions, momenta=self.atoms.get_momenta(),
                     rng=json.dumps(self.rng.bit_generator.state), steps=self.steps,
                     frames=self.frames, sums=self.sums, temperature=self.temperature,
                     identity=self._identity())
        os.replace(file.name, self.file)

    def _load(self) -> None:
        with np.load(self.file) as kept:
            if str(kept["identity"]) != self._identity():
                raise SystemExit(f"{self.file}: of other settings: {kept['identity']}")
            self.atoms.positions = kept["positions"]
            self.atoms.set_momenta(kept["momenta"])
            self.rng.bit_generator.state = json.loads(str(kept["rng"]))
            self.steps, self.frames = int(kept["steps"]), int(kept["frames"])
            self.sums, self.temperature = kept["sums"], float(kept["temperature"])


def tell(args: argparse.Namespace, runs: list[Run]) -> None:
    """Print the comparison of what there is."""
    if min(run.frames for run in runs) == 0:
        return
    means, kelvin = {}, {}
    for backend in BACKENDS:
        mine = [run for run in runs if run.backend == backend]
        means[backend] = np.array([run.means() for run in mine])
        kelvin[backend] = sum(run.temperature for run in mine) / sum(run.frames for run in mine)
    ps = min(run.frames for run in runs) * args.every * args.dt * 1e-3
    print(f"{args.seeds} seeds, {ps:g} ps each: {kelvin['float']:.1f} K with float, "
          f"{kelvin['fixed']:.1f} K with fixed", flush=True)
    rng = np.random.default_rng(1)
    for k, pair in enumerate(args.pairs):
        a, b = means["float"][:, k], means["fixed"][:, k]
        largest = np.abs(a.mean(axis=0) - b.mean(axis=0)).max()
        drawn = [np.abs(a[rng.integers(0, len(a), len(a))].mean(axis=0)
                        - a[rng.integers(0, len(a), len(a))].mean(axis=0)).max()
                 for _ in range(2000)]
        print(f"  {pair}: largest difference of g(r) {largest:.3f}; two sets of float "
              f"{np.mean(drawn):.3f}, 95 % below {np.quantile(drawn, 0.95):.3f}; peak "
              f"{a.mean(axis=0).max():.2f}", flush=True)


def main() -> None:
    """Run in turns and print."""
    from nvnmd.evaluation.potential import load_model

    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--system", required=True)
    parser.add_argument("--keep", required=True)
    parser.add_argument("--pairs", nargs="+", default=["O-O", "O-H", "H-H"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--ps", type=float, default=20.0)
    parser.add_argument("--equilibrate", type=float, default=5.0)
    parser.add_argument("--temperature", type=float, default=330.0)
    parser.add_argument("--dt", type=float, default=0.5)
    parser.add_argument("--every", type=int, default=20, help="steps between frames")
    parser.add_argument("--round", type=float, default=1.0, help="ps of a turn")
    args = parser.parse_args()
    potential = load_model(args.model)
    runs = [Run(args, potential, backend, seed)
            for seed, backend in itertools.product(range(args.seeds), BACKENDS)]
    whole = int((args.ps + args.equilibrate) * 1e3 / args.dt)
    turn = int(args.round * 1e3 / args.dt)
    while (least := min(run.steps for run in runs)) < whole:
        # a run that was ahead when the last command was stopped waits for the others
        for run in runs:
            if run.steps == least:
                run.advance(min(turn, whole - least))
        tell(args, runs)
    tell(args, runs)


if __name__ == "__main__":
    main()
