"""The error budget of a model, and what quantizing each stage alone would leave unexplained.

    python benchmarks/error_budget.py nvnmd_qnn/model.nvnmd -s data/validation --frames 0 7
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from nvnmd.data.systems import load_system
from nvnmd.evaluation.error_budget import error_budget
from nvnmd.evaluation.frames import frame_neighborhood
from nvnmd.evaluation.half_quantized import STAGES, HalfQuantized
from nvnmd.evaluation.potential import load_model
from nvnmd.network.compiled import pair_forces


def changes(model, system, frame, stages) -> tuple[np.ndarray, np.ndarray]:
    """Atomic energies and force components with some stages quantized, less those with none."""
    hood = frame_neighborhood(model, system, frame)
    found = []
    for some in (stages, ()):
        one = HalfQuantized(model, some).evaluate(
            hood.center_types, hood.rij, hood.mask, hood.neighbor_types)
        force = pair_forces(one.pair, hood.rij, hood.index).force.ravel()
        found.append((one.atom_energy, force))
    return found[0][0] - found[1][0], found[0][1] - found[1][1]


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("-s", "--system", type=Path, required=True)
    parser.add_argument("--frames", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    model = load_model(args.model).network
    system = load_system(args.system, model.type_map)
    budget = error_budget(model, [(system, frame) for frame in args.frames])
    whole = [changes(model, system, frame, tuple(STAGES)) for frame in args.frames]
    alone = {stage: [changes(model, system, frame, (stage,)) for frame in args.frames]
             for stage in STAGES}
    for k, (name, found) in enumerate(budget.items()):
        print(f"{name}: RMS {found.rms:.3e} {found.unit}, {found.count} numbers")
        rest = np.concatenate([parts[k] for parts in whole])
        square = np.mean(rest**2)
        for stage, cost in found.stages.items():
            change = np.concatenate([parts[k] for parts in alone[stage]])
            rest = rest - change
            print(f"  {stage:20s} RMS {cost.rms:.3e}, share {100 * cost.share:6.2f} %, alone RMS "
                  f"{np.sqrt(np.mean(change**2)):.3e}")
        print(f"  remainder {100 * found.remainder.share:.2f} % of the mean square; of stages "
              f"alone {100 * np.mean(rest**2) / square:.1f} %", flush=True)


if __name__ == "__main__":
    main()
