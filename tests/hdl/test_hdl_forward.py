"""The neighbour pipeline from the stream to D, against the integer definitions."""

from __future__ import annotations

import random
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from support.forward_bench import (
    SEL,
    collect,
    flt_value,
    load_beats,
    load_tables,
    random_atom,
    random_tables,
    receive,
    run,
    send,
    set_model,
    small,
)

from nvnmd.hdl.atom.descriptor import Descriptor
from nvnmd.hdl.layouts import DescriptorLayout, GrLayout
from nvnmd.hdl.neighbor.empty import EmptySlot
from nvnmd.hdl.neighbor.forward import NeighborForward
from nvnmd.hdl.neighbor.front import FrontEnd, NeighborLayout
from nvnmd.hdl.neighbor.gr import GrAccumulate, GrFinalize
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.loadbus import LoadBus, Section
from nvnmd.quantize import formats


def short_tables(fold: int, version: int) -> AcceleratorConfig:
    """Few rows, and few channels where each channel has its own lane: quick to simulate."""
    m1 = 4 if fold == 1 else 8
    return small(fold=fold, version=version, m1=m1, width=4 * m1, u_segments=((-3, 8),),
                 s_segments=((-8, 4), (-4, 4)))


OCTAVES = ((-4, 4), (-4, 4), (-3, 4), (-2, 4), (-1, 4))


@pytest.mark.parametrize("fold,version,octave", [
    *((fold, version, False) for version in (0, 1) for fold in (1, 2, 8)),
    (1, 0, True), (2, 0, True), (8, 0, True), (2, 1, True)])
def test_neighbor_forward(fold: int, version: int, octave: bool) -> None:
    cfg = short_tables(fold, version)
    if octave:
        cfg = replace(cfg, octave=True, u_segments=OCTAVES, s_segments=((-5, 8),))
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
    near: list = []

    async def bench(ctx: Any) -> None:
        await load_tables(ctx, dut.load, tables)
        ctx.set(dut.s_x0, s_x0)
        ctx.set(dut.near_shift, fold % 3)
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
        collect(dut.too_near, dut.too_near, near),
    ])
    u = [dut._dot.compute(list(r), list(r)) for r in (
        formats.decode_flt([beat.x, beat.y, beat.z]) for beat in beats if not beat.masked)]
    assert min(u) == 0.0
    assert len(near) == (fold % 3 and sum(value < 2.0 ** -(fold % 3) for value in u))
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
        await set_model(chain.front, 2, sel)(ctx)
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
