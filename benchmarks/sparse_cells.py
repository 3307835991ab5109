"""What the search of neighbours costs per atom where most of the cell is empty.

    python benchmarks/sparse_cells.py --threads 1

The same 4000 atoms (0.1 per cubic Å, 90 neighbours within 6 Å) in a cell that they fill, in larger
ones, and beside one atom far away. Rounds go over all cases in turn; medians of the process's time.
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", default="1")
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = given.threads
    from nvnmd.neighbors.slots import build_neighborhood

    edge = 40_000.0 ** (1.0 / 3.0)
    steps = np.arange(16) * edge / 16
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)[:4000]
    rng = np.random.default_rng(0)
    coord = grid + rng.uniform(0.0, 0.5, grid.shape)
    lone = np.concatenate([coord, [[1e5, 1e5, 1e5]]])
    spread = np.concatenate([coord[:133] + rng.uniform(0.0, 1e5, 3) for _ in range(30)])
    cases = {
        "cell filled": (coord, np.eye(3) * edge),
        "no cell": (coord, None),
        "10,000 times the volume": (coord, np.eye(3) * edge * 1e4 ** (1.0 / 3.0)),
        "10,000 times the edge": (coord, np.eye(3) * edge * 1e4),
        "a lone atom 100,000 Å away": (lone, np.eye(3) * 2e5),
        "30 parts of it in a cell of 100,000 Å": (spread, np.eye(3) * 1e5),
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(given.rounds + 1):
        for name, (x, box) in cases.items():
            begin = time.process_time()
            build_neighborhood(x, box, np.arange(len(x)) % 2, (90, 90), 6.0)
            times[name].append((time.process_time() - begin) / len(x) * 1e6)
    for name, taken in times.items():
        print(f"{name:40s} {np.median(taken[1:]):6.2f} µs per atom")


if __name__ == "__main__":
    main()
