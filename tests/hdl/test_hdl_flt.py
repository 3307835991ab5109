# amaranth: UnusedElaboratable=no
"""flt words, products and sums in hardware, against rational arithmetic."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from support.hdl_arith_tools import (
    CONFIGS,
    FULL,
    assert_same,
    exact_trunc,
    fields,
    number,
    pipe,
    random_flt,
)

from nvnmd.hdl.arith import flt
from nvnmd.hdl.arith.add import FltAdd
from nvnmd.hdl.arith.mul import FltMul
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.quantize.formats import FloatFormat, decode_flt, encode_flt


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
