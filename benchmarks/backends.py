"""The backends `fixed` and `float` beside DeePMD-kit's DeepPot: microseconds per atom and ratios.

    python benchmarks/backends.py [--threads 1] [--repeat 7] [--run FOLDER] [--peer PYTHON]
        [--atoms 216 4096] [--lattice 3.9] [--clock wall|cpu]
    python benchmarks/backends.py --memory --run FOLDER [--threads 1]

Both sides get the same frame and the same number of threads, and search the neighbours each time.
Evaluations alternate, so that a ratio is of two runs next to each other in time: it holds on a busy
machine too. FOLDER is a two-stage run of DeePMD-kit with its frozen models; without it one is
trained first, in a few steps (tests/peer/reference_run.py, some minutes). Frames are rattled fcc
crystals of 216 and 4096 atoms of two elements, 60 neighbours each (30 at --lattice 4.9). Results
are compared too, so that the speed is that of the same numbers. With `--clock cpu` the time is
the processor's, all threads together, which other programs disturb little; it means something with
one thread only, where idle machines show the same by either clock.

`--memory` prints the peak of what an evaluation takes, at three sizes, and that per further atom.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REPEATS = {216: (6, 3, 3), 4096: (16, 8, 8), 32768: (32, 16, 16)}


def make_frame(atoms: int, lattice: float, path: Path) -> dict:
    """A rattled crystal in a file; its arrays."""
    import numpy as np

    rng = np.random.default_rng(7)
    repeat = np.array(REPEATS[atoms])
    cells = np.stack(np.meshgrid(*map(np.arange, repeat), indexing="ij"), -1).reshape(-1, 1, 3)
    sites = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    coord = (cells + sites).reshape(-1, 3) * lattice
    coord += rng.normal(scale=0.1, size=coord.shape)
    frame = {"coord": coord, "box": np.diag(repeat * lattice),
             "types": rng.permutation(np.arange(atoms) % 2)}
    np.savez(path, **frame)
    return frame


class DeepPot:
    """DeePMD-kit in a process of its own."""

    def __init__(self, python: str, model: Path, frame: Path, threads: int, clock: str) -> None:
        self.result = frame.with_suffix(".result.npz")
        count = str(threads)
        env = dict(os.environ, OMP_NUM_THREADS=count, DP_INTRA_OP_PARALLELISM_THREADS=count,
                   DP_INTER_OP_PARALLELISM_THREADS=count, TF_CPP_MIN_LOG_LEVEL="2")
        self.process = subprocess.Popen(
            [python, str(ROOT / "benchmarks" / "deeppot_worker.py"), str(model), str(frame),
             str(self.result), clock], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True)
        while self._line() != "ready":
            pass

    def _line(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("DeePMD-kit ended early")
        return line.strip()

    def seconds(self) -> float:
        """One evaluation."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


def memory(args: argparse.Namespace, work: Path) -> None:
    """Print the peaks of NumPy's memory during one evaluation."""
    import tracemalloc

    import nvnmd

    for stage, backend in (("qnn", "fixed"), ("cnn", "float")):
        model = nvnmd.load_model(args.run if stage == "qnn" else args.run / "nvnmd_cnn")
        before = None
        for atoms in sorted(REPEATS):
            frame = make_frame(atoms, args.lattice, work / f"frame{atoms}.npz")
            arguments = frame["coord"][None], frame["box"][None], frame["types"]
            model.evaluate(*arguments, backend=backend)
            tracemalloc.start()
            model.evaluate(*arguments, backend=backend)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            line = f"{atoms:5d} atoms, {args.threads} thread(s), {backend}: {peak / 1e6:6.1f} MB"
            if before is not None:
                line += f"; {(peak - before[1]) / (atoms - before[0]):.0f} bytes per further atom"
            before = atoms, peak
            print(line, flush=True)
        slots = sum(model.network.sel)
        print(f"      {slots} neighbour slots per atom")


def compare(args: argparse.Namespace, folder: Path, atoms: int, work: Path) -> None:
    """Alternate both sides on one frame and print what came."""
    import numpy as np

    import nvnmd

    path = work / f"frame{atoms}.npz"
    frame = make_frame(atoms, args.lattice, path)
    arguments = frame["coord"][None], frame["box"][None], frame["types"]
    for stage, backend in (("qnn", "fixed"), ("cnn", "float")):
        peer = DeepPot(args.peer, folder / f"nvnmd_{stage}" / "frozen_model.pb", path, args.threads,
                       args.clock)
        # the float backend needs the first stage's weights, not those of the second
        model = nvnmd.load_model(folder if stage == "qnn" else folder / "nvnmd_cnn")
        result = model.evaluate(*arguments, backend=backend)
        with np.load(peer.result) as expected:
            error = np.abs(result.force - expected["force"]).max()
        clock = time.perf_counter if args.clock == "wall" else time.process_time
        theirs, ours = [], []
        for _ in range(args.repeat):
            theirs.append(peer.seconds())
            start = clock()
            model.evaluate(*arguments, backend=backend)
            ours.append(clock() - start)
        peer.close()
        ratios = np.array(theirs) / np.array(ours)
        per_atom = 1e6 / atoms
        print(f"{atoms:5d} atoms, {args.threads} thread(s), {backend}: DeepPot "
              f"{np.median(theirs) * per_atom:7.1f}, nvnmd {np.median(ours) * per_atom:6.1f} "
              f"us/atom; ratio {np.median(ratios):5.1f} ({ratios.min():.1f} to "
              f"{ratios.max():.1f}); forces differ by {error:.1e} eV/Å", flush=True)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--run", type=Path, help="run folder of DeePMD-kit with frozen models")
    parser.add_argument("--peer", default=str(ROOT / ".venv-peer" / "bin" / "python"),
                        help="a Python that has DeePMD-kit and ASE")
    parser.add_argument("--lattice", type=float, default=3.9, help="lattice constant in Å")
    parser.add_argument("--atoms", type=int, nargs="+", choices=REPEATS, default=[216, 4096])
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--memory", action="store_true", help="peaks of memory instead of times")
    args = parser.parse_args()
    # before any library starts its threads
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    if args.memory:
        if args.run is None:
            parser.error("--memory needs --run")
        with tempfile.TemporaryDirectory(prefix="nvnmd-bench-") as text:
            memory(args, Path(text))
        return
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"the machine is busy (load {load:.1f}): times are high, ratios of paired runs hold")
    with tempfile.TemporaryDirectory(prefix="nvnmd-bench-") as text:
        work = Path(text)
        folder = args.run
        if folder is None:
            folder = work / "run"
            script = ROOT / "tests" / "peer" / "reference_run.py"
            subprocess.run([args.peer, str(script), "0", "128", "2", str(folder)], check=True)
        for atoms in args.atoms:
            compare(args, folder, atoms, work)


if __name__ == "__main__":
    sys.exit(main())
