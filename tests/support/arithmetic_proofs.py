"""The integer definitions of the arithmetic units, written apart from them, and their proofs.

Sums, products and shifts of whole numbers, the place of the leading bit by trying each: nothing
here knows of stages, trees or groups.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from support.proofs import Subject

from nvnmd.hdl.arith.add import FltAdd
from nvnmd.hdl.arith.align import Align
from nvnmd.hdl.arith.fixed import round_shift, shift_right
from nvnmd.hdl.arith.flt import zero_exp
from nvnmd.hdl.arith.mul import FltMul
from nvnmd.hdl.arith.multiplier import Multiplier
from nvnmd.hdl.arith.normalize import Normalize
from nvnmd.hdl.arith.tanh4 import Tanh4
from nvnmd.hdl.arith.whole import ProductToFix, TruncateWhole
from nvnmd.hdl.atom.descriptor import ToData
from nvnmd.hdl.neighbor.octave_select import OctaveSelect
from nvnmd.hdl.neighbor.row_select import X0_FRAC, RowSelect
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.quantize.table_layout import u_layout

CFG = AcceleratorConfig()
OCTAVE = AcceleratorConfig(octave=True)
SUM_BITS = 2 * CFG.man_bits + 2
"""Of the products that a descriptor's word sums: two mantissas with their signs, four of them."""
ALL = Const(1)


def canonical(x: Any) -> Value:
    """A flt as units hand it on: a leading one, or the one zero."""
    low = zero_exp(CFG)
    return Mux(x.man[CFG.frac], x.exp > low, (x.man == 0) & (x.exp == low) & ~x.sign)


def magnitude(value: Value) -> Value:
    """Of a signed whole number."""
    return Mux(value < 0, -value, value)[: len(value)]


def with_sign(negative: Value, value: Value) -> Value:
    """Plus or minus a magnitude."""
    return Mux(negative, -value, value)


def as_flt(out: Any, whole: Value, exp: Value, negative: Value, frac: int = CFG.frac) -> Value:
    """Whether `out` is ``whole * 2**exp``, cut toward zero to `frac` fraction bits."""
    man: Value = Const(0)
    top: Value = Const(0)
    for place in range(len(whole)):
        kept = (whole[place - frac : place + 1] if place >= frac
                else Cat(Const(0, frac - place), whole[: place + 1]))
        man, top = Mux(whole[place], kept, man), Mux(whole[place], exp + place, top)
    low, high = zero_exp(CFG), -zero_exp(CFG) - 1
    none = (whole == 0) | (top <= low)
    return ((out.man == Mux(none, 0, man << (CFG.frac - frac)))
            & (out.exp == Mux(none, low, Mux(top > high, high, top)))
            & (out.sign == (negative & ~none)))


def add(x: SimpleNamespace, unit: Any) -> tuple[Value, Value]:
    """Mantissas at the larger exponent, summed, cut."""
    exp = Mux(x.a.exp > x.b.exp, x.a.exp, x.b.exp)

    def at(one: Any) -> Value:
        gap = exp - one.exp
        moved = Mux(gap >= CFG.man_bits, 0, one.man >> gap[:5])
        return with_sign(one.sign, moved)

    total = at(x.a) + at(x.b)
    return (canonical(x.a) & canonical(x.b),
            as_flt(unit.o, magnitude(total), exp - CFG.frac, total < 0))


def _product(x: SimpleNamespace) -> Value:
    """What is known of a product of two mantissas: its range, and that none is without a factor."""
    some = (x.a.man != 0) & (x.b.man != 0)
    inside = (x.free_p >= 1 << 2 * CFG.frac) & (x.free_p < 1 << 2 * CFG.man_bits)
    return canonical(x.a) & canonical(x.b) & Mux(some, inside, x.free_p == 0)


def _operands(x: SimpleNamespace) -> Value:
    """The multiplier has the mantissas."""
    return (x.free_a == x.a.man) & (x.free_b == x.b.man)


