# amaranth: UnusedElaboratable=no
"""The arithmetic components against their integer definition, one by one."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction

import numpy as np
import pytest
from amaranth.hdl import Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from hdl_arith_tools import fields, number, pipe, random_flt, simulate

from nvnmd.hdl import flt
from nvnmd.hdl.align import Align, MaxExp
from nvnmd.hdl.delay import Delay
from nvnmd.hdl.dot import FltDot
from nvnmd.hdl.fltadd import FltAdd
from nvnmd.hdl.fltmul import FltMul
from nvnmd.hdl.mult import MulBank, Multiplier
from nvnmd.hdl.norm import Normalize
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.sumtree import SumTree
from nvnmd.quantize.formats import FloatFormat, decode_flt, encode_flt

FULL = AcceleratorConfig()
NARROW = FULL.with_(frac=10, offset_frac=6, mult_latency=1)
CONFIGS = pytest.mark.parametrize("cfg", [FULL, NARROW], ids=["frac20", "frac10"])


def exact_trunc(cfg: AcceleratorConfig, value: Fraction) -> float:
    """trunc of an exact number to a flt, from rational arithmetic alone."""
    if value == 0:
        return 0.0
    size = abs(value)
    exp = size.numerator.bit_length() - size.denominator.bit_length()
    if Fraction(2) ** exp > size:
        exp -= 1
    man = math.floor(size / Fraction(2) ** (exp - cfg.frac))
    return math.copysign(float(man * Fraction(2) ** (exp - cfg.frac)), value)


def exact_add(cfg: AcceleratorConfig, a: float, b: float) -> float:
    """The sum as the arithmetic's text states it, in integers."""
    va, vb = (flt.FltValue.from_float(cfg, v) for v in (a, b))
    top = max(va.exp, vb.exp)
    total = 0
    for v in (va, vb):
        total += (v.man >> min(top - v.exp, 63)) * (-1 if v.sign else 1)
    return exact_trunc(cfg, total * Fraction(2) ** (top - cfg.frac))


def operand_pairs(cfg: AcceleratorConfig, count: int) -> list[tuple[float, float]]:
    """Directed pairs (corners against corners) and random ones, near and far in exponent."""
    ulp = 2.0**-cfg.frac
    corners = [0.0, 1.0, 1.0 + ulp, 2.0 - ulp, 0.5, 2.0 ** (cfg.frac + 1), 2.0**-127, 2.0**127]
    corners += [(2 - ulp) * 2.0**127, 2.0 ** -(cfg.frac + 1), (2.0 - ulp) * 2.0**-cfg.frac]
    corners += [-x for x in corners]
    pairs = list(itertools.product(corners, corners))
    rng = random.Random(1)
    for _ in range(count):
        a = random_flt(rng, cfg)
        near = rng.random()
        if near < 0.3:
            b = random_flt(rng, cfg)
        elif near < 0.4:
            b = -a
        elif near < 0.5:  # cancels all but a few bits
            b = exact_trunc(cfg, Fraction(-a) * (1 + rng.randint(-8, 8) * Fraction(ulp)))
        else:
            e = math.frexp(a)[1]
            b = random_flt(rng, cfg, e - cfg.frac - 4, e + 3)
        pairs.append((a, b))
    return pairs


def run_binary(dut, pairs):
    cfg = dut.cfg

    def put(ctx, pair):
        ctx.set(dut.a, fields(cfg, pair[0]))
        ctx.set(dut.b, fields(cfg, pair[1]))

    return pipe(dut, pairs, put, lambda ctx: number(cfg, ctx.get(dut.o)))


def assert_same(operands, got, want):
    assert len(got) == len(want)
    for x, g, w in zip(operands, got, want, strict=True):
        assert (g, math.copysign(1, g)) == (w, math.copysign(1, w)), f"{x}: got {g!r}, want {w!r}"


@CONFIGS
def test_fltmul(cfg):
    pairs = operand_pairs(cfg, 2000)
    dut = FltMul(cfg)
    got = run_binary(dut, pairs)
    assert_same(pairs, got, [dut.compute(a, b) for a, b in pairs])
    assert_same(pairs, got, [exact_trunc(cfg, Fraction(a) * Fraction(b)) + 0.0 for a, b in pairs])


def test_fltmul_narrow_operand():
    pairs = operand_pairs(FULL, 500)
    dut = FltMul(FULL, b_frac=16)
    assert_same(pairs, run_binary(dut, pairs), [dut.compute(a, b) for a, b in pairs])


@CONFIGS
def test_fltadd(cfg):
    pairs = operand_pairs(cfg, 3000)
    dut = FltAdd(cfg)
    got = run_binary(dut, pairs)
    assert_same(pairs, got, [dut.compute(a, b) for a, b in pairs])
    assert_same(pairs, got, [exact_add(cfg, a, b) for a, b in pairs])


