"""Testbench: load a model, evaluate atoms, write down every word that comes back.

Run by `nvnmd.sim.runner` with two plusargs: ``job`` (npz with image, beats, last, and settings) and
``results`` (npz to write). It judges nothing; `nvnmd.sim.compare` does, outside the simulator.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from nvnmd.sim.bench import Bench, lanes_of


def read_job() -> tuple[dict[str, Any], dict[str, np.ndarray], Path]:
    """Settings, arrays and the results path, from the plusargs."""
    job = np.load(str(cocotb.plusargs["job"]), allow_pickle=False)
    settings = json.loads(str(job["settings"]))
    return settings, {k: job[k] for k in job.files}, Path(str(cocotb.plusargs["results"]))


def write_results(path: Path, **arrays: Any) -> None:
    """Write the results npz, all or nothing."""
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, **arrays)
    os.replace(temporary, path)


def collect(bench: Bench, *, finished: bool, load_cycles: int) -> dict[str, Any]:
    """Everything a bench has seen, as arrays."""
    signed = np.array(bench.energy.values, dtype=np.uint32).astype(np.int32)
    out: dict[str, Any] = {
        "energy": signed.astype(np.int64),
        "energy_type": np.array(bench.energy.user, dtype=np.int64),
        "energy_cycle": np.array(bench.energy.cycle, dtype=np.int64),
        "deriv": lanes_of(bench.deriv.values),
        "deriv_last": np.array(bench.deriv.last, dtype=bool),
        "deriv_cycle": np.array(bench.deriv.cycle, dtype=np.int64),
        "status": np.array(bench.status()),
        "finished": np.array(finished),
        "load_cycles": np.array(load_cycles),
        "cycles": np.array(bench.cycle),
    }
    for name, words in bench.taps.items():
        # a tap is as wide as its stage's words: kept as hexadecimal text of one width
        out[f"tap_{name}"] = np.array([f"{w:x}" for w in words])
    return out


@cocotb.test()
async def evaluate(dut: Any) -> None:
    """Load, evaluate, record."""
    settings, arrays, path = read_job()
    bench = Bench(
        dut,
        seed=settings.get("seed", 0),
        idle_in=settings.get("idle_in", 0.0),
        stall_out=settings.get("stall_out", 0.0),
    )
    if "fault" in settings:
        dut.fault.value = settings["fault"]
        dut.fault_at.value = settings["fault_at"]
    await bench.start()
    bench.watch(settings.get("taps", []))
    idle_in, bench.idle_in = bench.idle_in, 0.0
    await bench.send("load", arrays["image"])
    for _ in range(8):
        await RisingEdge(dut.aclk)
    load_cycles = bench.cycle
    bench.idle_in = idle_in
    sender = cocotb.start_soon(bench.send("nbr", arrays["beats"], arrays["last"]))
    finished = await bench.wait_for(
        settings["atoms"], settings["neighbors"], patience=settings["patience"]
    )
    # a few cycles more, so that a word too many would be seen
    for _ in range(64):
        await RisingEdge(dut.aclk)
    sender.cancel()
    write_results(path, **collect(bench, finished=finished, load_cycles=load_cycles))
