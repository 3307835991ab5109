"""The running sums of GR in hardware against their integer definitions."""

from __future__ import annotations

import random

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal
from support.forward_bench import (
    collect,
    flt_fields,
    random_flt,
    run,
    small,
)

from nvnmd.hdl.arith.whole import ProductToFix, TruncateWhole
from nvnmd.hdl.neighbor.gr import GrAccumulate
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.ring import Ring
from nvnmd.quantize import ops


@pytest.mark.parametrize("depth", [1, 2, 3, 8])
def test_ring_returns_the_word_pushed_depth_pushes_ago(depth: int) -> None:
    dut = Ring(8, depth)
    rng = random.Random(depth)
    pushed: list[int] = []

    async def bench(ctx):
        for _ in range(200):
            value = rng.randrange(256)
            push = rng.random() < 0.7
            ctx.set(dut.i, value)
            ctx.set(dut.push, push)
            if push:
                if len(pushed) >= depth:
                    assert ctx.get(dut.o) == pushed[-depth]
                pushed.append(value)
            await ctx.tick()

    run(dut, bench)


@pytest.mark.parametrize("frac,acc_bits", [(20, 36), (10, 40), (6, 24)])
def test_product_to_fix(frac: int, acc_bits: int) -> None:
    cfg = small(frac=frac, acc_bits=acc_bits, offset_frac=min(frac, 16))
    dut = ProductToFix(cfg)
    rng = np.random.default_rng(1)
    top = 1.0 - 2.0 ** -(frac + 1)
    pairs = [(0.0, 0.0), (0.0, 1.0), (1.0, 1.0), (-1.0, 1.0), (top, top), (-top, top),
             (2.0**-23, 1.0), (-(2.0**-12), 2.0**-12), (2.0**-60, 2.0**-60), (2.0**-23, -top),
             (2.0**6, -(2.0**6)), (2.0**100, 2.0**100), (2.0**9, -(2.0**9)),
             (2.0**100, 0.0), (2.0**200, 2.0**-220)]
    pairs += list(zip(random_flt(rng, (150,), 20), random_flt(rng, (150,), 20), strict=True))
    pairs += [(a * 2.0 ** int(n), b) for a, b, n in
              zip(random_flt(rng, (60,)), random_flt(rng, (60,)), rng.integers(0, 20, 60),
                  strict=True)]
    pairs = [(float(ops.trunc_flt(a, frac)), float(ops.trunc_flt(b, frac))) for a, b in pairs]
    seen = {"fits": 0, "overflows": 0}

    async def bench(ctx):
        for a, b in pairs:
            ctx.set(dut.a, flt_fields(cfg, a))
            ctx.set(dut.b, flt_fields(cfg, b))
            for _ in range(dut.latency):
                await ctx.tick()
            exact = a * b * 2.0**23
            if abs(exact) < 2.0 ** (acc_bits - 1):
                seen["fits"] += 1
                assert ctx.get(dut.overflow) == 0, (a, b)
                assert ctx.get(dut.o) == int(ProductToFix.compute(cfg, a, b)) == int(exact), (a, b)
            else:
                seen["overflows"] += 1
                assert ctx.get(dut.overflow) == 1, (a, b)

    run(dut, bench)
    assert seen["fits"] > 150 and seen["overflows"] > 1


def test_truncate_whole() -> None:
    dut = TruncateWhole(36, 21)
    rng = random.Random(2)
    values = [0, 1, -1, (1 << 21) - 1, 1 << 21, (1 << 21) + 1, -(1 << 21) - 1, (1 << 22) - 1,
              (1 << 35) - 1, -(1 << 35) + 1, -(1 << 35), 0x5_5555_5555, -0x2_AAAA_AAAA]
    values += [rng.randrange(-(1 << n), 1 << n) for n in range(1, 36) for _ in range(8)]

    async def bench(ctx):
        ahead = iter(values)
        for _ in range(dut.latency):
            ctx.set(dut.i, next(ahead))
            await ctx.tick()
        for value in values:
            ctx.set(dut.i, next(ahead, 0))
            expected = TruncateWhole.compute(value, 21)
            assert ctx.get(dut.o) == expected
            assert expected == int(ops.trunc_flt(float(value)))
            await ctx.tick()

    run(dut, bench)