def test_range_of_exponents():
    """Below the internal range a result is zero, above it the exponent stays at the largest."""
    top = 2.0**511
    tiny = 2.0**-511
    half = 1.5 * 2.0**-300
    muls = [(top, top), (top, -4.0), (half, half), (tiny, 0.5), (tiny, 1.0), (-tiny, 2.0)]
    got = run_binary(FltMul(FULL), muls)
    assert got == [top, -top, 0.0, 0.0, tiny, -2 * tiny]
    adds = [(top, top), (1.5 * tiny, -tiny), (1.5 * tiny, tiny), (-top, -top)]
    got = run_binary(FltAdd(FULL), adds)
    assert got == [top, 0.0, 2.5 * tiny, -top]


class Words(wiring.Component):
    """word -> flt -> word, to test the two conversions."""

    def __init__(self, cfg):
        self.cfg = cfg
        super().__init__(
            {
                "i": In(cfg.flt_bits),
                "direct": Out(flt.FltLayout(cfg)),
                "value": In(flt.FltLayout(cfg)),
                "word": Out(cfg.flt_bits),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        word, overflow = flt.to_word(m, self.cfg, self.value)
        m.d.comb += [
            self.direct.eq(flt.from_word(m, self.cfg, self.i)),
            self.word.eq(word),
            self.overflow.eq(overflow),
        ]
        return m


@CONFIGS
def test_words(cfg):
    rng = random.Random(2)
    fmt = FloatFormat(cfg.exp_bits, cfg.frac)
    sign = 1 << (cfg.flt_bits - 1)
    words = [0, sign, sign | 5, 7, 1 << cfg.frac, sign | 1 << cfg.frac, (1 << cfg.flt_bits) - 1]
    words += [rng.getrandbits(cfg.flt_bits) for _ in range(300)]
    dut = Words(cfg)
    got = pipe(
        dut, words, lambda ctx, w: ctx.set(dut.i, w),
        lambda ctx: number(cfg, ctx.get(dut.direct)), latency=0,
    )
    assert_same(words, got, [float(v) for v in decode_flt(np.array(words), fmt)])
    assert [flt.FltValue.from_word(cfg, w).to_float(cfg) for w in words] == got

    values = [0.0, 2.0**-127, -(2.0**-127), 1.5 * 2.0**-128, 2.0**-200, -(2.0**127)]
    values += [random_flt(rng, cfg, -140, 127) for _ in range(300)]
    dut = Words(cfg)
    got = pipe(
        dut, values, lambda ctx, v: ctx.set(dut.value, fields(cfg, v)),
        lambda ctx: (ctx.get(dut.word), ctx.get(dut.overflow)), latency=0,
    )
    want = [int(w) for w in encode_flt(np.array(values), fmt)]
    assert got == [(w, 0) for w in want]
    assert [flt.FltValue.from_float(cfg, v).to_word(cfg) for v in values] == want

    too_large = [2.0**128, -(2.0**300), 2.0**511]
    dut = Words(cfg)
    assert pipe(
        dut, too_large, lambda ctx, v: ctx.set(dut.value, fields(cfg, v)),
        lambda ctx: ctx.get(dut.overflow), latency=0,
    ) == [1, 1, 1]
    with pytest.raises(OverflowError, match="does not fit"):
        flt.FltValue.from_float(cfg, 2.0**128).to_word(cfg)


@pytest.mark.parametrize("latency", [0, 1, 2, 3, 4])
def test_multiplier(latency):
    rng = random.Random(3)
    pairs = [(-(1 << 21), -(1 << 17)), ((1 << 21) - 1, -(1 << 17)), (0, -1), (-1, -1)]
    pairs += [(rng.randrange(-(1 << 21), 1 << 21), rng.randrange(-(1 << 17), 1 << 17))
              for _ in range(100)]
    dut = Multiplier(22, 18, latency)

    def put(ctx, pair):
        ctx.set(dut.a, pair[0])
        ctx.set(dut.b, pair[1])

    got = pipe(dut, pairs, put, lambda ctx: ctx.get(dut.p))
    assert got == [dut.compute(a, b) for a, b in pairs]


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


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize(("n", "fold"), [(6, 1), (6, 4), (5, 2), (5, 32), (1, 4)])
def test_mulbank(n, fold, gaps):
    rng = random.Random(5)
    dut = MulBank(n, fold, 10, 9, latency=2)
    sets = [
        ([rng.randrange(-512, 512) for _ in range(n)], [rng.randrange(-256, 256) for _ in range(n)])
        for _ in range(40)
    ]

    def put(ctx, pair):
        ctx.set(dut.a, pair[0])
        ctx.set(dut.b, pair[1])

    got = run_sets(dut, fold, sets, put, lambda ctx: list(ctx.get(dut.p)), gaps=gaps)
    assert got == [dut.compute(a, b) for a, b in sets]
    assert dut.lanes == -(-n // fold)


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
        lambda: MulBank(0, 1, 8, 8),
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
