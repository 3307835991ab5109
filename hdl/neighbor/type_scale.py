"""Version 1: products by what the types choose, inverse deviations and the gains of G."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.arith.flt import FltLayout, from_word
from nvnmd.hdl.arith.mul import FltMul
from nvnmd.hdl.arith.mul_bank import FltMulBank
from nvnmd.hdl.layouts import slot_bits
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.delay import Delay
from nvnmd.hdl.pipeline.lane_memory import LaneMemory, log2
from nvnmd.hdl.pipeline.loadbus import LANE_BITS, LANES, LoadBus, Section
from nvnmd.hdl.pipeline.memories import make_memory
from nvnmd.hdl.pipeline.owners import answer, asked, connect_load


class InverseStd(wiring.Component):
    """``o[k] = mul(inv_std[ctype][k], a[k])`` for the radial (k = 0) and the angular value.

    Operands are taken in the cycle of `valid_i`, at most once per `cfg.fold` cycles; both products
    stand in the cycle of `valid_o`, `latency` cycles later. ``ceil(2/fold)`` multipliers, a memory
    of two words per type (`Section.INV_STD`); `second` says that this is its second copy.
    """

    def __init__(self, cfg: AcceleratorConfig, *, second: bool = False) -> None:
        self.cfg = cfg
        self._second = second
        self._bank = FltMulBank(cfg, 2)
        pair = data.ArrayLayout(FltLayout(cfg), 2)
        super().__init__(
            {
                "load": In(LoadBus()),
                "valid_i": In(1),
                "ctype": In(cfg.type_bits),
                "a": In(pair),
                "valid_o": Out(1),
                "o": Out(pair),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from `valid_i` to `valid_o`."""
        return 1 + self._bank.latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.words = words = make_memory(2 * cfg.flt_bits, 1 << cfg.type_bits)
        write, read = words.write_port(), words.read_port()
        listed = self.load.valid & (self.load.section == Section.INV_STD)
        checking = asked(self.load, Section.INV_STD, self._second)
        m.d.comb += [
            write.en.eq(listed & (self.load.index < cfg.ntypes)),
            write.addr.eq(self.load.index),
            write.data.eq(
                Cat(self.load.data.word_select(k, LANE_BITS)[: cfg.flt_bits] for k in range(2))
            ),
            read.en.eq(1),
            read.addr.eq(Mux(checking, self.load.index, self.ctype)),
        ]
        m.d.comb += self.load.back.eq(answer(
            m, self.load, Section.INV_STD,
            [read.data.word_select(k, cfg.flt_bits) for k in range(2)], since=1,
            second=self._second))
        m.submodules.bank = bank = self._bank
        waiting = Signal(self.a.shape())
        started = Signal()
        m.d.sync += [waiting.eq(self.a), started.eq(self.valid_i)]
        m.d.comb += [
            bank.valid_i.eq(started),
            bank.b.eq(waiting),
            self.valid_o.eq(bank.valid_o),
            self.o.eq(bank.o),
        ]
        for k in range(2):
            word = read.data[k * cfg.flt_bits : (k + 1) * cfg.flt_bits]
            m.d.comb += bank.a[k].eq(from_word(m, cfg, word))
        return m

    def compute(self, inverse: list[float], a: list[float]) -> list[float]:
        """The products for one type's two inverse deviations."""
        return self._bank.compute(inverse, a)


class TypeGain(wiring.Component):
    """``o[lane] = mul(g[lane], gain)`` with the gain of (ctype, ntype) for the slot's channels.

    Slots of `cfg.lanes` channels; the gains used, as words, come out beside the products, because
    the backward pass needs them again. Latency `latency` cycles, one slot per cycle. L
    multipliers, a memory of ntypes^2 * m1 words (`Section.TYPE_GAIN`).
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self._muls = [FltMul(cfg) for _ in range(cfg.lanes)]
        vector = data.ArrayLayout(FltLayout(cfg), cfg.lanes)
        super().__init__(
            {
                "load": In(LoadBus()),
                "valid_i": In(1),
                "slot_i": In(slot_bits(cfg)),
                "ctype": In(cfg.type_bits),
                "ntype": In(cfg.type_bits),
                "g": In(vector),
                "valid_o": Out(1),
                "slot_o": Out(slot_bits(cfg)),
                "o": Out(vector),
                "gain": Out(data.ArrayLayout(cfg.flt_bits, cfg.lanes)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a slot's values to their products."""
        return 1 + self._muls[0].latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.gains = gains = LaneMemory(
            cfg.ntypes * cfg.ntypes * cfg.m1, cfg.flt_bits, write_lanes=LANES,
            read_lanes=cfg.lanes,
        )
        m.d.comb += self.load.back.eq(connect_load(m, self.load, Section.TYPE_GAIN, gains))
        kind = log2(cfg.ntypes)
        m.d.comb += gains.r_index.eq(
            Cat(self.slot_i[: log2(cfg.fold)], self.ntype[:kind], self.ctype[:kind])
        )
        # the gains come one cycle after they were asked for
        values = Signal(self.g.shape())
        m.d.sync += values.eq(self.g)
        for lane, mul in enumerate(self._muls):
            m.submodules[f"mul{lane}"] = mul
            m.d.comb += [
                mul.a.eq(values[lane]),
                mul.b.eq(from_word(m, cfg, gains.r_data[lane])),
                self.o[lane].eq(mul.o),
            ]
        m.submodules.valid = valid = Delay(1, self.latency)
        m.submodules.slot = slot = Delay(self.slot_i.shape(), self.latency)
        m.submodules.used = used = Delay(self.gain.shape(), self._muls[0].latency)
        m.d.comb += [
            valid.i.eq(self.valid_i),
            slot.i.eq(self.slot_i),
            used.i.eq(gains.r_data),
            self.valid_o.eq(valid.o),
            self.slot_o.eq(slot.o),
            self.gain.eq(used.o),
        ]
        return m

    def compute(self, g: list[float], gain: list[float]) -> list[float]:
        """The products."""
        return [self._muls[0].compute(a, b) for a, b in zip(g, gain, strict=True)]
