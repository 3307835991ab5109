# amaranth: UnusedElaboratable=no
"""A table unit: row choice, the memories of values and derivatives, and Horner's scheme."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.arith import flt
from nvnmd.hdl.arith.add import FltAdd
from nvnmd.hdl.arith.mul import FltMul
from nvnmd.hdl.neighbor.octave_select import OctaveSelect
from nvnmd.hdl.neighbor.row_select import X0_BITS, RowSelect
from nvnmd.hdl.params import AcceleratorConfig, ceil_div
from nvnmd.hdl.pipeline.delay import Delay
from nvnmd.hdl.pipeline.loadbus import LANE_BITS, LANES, LoadBus
from nvnmd.hdl.pipeline.memories import make_memory
from nvnmd.hdl.pipeline.owners import answer, asked, joined
from nvnmd.quantize import ops

_READ_LATENCY = 2


def _steps(m: Module, cfg: AcceleratorConfig, mul: FltMul, add: FltAdd, words: data.View,
           x: data.View) -> tuple[list[data.View], list[data.View]]:
    """The three products and sums of a cubic, one behind the other.

    `mul` and `add` are the first step's; `words` are the coefficients, of the highest power first,
    and ``x[k]`` the offset of step k, in its time.
    """
    stride = mul.latency + add.latency
    products: list[data.View] = []
    totals: list[data.View] = []
    value = flt.from_word(m, cfg, words[0])
    for k in range(3):
        if k:
            mul, add = FltMul(cfg, b_frac=cfg.offset_frac), FltAdd(cfg)
        wait = Delay(cfg.flt_bits, k * stride + mul.latency)
        m.submodules[f"mul{k}"] = mul
        m.submodules[f"add{k}"] = add
        m.submodules[f"wait{k}"] = wait
        m.d.comb += [
            mul.a.eq(value),
            mul.b.eq(x[k]),
            wait.i.eq(words[k + 1]),
            add.a.eq(mul.o),
            add.b.eq(flt.from_word(m, cfg, wait.o)),
        ]
        value = add.o
        products.append(mul.o)
        totals.append(add.o)
    return products, totals


class Horner(wiring.Component):
    """``y = ((a*x + b)*x + c)*x + d`` with flt products and sums. One value per cycle.

    `x[k]` is the offset for the k-th product, which the owner delays by ``k * stride`` cycles (one
    delay serves many of these units); the coefficients are words, all taken in the same cycle.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self._mul = FltMul(cfg, b_frac=cfg.offset_frac)
        self._add = FltAdd(cfg)
        layout = flt.FltLayout(cfg)
        super().__init__(
            {
                "words": In(data.ArrayLayout(cfg.flt_bits, 4)),
                "x": In(data.ArrayLayout(layout, 3)),
                "y": Out(layout),
            }
        )

    @property
    def stride(self) -> int:
        """Cycles of one step, a product and a sum."""
        return self._mul.latency + self._add.latency

    @property
    def delays(self) -> tuple[int, int, int]:
        """Cycles from the coefficients to each product's operands."""
        return 0, self.stride, 2 * self.stride

    @property
    def latency(self) -> int:
        """Cycles from the coefficients to the value."""
        return 3 * self.stride

    def elaborate(self, platform: object) -> Module:
        m = Module()
        _, totals = _steps(m, self.cfg, self._mul, self._add, self.words, self.x)
        m.d.comb += self.y.eq(totals[-1])
        return m

    def compute(self, coefficients: list[float], x: float) -> float:
        """The value of the cubic, by `nvnmd.quantize.ops`."""
        a, b, c, d = coefficients
        frac = self.cfg.frac
        y = ops.add(ops.mul(a, x, frac), b, frac)
        y = ops.add(ops.mul(y, x, frac), c, frac)
        return float(ops.add(ops.mul(y, x, frac), d, frac)) + 0.0


