"""What the tests of the fitting net share: configurations, random nets and atoms, a bench."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence

import numpy as np
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator
from support.fitnet_spec import ONE
from support.forward_bench import load_beats

from nvnmd.hdl.fitting.integers import FitResult
from nvnmd.hdl.fitting.net import FitNet
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.loadbus import Section


def config(width: int = 16, cols: int = 4, rows: int = 1, **more: object) -> AcceleratorConfig:
    values: dict = {"m1": width // 4, "m2": 4, "width": width, "fold": 1, "fit_cols": cols,
                    "fit_rows": rows, "ntypes": 2, "trace": True}
    return AcceleratorConfig(**{**values, **more})


def random_net(
    rng: np.random.Generator, cfg: AcceleratorConfig, scale: float = 0.2, types: int | None = None
) -> tuple[list, list]:
    nt = cfg.nets if types is None else types
    outs = [cfg.width] * cfg.hidden + [1]
    weights = [rng.normal(0, scale, (nt, cfg.width, n)) for n in outs]
    biases = [rng.normal(0, scale, (nt, n)) for n in outs]
    return weights, biases


def random_types(rng: np.random.Generator, cfg: AcceleratorConfig, count: int) -> np.ndarray:
    return np.round(rng.normal(0, 0.3, (count, cfg.width)) * ONE) / ONE


def random_atoms(rng: np.random.Generator, cfg: AcceleratorConfig, n: int,
                 scale: float = 0.5) -> list[tuple[list[int], int]]:
    return [((rng.normal(0, scale, cfg.width) * ONE).astype(int).tolist(),
             int(rng.integers(cfg.ntypes))) for _ in range(n)]


def z_corners() -> list[int]:
    near = [0, 1, 15, 16, 17, ONE, 2 * ONE - 1, 2 * ONE, 2 * ONE + 1, 3 * ONE, (1 << 26) - 1]
    rng = random.Random(3)
    return [-(1 << 26), *near, *(-v for v in near),
            *(rng.randrange(-2 * ONE, 2 * ONE) for _ in range(150)),
            *(rng.randrange(-(1 << 26), 1 << 26) for _ in range(20))]


class Bench:
    """A fitting net in the simulator: loads an image, feeds atoms, collects what comes out."""

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self.dut = FitNet(cfg)
        self.reset = Signal()
        self.sim = Simulator(ResetInserter(self.reset)(self.dut))
        self.sim.add_clock(1e-6)
        self.energies: list[tuple[int, int]] = []
        self.dd: list[int] = []
        self.lasts: list[int] = []
        self.z: dict[tuple[int, int], list[int]] = {}
        self.z_order: list[tuple[int, int, list[int]]] = []
        self.overflows = 0
        self.energy_cycles: list[int] = []
        self.cycle = 0

    async def load(self, ctx, image: dict[Section, np.ndarray]) -> None:
        await load_image(ctx, self.dut.load, image)

    async def send(self, ctx, atoms: Sequence[tuple[list[int], int]], idle: Callable[[], bool],
                   beats: int | None = None) -> None:
        d = self.dut.d
        words = [(v, t, i == len(values) - 1) for values, t in atoms
                 for i, v in enumerate(values)][:beats]
        for value, t, last in words:
            while idle():
                await ctx.tick()
            ctx.set(d.valid, 1)
            ctx.set(d.payload, {"value": value, "ctype": t, "last": last})
            await ctx.tick().until(d.ready)
            ctx.set(d.valid, 0)

    def run(self, image: dict, atoms: list, *, stall_in: float = 0, stall_out: float = 0,
            seed: int = 0, before: Callable | None = None) -> list[FitResult]:
        """Results of all atoms; `before` runs between the load and the first atom."""
        rng = random.Random(seed)
        dut, cfg = self.dut, self.cfg

        async def feed(ctx) -> None:
            await self.load(ctx, image)
            if before is not None:
                await before(self, ctx)
            await self.send(ctx, atoms, lambda: rng.random() < stall_in)

        async def watch(ctx) -> None:
            layer_z: list[tuple[int, int, int, list[int]]] = []
            while len(self.dd) < len(atoms) * cfg.width or len(self.energies) < len(atoms):
                ctx.set(dut.energy.ready, rng.random() >= stall_out)
                ctx.set(dut.dd.ready, rng.random() >= stall_out)
                sample = ctx.tick().sample(
                    dut.energy.valid & dut.energy.ready, dut.energy.payload,
                    dut.dd.valid & dut.dd.ready, dut.dd.payload,
                    dut.z_valid, dut.z_layer, dut.z_index, dut.z_place, dut.z, dut.overflow,
                    self.reset)
                (_, _, e_on, e, dd_on, dd, z_on, layer, index, place, z, bad,
                 reset) = await sample
                self.cycle += 1
                if reset:
                    layer_z.clear()
                    self.energies.clear()
                    self.dd.clear()
                    self.lasts.clear()
                    self.overflows = 0
                    continue
                if e_on:
                    self.energies.append((e.value, e.ctype))
                    self.energy_cycles.append(self.cycle)
                if dd_on:
                    self.dd.append(dd.value)
                    self.lasts.append(dd.last)
                if z_on:
                    layer_z.append((place, layer, index, [z[i] for i in range(dut.post_lanes)]))
                self.overflows += bad
            self.z_order = self._by_atom(layer_z, len(atoms))

        self.sim.add_testbench(feed, background=True)
        self.sim.add_testbench(watch)
        self.sim.run()
        return self._results(atoms)

    def _by_atom(self, found: list, atoms: int) -> list[tuple[int, int, list[int]]]:
        """Groups of z sorted by atom: an atom keeps its place, and atoms begin in their order."""
        count = self.cfg.hidden * self.cfg.width // self.dut.post_lanes
        places: dict[int, list[tuple]] = {}
        begun: list[list[tuple]] = []
        for place, *group in found:
            if not places.get(place):
                places[place] = []
                begun.append(places[place])
            places[place].append(tuple(group))
            if len(places[place]) == count:
                places[place] = []
        assert len(begun) == atoms
        return [group for groups in begun for group in groups]

    def _results(self, atoms: list) -> list[FitResult]:
        width, hidden = self.cfg.width, self.cfg.hidden
        assert [t for _, t in self.energies] == [t for _, t in atoms]
        assert self.lasts == ([0] * (width - 1) + [1]) * len(atoms)
        z = np.array([v for _, _, group in self.z_order for v in group])
        z = z.reshape(len(atoms), hidden, width)
        lanes = self.dut.post_lanes
        assert [(layer, index) for layer, index, _ in self.z_order] == list(
            itertools.product(range(hidden), range(0, width, lanes))) * len(atoms)
        dd = np.array(self.dd).reshape(-1, width)
        return [FitResult(z[i], self.energies[i][0], dd[i]) for i in range(len(atoms))]


async def load_image(ctx, bus, image: dict[Section, np.ndarray]) -> None:
    """Write the sections of an image over a load bus."""
    for section, beats in image.items():
        await load_beats(ctx, bus, section, beats)
    await ctx.tick()
