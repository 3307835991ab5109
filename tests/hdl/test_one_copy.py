"""The array that keeps a weight once, and the memory in pieces that it is made of."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from amaranth.hdl import unsigned
from amaranth.lib import data
from amaranth.sim import Simulator
from support.fitnet_bench import config, load_image
from support.sized_models import sized_model

from nvnmd.errors import InputError
from nvnmd.hdl.budget import count_budget
from nvnmd.hdl.fitting.one_copy import OneCopyArray
from nvnmd.hdl.fitting.weights import GRID_BITS, cut_bits, cut_offset
from nvnmd.hdl.pipeline.deep_memory import DeepMemory, pieces
from nvnmd.hdl.pipeline.loadbus import Section
from nvnmd.hdl.presets import PRESETS


def simulate(dut: object, bench: object) -> None:
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize("depth", [2, 3, 8, 11, 12])
def test_every_row_of_a_deep_memory(depth: int) -> None:
    """Rows written whole, then an element each; read in an order that goes from piece to piece."""
    assert sum(part for _, part in pieces(depth)) == depth
    dut = DeepMemory(depth, data.ArrayLayout(unsigned(8), 3))
    rng = np.random.default_rng(depth)
    rows = rng.integers(0, 256, (depth, 3))

    async def bench(ctx) -> None:
        for enable in (7, 2):
            for i in range(depth):
                if enable == 2:
                    rows[i, 1] ^= 0x55
                ctx.set(dut.w_index, i)
                ctx.set(dut.w_en, enable)
                ctx.set(dut.w_data, (rows[i] if enable == 7 else rows[i] ^ [9, 0, 9]).tolist())
                await ctx.tick()
        ctx.set(dut.w_en, 0)
        order = rng.permutation(np.arange(4 * depth) % depth).tolist()
        for i in order:
            ctx.set(dut.r_index, i)
            await ctx.tick()
            assert [ctx.get(dut.r_data[c]) for c in range(3)] == rows[i].tolist()

    simulate(dut, bench)


@pytest.mark.parametrize(("width", "cols"), [(8, 4), (16, 4), (16, 16)])
def test_both_directions_of_one_matrix(width: int, cols: int) -> None:
    """Largest magnitudes among them, passes back to back, every exponent that there can be."""
    cfg = config(width, cols, 1, ntypes=1, hidden=3, weights_once=True)
    dut = OneCopyArray(cfg)
    rng = np.random.default_rng(width + cols)
    low = -(1 << GRID_BITS - 1)
    words = rng.integers(low, -low, (3, width, width))
    words[1] = low
    x = rng.integers(-(1 << 26), 1 << 26, width)
    x[:4] = -(1 << 26)
    # shifts that leave the mantissas no more bits than they have
    least = GRID_BITS - cfg.weight_bits
    cuts = rng.integers(least, 1 << cut_bits(cfg), (2, 3, width))
    image = {Section.FIT_FORWARD: words.reshape(-1, 4),
             Section.FIT_COLUMN: (cuts - cut_offset(cfg)).reshape(-1, 4)}
    blocks = width // cols
    # what the passes of a net may be followed by: backward after forward, and the reverse
    order = list(itertools.product((0, 3, 1, 5, 4, 2), range(blocks), range(width)))
    sums: list[list[int]] = []

    async def bench(ctx) -> None:
        await load_image(ctx, dut.load, image)
        for i in range(len(order) + dut.latency + 1):
            # inputs come one cycle after their step
            if 0 < i <= len(order):
                chunk = order[i - 1][2]
                taken = chunk // cols
                ctx.set(dut.x, x[chunk:chunk + 1].tolist())
                ctx.set(dut.across, x[taken * cols:(taken + 1) * cols].tolist())
            ctx.set(dut.step, i < len(order))
            if i < len(order):
                matrix, block, chunk = order[i]
                ctx.set(dut.matrix, matrix)
                ctx.set(dut.backward, matrix >= 3)
                ctx.set(dut.block, block)
                ctx.set(dut.chunk, chunk)
                ctx.set(dut.first, chunk == 0)
                ctx.set(dut.last, chunk == width - 1)
            if ctx.get(dut.sums_valid):
                assert (i - dut.latency + 1) % width == 0
                sums.append([ctx.get(dut.sums[c]) for c in range(cols)])
            await ctx.tick()

    simulate(dut, bench)
    mantissas = [*(w >> c for w, c in zip(words, cuts[0], strict=True)),
                 *(w.T >> c for w, c in zip(words, cuts[1], strict=True))]
    wanted = [dut.compute(x.tolist(), mantissas[k][:, b * cols:(b + 1) * cols].tolist())
              for k in (0, 3, 1, 5, 4, 2) for b in range(blocks)]
    assert sums == wanted


def test_one_copy_needs_one_row() -> None:
    with pytest.raises(InputError, match="weights_once with fit_rows 2, expected 1 row"):
        config(16, 4, 2, weights_once=True)


def test_the_small_presets_keep_weights_once() -> None:
    """Not where more rows are asked for. Of layers of 128: blocks of RAM as the docs have them."""
    model = sized_model(32, 4, 3, 32, ntypes=1)
    preset = PRESETS["small"]
    assert preset.config(model).weights_once and PRESETS["tiny"].config(model).weights_once
    assert not preset.config(model, fit_rows=2).weights_once
    assert not PRESETS["large"].config(model).weights_once
    found = [count_budget(preset.config(model, weights_once=kept))["fitting net"].memory_blocks(
        preset.family) for kept in (True, False)]
    assert found == [75, 117]
