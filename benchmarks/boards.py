"""Atoms per second of the simulated board beside `nvnmd simulate`, in pairs.

Both compute the same model and atoms (those of `benchmarks/simulation.py`) and compare every word
with the reference. Each pair is one run of each, one after the other. The board has the model
already, as it has between the frames of a trajectory; `nvnmd simulate` loads it every time. CPU
seconds: that process and its simulator. Run:

    python benchmarks/boards.py [--pairs 5] [--atoms 16] [--before PYTHON] [--work DIR]

With `--before` the second of each pair is run by another Python, for example that of an older
checkout.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from simulation import Worker, write_case

# The first run builds and loads, and is not counted. The simulator is a child that goes on, so its
# CPU seconds are read from the system.
_BOARD = """
import json, os, sys, time
from pathlib import Path
import numpy as np
from nvnmd.boards.connect import connect
from nvnmd.hdl.verify.stimulus import build_stimulus, expected_words
from nvnmd.quantize.model import Model
from nvnmd.sim.accelerator import Atoms
model = Model.load(Path("model.nvnmd"))
with np.load("atoms.npz") as loaded:
    atoms = Atoms(*(loaded[k] for k in ("center", "rij", "mask", "kinds")))
expected = expected_words(atoms.evaluate(model), atoms.mask)
def spent(process):
    own = os.times()
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return own.user + own.system + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
with connect("sim") as board:
    board.load(model)
    process = board._open_link._process._process
    print("ready", flush=True)
    for line in sys.stdin:
        cpu, wall = spent(process), time.monotonic()
        counters = board.session.counters
        link = counters.sent + counters.received
        found = board.words(build_stimulus(atoms.center_types, atoms.rij, atoms.mask,
                                           atoms.neighbor_types))
        differing = int((found.energy != expected.energy).sum()
                        + (found.deriv != expected.deriv).sum())
        print(json.dumps({"cycles": found.cycles, "cpu": spent(process) - cpu,
                          "wall": time.monotonic() - wall, "compared": expected.words,
                          "differing": differing, "equal": differing == 0,
                          "bytes": counters.sent + counters.received - link}), flush=True)
"""


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
        workers = [Worker(sys.executable, "", "board", folder, _BOARD),
                   Worker(args.before, "as-is", "before", folder) if args.before
                   else Worker(sys.executable, "cpp", "simulate", folder)]
        ratios: dict[str, list[float]] = {"cpu": [], "wall": []}
        equal = True
        for _ in range(args.pairs):
            found = [worker.run() for worker in workers]
            for worker, run in zip(workers, found, strict=True):
                equal &= run["equal"]
                link = f", {run['bytes']} bytes over the link" if "bytes" in run else ""
                print(f"{worker.name:8s} {run['cpu']:.2f} CPU s, {run['wall']:.2f} s: "
                      f"{args.atoms / run['cpu']:.2f} atoms/CPU s{link}; "
                      f"{run['compared']} words compared, {run['differing']} differ", flush=True)
            for key, values in ratios.items():
                values.append(found[1][key] / found[0][key])
        for worker in workers:
            worker.close()
    for key, values in ratios.items():
        print(f"times as many atoms per {key} second: median {statistics.median(values):.1f}, "
              f"{min(values):.1f} to {max(values):.1f}")
    return 0 if equal else 1


if __name__ == "__main__":
    raise SystemExit(main())
