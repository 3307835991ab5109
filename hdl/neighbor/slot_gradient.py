"""The sums over channels of the backward pass: dE/dR4, dE/dG and ds, L channels per cycle."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.arith.align import Align, MaxExp
from nvnmd.hdl.arith.flt import FltLayout
from nvnmd.hdl.arith.multiplier import Multiplier, Serializer, gathered
from nvnmd.hdl.arith.normalize import Normalize
from nvnmd.hdl.arith.sumtree import SumTree
from nvnmd.hdl.atom.gradient_memory import ROWS
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.delay import Delay

SLOT_MARK = data.StructLayout({"valid": 1, "first": 1, "last": 1})


def aligned_vector(cfg: AcceleratorConfig, n: int) -> data.ArrayLayout:
    """`n` aligned mantissas."""
    return data.ArrayLayout(signed(cfg.man_bits + 1), n)


class MarkDelay(wiring.Component):
    """A delay of slot marks in registers, which a reset clears. Latency `cycles`."""

    def __init__(self, cycles: int) -> None:
        self.cycles = cycles
        super().__init__({"i": In(SLOT_MARK), "o": Out(SLOT_MARK)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.delay = delay = Delay(SLOT_MARK, self.cycles, ring=False)
        m.d.comb += [delay.i.eq(self.i), self.o.eq(delay.o)]
        return m


class NormalizeBank(wiring.Component):
    """``o[j] = trunc(i[j] * 2**e[j])`` for a vector of `n`, on ``ceil(n/fold)`` units `Normalize`.

    Operands are taken in the cycle of `valid_i`, at most once per `cfg.fold` cycles; all results
    stand in the cycle of `valid_o`, `latency` cycles later, and only there.
    """

    def __init__(self, cfg: AcceleratorConfig, n: int, bits: int) -> None:
        self.cfg = cfg
        self.n = n
        exponent = signed(cfg.exp_int + 2)
        item = data.StructLayout({"i": signed(bits), "e": exponent})
        self._serial = Serializer(item, n, cfg.fold)
        self._units = [Normalize(cfg, bits) for _ in range(self._serial.lanes)]
        super().__init__(
            {
                "valid_i": In(1),
                "i": In(data.ArrayLayout(signed(bits), n)),
                "e": In(data.ArrayLayout(exponent, n)),
                "valid_o": Out(1),
                "o": Out(data.ArrayLayout(FltLayout(cfg), n)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from `valid_i` to `valid_o`."""
        return self._units[0].latency + self._serial.slots

    def elaborate(self, platform: object) -> Module:
        m = Module()
        units = self._units
        m.submodules.serial = serial = self._serial
        m.submodules.valid = valid = Delay(1, units[0].latency)
        m.d.comb += [
            serial.valid_i.eq(self.valid_i),
            valid.i.eq(serial.last),
            self.valid_o.eq(valid.o),
        ]
        for j in range(self.n):
            m.d.comb += [serial.i[j].i.eq(self.i[j]), serial.i[j].e.eq(self.e[j])]
        for lane, unit in enumerate(units):
            m.submodules[f"unit_{lane}"] = unit
            m.d.comb += [unit.i.eq(serial.o[lane].i), unit.e.eq(serial.o[lane].e)]
        fresh = Cat(unit.o.as_value() for unit in units)
        m.d.comb += self.o.as_value().eq(gathered(m, fresh, serial.slots))
        return m


class SlotSum(wiring.Component):
    """``total = sum over a neighbour's slots and lanes of a[lane]*b[lane]``, exact.

    `valid_o` comes `latency` cycles after the slot marked last; `total` only stands there.
    Latency mult_latency + ceil(log2 L) + 1; throughput one slot per cycle.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self._tree = SumTree(cfg.lanes, 2 * cfg.man_bits + 2)
        self.total_bits = 2 * cfg.man_bits + cfg.m1.bit_length() + 1
        super().__init__(
            {
                "mark": In(SLOT_MARK),
                "a": In(aligned_vector(cfg, cfg.lanes)),
                "b": In(aligned_vector(cfg, cfg.lanes)),
                "valid_o": Out(1),
                "total": Out(signed(self.total_bits)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the last slot to its total."""
        return self.cfg.mult_latency + self._tree.latency + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.tree = tree = self._tree
        for lane in range(cfg.lanes):
            mult = Multiplier(cfg.man_bits + 1, cfg.man_bits + 1, cfg.mult_latency, cfg.family)
            m.submodules[f"mult_{lane}"] = mult
            m.d.comb += [
                mult.a.eq(self.a[lane]),
                mult.b.eq(self.b[lane]),
                tree.i[lane].eq(mult.p),
            ]
        m.submodules.mark = mark = MarkDelay(self.latency - 1)
        m.d.comb += mark.i.eq(self.mark)
        m.d.sync += [
            self.total.eq(Mux(mark.o.first, 0, self.total) + tree.o),
            self.valid_o.eq(mark.o.valid & mark.o.last),
        ]
        return m


