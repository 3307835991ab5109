"""Training beside `dp train-nvnmd` of DeePMD-kit: steps per second, time to a force RMSE, memory.

    python benchmarks/training.py --gete FOLDER --water FOLDER [FOLDER ...] [--peer PYTHON]
        [--systems gete water] [--batch 1 4] [--stages cnn qnn] [--steps-cnn 400] [--steps-qnn 60]
        [--threads 1] [--repeat 1] [--target-gete 0.4] [--target-water 0.6] [--keep FOLDER]
        [--first]

Both sides read the same input document and the same data, run one after the other, on the same
number of threads and pinned to as many cores. Per run three figures: seconds of the whole process
(imports, neighbour lists, statistics, tables, compilation included), seconds of the training loop
as the program's own log gives them (compilation included), and the same of the loop's second half,
where everything is compiled. Processor times stand beside the wall times: on a busy machine they
say more; that of the second half is read when rows of `lcurve.out` appear. A stage's time to a
force RMSE counts from the process's start to the first row of its `lcurve.out` at which the mean
of the last five rows is at most the target; by default that is the lowest that both sides reach.

Before the figures a few steps of each stage run once, so that compiled passes lie on disk as they
do after the first run of an installation; --first measures that first run instead.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

SYSTEMS = {
    # elements, slots per type
    "gete": (["Ge", "Te"], [60, 60]),
    "water": (["O", "H"], [46, 82]),
}
AVERAGED_ROWS = 5


@dataclass
class Run:
    """One process: seconds in all, of its processors and of its loop.

    `late` and `late_cpu` are seconds per step of the loop's second half; a row of `rows` is the
    step, the seconds since the start, those of the processors, and the force RMSE.
    """

    wall: float
    cpu: float
    peak_mb: float
    steps: int
    loop: float
    late: float
    late_cpu: float
    rows: list[tuple[int, float, float, float]] = field(default_factory=list)

    def means(self) -> list[tuple[float, float]]:
        """Seconds, and the force RMSE as the mean of the last rows."""
        found = []
        for end in range(AVERAGED_ROWS, len(self.rows) + 1):
            some = [rmse for *_, rmse in self.rows[end - AVERAGED_ROWS : end]]
            found.append((self.rows[end - 1][1], sum(some) / AVERAGED_ROWS))
        return found

    def reached(self, target: float) -> float | None:
        """Seconds until the force RMSE was at most the target, None if it never was."""
        return next((seconds for seconds, rmse in self.means() if rmse <= target), None)


def document(name: str, folders: list[Path], stage: str, batch: int, steps: int) -> dict:
    """The input of both sides."""
    elements, sel = SYSTEMS[name]
    first = stage == "cnn"
    rate = {"start_lr": 1e-3, "stop_lr": 1e-5} if first else {"start_lr": 1e-7, "stop_lr": 1e-8}
    return {
        "nvnmd": {"version": 0, "max_nnei": 128, "net_size": 128, "sel": sel, "rcut": 6.0,
                  "rcut_smth": 0.5, "type_map": elements},
        "learning_rate": {"type": "exp", "decay_steps": max(steps // 20, 1), **rate},
        "loss": {"start_pref_e": 0.02 if first else 1, "limit_pref_e": 1,
                 "start_pref_f": 1000 if first else 1, "limit_pref_f": 1,
                 "start_pref_v": 0, "limit_pref_v": 0},
        "training": {"seed": 1, "stop_batch": steps, "disp_file": "lcurve.out",
                     "disp_freq": max(steps // 40, 1), "save_ckpt": "model.ckpt",
                     "save_freq": steps,
                     "training_data": {"systems": [str(f) for f in folders],
                                       "batch_size": batch}},
    }


def processor_seconds(pid: int) -> float:
    """What a running process has used so far, 0 if it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    used = text.rpartition(")")[2].split()[11:13]
    return sum(map(int, used)) / os.sysconf("SC_CLK_TCK")


