# amaranth: UnusedElaboratable=no
"""Row choice and table unit against the lookup's definition."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal
from support.hdl_arith_tools import fields, number, pipe, random_flt, simulate

from nvnmd.hdl.arith.flt import FltValue
from nvnmd.hdl.neighbor.octave_select import OctaveSelect
from nvnmd.hdl.neighbor.row_select import RowSelect
from nvnmd.hdl.neighbor.table import Horner, SlopeHorner, TableUnit
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.quantize import ops
from nvnmd.quantize import table_lookup as lookup

FULL = AcceleratorConfig()
NARROW = replace(FULL, frac=10, offset_frac=6, mult_latency=1)
TWO = FULL.s_segments
NINE = tuple((k - 9, 3 + 5 * k) for k in range(9))
FINE = ((-12, 100), (2, 3))


def arguments(dut: RowSelect, x0: int, count: int, seed: int = 1) -> list[float]:
    """Every row edge and its neighbours, both ends, tiny values of both signs, random ones."""
    cfg = dut.cfg
    rng = random.Random(seed)
    origin = x0 / 256
    ulp = 2.0**-cfg.frac
    edges = {0.0, origin}
    for step, rows in dut.segments:
        picks = {0, 1, 2, rows - 2, rows - 1, rows, rows + 1, 2 * rows} | {
            rng.randrange(rows) for _ in range(8)
        }
        edges |= {origin + k * 2.0**step for k in picks}
    values = {s * v for v in edges for s in (1, -1)}
    for v in list(values):
        values |= {v * (1 + ulp), v * (1 - ulp), v * (1 - ulp / 2)}
    # Around the places where binary64 rounds the difference, ties and carries included.
    for e in (*range(-75, -40), -100, -126, -300, -511):
        for man in (1.0, 1 + ulp, 1.5, 1.5 + ulp, 1.75, 2 - ulp, 1 + 2 * ulp, 1.25):
            values |= {man * 2.0**e, -man * 2.0**e}
    values |= {s * 2.0**e for s in (1, -1) for e in (9, 20, 127, 510)}
    for _ in range(count):
        values.add(random_flt(rng, cfg, -14, 5))
        values.add(random_flt(rng, cfg, -66, -12))
        values.add(origin + abs(random_flt(rng, cfg, -30, 4)))
    return sorted(float(ops.trunc_flt(v, cfg.frac)) for v in values)


def check_rows(cfg: AcceleratorConfig, segments: tuple, x0: int, count: int = 150) -> list:
    dut = RowSelect(cfg, segments)
    values = arguments(dut, x0, count)

    def put(ctx, x):
        ctx.set(dut.x0, x0)
        ctx.set(dut.x, fields(cfg, x))

    def get(ctx):
        return ctx.get(dut.row), number(cfg, ctx.get(dut.offset))

    # Two values to begin with: x0 is a constant, and takes a cycle to arrive.
    got = pipe(dut, [0.0, 0.0, *values], put, get)[2:]
    for x, pair in zip(values, got, strict=True):
        assert pair == dut.compute(x, x0), f"x = {x!r} ({x.hex()}), x0 = {x0}/256"
    return got


@pytest.mark.parametrize(
    "x0", [0, -1, 1, -80, -77, -256, -255, -257, -128, -2048, 2047, 37, 256, -4 * 256, -16]
)
def test_rows_of_the_embedding_table(x0):
    rows = {row for row, _ in check_rows(FULL, TWO, x0)}
    assert {0, 255, 256, 511} & rows and len(rows) > 20


def test_rows_of_the_radial_table():
    rows = {row for row, _ in check_rows(FULL, FULL.u_segments, 0)}
    assert {0, 511} <= rows


@pytest.mark.parametrize("x0", [0, -80, -1, 2047])
@pytest.mark.parametrize("segments", [((-8, 256),), NINE, FINE, ((0, 1),), ((3, 2), (-2, 40))])
def test_other_layouts(segments, x0):
    check_rows(FULL, segments, x0, 60)


@pytest.mark.parametrize("x0", [0, -80, -256])
def test_rows_at_reduced_width(x0):
    check_rows(NARROW, TWO, x0)
    check_rows(replace(FULL, frac=6, offset_frac=6), TWO, x0)


def test_rounding_of_the_difference():
    """Cases worked out by hand, so that the lookup itself is held to them."""
    select = RowSelect(FULL, TWO)
    # -2^-60 - (-0.3125) rounds to 0.3125: row 80, not 79.
    assert select.compute(-(2.0**-60), -80) == (80, 0.0)
    # Half an ulp of 0.3125 (2^-54) is a tie, and goes to even; a little more rounds up.
    assert select.compute(2.0**-55, -80) == (80, 0.0)
    assert select.compute(2.0**-55 * (1 + 2.0**-20), -80) == (80, 2.0**-54)
    assert select.compute(1.5 * 2.0**-54, -80) == (80, 2.0**-53)
    # 2^-60 lies above the end of the first segment although the difference rounds to it.
    assert select.compute(2.0**-60, -256) == (256 + 16, 0.0)
    assert select.compute(0.0, -256) == (255, 2.0**-8)
    assert select.compute(-(2.0**-60), -256) == (255, 2.0**-8)
    # x0 = 0: nothing is rounded; below it is the last segment's first row.
    assert select.compute(2.0**-300, 0) == (0, 2.0**-300)
    assert select.compute(-(2.0**-300), 0) == (256, 0.0)
    assert select.compute(16.0, 0) == (511, 0.0625)
    assert select.compute(1e30, 0) == (511, 0.0625)


OCTAVES = ((-4, 4), (-4, 4), (-3, 4), (-2, 4), (-1, 4))


def octave_arguments(dut: OctaveSelect, count: int, seed: int = 1) -> list[float]:
    """Every row edge and its neighbours, tiny and large values, random ones of every octave."""
    cfg = dut.cfg
    rng = random.Random(seed)
    layout = dut.layout(0)
    ulp = 2.0**-cfg.frac
    values = {0.0}
    for edge in (*layout.row_starts(), layout.row_ends()[-1]):
        values |= {float(edge) * f for f in (1.0, 1 + ulp, 1 - ulp / 2, 1 - ulp)}
    values |= {2.0**e * man for e in (-511, -300, -40, -21, 20, 127, 510) for man in (1.0, 1.75)}
    for e in range(dut.first - 12, dut.first + len(dut.segments) + 2):
        values |= {abs(random_flt(rng, cfg, e, e + 1)) for _ in range(count)}
    return sorted(float(ops.trunc_flt(v, cfg.frac)) for v in values)


@pytest.mark.parametrize("cfg", [FULL, NARROW], ids=["frac20", "frac10"])
@pytest.mark.parametrize("segments", [
    tuple((-7 + max(0, k - 1), 32) for k in range(9)), OCTAVES, ((1, 2), (1, 2))])
def test_rows_of_octaves(cfg, segments):
    dut = OctaveSelect(cfg, segments)
    values = octave_arguments(dut, 20)
    got = pipe(dut, values, lambda ctx, x: ctx.set(dut.x, fields(cfg, x)),
               lambda ctx: (ctx.get(dut.row), number(cfg, ctx.get(dut.offset))))
    for x, pair in zip(values, got, strict=True):
        assert pair == dut.compute(x, 0), f"x = {x!r} ({x.hex()})"
    assert {row for row, _ in got} == set(range(dut.rows))


@pytest.mark.parametrize("segments", [
    (), ((-3, 8),), ((-3, 8), (-2, 8)), ((-3, 8), (-3, 4)), ((-3, 6), (-3, 6)), ((0, 1), (0, 1))])
def test_what_are_no_octaves(segments):
    with pytest.raises(ValueError, match="expected"):
        OctaveSelect(FULL, segments)


@pytest.mark.parametrize("cfg", [FULL, NARROW], ids=["frac20", "frac10"])
def test_horner(cfg):
    rng = random.Random(3)
    dut = Horner(cfg)
    cases = [([0.0] * 4, 0.0), ([1.0, -1.0, 1.0, -1.0], 1.0), ([1.0] * 4, 2.0**-300)]
    for _ in range(300):
        spans = [rng.choice((-60, -10)) for _ in range(4)]
        x = float(ops.trunc_flt(abs(random_flt(rng, cfg, -20, 0)), cfg.offset_frac))
        cases.append(([random_flt(rng, cfg, low, 12) for low in spans], x))
    results = []

    async def bench(ctx):
        for cycle in range(len(cases) + dut.latency):
            if cycle < len(cases):
                words = [FltValue.from_float(cfg, c).to_word(cfg) for c in cases[cycle][0]]
                ctx.set(dut.words, words)
            for k in range(3):
                at = cycle - k * dut.stride
                if 0 <= at < len(cases):
                    ctx.set(dut.x[k], fields(cfg, cases[at][1]))
            if cycle >= dut.latency:
                results.append(number(cfg, ctx.get(dut.y)))
            await ctx.tick()

    simulate(dut, bench)
    assert results == [dut.compute(*case) for case in cases]


SMALL = ((-8, 6), (-4, 10))
TINY = ((-8, 1), (-4, 3))


def coefficients(cfg: AcceleratorConfig, ntab: int, rows: int, n_out: int, seed: int):
    """Random tables, shape (ntab, rows, n_out, 4), among them zeros."""
    rng = random.Random(seed)
    size = ntab * rows * n_out * 4
    values = [random_flt(rng, cfg, -8, 4) for _ in range(size)]
    return np.array(values).reshape(ntab, rows, n_out, 4)


async def load(ctx, dut: TableUnit, section: int, table: np.ndarray, *, noise: int = 0) -> None:
    """Write a table over the load bus in its natural order."""
    cfg = dut.cfg
    n_out = table.shape[2]
    # every row takes a power of two of beats
    spare = [(0, 0), (0, 0), (0, (1 << (n_out - 1).bit_length()) - n_out), (0, 0)]
    for index, cubic in enumerate(np.pad(table, spare).reshape(-1, 4)):
        word = 0
        for k, c in enumerate(cubic):
            word |= (FltValue.from_float(cfg, float(c)).to_word(cfg) | noise << 29) << 32 * k
        ctx.set(dut.load.valid, 1)
        ctx.set(dut.load.section, section)
        ctx.set(dut.load.index, index)
        ctx.set(dut.load.data, word)
        await ctx.tick()
    ctx.set(dut.load.valid, 0)


def run_table(cfg, *, n_out, fold, ntab, segments=SMALL, x0=-80, count=40, gaps=False,
              own=False, octaves=False):
    dut = TableUnit(
        cfg, n_out=n_out, segments=segments, ntab=ntab, fold=fold,
        sections=(4, None if own else 5), octaves=octaves,
    )
    values = coefficients(cfg, ntab, dut.rows, n_out, 1)
    grads = coefficients(cfg, ntab, dut.rows, n_out, 2)
    rng = random.Random(4)
    # Those inside the table twice: most corner values lie outside.
    xs = (octave_arguments(OctaveSelect(cfg, segments), 10) if octaves
          else arguments(RowSelect(cfg, segments), x0, 10))
    end = x0 / 256 + max(rows * 2.0**step for step, rows in segments)
    xs = rng.sample(xs + [x for x in xs if x0 / 256 < x < end and abs(x) > 1e-9] * 4, count)
    sets = [(x, rng.randrange(ntab)) for x in xs]
    start, at = [], 0
    for _ in sets:
        start.append(at)
        at += fold + (rng.choice((0, 0, 1, 5)) if gaps else 0)
    seen = []

    async def bench(ctx):
        await load(ctx, dut, 4, values, noise=5)
        await load(ctx, dut, 5, grads)
        # Beats of other sections, and beyond the table, are not for this unit.
        beyond = ntab * dut.rows << (n_out - 1).bit_length()
        for section, index in ((3, 0), (6, 0), (4, beyond)):
            ctx.set(dut.load.valid, 1)
            ctx.set(dut.load.section, section)
            ctx.set(dut.load.index, index)
            ctx.set(dut.load.data, (1 << 128) - 1)
            await ctx.tick()
        ctx.set(dut.load.valid, 0)
        ctx.set(dut.x0, x0)
        await ctx.tick().repeat(3)
        queue = list(zip(start, sets, strict=True))
        for cycle in range(at + dut.latency + dut.slots):
            now = bool(queue) and queue[0][0] == cycle
            x, tab = queue.pop(0)[1] if now else rng.choice(sets)
            ctx.set(dut.valid_i, now)
            ctx.set(dut.x, fields(cfg, x))
            ctx.set(dut.tab, tab)
            if ctx.get(dut.valid_o):
                lanes = range(min(dut.lanes, n_out - dut.lanes * ctx.get(dut.slot)))
                seen.append(
                    (
                        cycle,
                        ctx.get(dut.slot),
                        [number(cfg, ctx.get(dut.value[k])) for k in lanes],
                        [number(cfg, ctx.get(dut.grad[k])) for k in lanes],
                    )
                )
            await ctx.tick()

    simulate(dut, bench)
    want = []
    for begin, (x, tab) in zip(start, sets, strict=True):
        value, grad = dut.compute(values, x, x0, tab, grads)
        for slot in range(dut.slots):
            part = slice(slot * dut.lanes, (slot + 1) * dut.lanes)
            want.append((begin + dut.latency + slot, slot, value[part], grad[part]))
    assert len(seen) == len(want)
    for got, expected in zip(seen, want, strict=True):
        assert got == expected
    return dut


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize(
    ("n_out", "fold"),
    [(2, 1), (2, 2), (2, 32), (3, 1), (3, 2), (3, 4), (4, 1), (8, 4), (32, 32), (8, 8)],
)
def test_table_unit(n_out, fold, gaps):
    dut = run_table(
        FULL, n_out=n_out, fold=fold, ntab=2, gaps=gaps, count=max(8, 100 // max(n_out, fold)),
        segments=TINY if n_out > 4 else SMALL,
    )
    assert dut.lanes == -(-n_out // fold)


@pytest.mark.parametrize(("n_out", "fold"), [(2, 1), (2, 32), (8, 4), (8, 8)])
def test_table_unit_with_its_own_slopes(n_out, fold):
    run_table(FULL, n_out=n_out, fold=fold, ntab=2, gaps=True, own=True, segments=((-5, 10),))
    run_table(FULL, n_out=n_out, fold=fold, ntab=2, own=True, octaves=True, x0=0,
              segments=OCTAVES[:3])


def test_slope_horner():
    """Value and slope of the lookup itself, number by number."""
    table = coefficients(FULL, 1, 50, 2, 8)[0]
    horner = SlopeHorner(FULL)
    rng = random.Random(5)
    for row in range(50):
        x = float(ops.trunc_flt(abs(random_flt(rng, FULL, -12, 0)), FULL.offset_frac))
        values, slopes = lookup.evaluate_both(table, None, np.array(row), np.array(x))
        for k in range(2):
            assert horner.compute(list(table[row, k]), x) == (values[k], slopes[k])


@pytest.mark.parametrize(("ntab", "segments"), [(1, ((-3, 16),)), (3, SMALL), (3, ((-5, 11),))])
def test_tables_of_several_types(ntab, segments):
    run_table(FULL, n_out=4, fold=4, ntab=ntab, segments=segments)


def test_table_unit_at_reduced_width():
    run_table(NARROW, n_out=4, fold=2, ntab=2)


def test_compute_is_the_lookup():
    """`TableUnit.compute` states the same as `nvnmd.quantize.table_lookup`, number by number."""
    dut = TableUnit(FULL, n_out=4, segments=SMALL, ntab=2, fold=4, sections=(4, 5))
    tables = coefficients(FULL, 2, dut.rows, 4, 5)
    select = RowSelect(FULL, SMALL)
    for x in arguments(select, -80, 5)[::7]:
        row, offset = lookup.locate(x, select.layout(-80))
        want = lookup.evaluate(tables[1], row, offset)
        assert dut.compute(tables, x, -80, 1, tables)[0] == [float(v) + 0.0 for v in want]


def test_reset_between_the_slots():
    """A reset ends the argument in flight; what was loaded stays, and the next is right."""
    cfg = FULL
    dut = TableUnit(cfg, n_out=4, segments=SMALL, ntab=1, fold=4, sections=(4, 5))
    table = coefficients(cfg, 1, dut.rows, 4, 6)
    reset = Signal()
    seen = []

    async def bench(ctx):
        await load(ctx, dut, 4, table)
        await load(ctx, dut, 5, table)
        for cycle in range(2 * dut.latency + 20):
            ctx.set(dut.valid_i, cycle in (0, 12))
            ctx.set(dut.x, fields(cfg, 0.0101))
            ctx.set(reset, cycle == 9)
            if ctx.get(dut.valid_o):
                seen.append((cycle, ctx.get(dut.slot), number(cfg, ctx.get(dut.value[0]))))
            await ctx.tick()

    simulate(ResetInserter(reset)(dut), bench)
    x = float(ops.trunc_flt(0.0101))
    want, _ = dut.compute(table, x, 0, 0, table)
    assert seen == [(12 + dut.latency + k, k, want[k]) for k in range(4)]
    assert any(math.fabs(v) > 0 for v in want)


@pytest.mark.parametrize(
    "change", [{"n_out": 0}, {"fold": 6}, {"ntab": 0}, {"segments": ()}, {"segments": ((-20, 4),)}]
)
def test_bad_parameters(change):
    good = {"n_out": 4, "segments": SMALL, "ntab": 1, "fold": 4, "sections": (4, 5)}
    with pytest.raises(ValueError, match=r"expected|needs"):
        TableUnit(FULL, **(good | change))
