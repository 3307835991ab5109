"""The neighbour pipeline from the stream to D, against the integer definitions."""

from __future__ import annotations

import random
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from forward_bench import (
    collect,
    flt_value,
    load_beats,
    load_tables,
    random_atom,
    random_tables,
    receive,
    refused,
    run,
    send,
    small,
)

from nvnmd.hdl.descriptor import Descriptor
from nvnmd.hdl.empty import EmptySlot
from nvnmd.hdl.forward import NeighborForward
from nvnmd.hdl.front import Beat, FrontEnd, NeighborLayout
from nvnmd.hdl.gr import GrAccumulate, GrFinalize
from nvnmd.hdl.layouts import DescriptorLayout, GrLayout
from nvnmd.hdl.load import LoadBus, Section
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.quantize import formats

SEL = [5, 3]


def short_tables(fold: int, version: int) -> AcceleratorConfig:
    """Few rows, and few channels where each channel has its own lane: quick to simulate."""
    m1 = 4 if fold == 1 else 8
    return small(fold=fold, version=version, m1=m1, width=4 * m1, u_segments=((-3, 8),),
                 s_segments=((-8, 4), (-4, 4)))


def beat_fields(sample: Any) -> Beat:
    """A sampled `BeatLayout` as a `Beat`; `empties` only counts where the group ends."""
    values = {name: int(getattr(sample, name)) for name in asdict(Beat())}
    values["empties"] *= values["last_of_group"]
    return Beat(**values)


def front_bench(dut: FrontEnd, ntypes: int, sel: list[int]) -> Any:
    """A bench that sets the model."""

    async def bench(ctx: Any) -> None:
        ctx.set(dut.ntypes, ntypes)
        for n, count in enumerate(sel):
            ctx.set(dut.sel[n], count)
        ctx.set(dut.model_valid, 1)

    return bench


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
        await front_bench(dut, 2, sel)(ctx)
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
        await front_bench(dut, 1, [16])(ctx)
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
        await front_bench(dut, 2, sel)(ctx)
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
        await front_bench(dut, 2, SEL)(ctx)
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
        await front_bench(dut, 2, SEL)(ctx)
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


@pytest.mark.parametrize("fold,version", [(1, 0), (2, 0), (8, 0), (1, 1), (2, 1), (8, 1)])
def test_neighbor_forward(fold: int, version: int) -> None:
    cfg = short_tables(fold, version)
    dut = NeighborForward(cfg)
    rng = random.Random(fold)
    tables = random_tables(cfg, np.random.default_rng(fold))
    s_x0 = -19
    sel = SEL if version == 0 else [8]
    stream_in = [b for n, counts in enumerate([[3, 0], [0, 0], [2, 2], [0, 1]])
                 for b in random_atom(cfg, rng, counts, n % 2)]
    stream_in[1]["x"] = 0
    for axis in "xyz":
        stream_in[2][axis] = 0
    beats, _ = FrontEnd.compute(cfg, 2, sel, stream_in)
    slots: list = []
    stored: list = []
    metas: list = []
    sent: list[int] = []

    async def bench(ctx: Any) -> None:
        await load_tables(ctx, dut.load, tables)
        ctx.set(dut.s_x0, s_x0)
        for beat in beats:
            ctx.set(dut.beat, {"valid": 1, **asdict(beat)})
            await ctx.tick()
            ctx.set(dut.beat.valid, 0)
            for _ in range(fold - 1 + rng.choice([0, 0, 1, 3 * fold])):
                await ctx.tick()
        await ctx.tick().repeat(dut.latency + dut.meta_latency + fold + 2)

    run(dut, bench, background=[
        collect(dut.slot.valid, dut.slot, slots),
        collect(dut.store_slot_valid, dut.store_slot, stored),
        collect(dut.store_meta_valid, dut.store_meta, metas),
        collect(dut.beat.valid, dut.beat.ntype, sent),
    ])
    assert len(slots) == fold * len(beats)
    real = [n for n, beat in enumerate(beats) if not beat.masked]
    assert len(stored) == fold * len(real) and len(metas) == len(real)
    assert [c for c, _ in slots[::fold]] == [c + dut.latency for c, _ in sent]

    def floats(samples: Any) -> list[float]:
        return [flt_value(cfg, s) for s in samples]

    def largest(values: np.ndarray) -> int:
        return max([cfg.exp_floor, *(int(np.floor(np.log2(abs(v)))) for v in values if v)])

    for n, beat in enumerate(beats):
        words = slots[n * fold : (n + 1) * fold]
        r = formats.decode_flt([beat.x, beat.y, beat.z])
        expected = dut.compute(tables, s_x0, r, beat.ctype, beat.ntype)
        assert [w.slot for _, w in words] == list(range(fold))
        assert [v for _, w in words for v in floats(w.g)] == expected.g.tolist()
        for _, word in words:
            assert floats(word.r4) == expected.r4.tolist()
            for name in ("ntype", "ctype", "masked", "first_of_group", "last_of_group",
                         "last_of_atom", "none", "empties"):
                assert getattr(word.group, name) == getattr(beat, name), name
        if beat.masked:
            continue
        place = real.index(n)
        words = stored[place * fold : (place + 1) * fold]
        assert [v for _, w in words for v in floats(w.g)] == expected.g.tolist()
        assert [v for _, w in words for v in floats(w.dg)] == expected.dg.tolist()
        if version:
            gain = formats.encode_flt(tables[Section.TYPE_GAIN][beat.ctype, beat.ntype])
            assert [int(v) for _, w in words for v in w.gain] == gain.tolist()
        cycle, meta = metas[place]
        assert cycle == words[-1][0] + dut.meta_latency
        assert floats(meta.r) == r.tolist()
        assert floats(meta.r4) == expected.r4.tolist()
        assert [flt_value(cfg, v) for v in (meta.h, meta.ds, meta.dh)] == [
            expected.h, expected.ds, expected.dh]
        assert (meta.gmax, meta.dgmax, meta.r4max) == tuple(
            largest(v) for v in (expected.g, expected.dg, expected.r4))
        assert meta.last == beat.last
        if version:
            assert meta.ctype == beat.ctype
    assert sum(meta.last for _, meta in metas) == 3


