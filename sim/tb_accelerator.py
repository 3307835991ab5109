"""Testbench: carry out a script of loads, atoms and resets, and write down what comes back.

Run by `nvnmd.sim.runner` with two plusargs: ``job`` (npz with arrays and the script) and
``results`` (npz to write). It judges nothing; `nvnmd.sim.compare` does, outside the simulator. What
a script holds: `nvnmd.sim.play`.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from nvnmd.sim.bench import Bench, lanes_of


def collect(bench: Bench) -> dict[str, Any]:
    """Everything a bench has seen since the last time, as arrays."""
    signed = np.array(bench.energy.values, dtype=np.uint32).astype(np.int32)
    out: dict[str, Any] = {
        "energy": signed.astype(np.int64),
        "energy_type": np.array(bench.energy.user, dtype=np.int64),
        "energy_cycle": np.array(bench.energy.cycle, dtype=np.int64),
        "deriv": lanes_of(bench.deriv.values),
        "deriv_last": np.array(bench.deriv.last, dtype=bool),
        "deriv_cycle": np.array(bench.deriv.cycle, dtype=np.int64),
        "status": np.array(bench.status()),
        "cycles": np.array(bench.cycle),
    }
    for name, words in bench.taps.items():
        out[f"tap_{name}"] = lanes_of(words, bench.tap_words(name))
    bench.forget()
    return out


class Teller:
    """Keeps the atoms that are done in a file, for whoever waits."""

    def __init__(self, path: Path, seconds: float) -> None:
        self.path = path
        self.seconds = seconds
        self.before = 0
        self._next = 0.0

    def tell(self, atoms: int) -> None:
        """Take the atoms done since `before`."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self.seconds
            self.path.write_text(str(self.before + atoms), encoding="ascii")


class Player:
    """Carries out the steps of a script on a bench."""

    def __init__(self, bench: Bench, arrays: dict[str, np.ndarray], taps: list[str],
                 teller: Teller) -> None:
        self.bench = bench
        self.teller = teller
        self.arrays = arrays
        self.taps = taps
        self.results: dict[str, Any] = {}
        self.finished = True
        self.loaded_at = 0
        self._sender: Any = None

    async def play(self, step: dict[str, Any]) -> None:
        """Carry out one step."""
        arguments = {k: v for k, v in step.items() if k != "op"}
        await getattr(self, step["op"])(**arguments)

    async def load(self, image: str, count: int | None = None) -> None:
        await self.bench.send("load", self.arrays[image][:count], idle=False)
        await self.idle(8)
        self.loaded_at = self.bench.cycle

    async def start(self, beats: str, last: str, count: int | None = None) -> None:
        if self.taps:
            # not before: watching every stage is slow, and a load shows nothing
            self.bench.watch(self.taps)
            self.taps = []
        self._sender = cocotb.start_soon(
            self.bench.send("nbr", self.arrays[beats][:count], self.arrays[last][:count])
        )

    async def wait(self, atoms: int, neighbors: int, patience: int) -> None:
        self.finished = await self.bench.wait_for(atoms, neighbors, patience=patience,
                                                  tell=self.teller.tell)
        self.teller.before += atoms

    async def idle(self, cycles: int) -> None:
        for _ in range(cycles):
            await RisingEdge(self.bench.dut.aclk)

    async def reset(self) -> None:
        if self._sender is not None and not self._sender.done():
            self._sender.cancel()
        await self.bench.reset()

    async def fault(self, stage: int, at: int) -> None:
        self.bench.dut.fault.value = stage
        self.bench.dut.fault_at.value = at

    async def collect(self, name: str) -> None:
        seen = collect(self.bench) | {
            "finished": np.array(self.finished), "load_cycles": np.array(self.loaded_at)
        }
        self.results |= {f"{name}.{key}": value for key, value in seen.items()}


@cocotb.test()
async def play(dut: Any) -> None:
    """Play the job's script and write the results."""
    with np.load(str(cocotb.plusargs["job"]), allow_pickle=False) as job:
        arrays = {name: job[name] for name in job.files}
    settings = json.loads(str(arrays.pop("settings")))
    path = Path(str(cocotb.plusargs["results"]))
    bench = Bench(
        dut,
        seed=settings.get("seed", 0),
        idle_in=settings.get("idle_in", 0.0),
        stall_out=settings.get("stall_out", 0.0),
    )
    taps = settings.get("taps", [])
    if taps:
        dut.fault.value = 0
        dut.fault_at.value = 0
    await bench.start()
    teller = Teller(Path(settings["progress"]), settings["progress_seconds"])
    player = Player(bench, arrays, taps, teller)
    for step in settings["script"]:
        await player.play(step)
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, **player.results)
    os.replace(temporary, path)