class RowGrad(wiring.Component):
    """``o[c] = trunc(sum_i row[i][c]*g[i] * 2**e[c])``: dE/dR4 of one neighbour.

    `g` and `row` are aligned mantissas of G and of the rows of dE/dGR. `e` (the sum of both
    exponents, less 2*frac) is taken in the cycle of `take`, when the totals are complete.

    Latency: `latency` cycles from the last slot to `valid_o`. Throughput: one slot per cycle,
    4*L multipliers.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self._sums = [SlotSum(cfg) for _ in range(ROWS)]
        self._bank = NormalizeBank(cfg, ROWS, self._sums[0].total_bits)
        super().__init__(
            {
                "mark": In(SLOT_MARK),
                "g": In(aligned_vector(cfg, cfg.lanes)),
                "row": In(data.ArrayLayout(aligned_vector(cfg, ROWS), cfg.lanes)),
                "take": Out(1),
                "e": In(data.ArrayLayout(signed(cfg.exp_int + 2), ROWS)),
                "valid_o": Out(1),
                "o": Out(data.ArrayLayout(FltLayout(cfg), ROWS)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the last slot to `valid_o`."""
        return self._sums[0].latency + self._bank.latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.bank = bank = self._bank
        for c, row_sum in enumerate(self._sums):
            m.submodules[f"sum_{c}"] = row_sum
            m.d.comb += [row_sum.mark.eq(self.mark), row_sum.a.eq(self.g)]
            m.d.comb += [row_sum.b[k].eq(self.row[k][c]) for k in range(self.cfg.lanes)]
            m.d.comb += bank.i[c].eq(row_sum.total)
        m.d.comb += [
            self.take.eq(self._sums[0].valid_o),
            bank.valid_i.eq(self.take),
            bank.e.eq(self.e),
            self.valid_o.eq(bank.valid_o),
            self.o.eq(bank.o),
        ]
        return m


class ColumnGrad(wiring.Component):
    """``o[lane] = trunc(sum_c r4[c]*col[lane][c] * 2**e[lane])``: dE/dG of one slot.

    `r4` and `col` are aligned mantissas of R4 and of the columns of dE/dGR, `e` the sum of both
    exponents, less 2*frac. Latency `latency`, one slot per cycle, 4*L multipliers.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self._trees = [SumTree(ROWS, 2 * cfg.man_bits + 2) for _ in range(cfg.lanes)]
        bits = 2 * cfg.man_bits + ROWS.bit_length() + 1
        self._units = [Normalize(cfg, bits) for _ in range(cfg.lanes)]
        super().__init__(
            {
                "r4": In(aligned_vector(cfg, ROWS)),
                "col": In(data.ArrayLayout(aligned_vector(cfg, ROWS), cfg.lanes)),
                "e": In(data.ArrayLayout(signed(cfg.exp_int + 2), cfg.lanes)),
                "o": Out(data.ArrayLayout(FltLayout(cfg), cfg.lanes)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the operands to `o`."""
        return self._sum_latency + self._units[0].latency

    @property
    def _sum_latency(self) -> int:
        return self.cfg.mult_latency + self._trees[0].latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.exponents = exponents = Delay(self.e.shape(), self._sum_latency)
        m.d.comb += exponents.i.eq(self.e)
        for lane, (tree, unit) in enumerate(zip(self._trees, self._units, strict=True)):
            m.submodules[f"tree_{lane}"] = tree
            m.submodules[f"unit_{lane}"] = unit
            for c in range(ROWS):
                mult = Multiplier(cfg.man_bits + 1, cfg.man_bits + 1, cfg.mult_latency, cfg.family)
                m.submodules[f"mult_{lane}_{c}"] = mult
                m.d.comb += [
                    mult.a.eq(self.r4[c]),
                    mult.b.eq(self.col[lane][c]),
                    tree.i[c].eq(mult.p),
                ]
            m.d.comb += [
                unit.i.eq(tree.o),
                unit.e.eq(exponents.o[lane]),
                self.o[lane].eq(unit.o),
            ]
        return m