class SlopeHorner(wiring.Component):
    """`Horner`, and the slope of the same cubic: ``slope = ((m + p)*x) + q``. One pair per cycle.

    m, p and q are what the value goes through: ``m = a*x``, ``p = m + b``, ``q = p*x + c``. There
    is a fourth offset: `x[k]` is that for the value's k-th product, `x[3]` that for the slope's,
    which the owner delays by ``delays[k]`` cycles.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self._mul = FltMul(cfg, b_frac=cfg.offset_frac)
        self._add = FltAdd(cfg)
        layout = flt.FltLayout(cfg)
        super().__init__(
            {
                "words": In(data.ArrayLayout(cfg.flt_bits, 4)),
                "x": In(data.ArrayLayout(layout, 4)),
                "y": Out(layout),
                "slope": Out(layout),
            }
        )

    @property
    def delays(self) -> tuple[int, int, int, int]:
        """Cycles from the coefficients to each product's operands."""
        stride = self._mul.latency + self._add.latency
        return 0, stride, 2 * stride, stride + self._add.latency

    @property
    def latency(self) -> int:
        """Cycles from the coefficients to value and slope."""
        return 3 * (self._mul.latency + self._add.latency)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        products, totals = _steps(m, cfg, self._mul, self._add, self.words, self.x)
        layout = flt.FltLayout(cfg)
        m.submodules.first = first = Delay(layout, self._add.latency)
        m.submodules.double = double = FltAdd(cfg)
        m.submodules.slope_mul = mul = FltMul(cfg, b_frac=cfg.offset_frac)
        m.submodules.slope_add = add = FltAdd(cfg)
        m.submodules.slope_wait = wait = Delay(layout, mul.latency)
        m.d.comb += [
            first.i.eq(products[0]),
            double.a.eq(first.o),
            double.b.eq(totals[0]),
            mul.a.eq(double.o),
            mul.b.eq(self.x[3]),
            add.a.eq(mul.o),
            add.b.eq(totals[1]),
            wait.i.eq(add.o),
            self.y.eq(totals[-1]),
            self.slope.eq(wait.o),
        ]
        return m

    def compute(self, coefficients: list[float], x: float) -> tuple[float, float]:
        """Value and slope of the cubic, by `nvnmd.quantize.ops`."""
        a, b, c, d = coefficients
        frac = self.cfg.frac
        first = ops.mul(a, x, frac)
        linear = ops.add(first, b, frac)
        quadratic = ops.add(ops.mul(linear, x, frac), c, frac)
        slope = ops.add(ops.mul(ops.add(first, linear, frac), x, frac), quadratic, frac)
        value = ops.add(ops.mul(quadratic, x, frac), d, frac)
        return float(value) + 0.0, float(slope) + 0.0


