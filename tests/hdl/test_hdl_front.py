"""The front end: groups, spacing, mistakes and credits, against its definition."""

from __future__ import annotations

import random
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from support.forward_bench import (
    SEL,
    collect,
    random_atom,
    refused,
    run,
    send,
    set_model,
    small,
)

from nvnmd.hdl.neighbor.front import Beat, FrontEnd
from nvnmd.hdl.params import AcceleratorConfig


def beat_fields(sample: Any) -> Beat:
    """A sampled `BeatLayout` as a `Beat`; `empties` only counts where the group ends."""
    values = {name: int(getattr(sample, name)) for name in asdict(Beat())}
    values["empties"] *= values["last_of_group"]
    return Beat(**values)


def give_back(dut: FrontEnd, rng: random.Random, beats: list) -> Any:
    """A background bench that returns places some time after they were taken."""

    async def bench(ctx: Any) -> None:
        neighbors = atoms = 0
        async for _, _, valid, beat in ctx.tick().sample(dut.beat.valid, dut.beat):
            if valid:
                beats.append(beat)
                neighbors += not beat.masked
                atoms += beat.last_of_atom
            one = neighbors > 0 and rng.random() < 0.4
            ctx.set(dut.neighbor_return, one)
            neighbors -= one
            one = atoms > 0 and rng.random() < 0.1
            ctx.set(dut.atom_return, one)
            atoms -= one

    return bench

ATOM_COUNTS = [[2, 1], [0, 0], [0, 3], [5, 0], [5, 3], [1, 0], [0, 0], [0, 1], [4, 2]]


@pytest.mark.parametrize("fold,version", [(1, 0), (2, 0), (8, 0), (1, 1), (4, 1)])
def test_front_end_groups_and_spaces(fold: int, version: int) -> None:
    cfg = small(fold=fold, version=version)
    dut = FrontEnd(cfg)
    rng = random.Random(fold)
    sel = SEL if version == 0 else [8]
    stream_in = [b for n, counts in enumerate(ATOM_COUNTS)
                 for b in random_atom(cfg, rng, counts, n % 2)]
    expected, status = FrontEnd.compute(cfg, 2, sel, stream_in)
    assert status == {"bad_type": False, "too_many": False}
    found: list = []
    cycles: list = []

    async def finish(ctx: Any) -> None:
        await set_model(dut, 2, sel)(ctx)
        await send(dut.nbr, stream_in, rng)(ctx)
        for _ in range(60 * fold):
            await ctx.tick()
        assert (ctx.get(dut.bad_type), ctx.get(dut.too_many), ctx.get(dut.no_model)) == (0, 0, 0)
        assert ctx.get(dut.busy) == 0

    run(dut, finish, background=[give_back(dut, rng, found),
                                 collect(dut.beat.valid, dut.beat.ntype, cycles)])
    assert [beat_fields(b) for b in found] == expected
    steps = np.diff([cycle for cycle, _ in cycles])
    assert steps.min() >= fold


def test_front_end_sends_a_beat_every_cycle() -> None:
    cfg = small(fold=1, ntypes=1, max_nnei=16)
    dut = FrontEnd(cfg, atoms=8)
    rng = random.Random(1)
    stream_in = [b for _ in range(2) for b in random_atom(cfg, rng, [7], 0)]
    cycles: list = []

    async def bench(ctx: Any) -> None:
        await set_model(dut, 1, [16])(ctx)
        await send(dut.nbr, stream_in, rng, idle=0.0)(ctx)
        for _ in range(5):
            await ctx.tick()

    run(dut, bench, background=[collect(dut.beat.valid, dut.beat.last, cycles)])
    assert [c - cycles[0][0] for c, _ in cycles] == list(range(14))


def spoilt(cfg: AcceleratorConfig, kind: str, rng: random.Random) -> list[dict[str, int]]:
    """A stream with one mistake, between two good atoms."""
    atom = random_atom(cfg, rng, [3, 2], 1)
    if kind == "type out of range":
        atom[-1]["ntype"] = 3
    elif kind == "only type out of range":
        atom = random_atom(cfg, rng, [0, 1], 1, ntype=2)
    elif kind == "order":
        atom[4]["ntype"] = 0
    elif kind == "centre out of range":
        atom = random_atom(cfg, rng, [1, 0], 3)
    elif kind == "centre changes":
        atom[2]["ctype"] = 0
    elif kind == "sel":
        atom = random_atom(cfg, rng, [7, 2], 0)
    elif kind == "sel at the end":
        atom = random_atom(cfg, rng, [1, 5], 0)
    elif kind == "max_nnei":
        atom = random_atom(cfg, rng, [8, 3], 0)
    return random_atom(cfg, rng, [1, 1], 0) + atom + random_atom(cfg, rng, [2, 0], 1)

