# amaranth: UnusedElaboratable=no
"""Multipliers, delays, alignment, sums and dot products in hardware, against integers."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction

import pytest
from amaranth.hdl import signed
from amaranth.lib import data
from support.hdl_arith_tools import (
    CONFIGS,
    FULL,
    assert_same,
    exact_trunc,
    fields,
    number,
    pipe,
    random_flt,
    simulate,
)

from nvnmd.errors import InputError
from nvnmd.hdl.arith.align import Align, MaxExp
from nvnmd.hdl.arith.dot import FltDot
from nvnmd.hdl.arith.mul import FltMul
from nvnmd.hdl.arith.multiplier import Multiplier
from nvnmd.hdl.arith.normalize import Normalize
from nvnmd.hdl.arith.split import FAMILY_BLOCKS, split_product
from nvnmd.hdl.arith.sumtree import SumTree
from nvnmd.hdl.pipeline.delay import Delay


@pytest.mark.parametrize("latency", [0, 1, 2, 3, 4])
@pytest.mark.parametrize(("family", "bits"), [
    ("UltraScale+", (22, 18)), ("ECP5", (22, 18)), ("ECP5", (22, 22)), ("ECP5", (9, 32)),
    ("7-series", (27, 21)),
])
def test_multiplier(family, bits, latency):
    """Whole, and split over blocks and adders: parts with and without a sign."""
    rng = random.Random(3)
    ends = [(-(1 << (w - 1)), (1 << (w - 1)) - 1, -1, 0, 1, 1 << (w - 2)) for w in bits]
    pairs = list(itertools.product(*ends))
    pairs += [tuple(rng.randrange(-(1 << (w - 1)), 1 << (w - 1)) for w in bits)
              for _ in range(100)]
    dut = Multiplier(*bits, latency, family)

    def put(ctx, pair):
        ctx.set(dut.a, pair[0])
        ctx.set(dut.b, pair[1])

    got = pipe(dut, pairs, put, lambda ctx: ctx.get(dut.p))
    assert got == [dut.compute(a, b) for a, b in pairs]


@pytest.mark.parametrize("family", FAMILY_BLOCKS)
def test_parts_of_a_product(family):
    """Parts cover the operands once, fit the blocks, and sum up to the product."""
    operands = sorted(FAMILY_BLOCKS[family].operands)
    rng = random.Random(5)
    for bits in itertools.product((2, 9, 17, 18, 19, 22, 27, 36, 45), repeat=2):
        split = split_product(*bits, family)
        for parts, width in zip((split.a, split.b), bits, strict=True):
            assert [p.start for p in parts] + [width] == [0, *(p.start + p.width for p in parts)]
            assert [p.signed for p in parts] == [False] * (len(parts) - 1) + [True]
        for i, j in itertools.product(range(len(split.a)), range(len(split.b))):
            # with the sign that an unsigned part takes
            widths = sorted(p.width + (not p.signed) for p in (split.a[i], split.b[j]))
            assert all(w <= o for w, o in zip(widths, operands, strict=True))
        x, y = (rng.randrange(-(1 << (w - 1)), 1 << (w - 1)) for w in bits)
        total = 0
        for p, q in itertools.product(split.a, split.b):
            values = [(v >> r.start) if r.signed else (v >> r.start) % (1 << r.width)
                      for v, r in ((x, p), (y, q))]
            total += values[0] * values[1] << (p.start + q.start)
        assert total == x * y
    with pytest.raises(InputError, match="family is Spartan, expected one of ECP5"):
        split_product(9, 9, "Spartan")


def run_sets(dut, fold, sets, put, get, *, gaps):
    """Feed operand sets `fold` cycles apart or more; check the cycle of every result."""
    rng = random.Random(4)
    start, at = [], 0
    for _ in sets:
        start.append(at)
        at += fold + (rng.choice((0, 0, 1, 3)) if gaps else 0)
    results, cycles = [], []

    async def bench(ctx):
        queue = list(zip(start, sets, strict=True))
        for cycle in range(at + dut.latency + 3):
            now = bool(queue) and queue[0][0] == cycle
            # Between the sets the operands change: they count in the valid cycle only.
            put(ctx, queue.pop(0)[1] if now else sets[rng.randrange(len(sets))])
            ctx.set(dut.valid_i, now)
            if dut.latency == 0:
                await ctx.delay(1e-7)
            if ctx.get(dut.valid_o):
                results.append(get(ctx))
                cycles.append(cycle)
            await ctx.tick()

    simulate(dut, bench)
    assert cycles == [s + dut.latency for s in start]
    return results


@pytest.mark.parametrize(
    ("shape", "cycles", "ring"),
    [(8, 0, None), (8, 1, None), (8, 4, None), (8, 5, None), (8, 16, None), (8, 17, None),
     (1, 9, None), (8, 2, True), (8, 3, True), (8, 9, False), (signed(5), 7, None)],
)
def test_delay(shape, cycles, ring):
    rng = random.Random(6)
    values = [rng.randrange(0, 2 if shape == 1 else 16) for _ in range(60)]
    dut = Delay(shape, cycles, ring=ring)
    got = pipe(dut, values, lambda ctx, v: ctx.set(dut.i, v), lambda ctx: ctx.get(dut.o))
    assert got == values
    assert dut.ring == (ring if ring is not None else cycles >= 5 and shape != 1)
    assert Delay.compute([1, 2, 3], 2) == [0, 0, 1]


def test_delay_of_a_structure():
    layout = data.StructLayout({"a": signed(4), "b": 3})
    dut = Delay(layout, 6)
    values = [{"a": k % 16 - 8, "b": k % 5} for k in range(30)]
    got = pipe(
        dut, values, lambda ctx, v: ctx.set(dut.i, v),
        lambda ctx: {"a": ctx.get(dut.o.a), "b": ctx.get(dut.o.b)},
    )
    assert got == values


@CONFIGS
@pytest.mark.parametrize("n", [1, 3, 5, 32])
def test_maxexp(cfg, n):
    rng = random.Random(7)
    dut = MaxExp(cfg, n)
    vectors = [[0.0] * n, [2.0**-101] * n, [2.0**-99] * n, [-(2.0**200)] * n, [2.0**-511] * n]
    for _ in range(100):
        span = rng.choice(((-120, -90), (-20, 20)))
        vectors.append([random_flt(rng, cfg, *span) for _ in range(n)])
        vectors.append([0.0] * (n - 1) + [random_flt(rng, cfg, *span)])

    def put(ctx, vector):
        ctx.set(dut.i, [fields(cfg, x) for x in vector])

    assert pipe(dut, vectors, put, lambda ctx: ctx.get(dut.o)) == [dut.compute(v) for v in vectors]


@CONFIGS
def test_align(cfg):
    rng = random.Random(8)
    ulp = 2.0**-cfg.frac
    cases = [(0.0, -100), (0.0, 400), (1.0, 0), (-(2 - ulp), 0), (-(2 - ulp), 1)]
    cases += [(-(2 - ulp), cfg.frac), (2 - ulp, cfg.frac + 1), (1.0, 500), (-(2.0**-500), 500)]
    for _ in range(500):
        x = random_flt(rng, cfg)
        e = math.frexp(x)[1] - 1 if x else -100
        cases.append((x, e + rng.choice((0, 1, 5, rng.randrange(40), rng.randrange(200)))))
    dut = Align(cfg)

    def put(ctx, case):
        ctx.set(dut.i, fields(cfg, case[0]))
        ctx.set(dut.emax, case[1])

    assert pipe(dut, cases, put, lambda ctx: ctx.get(dut.o)) == [dut.compute(*c) for c in cases]


@CONFIGS
@pytest.mark.parametrize("bits", [5, 11, 22, 36, 47, 64])
def test_normalize(cfg, bits):
    rng = random.Random(9)
    top = 1 << (bits - 1)
    cases = [(0, 5), (1, 0), (-1, 0), (top - 1, -40), (-top, -40), (-top + 1, 3), (0, -700)]
    for _ in range(300):
        i = rng.randrange(-top, top) >> rng.randrange(bits)
        cases.append((i, rng.randint(-200, 200)))
    dut = Normalize(cfg, bits)

    def put(ctx, case):
        ctx.set(dut.i, case[0])
        ctx.set(dut.e, case[1])

    def get(ctx):
        return number(cfg, ctx.get(dut.o))

    got = pipe(dut, cases, put, get)
    assert_same(cases, got, [dut.compute(*c) for c in cases])
    assert_same(cases, got, [exact_trunc(cfg, i * Fraction(2) ** e) for i, e in cases])
    dut = Normalize(cfg, bits)
    edges = [(1, -511), (1, -512), (-1, -1000), (1, 512), (-1, 900)]
    assert pipe(dut, edges, put, get) == [2.0**-511, 0.0, 0.0, 2.0**511, -(2.0**511)]


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8])
def test_sumtree(n):
    rng = random.Random(10)
    dut = SumTree(n, 6)
    vectors = [[-32] * n, [31] * n]
    vectors += [[rng.randrange(-32, 32) for _ in range(n)] for _ in range(40)]
    got = pipe(dut, vectors, lambda ctx, v: ctx.set(dut.i, v), lambda ctx: ctx.get(dut.o))
    assert got == [dut.compute(v) for v in vectors]

DOTS = [(3, 1, 60), (3, 2, 60), (3, 32, 20), (2, 1, 40), (2, 4, 30), (32, 4, 12), (32, 32, 5)]

DOTS += [(5, 2, 30)]


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize(("n", "fold", "count"), DOTS)
@CONFIGS
def test_dot(cfg, n, fold, count, gaps):
    rng = random.Random(11)
    dut = FltDot(cfg, n, fold)
    top = 2.0 - 2.0**-cfg.frac
    sets = [
        ([0.0] * n, [1.0] * n),
        ([top] * n, [-top] * n),
        ([-top] * n, [-top] * n),
        ([2.0**-101] * n, [1.0] * n),
        ([2.0**-125] * n, [2.0**-125] * n),
        ([top * 2.0**127] * n, [top * 2.0**127] * n),
        ([1.0, -1.0] * (n // 2) + [0.0] * (n % 2), [top] * n),
    ]
    for _ in range(count):
        low = rng.choice((-2, -25, -60))
        sets.append(tuple([random_flt(rng, cfg, low, 3) for _ in range(n)] for _ in range(2)))

    def put(ctx, pair):
        ctx.set(dut.a, [fields(cfg, x) for x in pair[0]])
        ctx.set(dut.b, [fields(cfg, x) for x in pair[1]])

    got = run_sets(dut, fold, sets, put, lambda ctx: number(cfg, ctx.get(dut.o)), gaps=gaps)
    assert_same(sets, got, [dut.compute(a, b) for a, b in sets])


def test_reset_in_the_middle_drops_the_result():
    """After a reset no valid bit of older operands comes out, and the next set is right."""
    from amaranth.hdl import ResetInserter, Signal

    cfg = FULL
    dut = FltDot(cfg, 5, 4)
    reset = Signal()
    seen = []

    async def bench(ctx):
        one = [fields(cfg, 1.0)] * 5
        two = [fields(cfg, 2.0)] * 5
        for cycle in range(2 * dut.latency + 12):
            ctx.set(dut.valid_i, cycle in (0, 8))
            ctx.set(dut.a, two if cycle == 8 else one)
            ctx.set(dut.b, one)
            ctx.set(reset, cycle == 4)
            if ctx.get(dut.valid_o):
                seen.append((cycle, number(cfg, ctx.get(dut.o))))
            await ctx.tick()

    simulate(ResetInserter(reset)(dut), bench)
    assert seen == [(8 + dut.latency, 10.0)]


@pytest.mark.parametrize(
    "build",
    [
        lambda: Multiplier(1, 8),
        lambda: Multiplier(8, 8, -1),
        lambda: Delay(8, -1),
        lambda: Delay(8, 1, ring=True),
        lambda: FltMul(FULL, b_frac=21),
        lambda: MaxExp(FULL, 0),
        lambda: Normalize(FULL, 1),
        lambda: FltDot(FULL, 3, 0),
        lambda: SumTree(0, 4),
    ],
)
def test_bad_parameters(build):
    with pytest.raises(ValueError, match=r"cannot|expected|needs|no largest|are not built"):
        build()
