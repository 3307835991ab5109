"""What the tests of the forward stages share: configurations, random models, drivers."""

from __future__ import annotations

import gc
import random
import warnings
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import numpy as np
from amaranth.hdl import Elaboratable, Signal, UnusedElaboratable
from amaranth.sim import Simulator

from nvnmd.errors import InputError
from nvnmd.hdl.arith.flt import FltValue
from nvnmd.hdl.neighbor.front import FrontEnd
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.loadbus import Section
from nvnmd.quantize import formats, ops

Bench = Callable[[Any], Awaitable[None]]

SEL = [5, 3]


def small(**changes: object) -> AcceleratorConfig:
    """A configuration small enough for the Python simulator."""
    values: dict[str, Any] = {
        "ntypes": 2, "max_nnei": 8, "m1": 8, "m2": 4, "width": 32, "fold": 8, "fit_cols": 4,
        "store_neighbors": 16, "u_segments": ((-3, 16),), "s_segments": ((-8, 8), (-4, 8)),
    }
    return AcceleratorConfig(**(values | changes))


def run(dut: Elaboratable, *benches: Bench, background: Iterable[Bench] = ()) -> None:
    """Simulate until every bench has returned; those in `background` are stopped then."""
    sim = Simulator(dut)
    sim.add_clock(1e-6, if_exists=True)
    for bench in background:
        sim.add_testbench(bench, background=True)
    for bench in benches:
        sim.add_testbench(bench)
    sim.run()


def refused(make: Callable[[], object], message: str) -> None:
    """Assert that a component refuses its parameters with a message."""
    with warnings.catch_warnings():
        # a component that was refused is also one that was never built
        warnings.simplefilter("ignore", UnusedElaboratable)
        try:
            make()
        except InputError as error:
            found = str(error)
        else:
            found = "nothing was refused"
        gc.collect()
    assert message in found


def flt_fields(cfg: AcceleratorConfig, x: float) -> dict[str, int]:
    """A flt value for a signal of `FltLayout`."""
    return FltValue.from_float(cfg, x).fields()


def flt_value(cfg: AcceleratorConfig, fields: Any) -> float:
    """The value of a sampled `FltLayout`."""
    return FltValue.from_fields(fields).to_float(cfg)


def random_flt(rng: np.random.Generator, shape: tuple[int, ...], spread: int = 6) -> np.ndarray:
    """flt values of either sign over `spread` octaves below 1, some of them zero."""
    x = rng.standard_normal(shape) * 2.0 ** -rng.integers(0, spread, shape)
    return np.asarray(ops.trunc_flt(np.where(rng.random(shape) < 0.05, 0.0, x)))


def send(port: Any, items: list[dict[str, Any]], rng: random.Random, idle: float = 0.3) -> Bench:
    """A bench that puts `items` on a stream, with idle cycles."""

    async def bench(ctx: Any) -> None:
        for item in items:
            while rng.random() < idle:
                await ctx.tick()
            ctx.set(port.payload, item)
            ctx.set(port.valid, 1)
            await ctx.tick().until(port.ready)
            ctx.set(port.valid, 0)

    return bench


def receive(
    port: Any, count: int, out: list, rng: random.Random, stall: float = 0.3, limit: int = 20000
) -> Bench:
    """A bench that takes `count` items from a stream, with stalls."""

    async def bench(ctx: Any) -> None:
        for _ in range(limit):
            if len(out) == count:
                return
            ctx.set(port.ready, rng.random() >= stall)
            _, _, valid, ready, payload = await ctx.tick().sample(
                port.valid, port.ready, port.payload
            )
            if valid and ready:
                out.append(payload)
        raise AssertionError(f"{len(out)} items instead of {count} in {limit} cycles")

    return bench


def collect(valid: Signal, value: Any, out: list) -> Bench:
    """A background bench that records (cycle, value) whenever `valid`."""

    async def bench(ctx: Any) -> None:
        cycle = 0
        async for _, _, now, sample in ctx.tick().sample(valid, value):
            if now:
                out.append((cycle, sample))
            cycle += 1

    return bench


async def load_beats(ctx: Any, port: Any, section: Section, lanes: np.ndarray) -> None:
    """Write beats of four words, shape (beats, 4), over a load bus."""
    for index, beat in enumerate(lanes):
        data = sum((int(word) & 0xFFFFFFFF) << (32 * k) for k, word in enumerate(beat))
        ctx.set(port.valid, 1)
        ctx.set(port.section, section)
        ctx.set(port.index, index)
        ctx.set(port.data, data)
        await ctx.tick()
    ctx.set(port.valid, 0)


async def load_tables(ctx: Any, port: Any, tables: dict[Section, np.ndarray]) -> None:
    """Write tables of shape (ntab, rows, n_out, 4), and the type sections of version 1."""
    for section, table in tables.items():
        words = formats.encode_flt(table)
        if section == Section.INV_STD:
            words = np.pad(words, ((0, 0), (0, 2)))
        await load_beats(ctx, port, section, words.reshape(-1, 4))
    for _ in range(3):
        await ctx.tick()


def random_tables(
    cfg: AcceleratorConfig, rng: np.random.Generator, scale: float = 0.5
) -> dict[Section, np.ndarray]:
    """Random cubics for the u and the G table; version 1: random deviations and gains."""

    def table(rows: int, n_out: int) -> np.ndarray:
        return random_flt(rng, (cfg.nets, rows, n_out, 4)) * scale

    nt = cfg.ntypes
    types = {} if cfg.version == 0 else {
        Section.INV_STD: np.abs(random_flt(rng, (nt, 2))) * 4,
        Section.TYPE_GAIN: random_flt(rng, (nt, nt, cfg.m1)) * 2,
    }
    tables = {
        Section.U_VALUE: table(cfg.u_rows, 2),
        Section.U_GRAD: table(cfg.u_rows, 2),
        Section.G_VALUE: table(cfg.s_rows, cfg.m1),
        Section.G_GRAD: table(cfg.s_rows, cfg.m1),
    }
    if cfg.octave:
        del tables[Section.U_GRAD], tables[Section.G_GRAD]
    return types | tables


def random_atom(
    cfg: AcceleratorConfig, rng: random.Random, counts: list[int], ctype: int, **changes: int
) -> list[dict[str, int]]:
    """Beats of the neighbour stream for one atom with `counts[t]` neighbours of type t."""
    beats: list[dict[str, int]] = []
    for ntype, count in enumerate(counts):
        for _ in range(count):
            r = [rng.uniform(-1.2, 1.2) * 2.0 ** -rng.randrange(3) for _ in range(3)]
            x, y, z = (int(w) for w in formats.encode_flt(r))
            beats.append({"x": x, "y": y, "z": z, "ntype": ntype, "ctype": ctype,
                          "none": 0, "last": 0})
    if not beats:
        beats = [{"x": 0, "y": 0, "z": 0, "ntype": 0, "ctype": ctype, "none": 1, "last": 0}]
    beats[-1]["last"] = 1
    beats[-1].update(changes)
    return beats


def set_model(dut: FrontEnd, ntypes: int, sel: list[int]) -> Bench:
    """A bench that tells a front end the sizes of a model."""

    async def bench(ctx: Any) -> None:
        ctx.set(dut.ntypes, ntypes)
        for n, count in enumerate(sel):
            ctx.set(dut.sel[n], count)
        ctx.set(dut.model_valid, 1)

    return bench