class TableUnit(wiring.Component):
    """`n_out` functions of one argument, and their derivatives, from tables of cubics.

    The argument is taken in the cycle of `valid_i`, at most once per `fold` cycles. The outputs
    come in ``slots`` consecutive cycles with `valid_o`, `places` at a time, ``ceil(n_out/fold)``
    or the next power of two: output ``slot*places + lane`` is ``value[lane]``, its derivative
    ``grad[lane]``; there are ``lanes = min(places, n_out)``, and in the last slot those beyond
    `n_out` hold nothing. `latency` counts from `valid_i` to slot 0. Throughput: one argument per
    `slots` cycles.

    Memories: per lane one for values and, unless `sections` has None for it, one for derivatives, a
    word of four coefficients (flt words) per table, row and slot. Without the second the
    derivative is that of the stored cubic (`SlopeHorner`). They are written over `load` (see
    `nvnmd.hdl.pipeline.loadbus`), one output per beat, outputs counted to the next power of two,
    and hold nothing before. A beat may come at any time; arguments in flight see it.

    Parameters
    ----------
    cfg : AcceleratorConfig
        Formats.
    n_out : int
        Functions.
    segments : tuple of (int, int)
        Layout of the rows, see `RowSelect` or, where `octaves` is set, `OctaveSelect`.
    ntab : int
        Tables; `tab` picks one per argument.
    fold : int
        Cycles per argument, a power of two.
    sections : (int, int or None)
        Load sections of the values and of the derivatives.
    octaves : bool
        The rows are octaves.
    """

    def __init__(
        self,
        cfg: AcceleratorConfig,
        *,
        n_out: int,
        segments: tuple[tuple[int, int], ...],
        ntab: int,
        fold: int,
        sections: tuple[int, int | None],
        octaves: bool = False,
    ) -> None:
        if fold < 1 or fold & (fold - 1):
            raise ValueError(f"fold is {fold}, expected a power of two")
        for name, number in (("n_out", n_out), ("ntab", ntab)):
            if number < 1:
                raise ValueError(f"{name} is {number}, expected at least 1")
        if cfg.flt_bits > LANE_BITS:
            raise ValueError(f"flt words of {cfg.flt_bits} bits do not fit a load lane")
        self.cfg = cfg
        self.n_out = n_out
        self.ntab = ntab
        self.sections = sections
        self.places = 1 << (ceil_div(n_out, fold) - 1).bit_length()
        self.lanes = min(self.places, n_out)
        self.slots = ceil_div(n_out, self.places)
        self._select: RowSelect | OctaveSelect = (
            OctaveSelect(cfg, segments) if octaves else RowSelect(cfg, segments)
        )
        self._own_slopes = sections[1] is None
        self._horner: Horner | SlopeHorner = SlopeHorner(cfg) if self._own_slopes else Horner(cfg)
        self.rows = self._select.rows
        self._slot_bits = (self.slots - 1).bit_length()
        self._depth = ntab * self.rows << self._slot_bits
        if self._depth * self.places > 1 << 24:
            raise ValueError("the table has more outputs than the load bus can count")
        vector = data.ArrayLayout(flt.FltLayout(cfg), self.lanes)
        super().__init__(
            {
                "load": In(LoadBus()),
                "x0": In(signed(X0_BITS)),
                "valid_i": In(1),
                "tab": In(range(max(2, ntab))),
                "x": In(flt.FltLayout(cfg)),
                "valid_o": Out(1),
                "slot": Out(range(max(2, self.slots))),
                "value": Out(vector),
                "grad": Out(vector),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from `valid_i` to slot 0."""
        return self._select.latency + 1 + _READ_LATENCY + self._horner.latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        lane_bits = (self.places - 1).bit_length()

        # Row and offset, then held while the slots are read.
        m.submodules.select = select = self._select
        m.submodules.valid = valid = Delay(1, select.latency)
        m.submodules.table = table = Delay(self.tab.shape(), select.latency, ring=False)
        held = Signal(range(max(2, self.ntab * self.rows)))
        offset = Signal(flt.FltLayout(cfg))
        busy, slot = Signal(), Signal.like(self.slot)
        bases = Array(Const(k * self.rows) for k in range(self.ntab))
        m.d.comb += [
            select.x.eq(self.x),
            select.x0.eq(self.x0),
            valid.i.eq(self.valid_i),
            table.i.eq(self.tab),
        ]
        with m.If(valid.o):
            m.d.sync += [
                held.eq(bases[table.o] + select.row),
                offset.eq(select.offset),
                busy.eq(1),
                slot.eq(0),
            ]
        with m.Elif(slot == self.slots - 1):
            m.d.sync += busy.eq(0)
        with m.Else():
            m.d.sync += slot.eq(slot + 1)
        word = Cat(slot[: self._slot_bits], held)

        # The offset for each of the products, shared by all lanes: one chain of delays.
        delays = self._horner.delays
        offsets: dict[int, data.View] = {}
        for k in sorted(range(len(delays)), key=delays.__getitem__):
            before = max((delays[i] for i in offsets), default=None)
            wait = Delay(flt.FltLayout(cfg),
                         _READ_LATENCY if before is None else delays[k] - before)
            m.submodules[f"offset{k}"] = wait
            m.d.comb += wait.i.eq(
                offset if before is None else offsets[delays.index(before)])
            offsets[k] = wait.o

        # Write side: one beat is one output's four coefficients.
        write_word = Signal(range(max(2, self._depth)))
        write_data = Signal(4 * cfg.flt_bits)
        m.d.sync += [
            write_word.eq(self.load.index[lane_bits:]),
            write_data.eq(
                Cat(
                    self.load.data[LANE_BITS * k : LANE_BITS * k + cfg.flt_bits]
                    for k in range(LANES)
                )
            ),
        ]

        lane_asked = Delay(max(1, lane_bits), 3)
        m.submodules.lane_asked = lane_asked
        m.d.comb += lane_asked.i.eq(self.load.index[:lane_bits])
        answers: list[Value] = []
        for number, name in enumerate(("value", "grad")[: 1 if self._own_slopes else 2]):
            section = self.sections[number]
            assert section is not None
            checking = Signal(name=f"{name}_check")
            m.d.sync += checking.eq(asked(self.load, section))
            row = Signal(4 * cfg.flt_bits, name=f"{name}_row")
            for lane in range(self.lanes):
                store = make_memory(4 * cfg.flt_bits, self._depth)
                m.submodules[f"{name}_store{lane}"] = store
                write, read = store.write_port(), store.read_port()
                enable = Signal(name=f"{name}_write{lane}")
                m.d.sync += enable.eq(
                    self.load.valid
                    & (self.load.section == section)
                    & (self.load.index < self._depth * self.places)
                    & (self.load.index[:lane_bits] == lane)
                )
                horner = self._horner if number == lane == 0 else type(self._horner)(cfg)
                m.submodules[f"{name}_horner{lane}"] = horner
                if isinstance(horner, SlopeHorner):
                    m.d.comb += self.grad[lane].eq(horner.slope)
                m.d.comb += [
                    write.addr.eq(write_word),
                    write.data.eq(write_data),
                    write.en.eq(enable),
                    read.addr.eq(Mux(checking, write_word, word)),
                    getattr(self, name)[lane].eq(horner.y),
                ]
                m.d.sync += horner.words.as_value().eq(read.data)
                m.d.comb += [horner.x[k].eq(x) for k, x in offsets.items()]
                with m.If(lane_asked.o == lane):
                    m.d.comb += row.eq(horner.words.as_value())
            answers.append(answer(
                m, self.load, section,
                [row.word_select(k, cfg.flt_bits) for k in range(LANES)], since=3))
        m.d.comb += self.load.back.eq(joined(*answers))

        m.submodules.valid_end = valid_end = Delay(1, _READ_LATENCY + self._horner.latency)
        m.submodules.slot_end = slot_end = Delay(slot.shape(), valid_end.latency)
        m.d.comb += [
            valid_end.i.eq(busy),
            slot_end.i.eq(slot),
            self.valid_o.eq(valid_end.o),
            self.slot.eq(slot_end.o),
        ]
        return m

    def compute(
        self, coefficients: object, x: float, x0: int, tab: int, slopes: object = None
    ) -> tuple[list[float], list[float]]:
        """Values and derivatives, for coefficients of shape (ntab, rows, n_out, 4)."""
        import numpy as np

        row, offset = self._select.compute(x, x0)
        cubics = [list(cubic) for cubic in np.asarray(coefficients)[tab, row]]
        if isinstance(self._horner, SlopeHorner):
            pairs = [self._horner.compute(cubic, offset) for cubic in cubics]
            return [value for value, _ in pairs], [slope for _, slope in pairs]
        of_slopes = [list(cubic) for cubic in np.asarray(slopes)[tab, row]]
        return ([self._horner.compute(cubic, offset) for cubic in cubics],
                [self._horner.compute(cubic, offset) for cubic in of_slopes])
