"""Molecular dynamics: agreement of engines, speed beside DeePMD-kit's LAMMPS, size, drift.

    python benchmarks/md.py agree --model M --system S
    python benchmarks/md.py speed --model M --system S [--atoms 4096] [--steps 50] [--ranks 1 2]
        [--threads 1] [--backends fixed float] [--lmp LMP --qnn-graph Q.pb --cnn-graph C.pb]
    python benchmarks/md.py size --model M --system S [--atoms 100000] [--steps 100]
    python benchmarks/md.py drift --model M --system S [--backends float fixed] [--ps 20]
        [--temperature 300] [--equilibrate 1] [--atoms 64]
        [--run RUN --backends float vendor octave]

M is what `nvnmd.load_model` reads and S a system of DeePMD-kit's layout, whose first frame is
repeated. `agree` compares energy, forces and stress of ASE, LAMMPS (1 and 2 ranks) and i-PI's
driver with `evaluate`. `speed` runs the same LAMMPS script with `nvnmd lammps` and, where given,
with the `lmp` of an environment that has `deepmd-kit[cpu,lmp]`, and divides LAMMPS's own loop times
by atoms and steps. `size` prints the peak memory of such a run. `drift` takes velocities for the
temperature from a Langevin run of `float` and then runs NVE with every backend from the same state:
the slope of the energy by least squares, its error from the slopes of five parts, and from a line
through the means of eight parts (smaller, and right where a part is longer than what the energy
remembers: on water neighbouring parts of 1 ps are correlated, those of 2.5 ps hardly). `vendor` and
`octave` are the integer network with tables of that layout, made of the weights in RUN/nvnmd_cnn.
Pair distributions: `pair_distributions.py`.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

MASSES = {"H": 1.008, "O": 15.999, "Ge": 72.63, "Te": 127.6, "Cu": 63.546, "Au": 196.967}

SCRIPT = """\
units metal
atom_style atomic
atom_modify map yes
neighbor 1.0 bin
neigh_modify every 10 delay 0 check yes
read_data {data}
pair_style {style}
pair_coeff * *
velocity all create 300 12345
fix 1 all nve
timestep 0.0005
thermo {every}
run {steps}
"""


def structure(args: argparse.Namespace, atoms: int | None = None) -> Any:
    """The first frame of the system, repeated until it has about so many atoms."""
    from ase import Atoms

    from nvnmd.data.systems import load_groups
    from nvnmd.evaluation.potential import load_model

    type_map = load_model(args.model).type_map
    system = load_groups(Path(args.system), type_map, require=())[0]
    found = Atoms([type_map[t] for t in system.types], positions=system.coord[0],
                  cell=system.box[0], pbc=True)
    repeat = [1, 1, 1]
    while atoms and len(found) * np.prod(repeat) < atoms:
        # the shortest edge next
        edges = found.cell.lengths() * repeat
        repeat[int(np.argmin(edges))] += 1
    return found.repeat(repeat)


def write_data(atoms: Any, type_map: tuple[str, ...], path: Path) -> None:
    """LAMMPS's data file, types in the model's order."""
    from ase.calculators.lammps import Prism

    prism = Prism(atoms.cell[:])
    xhi, yhi, zhi, xy, xz, yz = prism.get_lammps_prism()
    moved = atoms.copy()
    moved.wrap()
    x = prism.vector_to_lammps(moved.positions, wrap=True)
    lines = ["structure", "", f"{len(atoms)} atoms", f"{len(type_map)} atom types", "",
             f"0 {xhi:.17g} xlo xhi", f"0 {yhi:.17g} ylo yhi", f"0 {zhi:.17g} zlo zhi"]
    if prism.is_skewed():
        lines.append(f"{xy:.17g} {xz:.17g} {yz:.17g} xy xz yz")
    lines += ["", "Masses", ""]
    lines += [f"{k + 1} {MASSES[name]}" for k, name in enumerate(type_map)]
    lines += ["", "Atoms # atomic", ""]
    lines += [f"{k + 1} {type_map.index(s) + 1} {a:.17g} {b:.17g} {c:.17g}"
              for k, (s, (a, b, c)) in enumerate(zip(atoms.get_chemical_symbols(), x,
                                                     strict=True))]
    path.write_text("\n".join(lines) + "\n")


def loop_time(command: list[str], folder: Path, threads: int) -> tuple[float, float]:
    """LAMMPS's loop time in s, and the peak memory of the process in MB."""
    count = str(threads)
    env = dict(os.environ, OMP_NUM_THREADS=count, DP_INTRA_OP_PARALLELISM_THREADS=count,
               DP_INTER_OP_PARALLELISM_THREADS="1", TF_CPP_MIN_LOG_LEVEL="3")
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True,
                          check=False)
    found = re.search(r"Loop time of ([\d.eE+-]+)", done.stdout)
    if found is None:
        raise SystemExit(f"{' '.join(command)}: no loop time\n{done.stdout[-2000:]}"
                         f"{done.stderr[-2000:]}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return float(found.group(1)), peak


def speed(args: argparse.Namespace) -> None:
    """µs per atom and step of whole runs."""
    from nvnmd.evaluation.potential import load_model

    atoms = structure(args, args.atoms)
    count = len(atoms)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(atoms, load_model(args.model).type_map, folder / "data")
        model = str(Path(args.model).resolve())
        (folder / "in").write_text(SCRIPT.format(
            data="data", style="nvnmd model", every=args.steps, steps=args.steps))
        ours: dict[tuple[str, int], float] = {}
        for backend, ranks in itertools.product(args.backends, args.ranks):
            command = [sys.executable, "-P", "-m", "nvnmd", "lammps", "in", "-m", model,
                       "--backend", backend, "-np", str(ranks), "--log", "none"]
            seconds, peak = loop_time(command, folder, args.threads)
            ours[backend, ranks] = seconds
            print(f"nvnmd {backend}, {ranks} ranks of {args.threads} threads: "
                  f"{seconds / args.steps / count * 1e6:.2f} µs per atom and step "
                  f"({count} atoms, {args.steps} steps, peak {peak:.0f} MB)", flush=True)
        for backend, graph in (("fixed", args.qnn_graph), ("float", args.cnn_graph)):
            if not (args.lmp and graph):
                continue
            steps = args.peer_steps
            (folder / "peer").write_text(SCRIPT.format(
                data="data", style=f"deepmd {Path(graph).resolve()}", every=steps, steps=steps))
            seconds, peak = loop_time([args.lmp, "-in", "peer", "-log", "none"], folder,
                                      args.threads)
            each = seconds / steps / count * 1e6
            ratio = ""
            if (backend, 1) in ours:
                ratio = f", {each / (ours[backend, 1] / args.steps / count * 1e6):.1f} times"
            print(f"DeePMD-kit, graph of {backend}: {each:.2f} µs per atom and step "
                  f"({steps} steps, peak {peak:.0f} MB){ratio}", flush=True)


DUMP = """\
units metal
atom_style atomic
atom_modify map yes
read_data data
pair_style nvnmd model
pair_coeff * *
dump 1 all custom 1 dump id x y z fx fy fz
dump_modify 1 sort id format float %.17g
run 0
print "$(pe:%.17g) $(pxx:%.17g) $(pyy:%.17g) $(pzz:%.17g) $(pyz:%.17g) $(pxz:%.17g) &
$(pxy:%.17g)" file thermo
"""


def agree(args: argparse.Namespace) -> None:
    """Largest differences of the engines from `evaluate` at the same positions."""
    from nvnmd.evaluation.potential import load_model
    from nvnmd.integrations.ase import NVNMD
    from nvnmd.integrations.ipi import BOHR, HARTREE, Driver

    potential = load_model(args.model)
    atoms = structure(args)
    # as many decimals as files of structures have: the driver gives these their bits again
    atoms.positions = atoms.positions.round(8)
    atoms.cell = atoms.cell[:].round(8)
    symbols = atoms.get_chemical_symbols()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(atoms, potential.type_map, folder / "data")
        (folder / "in").write_text(DUMP)
        for backend in ("float", "fixed"):
            for ranks in (1, 2):
                done = subprocess.run(
                    [sys.executable, "-P", "-m", "nvnmd", "lammps", "in", "-m",
                     str(Path(args.model).resolve()), "--backend", backend, "-np", str(ranks),
                     "--log", "none"], cwd=folder, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise SystemExit(done.stdout + done.stderr)
                rows = np.loadtxt((folder / "dump").read_text().splitlines()[9:])
                values = np.array([float(w) for w in (folder / "thermo").read_text().split()])
                # the positions that LAMMPS has, in a cell that is its own
                box = np.diag(np.diag(atoms.cell[:]))
                if (box != atoms.cell[:]).any():
                    raise SystemExit("agree: expected a system with an orthogonal cell")
                expected = potential.evaluate(rows[:, 1:4], box, symbols, backend)
                tell(f"LAMMPS, {ranks} ranks", backend, expected, values[0], rows[:, 4:7],
                     -values[1:] / 1.6021765e6)
            atoms.calc = NVNMD(potential, backend)
            expected = potential.evaluate(atoms.positions, atoms.cell[:], symbols, backend)
            tell("ASE", backend, expected, atoms.get_potential_energy(), atoms.get_forces(),
                 atoms.get_stress())
            driver = Driver(potential, symbols, backend)
            energy, force, virial, _ = driver(atoms.cell[:].T / BOHR, atoms.positions / BOHR)
            stress = -(virial * HARTREE / atoms.get_volume())[[0, 1, 2, 1, 0, 0],
                                                              [0, 1, 2, 2, 2, 1]]
            tell("i-PI", backend, expected, energy * HARTREE, force * HARTREE / BOHR, stress)


def tell(name: str, backend: str, expected: Any, energy: float, force: np.ndarray,
         stress: np.ndarray) -> None:
    """Print relative and absolute differences."""
    de = abs(energy - expected.energy)
    df, ds = np.abs(force - expected.force).max(), np.abs(stress - expected.stress).max()
    print(f"{name}, {backend}: energy {de:.1e} eV ({de / abs(expected.energy):.1e}), force "
          f"{df:.1e} eV/Å ({df / np.abs(expected.force).max():.1e}), stress {ds:.1e} eV/Å³ "
          f"({ds / np.abs(expected.stress).max():.1e})", flush=True)


def size(args: argparse.Namespace) -> None:
    """A large run and its memory."""
    args.backends, args.ranks = [args.backend], [1]
    args.lmp = args.qnn_graph = args.cnn_graph = None
    speed(args)


def calculator(args: argparse.Namespace, name: str) -> Any:
    """ASE's calculator of a backend, or of the integer network with tables of a layout."""
    from nvnmd.integrations.ase import NVNMD
    from nvnmd.quantize.table_layout import LAYOUTS

    if name not in LAYOUTS:
        return NVNMD(args.model, name)
    if args.run is None:
        raise SystemExit(f"{name}: expected --run with a folder that has nvnmd_cnn")
    from nvnmd.deepmd.files import read_dict
    from nvnmd.deepmd.tables import tables_of_weights
    from nvnmd.deepmd.weights import from_deepmd
    from nvnmd.evaluation.potential import Potential
    from nvnmd.inputs.read import load_input
    from nvnmd.mapping.freeze import freeze_model

    folder = Path(args.run) / "nvnmd_cnn"
    config = load_input(folder / "train.json", find_systems=False)
    weights = from_deepmd(read_dict(folder / "weight.npy"), "weight.npy")
    radii = config.descriptor.rcut, config.descriptor.rcut_smth
    return NVNMD(Potential(freeze_model(
        weights, tables_of_weights(weights, *radii, name=name), config)))


def equilibrated(args: argparse.Namespace, backend: str, seed: int, ps: float) -> Any:
    """The structure after a Langevin run."""
    from ase import units
    from ase.md.langevin import Langevin
    from ase.md.velocitydistribution import Stationary, thermalize_momenta

    atoms = structure(args, args.atoms)
    rng = np.random.default_rng(seed)
    thermalize_momenta(atoms, args.temperature, rng=rng)
    atoms.calc = calculator(args, backend)
    Langevin(atoms, args.dt * units.fs, temperature_K=args.temperature,
             friction=0.01 / units.fs, rng=rng, fixcm=False).run(int(ps * 1e3 / args.dt))
    Stationary(atoms)
    return atoms


def drift(args: argparse.Namespace) -> None:
    """Slope of the total energy in NVE."""
    from ase import units
    from ase.md.verlet import VelocityVerlet

    start = equilibrated(args, "float", args.seed, args.equilibrate)
    steps = int(args.ps * 1e3 / args.dt)
    for backend in args.backends:
        atoms = start.copy()
        atoms.calc = calculator(args, backend)
        run = VelocityVerlet(atoms, args.dt * units.fs)
        energy, temperature = [atoms.get_total_energy()], []
        for _ in range(steps):
            run.step()
            energy.append(atoms.get_total_energy())
            temperature.append(atoms.get_temperature())
        e = np.array(energy) * 1e3 / len(atoms)
        t = np.arange(len(e)) * args.dt * 1e-6
        slope = np.polyfit(t, e, 1)[0]
        parts = [np.polyfit(a, b, 1)[0] for a, b in zip(
            np.array_split(t, 5), np.array_split(e, 5), strict=True)]
        line_error = error_of_line(t, e, 8)
        print(f"{backend}: {len(atoms)} atoms, {steps * args.dt * 1e-3:g} ps, dt {args.dt:g} fs, "
              f"{np.mean(temperature):.0f} K: drift {slope:.2f} ± "
              f"{np.std(parts, ddof=1) / np.sqrt(5):.2f} (five slopes) ± {line_error:.2f} "
              f"(eight means) meV/atom/ns, fluctuation "
              f"{np.std(e - np.polyval(np.polyfit(t, e, 1), t)):.4f} meV/atom", flush=True)


def error_of_line(t: np.ndarray, e: np.ndarray, parts: int) -> float:
    """Standard error of the slope of a line through the means of equal parts."""
    x, y = (np.array([part.mean() for part in np.array_split(one, parts)]) for one in (t, e))
    rest = y - np.polyval(np.polyfit(x, y, 1), x)
    return float(np.sqrt(rest @ rest / (parts - 2) / np.square(x - x.mean()).sum()))


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, work in (("agree", agree), ("speed", speed), ("size", size), ("drift", drift)):
        one = commands.add_parser(name)
        one.set_defaults(work=work)
        one.add_argument("--model", required=True)
        one.add_argument("--system", required=True)
        if name in ("speed", "size"):
            large = name == "size"
            one.add_argument("--atoms", type=int, default=100_000 if large else 4096)
            one.add_argument("--steps", type=int, default=100 if large else 50)
            one.add_argument("--threads", type=int, default=1)
            one.add_argument("--backend", default="fixed")
            one.add_argument("--backends", nargs="+", default=["fixed", "float"])
            one.add_argument("--ranks", nargs="+", type=int, default=[1])
            one.add_argument("--lmp")
            one.add_argument("--qnn-graph")
            one.add_argument("--cnn-graph")
            one.add_argument("--peer-steps", type=int, default=5)
        elif name != "agree":
            one.add_argument("--backends", nargs="+", default=["float", "fixed"])
            one.add_argument("--ps", type=float, default=20.0)
            one.add_argument("--equilibrate", type=float, default=1.0)
            one.add_argument("--temperature", type=float, default=300.0)
            one.add_argument("--dt", type=float, default=0.5)
            one.add_argument("--seed", type=int, default=1)
            one.add_argument("--atoms", type=int)
            one.add_argument("--run")
    args = parser.parse_args()
    args.work(args)


if __name__ == "__main__":
    main()
