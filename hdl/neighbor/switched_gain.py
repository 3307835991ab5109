"""SUB_VERSION 2: s without its mean, and the types' part of G that fades with distance."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.arith.add import FltAdd
from nvnmd.hdl.arith.flt import FltLayout, from_word
from nvnmd.hdl.arith.mul import FltMul
from nvnmd.hdl.arith.mul_bank import FltMulBank
from nvnmd.hdl.layouts import slot_bits
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.delay import Delay
from nvnmd.hdl.pipeline.lane_memory import LaneMemory, log2
from nvnmd.hdl.pipeline.loadbus import LANE_BITS, LANES, LoadBus, Section
from nvnmd.hdl.pipeline.memories import make_memory
from nvnmd.hdl.pipeline.owners import answer, asked, connect_load, joined


class Standardize(wiring.Component):
    """``o = mul(inv_std[ctype][0], add(s, -mean[ctype])), mul(inv_std[ctype][1], h)``.

    Operands are taken in the cycle of `valid_i`, at most once per `cfg.fold` cycles; both results
    stand in the cycle of `valid_o`, `latency` cycles later. ``ceil(2/fold)`` multipliers, one
    adder, a memory of three words per type (`Section.INV_STD`).
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self._add = FltAdd(cfg)
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
        return 1 + self._add.latency + self._bank.latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.words = words = make_memory(3 * cfg.flt_bits, 1 << cfg.type_bits)
        write, read = words.write_port(), words.read_port()
        listed = self.load.valid & (self.load.section == Section.INV_STD)
        checking = asked(self.load, Section.INV_STD)
        m.d.comb += [
            write.en.eq(listed & (self.load.index < cfg.ntypes)),
            write.addr.eq(self.load.index),
            write.data.eq(
                Cat(self.load.data.word_select(k, LANE_BITS)[: cfg.flt_bits] for k in range(3))
            ),
            read.en.eq(1),
            read.addr.eq(Mux(checking, self.load.index, self.ctype)),
        ]
        stored = [read.data.word_select(k, cfg.flt_bits) for k in range(3)]
        m.d.comb += self.load.back.eq(joined(
            answer(m, self.load, Section.INV_STD, stored, since=1, second=False),
            # the backward pass has the second copy of the deviations, and needs no mean
            answer(m, self.load, Section.INV_STD, [Const(0), Const(0), stored[2]], since=1,
                   second=True),
        ))
        numbers = [
            from_word(m, cfg, read.data[k * cfg.flt_bits : (k + 1) * cfg.flt_bits])
            for k in range(3)
        ]
        started, waiting = Signal(), Signal(self.a.shape())
        m.d.sync += [waiting.eq(self.a), started.eq(self.valid_i)]
        m.submodules.add, m.submodules.bank = add, bank = self._add, self._bank
        one = FltLayout(cfg)
        later = data.StructLayout({"h": one, "factors": data.ArrayLayout(one, 2)})
        m.submodules.later = later_ = Delay(later, add.latency)
        m.submodules.valid = valid = Delay(1, add.latency)
        m.d.comb += [
            add.a.eq(waiting[0]),
            add.b.eq(numbers[2]),
            later_.i.h.eq(waiting[1]),
            later_.i.factors[0].eq(numbers[0]),
            later_.i.factors[1].eq(numbers[1]),
            valid.i.eq(started),
            bank.valid_i.eq(valid.o),
            bank.a.eq(later_.o.factors),
            bank.b[0].eq(add.o),
            bank.b[1].eq(later_.o.h),
            self.valid_o.eq(bank.valid_o),
            self.o.eq(bank.o),
        ]
        return m

    def compute(self, numbers: list[float], a: list[float]) -> list[float]:
        """s and h for one type's two inverse deviations and minus its mean."""
        s = self._add.compute(a[0], numbers[2])
        return self._bank.compute(list(numbers[:2]), [s, a[1]])


class SwitchedGain(wiring.Component):
    """``o[lane] = add(g, mul(g, factor))``, ``factor = mul(gain, k)``, for the slot's channels.

    What the backward pass needs again comes out beside the sums: the gains as words, the factors
    and `g` itself. Latency `latency` cycles, one slot per cycle; 2*L multipliers, L adders, a
    memory of ntypes^2 * m1 words (`Section.TYPE_GAIN`).
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self._mul, self._add = FltMul(cfg), FltAdd(cfg)
        vector = data.ArrayLayout(FltLayout(cfg), cfg.lanes)
        super().__init__(
            {
                "load": In(LoadBus()),
                "valid_i": In(1),
                "slot_i": In(slot_bits(cfg)),
                "ctype": In(cfg.type_bits),
                "ntype": In(cfg.type_bits),
                "k": In(FltLayout(cfg)),
                "g": In(vector),
                "valid_o": Out(1),
                "slot_o": Out(slot_bits(cfg)),
                "o": Out(vector),
                "gain": Out(data.ArrayLayout(cfg.flt_bits, cfg.lanes)),
                "factor": Out(vector),
                "plain": Out(vector),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a slot's values to their sums."""
        return 1 + 2 * self._mul.latency + self._add.latency

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
        k = Signal(FltLayout(cfg))
        m.d.sync += k.eq(self.k)
        times, plus = self._mul.latency, self._add.latency
        vector = self.g.shape()
        m.submodules.to_product = to_product = Delay(vector, 1 + times)
        m.submodules.to_sum = to_sum = Delay(vector, times)
        m.submodules.to_end = to_end = Delay(vector, plus)
        m.submodules.factors = factors = Delay(vector, times + plus)
        m.submodules.used = used = Delay(self.gain.shape(), 2 * times + plus)
        m.submodules.valid = valid = Delay(1, self.latency)
        m.submodules.slot = slot = Delay(self.slot_i.shape(), self.latency)
        for lane in range(cfg.lanes):
            fade = self._mul if lane == 0 else FltMul(cfg)
            total = self._add if lane == 0 else FltAdd(cfg)
            product = FltMul(cfg)
            m.submodules[f"fade{lane}"] = fade
            m.submodules[f"product{lane}"] = product
            m.submodules[f"total{lane}"] = total
            m.d.comb += [
                fade.a.eq(from_word(m, cfg, gains.r_data[lane])),
                fade.b.eq(k),
                factors.i[lane].eq(fade.o),
                product.a.eq(to_product.o[lane]),
                product.b.eq(fade.o),
                total.a.eq(to_sum.o[lane]),
                total.b.eq(product.o),
                self.o[lane].eq(total.o),
            ]
        m.d.comb += [
            to_product.i.eq(self.g),
            to_sum.i.eq(to_product.o),
            to_end.i.eq(to_sum.o),
            used.i.eq(gains.r_data),
            valid.i.eq(self.valid_i),
            slot.i.eq(self.slot_i),
            self.valid_o.eq(valid.o),
            self.slot_o.eq(slot.o),
            self.gain.eq(used.o),
            self.factor.eq(factors.o),
            self.plain.eq(to_end.o),
        ]
        return m

    def compute(self, g: list[float], gain: list[float], k: float) -> list[float]:
        """The sums."""
        factors = [self._mul.compute(x, k) for x in gain]
        return [self._add.compute(x, self._mul.compute(x, f))
                for x, f in zip(g, factors, strict=True)]
