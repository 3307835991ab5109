"""Drivers and monitors for the accelerator's streams, for use inside cocotb tests."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from numpy.typing import NDArray

from nvnmd.hdl.verify.taps import STAGES

BEAT_BYTES = 16


def beat_values(beats: NDArray[np.uint32]) -> list[int]:
    """The 128-bit integers of beats of four lanes, lane 0 at the low end."""
    raw = np.ascontiguousarray(beats, dtype="<u4").tobytes()
    return [
        int.from_bytes(raw[i : i + BEAT_BYTES], "little") for i in range(0, len(raw), BEAT_BYTES)
    ]


def lanes_of(values: list[int], lanes: int = 4) -> NDArray[np.uint32]:
    """The reverse of `beat_values`, shape (n, lanes)."""
    raw = b"".join(v.to_bytes(4 * lanes, "little") for v in values)
    return np.frombuffer(raw, dtype="<u4").reshape(-1, lanes)


@dataclass
class Received:
    """What a monitor saw: values, last marks and the cycle of each beat."""

    values: list[int] = field(default_factory=list)
    user: list[int] = field(default_factory=list)
    last: list[bool] = field(default_factory=list)
    cycle: list[int] = field(default_factory=list)

    def clear(self) -> None:
        """Forget everything."""
        for part in (self.values, self.user, self.last, self.cycle):
            part.clear()


class Bench:
    """One accelerator under test: clock, reset, streams in and out, cycle count.

    Parameters
    ----------
    dut
        The cocotb handle of the top module.
    seed : int
        Seed of the idle and stall patterns.
    idle_in, stall_out : float
        Probability that a driver pauses, or a receiver is not ready, in a cycle.
    """

    def __init__(
        self, dut: Any, *, seed: int = 0, idle_in: float = 0.0, stall_out: float = 0.0
    ) -> None:
        self.dut = dut
        self.random = random.Random(seed)
        self.idle_in = idle_in
        self.stall_out = stall_out
        self.cycle = 0
        self.energy = Received()
        self.deriv = Received()
        self.taps: dict[str, list[int]] = {}
        self._edge = RisingEdge(dut.aclk)

    async def start(self) -> None:
        """Start the clock, reset, and start the monitors."""
        dut = self.dut
        dut.m_axis_energy_tready.value = 0
        dut.m_axis_deriv_tready.value = 0
        dut.verify.value = 0
        Clock(dut.aclk, 10, unit="ns").start(start_high=False)
        cocotb.start_soon(self._count())
        await self.reset()
        cocotb.start_soon(self._receive("energy", self.energy, user=True))
        cocotb.start_soon(self._receive("deriv", self.deriv))

    async def reset(self, cycles: int = 3) -> None:
        """Hold reset for some cycles."""
        dut = self.dut
        dut.aresetn.value = 0
        for name in ("load", "nbr"):
            getattr(dut, f"s_axis_{name}_tvalid").value = 0
            getattr(dut, f"s_axis_{name}_tlast").value = 0
        for _ in range(cycles):
            await self._edge
        dut.aresetn.value = 1
        await self._edge

    def forget(self) -> None:
        """Drop what the monitors have recorded."""
        for received in (self.energy, self.deriv):
            received.clear()
        for words in self.taps.values():
            words.clear()

    async def _count(self) -> None:
        while True:
            await self._edge
            self.cycle += 1

    async def send(
        self, name: str, beats: NDArray[np.uint32], last: NDArray[np.bool_] | None = None, *,
        idle: bool = True
    ) -> None:
        """Send beats on ``s_axis_<name>``; `last` marks packet ends (default: the final beat).

        With `idle`, pauses at random as the bench was told to.
        """
        data = getattr(self.dut, f"s_axis_{name}_tdata")
        valid = getattr(self.dut, f"s_axis_{name}_tvalid")
        ready = getattr(self.dut, f"s_axis_{name}_tready")
        mark = getattr(self.dut, f"s_axis_{name}_tlast")
        marks = (
            [False] * (len(beats) - 1) + [True] if last is None else [bool(x) for x in last]
        )
        shown = False
        mark.value = 0
        for value, is_last in zip(beat_values(beats), marks, strict=True):
            while idle and self.idle_in and self.random.random() < self.idle_in:
                valid.value = 0
                await self._edge
            data.value = value
            valid.value = 1
            if is_last != shown:
                mark.value = int(is_last)
                shown = is_last
            await self._edge
            while not int(ready.value):
                await self._edge
        valid.value = 0
        mark.value = 0

    async def _receive(self, name: str, into: Received, *, user: bool = False) -> None:
        data = getattr(self.dut, f"m_axis_{name}_tdata")
        valid = getattr(self.dut, f"m_axis_{name}_tvalid")
        ready = getattr(self.dut, f"m_axis_{name}_tready")
        extra = getattr(self.dut, f"m_axis_{name}_" + ("tuser" if user else "tlast"))
        ready.value = 1
        accepting = True
        await self._edge
        while True:
            if accepting and int(valid.value):
                into.values.append(int(data.value))
                (into.user if user else into.last).append(int(extra.value))  # type: ignore[arg-type]
                into.cycle.append(self.cycle)
            if self.stall_out:
                accepting = self.random.random() >= self.stall_out
                ready.value = int(accepting)
            await self._edge

    def watch(self, names: list[str]) -> None:
        """Record the words of verification taps (builds with trace only) from now on."""
        if names:
            self.taps = {name: [] for name in names}
            cocotb.start_soon(self._watch(names))

    async def _watch(self, names: list[str]) -> None:
        handles = [
            (1 << STAGES.index(name), getattr(self.dut, f"tap_{name}"), self.taps[name])
            for name in names
        ]
        valid = self.dut.tap_valid
        while True:
            await self._edge
            bits = int(valid.value)
            if bits:
                for bit, handle, words in handles:
                    if bits & bit:
                        words.append(int(handle.value))

    def tap_words(self, name: str) -> int:
        """32-bit words that a tap shows at once."""
        return len(getattr(self.dut, f"tap_{name}")) // 32

    async def wait_for(self, atoms: int, neighbors: int, *, patience: int,
                       tell: Callable[[int], None] = lambda count: None) -> bool:
        """Wait until all words are there; `tell` takes the energies so far, now and then.

        Returns
        -------
        bool
            False if nothing came for `patience` cycles.
        """
        seen, since = (-1, -1), self.cycle
        while len(self.energy.values) < atoms or len(self.deriv.values) < neighbors:
            now = (len(self.energy.values), len(self.deriv.values))
            if now != seen:
                seen, since = now, self.cycle
            if self.cycle - since > patience:
                return False
            tell(now[0])
            for _ in range(16):
                await self._edge
        return True

    def status(self) -> int:
        """The status word."""
        return int(self.dut.status.value)
