"""Steps per second of SUB_VERSION 2 beside SUB_VERSION 1 of version 1, in both trainings.

    python benchmarks/sub_versions.py --data DATA/gete

Both get the same data, slots and threads. A figure is processor time: that of a long training less
that of a short one, over the steps between, the least of some repeats, taken in turns; on a busy
machine wall time says little.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

STEPS = {"cnn": (20, 220), "qnn": (10, 60)}


def document(sub_version: int, steps: int, data: Path) -> dict:
    """The input document of one run."""
    newer = {"sub_version": 2} if sub_version == 2 else {}
    return {
        "nvnmd": {"version": 1, **newer, "max_nnei": 128, "net_size": 128, "sel": 128,
                  "rcut": 6.0, "rcut_smth": 2.0, "type_map": ["Ge", "Te"]},
        "learning_rate": {"type": "exp", "start_lr": 1e-3, "stop_lr": 1e-5, "decay_steps": 5},
        "loss": {},
        "training": {"seed": 1, "numb_steps": steps, "disp_freq": 1000, "save_freq": 1000,
                     "training_data": {"systems": str(data), "batch_size": 1}},
    }


def seconds(stage: str, sub_version: int, steps: int, data: Path, cnn: Path) -> float:
    """Processor time of one training."""
    from nvnmd.inputs.read import for_stage, parse_document
    from nvnmd.training.continuous.train import train_cnn
    from nvnmd.training.quantized.train import train_qnn

    config = parse_document(document(sub_version, steps, data), "benchmark")
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        if stage == "cnn":
            train_cnn(for_stage(config, "cnn", folder), Path(folder), log=lambda _: None)
        else:
            train_qnn(for_stage(config, "qnn", cnn), cnn, Path(folder), log=lambda _: None,
                      keep_last=True)
        return time.process_time() - start


def main() -> None:
    """Measure and print."""
    from nvnmd.inputs.read import for_stage, parse_document
    from nvnmd.training.continuous.train import train_cnn

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the GeTe system")
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folders = {}
        for sub_version in (1, 2):
            folders[sub_version] = Path(work) / f"cnn{sub_version}"
            config = parse_document(document(sub_version, 30, args.data), "benchmark")
            train_cnn(for_stage(config, "cnn", folders[sub_version]), folders[sub_version],
                      log=lambda _: None)
        for stage, (short, long) in STEPS.items():
            best = {1: float("inf"), 2: float("inf")}
            for _ in range(args.repeat):
                for sub_version in best:
                    taken = [seconds(stage, sub_version, steps, args.data, folders[sub_version])
                             for steps in (short, long)]
                    step = (taken[1] - taken[0]) / (long - short)
                    best[sub_version] = min(best[sub_version], step)
            print(f"train-{stage}: SUB_VERSION 1 {1e3 * best[1]:.1f} ms per step, "
                  f"SUB_VERSION 2 {1e3 * best[2]:.1f}: {best[1] / best[2]:.2f} times the steps "
                  "per second", flush=True)


if __name__ == "__main__":
    main()