def mul(x: SimpleNamespace, unit: Any) -> tuple[Value, Value]:
    """The product of the mantissas, cut."""
    whole = x.free_p[: 2 * CFG.man_bits]
    return _product(x), _operands(x) & as_flt(
        unit.o, whole, x.a.exp + x.b.exp - 2 * CFG.frac, x.a.sign ^ x.b.sign)


def product_to_fix(x: SimpleNamespace, unit: Any) -> tuple[Value, Value]:
    """The product of the mantissas in units of 2**-fix_frac, cut toward zero."""
    whole = x.free_p[: 2 * CFG.man_bits]
    right = 2 * CFG.frac - CFG.fix_frac - x.a.exp - x.b.exp
    kept: Value = Const(0)
    for count in range(2 * CFG.man_bits):
        kept = Mux(right == count, whole >> count, kept)
    beyond = Mux(right < 0, whole != 0, kept >= 1 << (CFG.acc_bits - 1))
    same = unit.o == with_sign(x.a.sign ^ x.b.sign, kept)
    return _product(x), _operands(x) & (unit.overflow == beyond) & (beyond | same)


def align(x: SimpleNamespace, unit: Any) -> tuple[Value, Value]:
    """The mantissa shifted right by the distance of the exponents."""
    moved: Value = Const(0)
    for gap in range(CFG.man_bits):
        moved = Mux(x.emax == x.i.exp + gap, x.i.man >> gap, moved)
    return (canonical(x.i) & (x.emax >= x.i.exp)), unit.o == with_sign(x.i.sign, moved)


def _cut(value: Value, bits: int) -> Value:
    """A whole number cut toward zero to so many significant bits, its magnitude."""
    size = magnitude(value)
    kept: Value = Const(0)
    for place in range(len(size)):
        low = max(0, place + 1 - bits)
        kept = Mux(size[place], size >> low << low, kept)
    return kept


def cut(x: SimpleNamespace, unit: Any) -> tuple[Value, Value]:
    """Significant bits of a whole number."""
    return ALL, unit.o == with_sign(x.i < 0, _cut(x.i, CFG.man_bits))


def _to_data(x: SimpleNamespace, unit: Any, octave: bool) -> tuple[Value, Value]:
    """Of what is left of the sum when it is cut to its significant bits, `free_o`."""
    size, negative = magnitude(x.free_o), x.free_o < 0
    right = 2 * CFG.frac - CFG.fix_frac - 2 * x.emax
    want: Value = Const(0) if octave else with_sign(negative, negative)
    for count in range(SUM_BITS + 2):
        # to the nearest, halves away from zero: of the magnitude
        moved = (with_sign(negative, (size + (1 << count >> 1)) >> count) if octave
                 else x.free_o >> count)
        want = Mux(right == count, moved, want)
    limit = 1 << (CFG.data_bits - 1)
    beyond = Mux(right < 0, x.free_o != 0, (want >= limit) | (want < -limit))
    return ALL, ((x.free_i == x.p) & (unit.overflow == beyond) & (beyond | (unit.o == want)))


def floor(x: SimpleNamespace, unit: Any) -> tuple[Value, Value]:
    """A descriptor's word with the vendor's tables."""
    return _to_data(x, unit, False)


def nearest(x: SimpleNamespace, unit: Any) -> tuple[Value, Value]:
    """A descriptor's word with octave tables."""
    return _to_data(x, unit, True)


ROUND_BITS, ROUND_DROP = 56, 2


def rounded(x: SimpleNamespace, unit: Any) -> tuple[Value, Value]:
    """To the nearest, halves away from zero: of the magnitude."""
    size = (magnitude(x.i) + (1 << ROUND_DROP >> 1)) >> ROUND_DROP
    return ALL, unit.o == with_sign(x.i < 0, size)


