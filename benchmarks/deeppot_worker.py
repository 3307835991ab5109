"""Times DeePMD-kit's DeepPot on request; runs in the environment that holds DeePMD-kit.

    python benchmarks/deeppot_worker.py MODEL.pb FRAME.npz RESULT.npz [wall|cpu]

Each line on standard input asks for one evaluation, whose seconds are the answer; the first
evaluation, which builds the session, is not timed. Its results go to RESULT.npz.
"""

from __future__ import annotations

import sys
import time

import numpy as np


def main(model: str, frame: str, result: str, clock: str = "wall") -> None:
    """Answer until standard input ends."""
    from deepmd.infer import DeepPot

    now = time.perf_counter if clock == "wall" else time.process_time
    potential = DeepPot(model)
    with np.load(frame) as data:
        coord, box, types = data["coord"].reshape(1, -1), data["box"].reshape(1, 9), data["types"]
    energy, force, virial = potential.eval(coord, box, types)
    np.savez(result, energy=energy, force=force, virial=virial)
    print("ready", flush=True)
    for _ in sys.stdin:
        start = now()
        potential.eval(coord, box, types)
        print(now() - start, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
