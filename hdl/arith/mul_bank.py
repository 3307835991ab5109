"""Several flt products per neighbour on as few multipliers as the fold allows."""

from __future__ import annotations

from amaranth.hdl import Cat, Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.arith.flt import FltLayout
from nvnmd.hdl.arith.mul import FltMul
from nvnmd.hdl.arith.multiplier import Serializer, gathered
from nvnmd.hdl.params import AcceleratorConfig, ceil_div
from nvnmd.hdl.pipeline.delay import Delay


class FltMulBank(wiring.Component):
    """``o[i] = mul(a[i], b[i])`` for a vector of `n`, on ``ceil(n/fold)`` units `FltMul`.

    Operands are taken in the cycle of `valid_i`, at most once per `cfg.fold` cycles; all products
    stand in the cycle of `valid_o`, `latency` cycles later, and only there.
    """

    def __init__(self, cfg: AcceleratorConfig, n: int) -> None:
        self.cfg = cfg
        self.n = n
        flt = FltLayout(cfg)
        lanes = ceil_div(n, cfg.fold)
        self.slots = ceil_div(n, lanes)
        self.units = [FltMul(cfg) for _ in range(lanes)]
        vector = data.ArrayLayout(flt, n)
        super().__init__(
            {"valid_i": In(1), "a": In(vector), "b": In(vector), "valid_o": Out(1),
             "o": Out(vector)}
        )

    @property
    def latency(self) -> int:
        """Cycles from `valid_i` to `valid_o`."""
        return self.units[0].latency + (self.slots if self.slots > 1 else 0)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        units = self.units
        m.submodules.valid = valid = Delay(1, units[0].latency)
        for k, unit in enumerate(units):
            m.submodules[f"unit{k}"] = unit
        m.d.comb += self.valid_o.eq(valid.o)
        if self.slots == 1:
            m.d.comb += valid.i.eq(self.valid_i)
            for k, unit in enumerate(units):
                m.d.comb += [unit.a.eq(self.a[k]), unit.b.eq(self.b[k]), self.o[k].eq(unit.o)]
            return m
        flt = FltLayout(self.cfg)
        pair = data.StructLayout({"a": flt, "b": flt})
        m.submodules.serial = serial = Serializer(pair, self.n, self.slots)
        m.d.comb += [serial.valid_i.eq(self.valid_i), valid.i.eq(serial.last)]
        for i in range(self.n):
            m.d.comb += [serial.i[i].a.eq(self.a[i]), serial.i[i].b.eq(self.b[i])]
        for k, unit in enumerate(units):
            m.d.comb += [unit.a.eq(serial.o[k].a), unit.b.eq(serial.o[k].b)]
        fresh = Cat(unit.o.as_value() for unit in units)
        m.d.comb += self.o.as_value().eq(gathered(m, fresh, self.slots))
        return m

    def compute(self, a: list[float], b: list[float]) -> list[float]:
        """The products, by `FltMul.compute`."""
        return [self.units[0].compute(x, y) for x, y in zip(a, b, strict=True)]