def drive_neighbors(cfg, dut, groups, rng, idle=0.3):
    """A bench that sends groups of (r4 (n,4), g (n,m1), masked, fields) to a `GrAccumulate`."""

    async def bench(ctx):
        for r4, g, masked, fields in groups:
            for n in range(len(r4)):
                while rng.random() < idle:
                    await ctx.tick()
                group = dict(fields, masked=masked, first_of_group=int(n == 0),
                             last_of_group=int(n == len(r4) - 1))
                for slot in range(cfg.fold):
                    lanes = g[n, slot * cfg.lanes : (slot + 1) * cfg.lanes]
                    ctx.set(dut.i, {
                        "valid": 1, "slot": slot,
                        "g": [flt_fields(cfg, v) for v in lanes],
                        "r4": [flt_fields(cfg, v) for v in r4[n]],
                        "group": group,
                    })
                    await ctx.tick()
                ctx.set(dut.i.valid, 0)
        for _ in range(dut.latency + 2):
            await ctx.tick()

    return bench


def sums_of(cfg: AcceleratorConfig, words: list) -> list[np.ndarray]:
    """Matrices (4, m1) from sampled `SumLayout` words."""
    out = []
    for start in range(0, len(words), cfg.fold):
        total = np.zeros((4, cfg.m1), dtype=np.int64)
        for slot, (_, word) in enumerate(words[start : start + cfg.fold]):
            assert word.slot == slot
            for lane in range(cfg.lanes):
                for c in range(4):
                    total[c, slot * cfg.lanes + lane] = word.sums[lane][c]
        out.append(total)
    return out


@pytest.mark.parametrize("fold", [1, 2, 8])
def test_accumulate(fold: int) -> None:
    cfg = small(fold=fold)
    dut = GrAccumulate(cfg)
    rng = np.random.default_rng(fold)
    groups = []
    for size in (1, 3, 1, 5, 2):
        masked = int(size == 1 and bool(groups))
        fields = {"ntype": 1, "ctype": 1, "last_of_atom": 1, "none": 0, "empties": size}
        groups.append((random_flt(rng, (size, 4)) * 8, random_flt(rng, (size, cfg.m1)) * 4,
                       masked, fields))
    words: list = []
    run(dut, drive_neighbors(cfg, dut, groups, random.Random(fold)),
        background=[collect(dut.sums.valid, dut.sums, words)])
    result = sums_of(cfg, words)
    assert len(result) == len(groups)
    for (r4, g, masked, _), total in zip(groups, result, strict=True):
        expected = GrAccumulate.compute(cfg, r4, g) * (not masked)
        assert np.array_equal(total, expected)
        assert masked or np.any(total)
    assert words[-1][1].group.empties == 2 and words[-1][1].group.ctype == 1


def test_accumulate_reports_overflow_and_reset_forgets_it() -> None:
    cfg = small(fold=2)
    dut = GrAccumulate(cfg)
    reset = Signal()
    rng = random.Random(0)
    fields = {"ntype": 0, "ctype": 0, "last_of_atom": 0, "none": 0, "empties": 0}

    def group(size: int, factor: float, masked: int) -> tuple:
        return np.full((size, 4), factor), np.full((size, cfg.m1), factor), masked, fields

    async def bench(ctx):
        fine = [group(1, 2.0**20, 1), group(2, 45.0, 0), group(1, 63.9, 0)]
        await drive_neighbors(cfg, dut, fine, rng)(ctx)
        assert ctx.get(dut.overflow) == 0  # a masked one does not count, the sums are below 2**12
        for bad in (group(3, 45.0, 0), group(1, 64.0, 0)):  # a sum, a product
            await drive_neighbors(cfg, dut, [bad], rng)(ctx)
            assert ctx.get(dut.overflow) == 1
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            assert ctx.get(dut.overflow) == 0

    run(ResetInserter(reset)(dut), bench)


def test_full_width_accumulate() -> None:
    cfg = AcceleratorConfig(fold=32)
    dut = GrAccumulate(cfg)
    rng = np.random.default_rng(9)
    fields = {"ntype": 3, "ctype": 2, "last_of_atom": 1, "none": 0, "empties": 77}
    groups = [(random_flt(rng, (4, 4)) * 8, random_flt(rng, (4, cfg.m1)) * 4, 0, fields)]
    words: list = []
    run(dut, drive_neighbors(cfg, dut, groups, random.Random(1)),
        background=[collect(dut.sums.valid, dut.sums, words)])
    assert np.array_equal(sums_of(cfg, words)[0], GrAccumulate.compute(cfg, *groups[0][:2]))
