"""One element of dE/dGR from its products."""

from __future__ import annotations

from functools import reduce
from operator import add, or_

from amaranth import Module, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.arith.flt import FltLayout
from nvnmd.hdl.arith.normalize import Normalize
from nvnmd.hdl.arith.whole import ProductToFix, TruncateWhole, fits
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.quantize import ops


class GradSum(wiring.Component):
    """``o = trunc(trunc(sum_k t(a[0,k]*b[0,k])) + trunc(sum_k t(a[1,k]*b[1,k]))) * 2^-nix_shift``.

    `t` drops, toward zero, what a product of two mantissas has below 2^-fix_frac; the sums are
    whole numbers of `cfg.acc_bits` bits; `trunc` keeps the frac + 1 leading bits of a magnitude.

    Latency: `latency` cycles. Throughput: one element per cycle, with 2*m2 multipliers.

    Parameters
    ----------
    cfg : AcceleratorConfig
        Sizes and formats.

    Attributes
    ----------
    a, b : In
        Two groups of m2 flt factors each.
    nix_shift : In
        log2 of the divisor of GR, constant while elements are under way.
    o : Out
        flt.
    overflow : Out
        A product or a sum of this element left `acc_bits` (in the cycle of its `o`).
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self._products = [[ProductToFix(cfg) for _ in range(cfg.m2)] for _ in range(2)]
        self._normalize = Normalize(cfg, cfg.acc_bits + 1)
        factors = data.ArrayLayout(FltLayout(cfg), cfg.m2)
        super().__init__(
            {
                "a": In(data.ArrayLayout(factors, 2)),
                "b": In(data.ArrayLayout(factors, 2)),
                "nix_shift": In(unsigned(5)),
                "o": Out(FltLayout(cfg)),
                "overflow": Out(1),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the factors to `o`: products, sums, their sum, normalisation."""
        return (self._products[0][0].latency + 2 + TruncateWhole.latency
                + self._normalize.latency)

    @staticmethod
    def compute(cfg: AcceleratorConfig, a: Value, b: Value, nix_shift: int) -> float:
        """The element, from arrays of flt values of shape (2, m2)."""
        sums = ops.product_to_fix(a, b, cfg.frac, cfg.fix_frac).sum(axis=1)
        total = ops.fix_to_flt(sums, cfg.frac, cfg.fix_frac).sum()
        return float(ops.trunc_flt(total, cfg.frac) * 2.0**-nix_shift + 0.0)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        wide = cfg.acc_bits + (cfg.m2 - 1).bit_length()
        wrong: list[Value] = []
        cut_sums: list[Value] = []
        for group, products in enumerate(self._products):
            for k, product in enumerate(products):
                m.submodules[f"product_{group}_{k}"] = product
                m.d.comb += [
                    product.a.eq(self.a[group][k]),
                    product.b.eq(self.b[group][k]),
                ]
            total = Signal(signed(wide), name=f"total_{group}")
            left = Signal(name=f"left_{group}")
            m.d.comb += total.eq(reduce(add, (product.o for product in products)))
            m.d.comb += left.eq(
                reduce(or_, (product.overflow for product in products)) | ~fits(total, cfg.acc_bits)
            )
            held = Signal(signed(cfg.acc_bits), name=f"held_{group}")
            held_left = Signal(name=f"held_left_{group}")
            m.d.sync += [held.eq(total), held_left.eq(left)]
            wrong.append(held_left)
            m.submodules[f"cut_{group}"] = cut = TruncateWhole(cfg.acc_bits, cfg.man_bits)
            m.d.comb += cut.i.eq(held)
            cut_sums.append(cut.o)

        both = Signal(signed(cfg.acc_bits + 1))
        m.submodules.normalize = normalize = self._normalize
        m.d.sync += both.eq(reduce(add, cut_sums))
        m.d.comb += [
            normalize.i.eq(both),
            normalize.e.eq(-cfg.fix_frac - self.nix_shift),
            self.o.eq(normalize.o),
        ]
        flag: Value = reduce(or_, wrong)
        for i in range(TruncateWhole.latency + 1 + normalize.latency):
            after = Signal(name=f"overflow_{i}")
            m.d.sync += after.eq(flag)
            flag = after
        m.d.comb += self.overflow.eq(flag)
        return m
