"""Units that only SUB_VERSION 2 has: binary64's sum, the late cut sum of products, the fade."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from support.hdl_arith_tools import FULL, assert_same, fields, number, pipe, random_flt

from nvnmd.errors import InputError
from nvnmd.hdl.arith.binary_sum import BinarySum
from nvnmd.hdl.neighbor.wide_dot import WideDot
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.quantize.ops import trunc_flt
from nvnmd.quantize.type_factor import wide_dot


def pairs(rng):
    """Sums whose operands lie any distance apart, and the edges at which binary64 rounds back."""
    top = 2.0 - 2.0**-20
    edges = [(0.0, 0.0), (1.0, -1.0), (0.0, -3.5), (top, top), (1.0, -top)]
    for gap in (*range(0, 5), *range(30, 36), *range(50, 58), 70, 400):
        small = 2.0**-gap
        for big in (1.0, top, 1.0 + 2.0**-20, 1.5):
            for man in (1.0, 1.0 + 2.0**-20, top):
                edges += [(big, sign * man * small) for sign in (1.0, -1.0)]
                edges += [(-big, man * small), (man * small, -big)]
    for _ in range(1500):
        a = random_flt(rng, FULL, -3, 3)
        edges.append((a, random_flt(rng, FULL, -rng.choice((4, 30, 60)), 3)))
    return edges


def test_sum_of_binary64():
    cases = pairs(random.Random(3))
    dut = BinarySum(FULL)

    def put(ctx, case):
        ctx.set(dut.a, fields(FULL, case[0]))
        ctx.set(dut.b, fields(FULL, case[1]))

    got = pipe(dut, cases, put, lambda ctx: number(FULL, ctx.get(dut.o)))
    want = [dut.compute(a, b) for a, b in cases]
    assert_same(cases, got, want)
    # what it is: binary64's own sum, its low 32 bits cleared
    bits = np.array([a + b for a, b in cases]).view(np.int64) & ~((1 << 32) - 1)
    plain = bits.view(np.float64) + 0.0
    assert want == plain.tolist()
    assert sum(a + b != 0 and math.copysign(1, a) != math.copysign(1, b) for a, b in cases) > 300


@pytest.mark.parametrize(("m1", "fold"), [(8, 8), (8, 2), (32, 4)])
def test_sum_of_products(m1, fold):
    """One neighbour after another without a gap; also those that cancel, and zeros."""
    cfg = AcceleratorConfig(m1=m1, m2=4, width=4 * m1, fold=fold, fit_cols=4)
    slots, lanes = fold, cfg.lanes
    rng = random.Random(m1 + fold)
    sets = [([0.0] * m1, [1.0] * m1), ([1.0, -1.0] * (m1 // 2), [1.5] * m1)]
    for low in (-3, -30, -90, -120):
        for _ in range(6):
            a, b = ([random_flt(rng, cfg, low, 2) for _ in range(m1)] for _ in range(2))
            sets.append((a, b))
            # the first half against the second, but for a little
            half = m1 // 2
            near = [float(trunc_flt(-x * (1 + 2.0**-20))) for x in a[:half]]
            sets.append((a[:half] + near, b[:half] + b[:half]))
    dut = WideDot(cfg, slots)
    beats = [(n, k) for n in range(len(sets)) for k in range(slots)]
    found = []

    def put(ctx, beat):
        n, k = beat
        a, b = sets[n]
        ctx.set(dut.mark, {"valid": 1, "first": k == 0, "last": k == slots - 1})
        ctx.set(dut.a, [fields(cfg, x) for x in a[k * lanes : (k + 1) * lanes]])
        ctx.set(dut.b, [fields(cfg, x) for x in b[k * lanes : (k + 1) * lanes]])

    def get(ctx):
        if ctx.get(dut.valid_o):
            found.append(number(cfg, ctx.get(dut.o)))

    pipe(dut, beats, put, get)
    assert_same(sets, found, [dut.compute(a, b) for a, b in sets])


def test_sum_of_products_is_the_exact_one():
    """But for what lies 52 bits below the largest product; `math.fsum` is exact."""
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(2, 400, 32))
    a, b = (np.float64(x.astype(np.float32)).view(np.int64) & ~((1 << 32) - 1) for x in (a, b))
    a, b = a.view(np.float64), b.view(np.float64)
    exact = np.array([math.fsum(x * y) for x, y in zip(a, b, strict=True)])
    cut = (exact.view(np.int64) & ~((1 << 32) - 1)).view(np.float64)
    np.testing.assert_array_equal(wide_dot(a, b), cut)


def test_parameters():
    with pytest.raises(InputError, match="sub_version is 2, expected 1, or 2 in version 1"):
        AcceleratorConfig(version=0, sub_version=2)
    cfg = AcceleratorConfig(version=1, sub_version=2, ntypes=8)
    assert cfg.radial == 3 and cfg.empty_kinds == 8 and cfg.empty_counts
    assert not AcceleratorConfig(version=1).empty_counts and AcceleratorConfig().empty_counts