class Shift(wiring.Component):
    """`shift_right`."""

    latency = 2

    def __init__(self) -> None:
        super().__init__({"i": In(signed(56)), "n": In(6), "o": Out(signed(56))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.o.eq(shift_right(m, self.i, self.n))
        return m


class Round(wiring.Component):
    """`round_shift`, and a register behind it."""

    latency = 1

    def __init__(self) -> None:
        super().__init__({"i": In(signed(ROUND_BITS)), "o": Out(signed(ROUND_BITS))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rounded = Signal(signed(ROUND_BITS))
        m.d.sync += rounded.eq(round_shift(self.i, ROUND_DROP))
        m.d.comb += self.o.eq(rounded)
        return m


def shifted(x: SimpleNamespace, unit: Any) -> tuple[Value, Value]:
    """Largest whole number not above ``i / 2**n``."""
    want: Value = Const(0)
    for count in range(64):
        want = Mux(x.n == count, x.i >> count, want)
    return ALL, unit.o == want


def normalized(x: SimpleNamespace, unit: Any) -> tuple[Value, Value]:
    """A whole number times a power of two, as flt."""
    return ALL, as_flt(unit.o, magnitude(x.i), x.e, x.i < 0)


SMALL_A, SMALL_B = 19, 6


def product(x: SimpleNamespace, unit: Any) -> tuple[Value, Value]:
    """For each bit of one factor the other one, shifted; the sign's bit counts below zero."""
    total: Value = Const(0)
    for bit in range(SMALL_B):
        row = Mux(x.b[bit], x.a << bit, 0)
        total = total - row if bit == SMALL_B - 1 else total + row
    return ALL, unit.p == total


SEGMENTS = tuple((int(math.log2(s.step)), s.rows) for s in u_layout("octave").segments)


def octave_row(x: SimpleNamespace, unit: Any) -> tuple[Value, Value]:
    """In the octave [2**e, 2**(e+1)) rows are 2**(e-bits) wide, below the first as in the first."""
    (start, rows), (last, _) = SEGMENTS[0], SEGMENTS[-1]
    first = start + rows.bit_length() - 1
    end = first + len(SEGMENTS) - 1
    row, rest = Const(0), x.x.man
    for exp in range(start, end):
        octave = max(0, exp - first)
        # x in units of a row's width: the bits of its mantissa that are not whole ones
        below = CFG.frac - (exp - (start + octave))
        here = x.x.exp == exp
        row = Mux(here, octave * rows + (x.x.man >> below), row)
        rest = Mux(here, x.x.man & ((1 << below) - 1), rest)
    beyond = x.x.exp >= end
    inside = as_flt(unit.offset, rest, x.x.exp - CFG.frac, Const(0), CFG.offset_frac)
    width = (unit.offset.man == 1 << CFG.frac) & (unit.offset.exp == last) & ~unit.offset.sign
    return (canonical(x.x) & ~x.x.sign,
            (unit.row == Mux(beyond, len(SEGMENTS) * rows - 1, row))
            & Mux(beyond, width, inside))


def tanh4(x: SimpleNamespace, unit: Any) -> tuple[Value, Value]:
    """Both polynomials, the products a*l, q*(q - 4a) and r*(a - 3*2^F) as they may be."""
    f, s = CFG.fix_frac, CFG.short_frac
    size = magnitude(x.z)
    beyond = size >= 2 << f
    a = size[: f + 1]
    # of these three no bits are lost: they are products of magnitudes below 2
    square, quartic, cubic = x.free0_p, x.free1_p, x.free2_p
    q, r = square >> s, square >> f
    y, slope = a + (quartic >> (f + 4)), (1 << s) + (cubic >> (f + 2))
    operands = ((x.free0_a == a) & (x.free0_b == a >> (f - s))
                & (x.free1_a == q) & (x.free1_b == q - 4 * a)
                & (x.free2_a == r) & (x.free2_b == a - (3 << f)))
    inside = ((square >= 0) & (square < 1 << (f + s + 2))
              & (y >= 0) & (y < 2 << f) & (slope >= 0) & (slope <= 1 << s))
    return inside, operands & (
        (unit.y == with_sign(x.z < 0, Mux(beyond, 1 << f, y)))
        & (unit.slope == Mux(beyond, 0, slope)))


VENDOR_SEGMENTS = ((-8, 256), (-4, 256))
EXPONENTS = (-64, 8)
"""Of an argument: below, it changes no sum in binary64; above, it is beyond every table."""
BINARY64 = 53


def vendor_row(x: SimpleNamespace, unit: Any) -> tuple[Value, Value]:
    """The first segment that holds x, else the last; x - x0 as binary64 has it, in whole units."""
    least, most = EXPONENTS
    grid = CFG.frac - least
    origin = x.x0 << (grid - X0_FRAC)
    exact = with_sign(x.x.sign, (x.x.man << (x.x.exp - least)[:7])[: CFG.man_bits + most - least])
    difference = x.keep(exact - origin)
    size = x.keep(magnitude(difference))
    rounded: Value = size
    for top in range(BINARY64, len(size)):
        drop = top + 1 - BINARY64
        # to the nearest, halves to the even one
        even = (size + ((1 << drop - 1) - 1) + size[drop]) >> drop << drop
        rounded = x.keep(Mux(size >> top == 1, even, rounded))
    distance = x.keep(with_sign(difference < 0, rounded))
    row, inside = Const(0), Const(0)
    none, end, step = Const(0), Const(0), Const(0)
    first_rows = [sum(rows for _, rows in VENDOR_SEGMENTS[:k]) for k in range(len(VENDOR_SEGMENTS))]
    for number in reversed(range(len(VENDOR_SEGMENTS))):
        exponent, rows = VENDOR_SEGMENTS[number]
        places = grid + exponent
        take = (difference >= 0) & (difference <= rows << places)
        if number == len(VENDOR_SEGMENTS) - 1:
            take = ALL
        k = x.keep(distance >> places)
        below, beyond = k < 0, k >= rows
        first = first_rows[number]
        row = Mux(take, Mux(below, first, Mux(beyond, first + rows - 1, first + k)), row)
        none, end = Mux(take, below, none), Mux(take, beyond, end)
        step = Mux(take, exponent, step)
        inside = x.keep(Mux(take, distance[:places], inside))
    width = (unit.offset.man == 1 << CFG.frac) & (unit.offset.exp == step) & ~unit.offset.sign
    offset = Mux(end, width, as_flt(unit.offset, Mux(none, 0, inside), Const(-grid), Const(0),
                                    CFG.offset_frac))
    zero = x.x.man == 0
    return (canonical(x.x) & (zero | ((x.x.exp >= least) & (x.x.exp <= most))),
            (unit.row == row) & offset)


SUBJECTS = {
    "add": Subject(lambda: FltAdd(CFG), add, ("gap", 2)),
    "mul": Subject(lambda: FltMul(CFG), mul, ("exp", 4), "nvnmd.hdl.arith.mul.Multiplier"),
    "align": Subject(lambda: Align(CFG), align, ("gap", 8)),
    "cut to significant bits": Subject(lambda: TruncateWhole(SUM_BITS, CFG.man_bits), cut,
                                       ("kept", 30)),
    "floor of a descriptor": Subject(lambda: ToData(CFG, SUM_BITS), floor, ("whole", 5),
                                     "nvnmd.hdl.atom.descriptor.TruncateWhole"),
    "rounding of a descriptor": Subject(lambda: ToData(OCTAVE, SUM_BITS), nearest, ("whole", 5),
                                        "nvnmd.hdl.atom.descriptor.TruncateWhole"),
    "round": Subject(Round, rounded, ("rounded", 0)),
    "shift with floor": Subject(Shift, shifted, ("rest", 1)),
    "flt2fix": Subject(lambda: ProductToFix(CFG), product_to_fix, ("shifted", 20),
                       "nvnmd.hdl.arith.whole.Multiplier"),
    "normalize": Subject(lambda: Normalize(CFG, CFG.acc_bits), normalized, ("coarse2", 1)),
    "row of a vendor's table": Subject(lambda: RowSelect(CFG, VENDOR_SEGMENTS), vendor_row,
                                       ("row", 3), constant=("x0",)),
    "tanh4": Subject(lambda: Tanh4(CFG), tanh4, ("magnitude", 9),
                     "nvnmd.hdl.arith.tanh4.Multiplier", (1, 5, 5)),
    "multiplier in parts": Subject(lambda: Multiplier(SMALL_A, SMALL_B, 3), product,
                                   ("part_1_0", 2)),
    "row of an octave": Subject(lambda: OctaveSelect(OCTAVE, SEGMENTS), octave_row, ("row", 3)),
}