MISTAKES = {
    "type out of range": "bad_type", "only type out of range": "bad_type", "order": "bad_type",
    "centre out of range": "bad_type", "centre changes": "bad_type", "sel": "too_many",
    "sel at the end": "too_many", "max_nnei": "too_many",
}


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("kind", MISTAKES)
def test_front_end_reports_and_survives(kind: str, version: int) -> None:
    cfg = small(fold=2, ntypes=4, version=version)
    dut = FrontEnd(cfg)
    rng = random.Random(5)
    if version == 0:
        sel = [8, 6] if kind == "max_nnei" else SEL
    else:
        sel = [11] if kind == "max_nnei" else [5]
    stream_in = spoilt(cfg, kind, rng)
    expected, status = FrontEnd.compute(cfg, 2, sel, stream_in)
    if version == 1 and kind == "order":
        # no mistake there: types come as they like
        assert not any(status.values())
    else:
        assert status[MISTAKES[kind]] and sum(status.values()) == 1
    found: list = []

    async def bench(ctx: Any) -> None:
        await set_model(dut, 2, sel)(ctx)
        await send(dut.nbr, stream_in, rng)(ctx)
        for _ in range(120):
            await ctx.tick()
        for name, value in status.items():
            assert ctx.get(getattr(dut, name)) == value, name
        assert ctx.get(dut.no_model) == 0

    run(dut, bench, background=[give_back(dut, rng, found)])
    assert [beat_fields(b) for b in found] == expected
    assert sum(b.last_of_atom for b in found) == 3


def test_front_end_without_a_model_swallows_whole_atoms() -> None:
    cfg = small(fold=1)
    dut = FrontEnd(cfg)
    rng = random.Random(6)
    lost = random_atom(cfg, rng, [3, 2], 1)
    kept = random_atom(cfg, rng, [1, 2], 0)
    found: list = []

    async def bench(ctx: Any) -> None:
        await send(dut.nbr, lost[:2], rng)(ctx)
        await set_model(dut, 2, SEL)(ctx)
        await ctx.tick()
        assert ctx.get(dut.no_model) == 1
        await send(dut.nbr, lost[2:] + kept, rng)(ctx)
        for _ in range(20):
            await ctx.tick()

    run(dut, bench, background=[give_back(dut, rng, found)])
    assert [beat_fields(b) for b in found] == FrontEnd.compute(cfg, 2, SEL, kept)[0]


def test_front_end_waits_for_places() -> None:
    cfg = small(fold=1, store_neighbors=8)
    dut = FrontEnd(cfg, atoms=1)
    rng = random.Random(7)
    stream_in = [b for counts in ([5, 2], [4, 2]) for b in random_atom(cfg, rng, counts, 0)]
    found: list = []

    async def pulse(ctx: Any, port: Any, count: int) -> None:
        ctx.set(port, 1)
        await ctx.tick().repeat(count)
        ctx.set(port, 0)
        await ctx.tick().repeat(20)

    async def bench(ctx: Any) -> None:
        await set_model(dut, 2, SEL)(ctx)
        await ctx.tick().repeat(40)
        assert len(found) == 7  # the second atom waits
        assert ctx.get(dut.busy) == 1
        await pulse(ctx, dut.atom_return, 1)
        assert len(found) == 8  # its second neighbour waits
        await pulse(ctx, dut.neighbor_return, 2)
        assert len(found) == 10
        await pulse(ctx, dut.neighbor_return, 5)
        assert len(found) == 13

    run(dut, bench, background=[collect(dut.beat.valid, dut.beat, found),
                                send(dut.nbr, stream_in, rng, idle=0.0)])
    assert [beat_fields(b) for _, b in found] == FrontEnd.compute(cfg, 2, SEL, stream_in)[0]


def test_bad_parameters_are_refused() -> None:
    refused(lambda: FrontEnd(small(), atoms=0), "atoms is 0, expected at least 1")
