"""The row of an octave table, read off its argument's exponent and first mantissa bits."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.arith import flt
from nvnmd.hdl.arith.normalize import leading_zeros, shift_left
from nvnmd.hdl.neighbor.row_select import X0_BITS
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.quantize import table_lookup as lookup
from nvnmd.quantize.table_layout import Segment, TableLayout


class OctaveSelect(wiring.Component):
    """Which row of an octave table holds `x`, at least 0, and where inside it.

    The first segment is ``[0, 2**first]``, every other one the next octave; all have 2**bits rows.
    An edge belongs to the row that begins there. Beyond the table: the last row, at its width.

    With ``n = exponent + bits + 1 - first``, from 0 to bits + 1, the top n bits of the mantissa are
    the row (below ``2**first``, the leading one included), or the row less ``2**bits`` for each
    octave that x lies further; what follows them is the offset. No comparison with an edge is
    needed.

    Latency 4, one argument per cycle.

    Parameters
    ----------
    cfg : AcceleratorConfig
        Formats.
    segments : tuple of (int, int)
        (log2 of the step, rows) of each segment, ascending.
    """

    def __init__(self, cfg: AcceleratorConfig, segments: tuple[tuple[int, int], ...]) -> None:
        rows = segments[0][1] if segments else 0
        self.bits = rows.bit_length() - 1
        start = segments[0][0] if segments else 0
        # of the first two the steps are equal: [0, 2**first] and [2**first, 2**(first + 1)]
        steps = [start + max(0, k - 1) for k in range(len(segments))]
        if len(segments) < 2 or segments != tuple((step, 1 << self.bits) for step in steps):
            raise ValueError(f"segments {segments} are no octaves: expected at least 2 of the same "
                             "power of two rows, steps equal in the first two and doubling then")
        if not 1 <= self.bits < cfg.frac:
            raise ValueError(f"an octave has {rows} rows, expected 2 to {1 << (cfg.frac - 1)}")
        if not 1 <= cfg.offset_frac <= cfg.frac:
            raise ValueError(f"offset_frac is {cfg.offset_frac}, expected 1 to {cfg.frac}")
        self.cfg = cfg
        self.segments = tuple(segments)
        self.rows = len(segments) << self.bits
        self.first = start + self.bits
        super().__init__(
            {
                "x": In(flt.FltLayout(cfg)),
                "x0": In(signed(X0_BITS)),
                "row": Out(range(self.rows)),
                "offset": Out(flt.FltLayout(cfg)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the argument to its row and offset."""
        return 4

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg, bits, width = self.cfg, self.bits, self.cfg.man_bits
        octaves = len(self.segments) - 1

        # 1. How many top bits are the row's, and what the octaves below count.
        octave = Signal(signed(cfg.exp_int + 2))
        m.d.comb += octave.eq(self.x.exp - self.first)
        top1, base1 = Signal(range(bits + 2)), Signal(range(self.rows))
        beyond1, x1 = Signal(), Signal(flt.FltLayout(cfg))
        taken = Signal(signed(cfg.exp_int + 2))
        m.d.comb += taken.eq(octave + (bits + 1))
        m.d.sync += [
            top1.eq(Mux(taken <= 0, 0, Mux(taken > bits + 1, bits + 1, taken[: len(top1)]))),
            base1.eq(Mux((octave <= 0) | (octave >= octaves), 0, octave << bits)),
            beyond1.eq(octave >= octaves),
            x1.eq(self.x),
        ]

        # 2. The row, and the mantissa without its bits.
        place, rest = Signal(bits + 1), Signal(width)
        m.d.comb += [place.eq(0), rest.eq(x1.man)]
        with m.Switch(top1):
            for n in range(1, bits + 2):
                with m.Case(n):
                    m.d.comb += [place.eq(x1.man[width - n :]), rest.eq(x1.man[: width - n])]
        row2, rest2, exp2 = Signal.like(self.row), Signal(width), Signal.like(x1.exp)
        beyond2 = Signal()
        m.d.sync += [
            row2.eq(Mux(beyond1, self.rows - 1, base1 + place)),
            rest2.eq(rest),
            exp2.eq(x1.exp),
            beyond2.eq(beyond1),
        ]

        # 3. Leading zeros of what is left.
        zeros = leading_zeros(m, rest2)
        zeros3, rest3, exp3 = Signal.like(zeros), Signal(width), Signal.like(exp2)
        row3, beyond3, empty3 = Signal.like(row2), Signal(), Signal()
        m.d.sync += [
            zeros3.eq(zeros),
            rest3.eq(rest2),
            exp3.eq(exp2),
            row3.eq(row2),
            beyond3.eq(beyond2),
            empty3.eq(~beyond2 & ~rest2.any()),
        ]

        # 4. The offset.
        kept = cfg.offset_frac + 1
        moved = shift_left(m, rest3, zeros3)
        exp4, man4 = Signal(signed(cfg.exp_int + 2)), Signal(kept)
        m.d.comb += [
            exp4.eq(Mux(beyond3, self.segments[-1][0], exp3 - zeros3)),
            man4.eq(Mux(beyond3, 1 << (kept - 1), moved[width - kept :])),
        ]
        m.d.sync += self.row.eq(row3)
        m.d.sync += flt.settle(
            cfg, self.offset, man=Cat(Const(0, width - kept), man4), exp=exp4,
            sign=Const(0, 1), is_zero=empty3,
        )
        return m

    def layout(self, x0: int) -> TableLayout:
        """The table layout in `nvnmd.mapping`'s terms; its origin is 0."""
        segments, start = [], 0.0
        for number, (step, rows) in enumerate(self.segments):
            segments.append(Segment(start, 2.0**step, rows, number << self.bits))
            start += rows * 2.0**step
        return TableLayout(0.0, tuple(segments), half_open=True)

    def compute(self, x: float, x0: int) -> tuple[int, float]:
        """Row and offset, by `nvnmd.quantize.table_lookup.locate`."""
        row, offset = lookup.locate(x, self.layout(x0), self.cfg.offset_frac)
        return int(row), float(offset)
