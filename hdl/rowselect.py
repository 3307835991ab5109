"""The row of a table that an argument falls into, and the offset inside the row."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl import flt
from nvnmd.hdl.norm import leading_zeros, shift_left
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.mapping import lookup
from nvnmd.mapping.layout import Segment, TableLayout

X0_BITS = 12
"""Width of a table's origin, a signed multiple of 2**-8: from -8 up to 8."""
X0_FRAC = 8

_BINARY64_FRAC = 52


def _low_mask(count: Value, width: int) -> Value:
    """`width` bits of which the lowest `count` are ones."""
    return Cat(count > k for k in range(width))


class RowSelect(wiring.Component):
    """Which row of a table holds `x`, and where inside it.

    The first segment whose closed range ``[x0, x0 + rows*step]`` holds x, else the last one. Then
    ``d = x - x0`` rounded as in binary64, ``k = floor(d/step)``, ``offset = d - k*step`` cut to
    `offset_frac` fraction bits of its mantissa. ``k < 0``: the segment's first row at offset 0;
    ``k >= rows``: its last row at offset `step`.

    Latency 7, one argument per cycle.

    How it is exact with few bits: only an x far below x0 is rounded by the subtraction, and it
    is rounded to a grid that x0 alone decides (x0 lies on that grid, so rounding the difference
    to the nearest even is rounding x to the nearest even). After that step everything is exact
    in units of 2**-unit: whole units as an integer, below them `man_bits` bits and a mark for
    the rest. The rest matters in two places only: in the comparison with the segment's end, and
    when the offset is x itself (whole part 0), where x's own mantissa is taken.

    Parameters
    ----------
    cfg : AcceleratorConfig
        Formats.
    segments : tuple of (int, int)
        (log2 of the step, rows) of each segment, all from x0.

    Notes
    -----
    Port `x0` is the table's origin in units of 2**-8, `X0_BITS` bits, constant while a table is
    in use (loaded with it).
    """

    def __init__(self, cfg: AcceleratorConfig, segments: tuple[tuple[int, int], ...]) -> None:
        if not segments:
            raise ValueError("a table needs at least one segment")
        for step, rows in segments:
            if rows < 1 or not -16 <= step <= 8:
                raise ValueError(
                    f"a table segment of {rows} rows with log2 step {step} cannot be built; "
                    "expected rows >= 1 and a step from -16 to 8"
                )
        if not 1 <= cfg.offset_frac <= cfg.frac:
            raise ValueError(f"offset_frac is {cfg.offset_frac}, expected 1 to {cfg.frac}")
        self.cfg = cfg
        self.segments = tuple(segments)
        self.rows = sum(rows for _, rows in segments)
        # Units of 2**-unit hold x0 and every row's start.
        self.unit = max(X0_FRAC, *(-step for step, _ in segments))
        super().__init__(
            {
                "x": In(flt.FltLayout(cfg)),
                "x0": In(signed(X0_BITS)),
                "row": Out(range(max(2, self.rows))),
                "offset": Out(flt.FltLayout(cfg)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the argument to its row and offset."""
        return 7

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg, unit = self.cfg, self.unit
        width = cfg.man_bits

        # Where binary64's last bit lies when d is about |x0|: 52 below d's exponent, which is
        # |x0|'s, or one less when a negative x takes d below a power of two.
        size = Signal(X0_BITS)
        top = Signal(range(X0_BITS))
        m.d.comb += size.eq(Mux(self.x0[-1], -self.x0, self.x0))
        for k in range(X0_BITS):
            with m.If(size[k]):
                m.d.comb += top.eq(k)
        ulp_pos, ulp_neg = Signal(signed(8)), Signal(signed(8))
        is_power = Signal()
        m.d.comb += is_power.eq((size & (size - 1))[:X0_BITS] == 0)
        m.d.sync += [
            ulp_pos.eq(top - (X0_FRAC + _BINARY64_FRAC)),
            ulp_neg.eq(top - (X0_FRAC + _BINARY64_FRAC) - is_power),
        ]

        # 1. How many bits of x's mantissa the subtraction rounds away.
        x1 = Signal(flt.FltLayout(cfg))
        excess = Signal(signed(cfg.exp_int + 2))
        drop = Signal(range(width + 2))
        m.d.comb += excess.eq(Mux(self.x.sign, ulp_neg, ulp_pos) + cfg.frac - self.x.exp)
        with m.If((self.x0 == 0) | (excess <= 0)):
            m.d.sync += drop.eq(0)
        with m.Elif(excess > width):
            m.d.sync += drop.eq(width + 1)
        with m.Else():
            m.d.sync += drop.eq(excess)
        m.d.sync += x1.eq(self.x)

        # 2. Round to the nearest, ties to even; also how far to shift into the window.
        mask, lost = Signal(width), Signal(width)
        odd, half, more, up = Signal(), Signal(), Signal(), Signal()
        rounded = Signal(width + 1)
        m.d.comb += [
            mask.eq(_low_mask(drop, width)),
            lost.eq(x1.man & mask),
            half.eq((lost & ~(mask >> 1)).any()),
            more.eq((lost & (mask >> 1)).any()),
            odd.eq((x1.man & ~mask & Cat(Const(1, 1), mask[:-1])).any()),
            up.eq(half & (more | odd) & (drop <= width)),
            rounded.eq((x1.man & ~mask) + Mux(up, mask + 1, 0)),
        ]
        # The window: `whole` units, `width` bits below. Beyond `whole` every x is outside the
        # table, on the side of its sign.
        last_end = max(rows << (step + unit) for step, rows in self.segments)
        whole = ((1 << (X0_BITS - 1 + unit - X0_FRAC)) + last_end).bit_length()
        span = whole + width
        man2, exp2, sign2 = Signal(width), Signal(signed(cfg.exp_int)), Signal()
        huge2, gone2 = Signal(), Signal()
        shift2 = Signal(range(span + 1))
        right = Signal(signed(cfg.exp_int + 2))
        m.d.comb += right.eq(whole - 1 - unit - x1.exp - rounded[width])
        m.d.sync += [
            man2.eq(Mux(rounded[width], 1 << (width - 1), rounded[:width])),
            exp2.eq(x1.exp + rounded[width]),
            sign2.eq(x1.sign),
            gone2.eq(x1.man[width - 1] & ~rounded.any()),
            huge2.eq((right < 0) & rounded.any()),
            shift2.eq(Mux(right < 0, 0, Mux(right > span, span, right[: len(shift2)]))),
        ]

        # 3. |x| in units: whole part, fraction, and whether anything lies below.
        placed = Signal(span)
        below_count = Signal(range(width + 1))
        past = Signal(signed(len(shift2) + 1))
        m.d.comb += [
            placed.eq(Cat(Const(0, whole), man2) >> shift2),
            past.eq(shift2 - whole),
            below_count.eq(Mux(past < 0, 0, Mux(past > width, width, past[: len(below_count)]))),
        ]
        int3, frac3 = Signal(whole), Signal(width)
        rest3, gone3, sign3 = Signal(), Signal(), Signal()
        man3, exp3 = Signal(width), Signal(signed(cfg.exp_int))
        m.d.sync += [
            int3.eq(Mux(huge2, (1 << whole) - 1, placed[width:])),
            frac3.eq(Mux(huge2, 0, placed[:width])),
            rest3.eq((man2 & _low_mask(below_count, width)).any() & ~huge2),
            gone3.eq(gone2),
            sign3.eq(sign2),
            man3.eq(man2),
            exp3.eq(exp2),
        ]

        # 4. d = x - x0: floor in units, and the fraction above it.
        floor_x = Signal(signed(whole + 1))
        partial = Signal()
        m.d.comb += [
            partial.eq(frac3.any() | rest3),
            floor_x.eq(Mux(sign3, -int3 - partial, int3)),
        ]
        d4, frac4 = Signal(signed(whole + 2)), Signal(width)
        above4, tiny4 = Signal(), Signal()
        man4, exp4 = Signal.like(man3), Signal.like(exp3)
        m.d.sync += [
            d4.eq(floor_x - (self.x0 << (unit - X0_FRAC))),
            frac4.eq(Mux(sign3, (1 << width) - frac3 - rest3, frac3)),
            # Is x itself (not rounded) above the whole number of units in d?
            above4.eq(partial | (gone3 & ~sign3)),
            # The window has lost bits of a positive x: its own mantissa is the fraction.
            tiny4.eq(rest3 & ~sign3),
            man4.eq(man3),
            exp4.eq(exp3),
        ]

        # 5. The segment, the row, and the place in the row: `low` whole units and the fraction.
        low_bits = max(step + unit for step, _ in self.segments)
        row5 = Signal.like(self.row)
        low5 = Signal(low_bits + width)
        first5, end5, tiny5 = Signal(), Signal(), Signal()
        step5 = Signal(signed(6))
        man5, exp5, frac5 = Signal.like(man3), Signal.like(exp3), Signal(width)
        m.d.sync += [man5.eq(man4), exp5.eq(exp4), frac5.eq(frac4)]
        first_row = 0
        choices = []
        for number, (step, rows) in enumerate(self.segments):
            shift = step + unit
            end = rows << shift
            k = Signal(range(max(2, rows)), name=f"k{number}")
            low = Signal(low_bits, name=f"low{number}")
            inside = Signal(name=f"inside{number}")
            m.d.comb += [
                k.eq(d4[shift:]),
                low.eq(d4[:shift]),
                inside.eq((d4 >= 0) & ((d4 < end) | ((d4 == end) & ~above4))),
            ]
            row = Mux(
                d4 < 0, first_row, Mux(d4 >= end, first_row + rows - 1, first_row + k)
            )
            choices.append(
                (
                    inside,
                    [
                        row5.eq(row),
                        first5.eq(d4 < 0),
                        end5.eq(d4 >= end),
                        low5.eq(Cat(frac4, low)),
                        tiny5.eq(tiny4 & (low == 0)),
                        step5.eq(step),
                    ],
                )
            )
            first_row += rows
        # Later statements win: the last segment is the default, the first the strongest.
        m.d.sync += choices[-1][1]
        for inside, statements in reversed(choices[:-1]):
            with m.If(inside):
                m.d.sync += statements

        # 6. Leading zeros of the place.
        zeros = leading_zeros(m, low5)
        zeros6, low6 = Signal.like(zeros), Signal.like(low5)
        row6, step6 = Signal.like(row5), Signal.like(step5)
        end6, tiny6, empty6 = Signal(), Signal(), Signal()
        man6, exp6 = Signal.like(man3), Signal.like(exp3)
        m.d.sync += [
            zeros6.eq(zeros),
            low6.eq(low5),
            row6.eq(row5),
            step6.eq(step5),
            end6.eq(end5),
            tiny6.eq(tiny5 & ~first5 & ~end5),
            empty6.eq(first5 | (~end5 & ~tiny5 & ~low5.any())),
            man6.eq(man5),
            exp6.eq(exp5),
        ]

        # 7. The offset.
        kept = cfg.offset_frac + 1
        moved = shift_left(m, low6, zeros6)
        exp7 = Signal(signed(cfg.exp_int + 2))
        man7 = Signal(kept)
        with m.If(end6):
            m.d.comb += [exp7.eq(step6), man7.eq(1 << (kept - 1))]
        with m.Elif(tiny6):
            m.d.comb += [exp7.eq(exp6), man7.eq(man6[width - kept :])]
        with m.Else():
            m.d.comb += [
                exp7.eq(low_bits - 1 - unit - zeros6),
                man7.eq(moved[len(low6) - kept :]),
            ]
        m.d.sync += self.row.eq(row6)
        m.d.sync += flt.settle(
            cfg,
            self.offset,
            man=Cat(Const(0, width - kept), man7),
            exp=exp7,
            sign=Const(0, 1),
            is_zero=empty6,
        )
        return m

    def layout(self, x0: int) -> TableLayout:
        """The table layout in `nvnmd.mapping`'s terms, for an origin of `x0` units of 2**-8."""
        segments, first = [], 0
        for step, rows in self.segments:
            segments.append(Segment(0.0, 2.0**step, rows, first))
            first += rows
        return TableLayout(x0 / (1 << X0_FRAC), tuple(segments))

    def compute(self, x: float, x0: int) -> tuple[int, float]:
        """Row and offset, by `nvnmd.mapping.lookup.locate`."""
        row, offset = lookup.locate(x, self.layout(x0), self.cfg.offset_frac)
        return int(row), float(offset)