def new_rows(file: Path, known: list, seconds: float, pid: int) -> None:
    """Add the rows of a learning curve that are new, with the time they appeared."""
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        return
    names = next((line.split()[1:] for line in lines if line.startswith("#")), [])
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    for row in rows[len(known) :]:
        if len(row) == len(names):
            known.append((int(row[0]), seconds, processor_seconds(pid),
                          float(row[names.index("rmse_f_trn")])))


def watch(command: list[str], folder: Path, curve: Path, threads: int, log: Path,
          extra: dict[str, str] | None = None) -> Run:
    """Run a command to its end on some cores, with `extra` in its environment."""
    count = str(threads)
    env = dict(os.environ, OMP_NUM_THREADS=count, OPENBLAS_NUM_THREADS=count,
               DP_INTRA_OP_PARALLELISM_THREADS=count, DP_INTER_OP_PARALLELISM_THREADS=count,
               TF_NUM_INTRAOP_THREADS=count, TF_NUM_INTEROP_THREADS=count,
               NUMBA_NUM_THREADS=count, TF_CPP_MIN_LOG_LEVEL="2", **(extra or {}))
    cores = sorted(os.sched_getaffinity(0))[-threads:]
    rows: list[tuple[int, float, float, float]] = []
    # an earlier run's rows are not this one's
    curve.unlink(missing_ok=True)
    begin = time.monotonic()
    with open(log, "w") as output:
        child = subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=output,
                                 preexec_fn=lambda: os.sched_setaffinity(0, cores))
        while True:
            new_rows(curve, rows, time.monotonic() - begin, child.pid)
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            time.sleep(0.05)
    wall = time.monotonic() - begin
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        tail = "\n".join(log.read_text().splitlines()[-20:])
        raise SystemExit(f"{' '.join(command)} failed in {folder}, exit code {child.returncode}:\n"
                         f"{tail}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024.0, 0, 0.0, 0.0, 0.0,
               rows)


def theirs(python: str, folder: Path, stage: str, threads: int) -> Run:
    """One stage of DeePMD-kit."""
    dp = str(Path(python).parent / "dp")
    log = folder / f"{stage}.log"
    run = watch([dp, "train-nvnmd", f"{stage}.json", "-s", "s1" if stage == "cnn" else "s2"],
                folder, folder / f"nvnmd_{stage}" / "lcurve.out", threads, log)
    pieces = re.findall(r"Batch +(\d+): total wall time = ([\d.]+) s", log.read_text())
    return timed(run, [(int(step), float(seconds)) for step, seconds in pieces])


def ours(folder: Path, stage: str, threads: int, extra: dict[str, str] | None = None) -> Run:
    """One stage of this project."""
    log = folder / f"{stage}.log"
    run = watch([sys.executable, "-m", "nvnmd", f"train-{stage}", f"{stage}.json"], folder,
                folder / f"nvnmd_{stage}" / "lcurve.out", threads, log, extra)
    pieces, last = [], 0
    for step, seconds in re.findall(r"step +(\d+):.* ([\d.]+) s/step", log.read_text()):
        pieces.append((int(step), float(seconds) * (int(step) - last)))
        last = int(step)
    return timed(run, pieces)


