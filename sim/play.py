"""Carry out a script of loads, atoms and resets on the simulated accelerator.

A script is a list of steps, each a dict with `op`:

- ``load``: send a load packet (`image`: array name; `count`: only so many beats);
- ``start``: send neighbour beats in the background (`beats`, `last`: array names; `count`);
- ``wait``: until `atoms` energies and `neighbors` derivative beats came since the last collect, or
  nothing came for `patience` cycles;
- ``idle``: let `cycles` pass;
- ``reset``: reset, which also ends what is being sent;
- ``fault``: falsify beat `at` of tap number `stage` (verification builds);
- ``collect``: write down everything since the last collect, under `name`.

Two engines play it: a C++ program around the Verilated design, and a cocotb testbench, which is
slower by the Python that it runs in every cycle. Both make the same arrays; with `pause` or `stall`
they draw different random numbers.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nvnmd.errors import NvnmdError
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.verify.stimulus import Stimulus
from nvnmd.hdl.verify.taps import STAGES
from nvnmd.hdl.verilog import TOP, generate_verilog
from nvnmd.progress import followed
from nvnmd.sim.runner import run_bench, run_program
from nvnmd.sim.simulators import Program, build_simulator

Engine = Literal["cpp", "cocotb"]
BENCH = "nvnmd.sim.tb_accelerator"
TELL_SECONDS = 0.25
"""How often an engine says, at most, how many atoms are done."""
# quantities that a collect writes: dtype in the program's files, words per row
_QUANTITIES: dict[str, tuple[str, int]] = {
    "energy": ("<u4", 1), "energy_type": ("u1", 1), "energy_cycle": ("<u8", 1),
    "deriv": ("<u4", 4), "deriv_last": ("u1", 1), "deriv_cycle": ("<u8", 1), "state": ("<u8", 1),
}


def play(
    cfg: AcceleratorConfig, work_dir: Path, build_dir: Path | None, script: list[dict[str, Any]],
    arrays: Mapping[str, NDArray], settings: Mapping[str, Any], *, waves: bool = False,
    engine: Engine = "cpp", verilog: str | None = None,
) -> dict[str, NDArray]:
    """Carry out a script.

    Parameters
    ----------
    cfg : AcceleratorConfig
        Its Verilog is generated and built (once per text and `build_dir`).
    work_dir : Path
        Gets logs and, with `waves`, ``dump.vcd``.
    build_dir : Path, optional
        Where simulators are kept (default: the user's cache).
    script : list of dict
        The steps.
    arrays : mapping
        What the steps name.
    settings : mapping
        `seed`, `idle_in` and `stall_out` (probabilities that a sender pauses or a receiver is not
        ready in a cycle), `taps` (stages to record, verification builds only).
    waves : bool
        Record waveforms.
    engine : {"cpp", "cocotb"}
        What plays.
    verilog : str, optional
        What is simulated instead of the Verilog of `cfg`: the same accelerator as a netlist.

    Returns
    -------
    dict
        ``<name of the collect step>.<quantity>`` arrays: `energy`, `energy_type`, `energy_cycle`
        (n,); `deriv` (k, 4), `deriv_last`, `deriv_cycle` (k,); `status`, `cycles`, `load_cycles`,
        `finished`; `tap_<stage>` (beats, words).

    Raises
    ------
    NvnmdError
        If building or running fails.
    """
    if engine not in ("cpp", "cocotb"):
        raise NvnmdError(f"engine of the simulation: got {engine!r}, expected cpp or cocotb")
    work_dir.mkdir(parents=True, exist_ok=True)
    verilog = generate_verilog(cfg) if verilog is None else verilog
    if engine == "cpp":
        program = Program("player.cpp", {"taps.h": _taps_header(cfg)})
        build = build_simulator(verilog, build_dir, waves=waves, program=program)
        return _play_program(build.directory / TOP, work_dir, script, arrays, settings, waves)
    build = build_simulator(verilog, build_dir, waves=waves)
    job, told = work_dir / "job.npz", work_dir / "progress"
    told.unlink(missing_ok=True)
    np.savez(job, settings=np.array(json.dumps(
        {**settings, "script": script, "progress": str(told.resolve()),
         "progress_seconds": TELL_SECONDS})),
             **arrays)  # type: ignore[arg-type]
    results = work_dir / "results.npz"
    with _following(told, script):
        run_bench(build, BENCH, job, results, top=TOP)
    told.unlink(missing_ok=True)
    with np.load(results, allow_pickle=False) as loaded:
        return {name: loaded[name] for name in loaded.files}


def evaluation_steps(
    stimulus: Stimulus, wait: int, *, name: str = "run", beats: str = "beats", last: str = "last"
) -> list[dict[str, Any]]:
    """The steps that evaluate a stimulus with the model that is loaded."""
    return [
        {"op": "start", "beats": beats, "last": last},
        {"op": "wait", "atoms": len(stimulus.counts), "neighbors": int(stimulus.counts.sum()),
         "patience": wait},
        # so that a word too many would be seen
        {"op": "idle", "cycles": 64},
        {"op": "collect", "name": name},
    ]


def _following(told: Path, script: list[dict[str, Any]]) -> contextlib.AbstractContextManager[None]:
    """Show how many atoms of a script are done."""
    total = sum(step.get("atoms", 0) for step in script)
    return followed("simulating, atoms", lambda: (atoms_told(told), total))


def atoms_told(file: Path) -> int:
    """How many atoms an engine says are done; 0 while it has not said so."""
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        # not yet, or just being written
        return 0


def _taps_header(cfg: AcceleratorConfig) -> str:
    taps = " ".join(f"NVNMD_TAP({name})" for name in STAGES) if cfg.trace else ""
    return (f"// the taps of this build, in the order of the bits of tap_valid\n"
            f"#define NVNMD_TRACE {int(cfg.trace)}\n#define NVNMD_TAPS {taps}\n")


def _play_program(
    program: Path, work_dir: Path, script: list[dict[str, Any]], arrays: Mapping[str, NDArray],
    settings: Mapping[str, Any], waves: bool,
) -> dict[str, NDArray]:
    with tempfile.TemporaryDirectory(dir=work_dir, prefix="job_") as name:
        folder = Path(name).resolve()
        for key, array in arrays.items():
            kind = "u1" if array.dtype == bool else "<u4"
            (folder / key).write_bytes(np.ascontiguousarray(array, dtype=kind).tobytes())
        words = {"seed": "seed", "pause": "idle_in", "stall": "stall_out"}
        lines = [f"{word} {settings[key]}" for word, key in words.items() if key in settings]
        lines += [f"tell progress {TELL_SECONDS}", *(_line(step, arrays) for step in script)]
        (folder / "script").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        results = folder / "results"
        results.mkdir()
        arguments = [str(folder / "script"), str(results)]
        if waves:
            arguments.append(str((work_dir / "dump.vcd").resolve()))
        with _following(folder / "progress", script):
            run_program(program, arguments, work_dir / "results.log")
        found: dict[str, NDArray] = {}
        for step in script:
            if step["op"] == "collect":
                for key, value in _read(results, step["name"], settings.get("taps", ())).items():
                    found[f"{step['name']}.{key}"] = value
    return found


def _line(step: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> str:
    """A step in the program's language, see ``player.cpp``."""
    op = step["op"]
    if op in ("load", "start"):
        name = step["image" if op == "load" else "beats"]
        total = len(arrays[name])
        # as a slice would: all by default, never more than there are
        count = total if step.get("count") is None else min(step["count"], total)
        files = [name] if op == "load" else [name, step["last"]]
        return " ".join([op, *files, str(count)])
    order = {"wait": ("atoms", "neighbors", "patience"), "idle": ("cycles",),
             "fault": ("stage", "at"), "collect": ("name",), "reset": ()}[op]
    return " ".join([op, *(str(step[key]) for key in order)])


def _read(results: Path, name: str, taps: tuple[str, ...] | list[str]) -> dict[str, NDArray]:
    raw = {}
    for key, (kind, width) in _QUANTITIES.items():
        values = np.fromfile(results / f"{name}.{key}", dtype=kind)
        raw[key] = values.reshape(-1, width) if width > 1 else values
    state = raw.pop("state").astype(np.int64)
    out: dict[str, NDArray] = {
        **raw,
        "energy": raw["energy"].view("<i4").astype(np.int64),
        "energy_type": raw["energy_type"].astype(np.int64),
        "energy_cycle": raw["energy_cycle"].astype(np.int64),
        "deriv_cycle": raw["deriv_cycle"].astype(np.int64),
        "deriv_last": raw["deriv_last"].astype(bool),
        "status": state[0], "cycles": state[1], "load_cycles": state[2],
        "finished": state[3].astype(bool),
    }
    for stage in taps:
        width = int(np.fromfile(results / f"{name}.tapwords_{stage}", dtype="<u8")[0])
        out[f"tap_{stage}"] = np.fromfile(
            results / f"{name}.tap_{stage}", dtype="<u4").reshape(-1, width)
    return out
