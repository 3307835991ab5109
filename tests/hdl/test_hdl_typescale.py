"""Version 1: the multiplications by inverse deviations and by the gains of G, at up to 32 types."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from support.forward_bench import (
    collect,
    flt_fields,
    flt_value,
    load_beats,
    load_tables,
    random_flt,
    run,
    small,
)

from nvnmd.hdl.neighbor.type_scale import InverseStd, TypeGain
from nvnmd.hdl.pipeline.loadbus import Section
from nvnmd.quantize import formats, ops


def tables(ntypes: int, m1: int) -> dict[Section, np.ndarray]:
    """Random deviations and gains, and another section that must leave no trace."""
    rng = np.random.default_rng(ntypes)
    return {
        Section.INV_STD: np.abs(random_flt(rng, (ntypes, 2))) * 4,
        Section.TYPE_GAIN: random_flt(rng, (ntypes, ntypes, m1)) * 2,
        Section.G_VALUE: random_flt(rng, (1, 8, m1, 4)),
    }


@pytest.mark.parametrize("fold", [1, 2, 8])
def test_inverse_deviations(fold: int) -> None:
    """Every type, every `fold` cycles and now and then later; zeros among the operands."""
    cfg = small(version=1, ntypes=32, fold=fold)
    dut = InverseStd(cfg)
    words = tables(32, 8)
    rng = random.Random(fold)
    kinds = rng.sample(range(32), 32)
    values = random_flt(np.random.default_rng(fold), (32, 2))
    values[3] = 0.0
    found: list = []
    sent: list = []

    async def bench(ctx: Any) -> None:
        await load_tables(ctx, dut.load, words)
        for kind, pair in zip(kinds, values, strict=True):
            ctx.set(dut.ctype, kind)
            for k in range(2):
                ctx.set(dut.a[k], flt_fields(cfg, pair[k]))
            ctx.set(dut.valid_i, 1)
            await ctx.tick()
            ctx.set(dut.valid_i, 0)
            ctx.set(dut.ctype, rng.randrange(32))
            for k in range(2):
                ctx.set(dut.a[k], flt_fields(cfg, 1.0))
            for _ in range(fold - 1 + rng.choice([0, 0, 1, 5])):
                await ctx.tick()
        await ctx.tick().repeat(dut.latency + 2)

    run(dut, bench, background=[collect(dut.valid_o, dut.o, found),
                                collect(dut.valid_i, dut.ctype, sent)])
    assert [c for c, _ in found] == [c + dut.latency for c, _ in sent]
    for (_, result), kind, pair in zip(found, kinds, values, strict=True):
        inverse = words[Section.INV_STD][kind]
        expected = ops.mul(inverse, pair).tolist()
        assert [flt_value(cfg, v) for v in result] == expected
        assert dut.compute(inverse.tolist(), pair.tolist()) == expected


@pytest.mark.parametrize("ntypes, fold", [(32, 8), (16, 2), (2, 1)])
def test_gains(ntypes: int, fold: int) -> None:
    """The first and last types and random pairs, one slot per cycle; the gains come out too."""
    cfg = small(version=1, ntypes=ntypes, fold=fold)
    dut = TypeGain(cfg)
    words = tables(ntypes, cfg.m1)
    rng = random.Random(ntypes)
    last = ntypes - 1
    pairs = [(0, 0), (0, last), (last, 0), (last, last)]
    pairs += [(rng.randrange(ntypes), rng.randrange(ntypes)) for _ in range(20)]
    g = random_flt(np.random.default_rng(fold), (len(pairs), fold, cfg.lanes))
    found: list = []
    sent: list = []

    async def bench(ctx: Any) -> None:
        # the gains of 32 types are many beats; only those of the pairs used are written
        for centre, neighbor in sorted(set(pairs)):
            await load_gain(ctx, cfg, dut, words[Section.TYPE_GAIN][centre, neighbor],
                            centre * ntypes + neighbor)
        others = formats.encode_flt(words[Section.G_VALUE]).reshape(-1, 4)
        await load_beats(ctx, dut.load, Section.G_VALUE, others)
        for (centre, neighbor), slots in zip(pairs, g, strict=True):
            for slot, lanes in enumerate(slots):
                ctx.set(dut.ctype, centre)
                ctx.set(dut.ntype, neighbor)
                ctx.set(dut.slot_i, slot)
                for lane, value in enumerate(lanes):
                    ctx.set(dut.g[lane], flt_fields(cfg, value))
                ctx.set(dut.valid_i, 1)
                await ctx.tick()
            ctx.set(dut.valid_i, 0)
            for _ in range(rng.choice([0, 0, 3])):
                await ctx.tick()
        await ctx.tick().repeat(dut.latency + 2)

    run(dut, bench, background=[
        collect(dut.valid_o, dut.o, found), collect(dut.valid_o, dut.gain, used := []),
        collect(dut.valid_o, dut.slot_o, slots_out := []), collect(dut.valid_i, dut.slot_i, sent),
    ])
    assert [c for c, _ in found] == [c + dut.latency for c, _ in sent]
    assert [s for _, s in slots_out] == [s for _, s in sent]
    gains = np.stack([words[Section.TYPE_GAIN][pair].reshape(fold, -1) for pair in pairs])
    expected = ops.mul(g, gains).reshape(-1, cfg.lanes)
    assert [[flt_value(cfg, v) for v in o] for _, o in found] == expected.tolist()
    assert [[int(v) for v in o] for _, o in used] == formats.encode_flt(
        gains.reshape(-1, cfg.lanes)).tolist()
    assert dut.compute(g[0, 0].tolist(), gains[0, 0].tolist()) == expected[0].tolist()


async def load_gain(ctx: Any, cfg: Any, dut: TypeGain, gain: np.ndarray, place: int) -> None:
    """Write the m1 gains of one pair of types."""
    beats = formats.encode_flt(gain).reshape(-1, 4)
    for k, beat in enumerate(beats):
        data = sum(int(word) << (32 * n) for n, word in enumerate(beat))
        ctx.set(dut.load.valid, 1)
        ctx.set(dut.load.section, Section.TYPE_GAIN)
        ctx.set(dut.load.index, place * cfg.m1 // 4 + k)
        ctx.set(dut.load.data, data)
        await ctx.tick()
    ctx.set(dut.load.valid, 0)