def timed(run: Run, pieces: list[tuple[int, float]]) -> Run:
    """Fill in the loop's times from (step, seconds since the line before)."""
    run.steps = pieces[-1][0]
    run.loop = sum(seconds for _, seconds in pieces)
    half = len(pieces) // 2
    late = sum(seconds for _, seconds in pieces[half:])
    run.late = late / max(run.steps - pieces[half - 1][0], 1)
    middle, last = run.rows[len(run.rows) // 2], run.rows[-1]
    run.late_cpu = (last[2] - middle[2]) / (last[0] - middle[0])
    return run


def case(args: argparse.Namespace, name: str, batch: int, stage: str, work: Path) -> None:
    """Both sides on one system, one batch size, one stage."""
    steps = args.steps_cnn if stage == "cnn" else args.steps_qnn
    data = [path.resolve() for path in getattr(args, name)]
    folders = [work / f"{name}-{batch}" / side for side in ("theirs", "ours")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(document(name, data, stage, batch, steps), indent=1)
        (folder / f"{stage}.json").write_text(text)
        if stage == "qnn" and not (folder / "nvnmd_cnn" / "map.npy").exists():
            # a continuous stage to start from, of no interest here
            short = json.dumps(document(name, data, "cnn", batch, 20), indent=1)
            (folder / "cnn.json").write_text(short)
            if folder == folders[0]:
                theirs(args.peer, folder, "cnn", args.threads)
            else:
                ours(folder, "cnn", args.threads)
    for _ in range(args.repeat):
        a = theirs(args.peer, folders[0], stage, args.threads)
        b = ours(folders[1], stage, args.threads)
        print(f"{name} batch {batch} {stage}, {steps} steps, {args.threads} thread(s)")
        for title, one in (("DeePMD-kit", a), ("nvnmd", b)):
            print(f"  {title:10s}: process {one.wall:6.1f} s (processor {one.cpu:6.1f} s), "
                  f"loop {1e3 * one.loop / one.steps:6.1f} ms/step, "
                  f"its second half {1e3 * one.late:6.1f} "
                  f"(processor {1e3 * one.late_cpu:.1f}), peak {one.peak_mb:.0f} MB")
        print(f"  ratio     : process {a.wall / b.wall:.1f} (processor {a.cpu / b.cpu:.1f}), "
              f"loop {a.loop / a.steps / (b.loop / b.steps):.1f}, "
              f"its second half {a.late / b.late:.1f} "
              f"(processor {a.late_cpu / b.late_cpu:.1f}), peak {b.peak_mb / a.peak_mb:.2f}")
        if stage == "cnn":
            target = getattr(args, f"target_{name}") or max(
                min(rmse for _, rmse in one.means()) for one in (a, b))
            first, second = a.reached(target), b.reached(target)
            text = [f"{t:.1f} s" if t is not None else "not reached" for t in (first, second)]
            ratio = f", ratio {first / second:.1f}" if first and second else ""
            print(f"  force RMSE {target:.3f} eV/Å: DeePMD-kit {text[0]}, nvnmd {text[1]}{ratio}")
        sys.stdout.flush()


def prepare(args: argparse.Namespace, work: Path) -> None:
    """A few steps of both stages; with --first their processor time beside that of a second run."""
    name = args.systems[0]
    folder = work / "before"
    folder.mkdir(parents=True, exist_ok=True)
    data = [path.resolve() for path in getattr(args, name)]
    extra = {"NUMBA_CACHE_DIR": str(work / "compiled")} if args.first else {}
    for stage in ("cnn", "qnn"):
        text = json.dumps(document(name, data, stage, 1, 8), indent=1)
        (folder / f"{stage}.json").write_text(text)
    for attempt in ("first run", "second run") if args.first else ("",):
        for stage in ("cnn", "qnn"):
            run = ours(folder, stage, args.threads, extra)
            if attempt:
                print(f"{attempt} of train-{stage}, {run.steps} steps: {run.wall:.1f} s "
                      f"(processor {run.cpu:.1f} s)", flush=True)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in SYSTEMS:
        parser.add_argument(f"--{name}", type=Path, nargs="+", help="its data, deepmd/npy systems")
        parser.add_argument(f"--target-{name}", type=float, help="force RMSE in eV/Å to reach")
    parser.add_argument("--peer", default=".venv-peer/bin/python", help="DeePMD-kit's Python")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--stages", nargs="+", choices=("cnn", "qnn"), default=["cnn", "qnn"])
    parser.add_argument("--steps-cnn", type=int, default=400)
    parser.add_argument("--steps-qnn", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--first", action="store_true",
                        help="the first run after an installation, and nothing else")
    parser.add_argument("--keep", type=Path, help="folder for the runs, kept")
    args = parser.parse_args()
    for name in args.systems:
        if not getattr(args, name):
            parser.error(f"--{name}: where are its data?")
    with tempfile.TemporaryDirectory(prefix="nvnmd-training-") as text:
        work = args.keep or Path(text)
        prepare(args, work.resolve())
        if args.first:
            return
        for name in args.systems:
            for batch in args.batch:
                for stage in args.stages:
                    case(args, name, batch, stage, work.resolve())


if __name__ == "__main__":
    main()
