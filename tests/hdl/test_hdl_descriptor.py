"""From the sums of GR to the descriptor in hardware, against their integer definitions."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import Elaboratable, Module
from support.forward_bench import (
    collect,
    flt_fields,
    flt_value,
    load_beats,
    random_flt,
    receive,
    refused,
    run,
    small,
)

from nvnmd.hdl.arith.whole import TruncateWhole
from nvnmd.hdl.atom.descriptor import Descriptor, ToData
from nvnmd.hdl.neighbor.empty import EmptySlot
from nvnmd.hdl.neighbor.gr import GrFinalize
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.columns import Columns
from nvnmd.hdl.pipeline.loadbus import Section
from nvnmd.hdl.pipeline.ring import Ring
from nvnmd.quantize import ops


def nearest(cut: int, right: int) -> int:
    """cut / 2**right, halves away from zero."""
    magnitude = (abs(cut) + (1 << right - 1 if right else 0)) >> right
    return -magnitude if cut < 0 else magnitude


@pytest.mark.parametrize("frac, octave", [(20, False), (8, False), (20, True), (8, True)])
def test_to_data(frac: int, octave: bool) -> None:
    cfg = small(frac=frac, offset_frac=min(frac, 16))
    if octave:
        cfg = replace(cfg, octave=True, u_segments=((-3, 8), (-3, 8)))
    bits = 2 * (cfg.man_bits + 1) + 2
    dut = ToData(cfg, bits)
    rng = random.Random(frac)
    items = [(0, -100), (-1, -100), (1, -100), (-1, 0), (1, 0), (0, 300), (1, 20)]
    for _ in range(250):
        n = rng.randrange(1, bits - 1)
        items.append((rng.randrange(-(1 << n), 1 << n), rng.choice([-100, -30, -9, -3, -1, 0, 1])))
    items += [(sign << n, emax) for n in range(bits - 1) for sign in (1, -1, 3, -3)
              for emax in (-9, -3) if n < bits - 2]
    overflows = 0

    async def bench(ctx):
        nonlocal overflows
        for p, emax in items:
            ctx.set(dut.p, p)
            ctx.set(dut.emax, emax)
            for _ in range(dut.latency):
                await ctx.tick()
            cut = TruncateWhole.compute(p, cfg.man_bits)
            right = 2 * frac - 2 * emax - cfg.fix_frac
            expected = cut << -right if right < 0 else nearest(cut, right) if octave else (
                cut >> right)
            if -(1 << 26) <= expected < 1 << 26 and (emax < 2 or expected == 0):
                assert ctx.get(dut.overflow) == 0, (p, emax)
                assert ctx.get(dut.o) == expected, (p, emax)
            else:
                overflows += 1
                assert ctx.get(dut.overflow) == 1, (p, emax)

    run(dut, bench)
    assert overflows > 1


class FinalizeToDescriptor(Elaboratable):
    """`GrFinalize` in front of `Descriptor`."""

    def __init__(self, cfg: AcceleratorConfig, atoms: int) -> None:
        self.finalize = GrFinalize(cfg, atoms=atoms)
        self.descriptor = Descriptor(cfg, atoms=atoms)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.finalize = self.finalize
        m.submodules.descriptor = self.descriptor
        m.d.comb += self.descriptor.column.eq(self.finalize.column)
        return m


def finalize_bench(cfg, dut, k0, atoms, nix_shift, room, returned):
    """Load K0, then send atoms (ctype, none, groups of (sums, empties)), at most `room` ahead."""

    async def bench(ctx):
        port = dut.finalize
        await load_beats(ctx, port.load, Section.EMPTY, k0.reshape(-1, 4))
        ctx.set(port.nix_shift, nix_shift)
        for number, (ctype, none, groups) in enumerate(atoms):
            while number - len(returned) >= room:
                await ctx.tick()
            for ntype, (sums, empties) in enumerate(groups):
                for slot in range(cfg.fold):
                    first = slot * cfg.lanes
                    ctx.set(port.sums, {
                        "valid": 1, "slot": slot,
                        "sums": [[int(sums[c, first + n]) for c in range(4)]
                                 for n in range(cfg.lanes)],
                        "group": {"ntype": ntype, "ctype": ctype, "none": none,
                                  "last_of_atom": int(ntype == len(groups) - 1),
                                  "last_of_group": 1, "empties": empties},
                    })
                    await ctx.tick()
                ctx.set(port.sums.valid, 0)

    return bench


@pytest.mark.parametrize(
    "fold,version,atoms", [(1, 0, 2), (2, 0, 4), (8, 0, 2), (8, 1, 1), (4, 1, 2)]
)
def test_finalize_and_descriptor(fold: int, version: int, atoms: int) -> None:
    cfg = small(fold=fold, version=version)
    dut = FinalizeToDescriptor(cfg, atoms)
    rng = np.random.default_rng(10 * fold + version)
    ntypes = cfg.ntypes if version == 0 else 1
    k0 = rng.integers(-(1 << 18), 1 << 18, (cfg.ntypes, cfg.ntypes, cfg.m1))
    nix_shift = 3
    work = []
    for number in range(6):
        groups = []
        for _ in range(ntypes):
            sums = rng.integers(-(1 << 25), 1 << 25, (4, cfg.m1)) >> rng.integers(0, 12)
            groups.append((sums * (number != 3), int(rng.integers(0, 9))))
        work.append((int(rng.integers(0, cfg.ntypes)), int(number == 3), groups))
    returned: list = []
    d: list = []
    gr: list = []
    stall = random.Random(fold)
    run(
        dut,
        finalize_bench(cfg, dut, k0, work, nix_shift, atoms, returned),
        receive(dut.descriptor.d, len(work) * cfg.width, d, stall, 0.2),
        # with one atom's room, gr is the slower reader: its columns must outlive d
        receive(dut.descriptor.gr, len(work) * cfg.m1, gr, stall, 0.9 if atoms == 1 else 0.6),
        background=[collect(dut.descriptor.atom_return, dut.descriptor.atom_return, returned)],
    )
    assert len(returned) == len(work)
    for number, (ctype, none, groups) in enumerate(work):
        sums = np.array([g[0] for g in groups])
        empties = [g[1] * (version == 0) for g in groups]
        expected = GrFinalize.compute(cfg, sums, empties, k0[ctype, :ntypes], nix_shift)
        columns = gr[number * cfg.m1 : (number + 1) * cfg.m1]
        found = np.array([[flt_value(cfg, c.column[n]) for c in columns] for n in range(4)])
        assert np.array_equal(found, expected)
        assert [c.last for c in columns] == [0] * (cfg.m1 - 1) + [1]
        assert {c.none for c in columns} == {none}
        words = d[number * cfg.width : (number + 1) * cfg.width]
        assert [w.value for w in words] == Descriptor.compute(cfg, expected).tolist()
        assert [w.last for w in words] == [0] * (cfg.width - 1) + [1]
        assert {w.ctype for w in words} == {ctype}


@pytest.mark.parametrize("value,bad", [(1.4, 0), (1.5, 1), (3.0, 1)])
def test_descriptor_reports_overflow(value: float, bad: int) -> None:
    cfg = small()
    dut = Descriptor(cfg)
    d: list = []
    column = [flt_fields(cfg, value)] * 4
    emax = int(ops.exponent(np.float64(value)))

    async def bench(ctx):
        for i in range(cfg.m1):
            ctx.set(dut.column, {"valid": 1, "column": column, "last": int(i == cfg.m1 - 1),
                                 "emax": emax, "ctype": 1, "none": 0})
            await ctx.tick()
        ctx.set(dut.column.valid, 0)
        await receive(dut.d, cfg.width, d, random.Random(1))(ctx)
        assert ctx.get(dut.overflow) == bad

    run(dut, bench)
    if not bad:
        expected = Descriptor.compute(cfg, np.full((4, cfg.m1), float(ops.trunc_flt(value))))
        assert [w.value for w in d] == expected.tolist()


def test_full_width_descriptor_takes_one_cycle_per_word() -> None:
    cfg = AcceleratorConfig()
    dut = Descriptor(cfg)
    rng = np.random.default_rng(4)
    gr = random_flt(rng, (4, cfg.m1), 12)
    gr[:, 5] = 0.0
    emax = int(max(-100, ops.exponent(gr).max()))
    taken: list = []

    async def bench(ctx):
        for i in range(cfg.m1):
            ctx.set(dut.column, {"valid": 1, "column": [flt_fields(cfg, v) for v in gr[:, i]],
                                 "last": int(i == cfg.m1 - 1), "emax": emax, "ctype": 3,
                                 "none": 0})
            await ctx.tick()
        ctx.set(dut.column.valid, 0)
        ctx.set(dut.d.ready, 1)
        for _ in range(cfg.width + dut.latency + 2):
            await ctx.tick()

    run(dut, bench, background=[collect(dut.d.valid, dut.d.payload, taken)])
    assert [word.value for _, word in taken] == Descriptor.compute(cfg, gr).tolist()
    first = taken[0][0]
    assert [cycle for cycle, _ in taken] == list(range(first, first + cfg.width))
    assert first == cfg.m1 - 1 + dut.latency


def test_empty_slots_and_columns_at_many_lanes() -> None:
    for m1, fold in ((8, 1), (16, 2), (8, 2), (8, 4), (8, 8)):
        cfg = small(m1=m1, width=4 * m1, fold=fold)
        dut = EmptySlot(cfg)
        rng = np.random.default_rng(m1 + fold)
        k0 = rng.integers(-(1 << 31), 1 << 31, (2, 2, m1))

        async def bench(ctx, cfg=cfg, dut=dut, k0=k0):
            await load_beats(ctx, dut.load, Section.EMPTY, k0.reshape(-1, 4))
            for centre in range(2):
                for neighbor in range(2):
                    for slot in range(cfg.fold):
                        ctx.set(dut.ctype, centre)
                        ctx.set(dut.ntype, neighbor)
                        ctx.set(dut.slot, slot)
                        await ctx.tick()
                        found = [ctx.get(dut.words[n]) for n in range(cfg.lanes)]
                        first = slot * cfg.lanes
                        assert found == k0[centre, neighbor, first : first + cfg.lanes].tolist()

        run(dut, bench)
    assert EmptySlot.compute(cfg, np.float64(-0.5), np.array([2.0**-23, -1.0])).tolist() == \
        [0, 1 << 22]
    columns = Columns(4, 1, 4, 3)
    out: list = []

    async def push(ctx):
        for word in (0x3210, 0x7654, 0xBA98):
            ctx.set(columns.push, 1)
            ctx.set(columns.word, word)
            ctx.set(columns.side, word & 1)
            await ctx.tick()
        ctx.set(columns.push, 0)
        for _ in range(14):
            await ctx.tick()

    run(columns, push, background=[collect(columns.valid, columns.column, out)])
    assert [value for _, value in out] == list(range(12))


def test_bad_parameters_are_refused() -> None:
    refused(lambda: Descriptor(small(), atoms=3), "atoms is 3, expected a power of two")
    refused(lambda: EmptySlot(small(m1=2, width=8, fold=2)), "m1 is 2, expected at least 4")
    refused(lambda: Ring(4, 0), "depth is 0, expected at least 1")
