"""Cycles per second of the simulated accelerator: the C++ program beside cocotb, in pairs.

Both play the same model and atoms (the model for 128 neighbours of the tests, atoms with the
longest lists of its frames) and compare every word. Each pair is one run of each, one after the
other; what is timed is `run_accelerator` on a simulator that is built already: load image,
stimulus, the simulation, and the comparison. CPU seconds: that process and its simulator. Run:

    python benchmarks/simulation.py [--pairs 5] [--atoms 16] [--before PYTHON] [--work DIR]

With `--before` the second of each pair is run by another Python, for example that of an older
checkout, instead of this version's cocotb engine; it needs the modules `nvnmd.hdl.export`,
`nvnmd.sim.accelerator` and `nvnmd.quantize.model`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

# Runs in either Python. The first run builds and is not counted.
_WORKER = """
import json, os, sys, time
from pathlib import Path
import numpy as np
from nvnmd.hdl.export import config_for
from nvnmd.quantize.model import Model
from nvnmd.sim.accelerator import Atoms, run_accelerator
model = Model.load(Path("model.nvnmd"))
with np.load("atoms.npz") as loaded:
    atoms = Atoms(*(loaded[k] for k in ("center", "rij", "mask", "kinds")))
options = {"engine": sys.argv[1]} if sys.argv[1] != "as-is" else {}
cfg, trace = config_for(model), atoms.evaluate(model)
work = Path("work_" + sys.argv[2])
one = Atoms(*(getattr(atoms, k)[:1] for k in ("center_types", "rij", "mask", "neighbor_types")))
run_accelerator(model, cfg, one, work, **options)
print("ready", flush=True)
for line in sys.stdin:
    cpu, wall = os.times(), time.monotonic()
    run = run_accelerator(model, cfg, atoms, work, trace=trace, **options)
    spent = sum(b - a for a, b in zip(cpu[:4], os.times()[:4]))
    found = run.comparison
    print(json.dumps({"cycles": run.cycles, "cpu": spent, "wall": time.monotonic() - wall,
                      "compared": found.compared, "differing": found.differing,
                      "equal": found.equal}), flush=True)
"""


# Model files of this version cannot be read by older ones, but theirs by this one.
_SAVE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
try:
    from support.golden_data import load_fixture
except ImportError:
    # where test helpers lay beside the tests
    from golden_data import load_fixture
load_fixture(128).model.save(Path(sys.argv[2]))
"""


def write_case(folder: Path, count: int, before: str | None = None) -> int:
    """Model and atoms for the workers; the number of neighbours.

    The model is written by the other Python, where there is one: it lies in ``.venv/bin`` of its
    checkout, as `make` puts it there.
    """
    import numpy as np
    from support.golden_data import load_fixture

    from nvnmd.neighbors.slots import build_neighborhood

    run = load_fixture(128)
    hoods = [build_neighborhood(f.coord, f.box, f.types, run.model.sel, run.model.rcut,
                                overflow="truncate") for f in run.frames]
    hood = max(hoods, key=lambda h: int(h.mask.sum()))
    chosen = np.sort(np.resize(np.arange(len(hood.order)), count))
    if before is None:
        run.model.save(folder / "model.nvnmd")
    else:
        tests = Path(before).absolute().parents[2] / "tests"
        subprocess.run([before, "-c", _SAVE, str(tests), str(folder / "model.nvnmd")], check=True)
    np.savez(folder / "atoms.npz", center=hood.center_types[chosen], rij=hood.rij[chosen],
             mask=hood.mask[chosen], kinds=hood.neighbor_types[chosen])
    return int(hood.mask[chosen].sum())


class Worker:
    """One of the two, kept running between the pairs."""

    def __init__(self, python: str, engine: str, name: str, folder: Path,
                 program: str = _WORKER) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [python, "-c", program, engine, name], cwd=folder, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        if self._out.readline().strip() != "ready":
            raise SystemExit(f"{name}: the worker stopped with {self._process.wait()}")

    def run(self) -> dict:
        """One timed simulation."""
        self._in.write("\n")
        self._in.flush()
        return json.loads(self._out.readline())

    def close(self) -> None:
        """End the worker."""
        self._in.close()
        self._process.wait()


def main() -> int:
    """Print every pair, and the median of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--atoms", type=int, default=16)
    parser.add_argument("--before", metavar="PYTHON")
    parser.add_argument("--work", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = args.work or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        neighbors = write_case(folder, args.atoms, args.before)
        print(f"{args.atoms} atoms, {neighbors} neighbours", flush=True)
        workers = [Worker(sys.executable, "cpp", "cpp", folder),
                   Worker(args.before, "as-is", "before", folder) if args.before
                   else Worker(sys.executable, "cocotb", "cocotb", folder)]
        ratios: dict[str, list[float]] = {"cpu": [], "wall": []}
        equal = True
        for _ in range(args.pairs):
            found = [worker.run() for worker in workers]
            for worker, run in zip(workers, found, strict=True):
                equal &= run["equal"]
                print(f"{worker.name:8s} {run['cycles']} cycles, {run['cpu']:.2f} CPU s, "
                      f"{run['wall']:.2f} s: {run['cycles'] / run['cpu']:,.0f} cycles/CPU s; "
                      f"{run['compared']} words compared, {run['differing']} differ", flush=True)
            for key, values in ratios.items():
                rate = [run["cycles"] / run[key] for run in found]
                values.append(rate[0] / rate[1])
        for worker in workers:
            worker.close()
    for key, values in ratios.items():
        print(f"times as many cycles per {key} second: median {statistics.median(values):.1f}, "
              f"{min(values):.1f} to {max(values):.1f}")
    return 0 if equal else 1


if __name__ == "__main__":
    raise SystemExit(main())
