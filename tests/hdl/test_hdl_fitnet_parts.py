"""The fitting net's parts in hardware: memory, activation, array and last layer."""

from __future__ import annotations

import gc
import itertools
import random
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from amaranth.hdl import UnusedElaboratable
from amaranth.sim import Simulator
from support.fitnet_bench import (
    config,
    load_image,
    z_corners,
)

from nvnmd.errors import InputError
from nvnmd.hdl.arith.tanh4 import Tanh4
from nvnmd.hdl.fitting.last import LastLayer
from nvnmd.hdl.fitting.mac import MacArray
from nvnmd.hdl.fitting.post import FitPost
from nvnmd.hdl.pipeline.lane_memory import LaneMemory
from nvnmd.hdl.pipeline.loadbus import Section


@pytest.mark.parametrize(("write", "read"), [(1, 1), (1, 4), (4, 1), (2, 8), (4, 4)])
def test_lane_memory(write: int, read: int) -> None:
    dut = LaneMemory(16, 9, write_lanes=write, read_lanes=read)
    values = random.Random(write * read).sample(range(512), 16)

    async def bench(ctx) -> None:
        ctx.set(dut.w_en, 1)
        for g in range(16 // write):
            ctx.set(dut.w_index, g)
            ctx.set(dut.w_data, values[g * write:(g + 1) * write])
            await ctx.tick()
        ctx.set(dut.w_en, 0)
        ctx.set(dut.w_data, [0] * write)
        await ctx.tick()
        for g in (*range(16 // read), 0):
            ctx.set(dut.r_index, g)
            await ctx.tick()
            assert [ctx.get(dut.r_data[i]) for i in range(read)] == values[g * read:(g + 1) * read]

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize("mult_latency", [1, 3])
def test_tanh4_hardware(mult_latency: int) -> None:
    cfg = config(mult_latency=mult_latency)
    dut = Tanh4(cfg)
    z = z_corners()

    async def bench(ctx) -> None:
        for i in range(len(z) + dut.latency):
            if i >= dut.latency:
                wanted = dut.compute(z[i - dut.latency], cfg)
                assert (ctx.get(dut.y), ctx.get(dut.slope)) == wanted
            ctx.set(dut.z, z[min(i, len(z) - 1)])
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize(("cols", "rows"), [(4, 1), (8, 4)])
def test_array_hardware(cols: int, rows: int) -> None:
    """Both directions' matrices, largest magnitudes among them, blocks back to back."""
    cfg = config(8, cols, rows, ntypes=1, hidden=2)
    dut = MacArray(cfg)
    rng = np.random.default_rng(cols)
    low = -(1 << 20)
    mats = rng.integers(low, -low, (4, 8, 8))
    mats[1] = low
    x = rng.integers(-(1 << 26), 1 << 26, 8)
    x[:4] = -(1 << 26)
    image = {Section.FIT_FORWARD: mats[:2].reshape(-1, 4),
             Section.FIT_BACKWARD: mats[2:].reshape(-1, 4)}
    blocks, chunks = 8 // cols, 8 // rows
    order = list(itertools.product(range(4), range(blocks), range(chunks)))
    sums: list[list[int]] = []

    async def bench(ctx) -> None:
        await load_image(ctx, dut.load, image)
        for i in range(len(order) + dut.latency + 1):
            # inputs come one cycle after their step
            if 0 < i <= len(order):
                chunk = order[i - 1][2]
                ctx.set(dut.x, x[chunk * rows:(chunk + 1) * rows].tolist())
            ctx.set(dut.step, i < len(order))
            if i < len(order):
                matrix, block, chunk = order[i]
                ctx.set(dut.matrix, matrix)
                ctx.set(dut.block, block)
                ctx.set(dut.chunk, chunk)
                ctx.set(dut.first, chunk == 0)
                ctx.set(dut.last, chunk == chunks - 1)
            if ctx.get(dut.sums_valid):
                assert (i - dut.latency + 1) % chunks == 0
                sums.append([ctx.get(dut.sums[c]) for c in range(cols)])
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    wanted = [dut.compute(x.tolist(), mats[k][:, b * cols:(b + 1) * cols].tolist())
              for k in range(4) for b in range(blocks)]
    assert sums == wanted


def test_last_layer_hardware() -> None:
    cfg = config(16, 4, ntypes=2)
    dut = LastLayer(cfg, 2)
    rng = np.random.default_rng(4)
    words = rng.integers(-(1 << 20), 1 << 20, (2, 16))
    final = np.array([[-3, -3, -77, 0], [2, 2, 1 << 20, 0]])
    image = {Section.FIT_LAST_FORWARD: words.reshape(-1, 4),
             Section.FIT_LAST_BACKWARD: words.reshape(-1, 4), Section.FIT_LAST: final}
    x = rng.integers(-(1 << 22), 1 << 22, 16).tolist()
    energies: list[tuple[int, int]] = []
    grads: list[int] = []

    async def bench(ctx) -> None:
        await load_image(ctx, dut.load, image)
        for i in range(16 + dut.energy_latency + 1):
            t, group = divmod(i, 8)
            ctx.set(dut.x_valid, t < 2)
            for name, value in (("x_type", t), ("x_group", group), ("grad_type", t),
                                ("grad_group", group)):
                ctx.set(getattr(dut, name), value & 7 if "group" in name else value & 1)
            ctx.set(dut.x_first, group == 0)
            ctx.set(dut.x_last, group == 7)
            ctx.set(dut.x, x[2 * group:2 * group + 2])
            if ctx.get(dut.energy_valid):
                energies.append((ctx.get(dut.energy_type), ctx.get(dut.energy)))
                assert i == 8 * len(energies) - 1 + dut.energy_latency
            if 0 <= i - dut.grad_latency < 16:
                assert not ctx.get(dut.grad_overflow)
                grads.extend(ctx.get(dut.grad[k]) for k in range(2))
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    wanted = [dut.compute(x, words[t].tolist(), 19 - int(final[t, 0]), int(final[t, 2]))
              for t in range(2)]
    assert energies == [(t, wanted[t][0]) for t in range(2)]
    assert grads == wanted[0][1] + wanted[1][1]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LaneMemory(16, 9, write_lanes=3, read_lanes=1), "power of two"),
        (lambda: LaneMemory(6, 9, write_lanes=4, read_lanes=1), "multiple of 4"),
        (lambda: FitPost(config(16, 16, 16), 1), "keep up"),
        (lambda: Tanh4(config(short_frac=24)), "short_frac"),
    ],
)
def test_parameters_are_checked(build: Callable[[], object], message: str) -> None:
    with warnings.catch_warnings():
        # a component whose constructor refuses is never elaborated
        warnings.simplefilter("ignore", UnusedElaboratable)
        with pytest.raises(InputError, match=message):
            build()
        gc.collect()
