"""GR and the descriptor in hardware against their integer definitions."""

from __future__ import annotations

import random

import numpy as np
import pytest
from amaranth.hdl import Elaboratable, Module, ResetInserter, Signal
from forward_bench import (
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

from nvnmd.hdl.columns import Columns
from nvnmd.hdl.descriptor import Descriptor, FloorToData
from nvnmd.hdl.empty import EmptySlot
from nvnmd.hdl.gr import GrAccumulate, GrFinalize
from nvnmd.hdl.load import Section
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.ring import Ring
from nvnmd.hdl.whole import ProductToFix, TruncateWhole
from nvnmd.quantize import ops


@pytest.mark.parametrize("depth", [1, 2, 3, 8])
def test_ring_returns_the_word_pushed_depth_pushes_ago(depth: int) -> None:
    dut = Ring(8, depth)
    rng = random.Random(depth)
    pushed: list[int] = []

    async def bench(ctx):  # type: ignore[no-untyped-def]
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

    async def bench(ctx):  # type: ignore[no-untyped-def]
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

    async def bench(ctx):  # type: ignore[no-untyped-def]
        for value in values:
            ctx.set(dut.i, value)
            await ctx.delay(1e-7)
            expected = TruncateWhole.compute(value, 21)
            assert ctx.get(dut.o) == expected
            assert expected == int(ops.trunc_flt(float(value)))

    run(dut, bench)


@pytest.mark.parametrize("frac", [20, 8])
def test_floor_to_data(frac: int) -> None:
    cfg = small(frac=frac, offset_frac=min(frac, 16))
    bits = 2 * (cfg.man_bits + 1) + 2
    dut = FloorToData(cfg, bits)
    rng = random.Random(frac)
    items = [(0, -100), (-1, -100), (1, -100), (-1, 0), (1, 0), (0, 300), (1, 20)]
    for _ in range(250):
        n = rng.randrange(1, bits - 1)
        items.append((rng.randrange(-(1 << n), 1 << n), rng.choice([-100, -30, -9, -3, -1, 0, 1])))
    overflows = 0

    async def bench(ctx):  # type: ignore[no-untyped-def]
        nonlocal overflows
        for p, emax in items:
            ctx.set(dut.p, p)
            ctx.set(dut.emax, emax)
            for _ in range(dut.latency):
                await ctx.tick()
            cut = TruncateWhole.compute(p, cfg.man_bits)
            right = 2 * frac - 2 * emax - cfg.fix_frac
            expected = cut >> right if right >= 0 else cut << -right
            if -(1 << 26) <= expected < 1 << 26 and (emax < 2 or expected == 0):
                assert ctx.get(dut.overflow) == 0, (p, emax)
                assert ctx.get(dut.o) == expected, (p, emax)
            else:
                overflows += 1
                assert ctx.get(dut.overflow) == 1, (p, emax)

    run(dut, bench)
    assert overflows > 1


def drive_neighbors(cfg, dut, groups, rng, idle=0.3):  # type: ignore[no-untyped-def]
    """A bench that sends groups of (r4 (n,4), g (n,m1), masked, fields) to a `GrAccumulate`."""

    async def bench(ctx):  # type: ignore[no-untyped-def]
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

    async def bench(ctx):  # type: ignore[no-untyped-def]
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


def finalize_bench(cfg, dut, k0, atoms, nix_shift, room, returned):  # type: ignore[no-untyped-def]
    """Load K0, then send atoms (ctype, none, groups of (sums, empties)), at most `room` ahead."""

    async def bench(ctx):  # type: ignore[no-untyped-def]
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

    async def bench(ctx):  # type: ignore[no-untyped-def]
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

    async def bench(ctx):  # type: ignore[no-untyped-def]
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

        async def bench(ctx, cfg=cfg, dut=dut, k0=k0):  # type: ignore[no-untyped-def]
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

    async def push(ctx):  # type: ignore[no-untyped-def]
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