class TableDot(wiring.Component):
    """``o = dot(dG/ds, dE/dG)`` over all channels of a neighbour.

    dE/dG waits until the neighbour's largest exponent is known, `wait` cycles, while the search
    runs over the next neighbour. `slope`, the aligned mantissas of dG/ds, must come
    `slope_delay` cycles after the dE/dG of their slot; `slope_max`, their exponent, in the cycle
    of `take`.

    Latency: `latency` cycles from the last slot of `i` to `valid_o`. Throughput: one slot per
    cycle, L multipliers.
    """

    def __init__(self, cfg: AcceleratorConfig, slots: int) -> None:
        self.cfg = cfg
        self._max = MaxExp(cfg, cfg.lanes)
        self._aligns = [Align(cfg) for _ in range(cfg.lanes)]
        self._sum = SlotSum(cfg)
        self._unit = Normalize(cfg, self._sum.total_bits)
        self.wait = slots + self._max.latency
        self.slope_delay = self.wait + self._aligns[0].latency
        super().__init__(
            {
                "mark": In(SLOT_MARK),
                "i": In(data.ArrayLayout(FltLayout(cfg), cfg.lanes)),
                "slope": In(aligned_vector(cfg, cfg.lanes)),
                "take": Out(1),
                "slope_max": In(signed(cfg.exp_int)),
                "valid_o": Out(1),
                "o": Out(FltLayout(cfg)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the last slot to `valid_o`."""
        return self.slope_delay + self._sum.latency + self._unit.latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.max = slot_max = self._max
        m.submodules.mark_max = mark_max = MarkDelay(slot_max.latency)
        m.submodules.mark_wait = mark_wait = MarkDelay(self.wait)
        m.submodules.values = values = Delay(self.i.shape(), self.wait)
        so_far, largest = Signal(signed(cfg.exp_int)), Signal(signed(cfg.exp_int))
        emax = Signal(signed(cfg.exp_int))
        m.d.comb += [
            slot_max.i.eq(self.i),
            mark_max.i.eq(self.mark),
            mark_wait.i.eq(self.mark),
            values.i.eq(self.i),
            largest.eq(
                Mux(~mark_max.o.first & (so_far > slot_max.o), so_far, slot_max.o)
            ),
        ]
        with m.If(mark_max.o.valid):
            m.d.sync += so_far.eq(largest)
            with m.If(mark_max.o.last):
                m.d.sync += emax.eq(largest)

        align_latency = self._aligns[0].latency
        m.submodules.total = total = self._sum
        m.submodules.mark_align = mark_align = MarkDelay(align_latency)
        m.d.comb += [mark_align.i.eq(mark_wait.o), total.mark.eq(mark_align.o)]
        for lane, align in enumerate(self._aligns):
            m.submodules[f"align_{lane}"] = align
            m.d.comb += [
                align.i.eq(values.o[lane]),
                align.emax.eq(emax),
                total.a[lane].eq(align.o),
                total.b[lane].eq(self.slope[lane]),
            ]

        # emax belongs to this neighbour up to its last waiting slot
        m.submodules.exponent = exponent = Delay(
            signed(cfg.exp_int + 2), align_latency + total.latency
        )
        m.submodules.unit = unit = self._unit
        m.submodules.valid = valid = Delay(1, unit.latency)
        m.d.comb += [
            self.take.eq(mark_wait.o.valid & mark_wait.o.last),
            exponent.i.eq(emax + self.slope_max - 2 * cfg.frac),
            unit.i.eq(total.total),
            unit.e.eq(exponent.o),
            valid.i.eq(total.valid_o),
            self.valid_o.eq(valid.o),
            self.o.eq(unit.o),
        ]
        return m
