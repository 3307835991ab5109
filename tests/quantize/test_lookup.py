"""Row choice at every edge, and Horner's scheme against exact rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from nvnmd.quantize import ops
from nvnmd.quantize.table_layout import Segment, TableLayout, s_layout, u_layout
from nvnmd.quantize.table_lookup import evaluate, locate


def expected(x: float, layout: TableLayout) -> tuple[int, float]:
    """The rule for one argument, step by step."""
    for segment in layout.segments:
        start = layout.x0 + segment.start
        if start <= x <= start + segment.rows * segment.step:
            break
    k = math.floor((x - start) / segment.step)
    if k < 0:
        return segment.first_row, 0.0
    if k >= segment.rows:
        return segment.first_row + segment.rows - 1, segment.step
    offset = (x - start) - k * segment.step
    if abs(offset) < 2.0**-1022:  # an operand whose exponent field is 0 is zero
        offset = 0.0
    else:
        mantissa, e = math.frexp(offset)
        offset = math.ldexp(math.trunc(mantissa * 2**17), e - 17)
    return segment.first_row + k, offset


LAYOUTS = {
    "u": u_layout(),
    "s": s_layout(-0.3125),
    "s at an edge of one": s_layout(-1.0),
    "gaps": TableLayout(0.5, (Segment(0.0, 0.25, 4, 0), Segment(2.0, 0.5, 8, 4))),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_row_choice(name):
    layout = LAYOUTS[name]
    rng = np.random.default_rng(3)
    edges = np.concatenate([layout.row_starts(), layout.row_ends()])
    x = np.concatenate(
        [
            edges,
            np.nextafter(edges, -np.inf),
            np.nextafter(edges, np.inf),
            rng.uniform(edges.min() - 1, edges.max() + 1, 4000),
            [0.0, -0.0, 2.0**-60, -(2.0**-60), 2.0**-126, 1e6, -1e6],
        ]
    )
    row, offset = locate(x, layout)
    for x_i, row_i, offset_i in zip(x, row, offset, strict=True):
        assert (row_i, offset_i) == expected(float(x_i), layout), x_i
    assert row.min() == 0 and row.max() == layout.rows - 1


def test_ends_of_the_segments():
    layout = s_layout(-0.3125)
    row, offset = locate([-0.3125, 0.6875, 0.6876, 15.6875, 15.7, -0.32], layout)
    np.testing.assert_array_equal(row, [0, 255, 272, 511, 511, 256])
    np.testing.assert_array_equal(offset[[0, 1, 3, 4, 5]], [0.0, 2.0**-8, 2.0**-4, 2.0**-4, 0.0])


def test_distance_is_one_binary64_subtraction():
    """An argument far below the origin's last place is rounded away: -2^-60 stays in the row
    that begins at 0, though it lies below it."""
    layout = s_layout(-1.0)
    row, offset = locate([-(2.0**-60), 2.0**-60], layout)
    assert row[0] == 255 and offset[0] == 2.0**-8
    assert row[1] == 256 + 16 and offset[1] == 0.0


def exact_trunc(x: Fraction, frac: int = 20) -> Fraction:
    if x == 0:
        return x
    e = math.floor(math.log2(abs(x)))
    while abs(x) >= Fraction(2) ** (e + 1):
        e += 1
    while abs(x) < Fraction(2) ** e:
        e -= 1
    unit = Fraction(2) ** (e - frac)
    return math.trunc(x / unit) * unit


def exact_add(a: Fraction, b: Fraction) -> Fraction:
    if a == 0 and b == 0:
        return Fraction(0)
    e = max(
        math.floor(math.log2(abs(v))) if v else -900 for v in (a, b)
    )  # 21-bit mantissas: log2 is exact enough
    unit = Fraction(2) ** (e - 20)
    return exact_trunc((math.trunc(a / unit) + math.trunc(b / unit)) * unit)


def test_evaluate_is_horner_in_flt():
    rng = np.random.default_rng(4)
    table = ops.trunc_flt(rng.normal(size=(16, 3, 4)) * 2.0 ** rng.integers(-9, 9, (16, 3, 4)))
    table[3] = 0.0
    row = rng.integers(0, 16, 40)
    offset = ops.trunc_flt(rng.uniform(0, 0.125, 40), 16)
    offset[:3] = 0.0
    result = evaluate(table, row, offset)
    assert result.shape == (40, 3)
    for i in range(40):
        for k in range(3):
            a, b, c, d = (Fraction(float(v)) for v in table[row[i], k])
            x = Fraction(float(offset[i]))
            y = exact_add(exact_trunc(a * x), b)
            y = exact_add(exact_trunc(y * x), c)
            y = exact_add(exact_trunc(y * x), d)
            assert Fraction(float(result[i, k])) == y
