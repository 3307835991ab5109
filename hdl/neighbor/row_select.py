"""The row of a table that an argument falls into, and the offset inside the row."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.arith import flt
from nvnmd.hdl.arith.normalize import leading_zeros, shift_left
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.stages import Stages
from nvnmd.quantize import table_lookup as lookup
from nvnmd.quantize.table_layout import Segment, TableLayout

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

    Latency 15, one argument per cycle.

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
        return 15

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

        pipe = Stages(m)
        # How many bits of x's mantissa the subtraction rounds away.
        excess = Signal(signed(cfg.exp_int + 2))
        drop = Signal(range(width + 2))
        m.d.comb += excess.eq(Mux(self.x.sign, ulp_neg, ulp_pos) + cfg.frac - self.x.exp)
        with m.If((self.x0 == 0) | (excess <= 0)):
            m.d.comb += drop.eq(0)
        with m.Elif(excess > width):
            m.d.comb += drop.eq(width + 1)
        with m.Else():
            m.d.comb += drop.eq(excess)
        at = pipe.cut(drop=drop, man=self.x.man, exp=self.x.exp, sign=self.x.sign)

        # Round to the nearest, ties to even.
        at = pipe.cut(
            "man exp sign",
            mask=_low_mask(at.drop, width),
            # the lowest bit kept, unless nothing is
            unit=Cat(at.drop == k for k in range(width + 1)),
        )
        kept = at.man & ~at.mask
        lost = at.man & at.mask
        up = ((lost & ~(at.mask >> 1)).any()
              & ((lost & (at.mask >> 1)).any() | (kept & at.unit[:width]).any()))
        at = pipe.cut("exp sign", kept=kept, step=Mux(up, at.unit, 0), was=at.man[-1])
        at = pipe.cut("exp sign was", rounded=(at.kept + at.step)[: width + 1])

        # Into the window: `whole` units, `width` bits below. Beyond `whole` every x is outside the
        # table, on the side of its sign.
        last_end = max(rows << (step + unit) for step, rows in self.segments)
        whole = ((1 << (X0_BITS - 1 + unit - X0_FRAC)) + last_end).bit_length()
        span = whole + width
        carry = at.rounded[width]
        at = pipe.cut(
            "sign",
            man=Mux(carry, 1 << (width - 1), at.rounded[:width]),
            exp=(at.exp + carry)[: cfg.exp_int].as_signed(),
            gone=at.was & ~at.rounded.any(),
            some=at.rounded.any(),
            right=whole - 1 - unit - at.exp - carry,
        )
        shift, past = Signal(range(span + 1)), Signal(range(width + 1))
        m.d.comb += [
            shift.eq(Mux(at.right < 0, 0, Mux(at.right > span, span, at.right))),
            past.eq(Mux(at.right < whole, 0,
                        Mux(at.right > span, width, at.right - whole))),
        ]
        at = pipe.cut("sign man exp gone", shift=shift, past=past, huge=(at.right < 0) & at.some)

        # |x| in units: whole part, fraction, and whether anything lies below.
        at = pipe.cut(
            "sign man exp gone huge",
            placed=(Cat(Const(0, whole), at.man) >> at.shift)[:span],
            below=at.man & _low_mask(at.past, width),
        )
        at = pipe.cut(
            "sign man exp gone",
            whole=Mux(at.huge, (1 << whole) - 1, at.placed[width:]),
            frac=Mux(at.huge, 0, at.placed[:width]),
            rest=at.below.any() & ~at.huge,
        )

        # floor(x) in units, and the fraction above it.
        partial = at.frac.any() | at.rest
        at = pipe.cut(
            "man exp",
            # -whole - partial, as one sum
            floor=Mux(at.sign, Cat(~at.whole, Const(1, 1)).as_signed() + ~partial,
                      Cat(at.whole, Const(0, 1)).as_signed())[: whole + 1].as_signed(),
            frac=Mux(at.sign, (1 << width) - at.frac - at.rest, at.frac)[:width],
            # Is x itself (not rounded) above the whole number of units in d?
            above=partial | (at.gone & ~at.sign),
            # The window has lost bits of a positive x: its own mantissa is the fraction.
            tiny=at.rest & ~at.sign,
        )
        # d = x - x0.
        difference = Signal(signed(whole + 2))
        m.d.comb += difference.eq(at.floor - (self.x0 << (unit - X0_FRAC)))
        at = pipe.cut("man exp frac above tiny", d=difference)

        # The segment, the row, and the place in the row: `low` whole units and the fraction.
        low_bits = max(step + unit for step, _ in self.segments)
        ends = {f"beyond{n}": at.d >= rows << (step + unit)
                for n, (step, rows) in enumerate(self.segments)}
        meets = {f"meets{n}": at.d == rows << (step + unit)
                 for n, (step, rows) in enumerate(self.segments)}
        at = pipe.cut("man exp frac above tiny d", **ends, **meets)
        row, low = Signal.like(self.row), Signal(low_bits)
        end, step5 = Signal(), Signal(signed(6))
        below = at.d < 0
        first_row = 0
        choices: list[tuple[Value, list]] = []
        for number, (step, rows) in enumerate(self.segments):
            shift_bits = step + unit
            beyond, met = getattr(at, f"beyond{number}"), getattr(at, f"meets{number}")
            inside = ~below & (~beyond | (met & ~at.above))
            k = Signal(range(max(2, rows)), name=f"k{number}")
            m.d.comb += k.eq(at.d[shift_bits:])
            choices.append((inside, [
                row.eq(Mux(below, first_row,
                           Mux(beyond, first_row + rows - 1, first_row + k))),
                end.eq(beyond),
                low.eq(at.d[:shift_bits]),
                step5.eq(step),
            ]))
            first_row += rows
        # Later statements win: the last segment is the default, the first the strongest.
        m.d.comb += choices[-1][1]
        for inside, statements in reversed(choices[:-1]):
            with m.If(inside):
                m.d.comb += statements
        at = pipe.cut("man exp", row=row, first=below, end=end, step=step5,
                      place=Cat(at.frac, low), tiny=at.tiny & (low == 0))

        # Its leading zeros.
        zeros = leading_zeros(m, at.place)
        at = pipe.cut(
            "row step end man exp place",
            zeros=zeros,
            tiny=at.tiny & ~at.first & ~at.end,
            empty=at.first | (~at.end & ~at.tiny & ~at.place.any()),
        )

        # The offset.
        kept_bits = cfg.offset_frac + 1
        moved = shift_left(m, at.place, at.zeros)
        exp = Signal(signed(cfg.exp_int + 2))
        man = Signal(kept_bits)
        with m.If(at.end):
            m.d.comb += [exp.eq(at.step), man.eq(1 << (kept_bits - 1))]
        with m.Elif(at.tiny):
            m.d.comb += [exp.eq(at.exp), man.eq(at.man[width - kept_bits :])]
        with m.Else():
            m.d.comb += [
                exp.eq(low_bits - 1 - unit - at.zeros),
                man.eq(moved[len(moved) - kept_bits :]),
            ]
        at = pipe.cut("row empty", man=man, exp=exp)
        pipe.expect(self.latency - 1)
        m.d.sync += self.row.eq(at.row)
        m.d.sync += flt.settle(
            cfg,
            self.offset,
            man=Cat(Const(0, width - kept_bits), at.man),
            exp=at.exp,
            sign=Const(0, 1),
            is_zero=at.empty,
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
        """Row and offset, by `nvnmd.quantize.table_lookup.locate`."""
        row, offset = lookup.locate(x, self.layout(x0), self.cfg.offset_frac)
        return int(row), float(offset)