class Chain(wiring.Component):
    """Neighbour stream to D: all forward stages with their credits."""

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self.front = FrontEnd(cfg)
        self.forward = NeighborForward(cfg)
        self.accumulate = GrAccumulate(cfg)
        self.finalize = GrFinalize(cfg)
        self.descriptor = Descriptor(cfg)
        super().__init__({
            "load": In(LoadBus()),
            "nbr": In(stream.Signature(NeighborLayout(cfg))),
            "d": Out(stream.Signature(DescriptorLayout(cfg))),
            "gr": Out(stream.Signature(GrLayout(cfg))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name in ("front", "forward", "accumulate", "finalize", "descriptor"):
            m.submodules[name] = getattr(self, name)
        front, forward, descriptor = self.front, self.forward, self.descriptor
        wiring.connect(m, wiring.flipped(self.load), forward.load)
        wiring.connect(m, wiring.flipped(self.load), self.finalize.load)
        wiring.connect(m, wiring.flipped(self.nbr), front.nbr)
        wiring.connect(m, wiring.flipped(self.d), descriptor.d)
        wiring.connect(m, wiring.flipped(self.gr), descriptor.gr)
        m.d.comb += [
            forward.beat.eq(front.beat),
            self.accumulate.i.eq(forward.slot),
            self.finalize.sums.eq(self.accumulate.sums),
            descriptor.column.eq(self.finalize.column),
            front.atom_return.eq(descriptor.atom_return),
            front.neighbor_return.eq(forward.store_meta_valid),
        ]
        return m


def reference(chain: Chain, tables: dict, s_x0: int, sel: list[int], nix_shift: int,
              atom: list[dict[str, int]]) -> tuple[np.ndarray, np.ndarray]:
    """GR and D of one atom by the components' `compute`."""
    cfg = chain.cfg
    ctype = atom[0]["ctype"]
    zero = np.zeros(3)
    sums, empties, k0 = [], [], []
    for ntype in range(len(sel)):
        groups: tuple[list, list] = ([], [])
        for beat in atom:
            if not beat["none"] and (cfg.version == 1 or beat["ntype"] == ntype):
                r = formats.decode_flt([beat["x"], beat["y"], beat["z"]])
                values = chain.forward.compute(tables, s_x0, r, ctype, beat["ntype"])
                groups[0].append(values.r4)
                groups[1].append(values.g)
        r4, g = (np.array(v).reshape(len(v), n)
                 for v, n in zip(groups, (4, cfg.m1), strict=True))
        sums.append(GrAccumulate.compute(cfg, r4, g))
        empties.append((sel[ntype] - len(r4)) * (cfg.version == 0))
        empty = chain.forward.compute(tables, s_x0, zero, ctype, ntype)
        k0.append(EmptySlot.compute(cfg, np.float64(empty.s), empty.g))
    gr = GrFinalize.compute(cfg, np.array(sums), empties, np.array(k0), nix_shift)
    return gr, Descriptor.compute(cfg, gr)


def empty_words(chain: Chain, tables: dict, s_x0: int) -> np.ndarray:
    """The EMPTY section, shape (ntypes, ntypes, m1)."""
    cfg = chain.cfg
    out = np.zeros((cfg.ntypes, cfg.ntypes, cfg.m1), dtype=np.int64)
    for centre in range(cfg.ntypes):
        for neighbor in range(cfg.ntypes):
            values = chain.forward.compute(tables, s_x0, np.zeros(3), centre, neighbor)
            out[centre, neighbor] = EmptySlot.compute(cfg, np.float64(values.s), values.g)
    return out


@pytest.mark.parametrize("fold,version", [(1, 0), (8, 0), (2, 1)])
def test_atoms_through_all_forward_stages(fold: int, version: int) -> None:
    cfg = short_tables(fold, version)
    chain = Chain(cfg)
    rng = random.Random(fold + version)
    tables = random_tables(cfg, np.random.default_rng(fold))
    s_x0, nix_shift = 11, 2
    sel = SEL if version == 0 else [8]
    atoms = [random_atom(cfg, rng, counts, n % 2)
             for n, counts in enumerate([[2, 1], [0, 0], [0, 2], [5, 3], [5, 0], [1, 1]])]
    expected = [reference(chain, tables, s_x0, sel, nix_shift, atom) for atom in atoms]
    d: list = []
    gr: list = []
    reset = Signal()

    async def bench(ctx: Any) -> None:
        await load_tables(ctx, chain.load, tables)
        if version == 0:
            await load_beats(ctx, chain.load, Section.EMPTY,
                             empty_words(chain, tables, s_x0).reshape(-1, 4))
        ctx.set(chain.forward.s_x0, s_x0)
        ctx.set(chain.finalize.nix_shift, nix_shift)
        await front_bench(chain.front, 2, sel)(ctx)
        # one atom is under way and another cut short when reset comes; nothing of them remains
        await send(chain.nbr, atoms[3] + atoms[0][:2], rng)(ctx)
        await ctx.tick().repeat(rng.randrange(20, 120))
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        readers = random.Random(3)
        await send(chain.nbr, [b for atom in atoms[:2] for b in atom], rng)(ctx)
        await receive(chain.gr, 2 * cfg.m1, gr, readers)(ctx)
        await receive(chain.d, 2 * cfg.width, d, readers)(ctx)
        ctx.set(started, 1)
        await send(chain.nbr, [b for atom in atoms[2:] for b in atom], rng)(ctx)

    started = Signal()

    def after(stage: Any) -> Any:
        async def bench(ctx: Any) -> None:
            await ctx.tick().until(started)
            await stage(ctx)

        return bench

    run(ResetInserter(reset)(chain), bench,
        after(receive(chain.d, len(atoms) * cfg.width, d, rng)),
        after(receive(chain.gr, len(atoms) * cfg.m1, gr, rng, 0.8)))
    overflow = False
    for number, (atom, (want_gr, want_d)) in enumerate(zip(atoms, expected, strict=True)):
        columns = gr[number * cfg.m1 : (number + 1) * cfg.m1]
        found = np.array([[flt_value(cfg, c.column[n]) for c in columns] for n in range(4)])
        assert np.array_equal(found, want_gr), number
        assert {c.none for c in columns} == {atom[0]["none"]}
        words = d[number * cfg.width : (number + 1) * cfg.width]
        fits = np.all(np.abs(want_d) < 1 << 26)
        overflow |= not fits
        if fits:
            assert [w.value for w in words] == want_d.tolist(), number
        assert {w.ctype for w in words} == {atom[0]["ctype"]}
        assert np.any(found) or version == 1
    assert not overflow  # else the tables here are too large to prove anything


def test_bad_parameters_are_refused() -> None:
    refused(lambda: FrontEnd(small(), atoms=0), "atoms is 0, expected at least 1")
