"""GR: products of R4 and G summed over the neighbours of each type, then over the types."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from nvnmd.hdl.arith.align import MaxExp
from nvnmd.hdl.arith.multiplier import Multiplier
from nvnmd.hdl.arith.normalize import Normalize
from nvnmd.hdl.arith.whole import ProductToFix, TruncateWhole, fits
from nvnmd.hdl.layouts import ColumnLayout, GroupLayout, SlotLayout, SumLayout
from nvnmd.hdl.neighbor.empty import EmptySlot
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.columns import Columns
from nvnmd.hdl.pipeline.delay import Delay
from nvnmd.hdl.pipeline.loadbus import LoadBus
from nvnmd.hdl.pipeline.owners import share
from nvnmd.hdl.pipeline.ring import Ring
from nvnmd.quantize import ops


class GrAccumulate(wiring.Component):
    """Sums r4[c]*g[i] over the neighbours of a group, each product cut to fix first.

    4*L products per cycle (`ProductToFix`), added to a ring of `fold` running sums per lane; a
    masked neighbour adds 0. With a group's last neighbour the finished sums leave, slot by slot.

    Latency: `latency` cycles from the slot words of a group's last neighbour to `sums`.
    Throughput: one slot per cycle, no back-pressure.

    Attributes
    ----------
    i : `SlotLayout`, in
        Slots of one neighbour after another, each neighbour's from 0 to fold-1.
    sums : `SumLayout`, out
    overflow : out
        Set until reset when a product or a sum leaves `acc_bits`.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        super().__init__({"i": In(SlotLayout(cfg)), "sums": Out(SumLayout(cfg)),
                          "overflow": Out(1)})

    @property
    def latency(self) -> int:
        """Cycles from a group's last slot word to the same slot's finished sums."""
        return self.cfg.mult_latency + 2

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        products = []
        for lane in range(cfg.lanes):
            for c in range(4):
                m.submodules[f"product{lane}_{c}"] = product = ProductToFix(cfg)
                m.d.comb += [product.a.eq(self.i.g[lane]), product.b.eq(self.i.r4[c])]
                products.append(product)

        # valid bits are kept apart from the data, which is not cleared by reset
        waiting = products[0].latency
        m.submodules.info = info = Delay(
            data.StructLayout({"slot": self.sums.slot.shape(), "group": GroupLayout(cfg)}), waiting
        )
        m.submodules.valid = valid = Delay(1, waiting)
        m.d.comb += [
            info.i.slot.eq(self.i.slot),
            info.i.group.eq(self.i.group),
            valid.i.eq(self.i.valid),
        ]
        here = valid.o

        width = cfg.acc_bits
        m.submodules.ring = ring = Ring(width * len(products), cfg.fold)
        bad = Signal(len(products))
        totals = []
        for n, product in enumerate(products):
            total = Signal(signed(width + 1), name=f"total{n}")
            sofar = ring.o.word_select(n, width).as_signed()
            m.d.comb += [
                total.eq(
                    Mux(info.o.group.first_of_group, 0, sofar)
                    + Mux(info.o.group.masked, 0, product.o)
                ),
                bad[n].eq(
                    ~fits(total, width) | (product.overflow & ~info.o.group.masked)
                ),
                ring.i.word_select(n, width).eq(total),
            ]
            totals.append(total)
        m.d.comb += ring.push.eq(here)
        m.d.sync += [
            self.sums.valid.eq(here & info.o.group.last_of_group),
            self.sums.slot.eq(info.o.slot),
            self.sums.group.eq(info.o.group),
            self.sums.sums.as_value().eq(Cat(t[:width] for t in totals)),
        ]
        with m.If(here & bad.any()):
            m.d.sync += self.overflow.eq(1)
        return m

    @staticmethod
    def compute(cfg: AcceleratorConfig, r4: NDArray, g: NDArray) -> NDArray[np.int64]:
        """Sums of one group.

        Parameters
        ----------
        cfg : AcceleratorConfig
            Formats.
        r4, g : ndarray, shapes (n, 4) and (n, m1)
            flt values of the group's neighbours.

        Returns
        -------
        ndarray of int64, shape (4, m1)
            Whole numbers of 2**-fix_frac.
        """
        return ProductToFix.compute(cfg, r4[:, :, None], g[:, None, :]).sum(axis=0)


class GrFinalize(wiring.Component):
    """From the sums of each group to the columns of GR.

    Per group: ``empties*K0`` is added to row 0 (unless it is nothing), each sum is cut to man_bits
    significant bits; the groups are summed as integers (a ring of `fold` words per lane); after
    the atom's last group the sums become flt, times ``2**-nix_shift``, one column per cycle, and
    the largest exponent of all is found.

    Throughput: one slot of sums per cycle, one column per cycle; no back-pressure: the front end
    admits at most `atoms` atoms that have not yet left the descriptor.

    Attributes
    ----------
    load : `LoadBus`, in
    nix_shift : in
        log2 of NIX, of the loaded model.
    sums : `SumLayout`, in
        Groups of one atom after another, types ascending from 0 in version 0.
    column : `ColumnLayout`, out
    overflow : out
        Set until reset when an integer leaves `acc_bits`.
    """

    def __init__(self, cfg: AcceleratorConfig, *, atoms: int = 2) -> None:
        self.cfg = cfg
        self.atoms = atoms
        super().__init__(
            {
                "load": In(LoadBus()),
                "nix_shift": In(8),
                "sums": In(SumLayout(cfg)),
                "column": Out(ColumnLayout(cfg)),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        width = cfg.acc_bits
        n = 4 * cfg.lanes

        # 1: the group's sums, with the empty slots'
        wait = 1 + cfg.mult_latency if cfg.empty_counts else 0
        m.submodules.sums = sums = Delay(SumLayout(cfg), wait)
        m.submodules.valid = valid = Delay(1, wait)
        m.d.comb += [sums.i.eq(self.sums), valid.i.eq(self.sums.valid)]
        extra = self._empty_slots(m) if cfg.empty_counts else [0] * cfg.lanes
        bad1 = Signal(n)
        group = Signal(SumLayout(cfg))
        group_valid = Signal()
        m.d.sync += [group.eq(sums.o), group_valid.eq(valid.o)]
        for lane in range(cfg.lanes):
            for c in range(4):
                total = sums.o.sums[lane][c] + (extra[lane] if c == 0 else 0)
                m.d.comb += bad1[4 * lane + c].eq(~fits(total, width))
                m.d.sync += group.sums[lane][c].eq(total)
        with m.If(valid.o & bad1.any()):
            m.d.sync += self.overflow.eq(1)

        # 2: cut
        cuts = [TruncateWhole(width, cfg.man_bits) for _ in range(n)]
        for k, cut in enumerate(cuts):
            m.submodules[f"cut{k}"] = cut
            m.d.comb += cut.i.eq(group.sums[k // 4][k % 4])
        about_shape = data.StructLayout({"group": group.group.shape(), "slot": group.slot.shape()})
        m.submodules.about = about = Delay(about_shape, TruncateWhole.latency)
        m.submodules.group_valid = cut_valid = Delay(1, TruncateWhole.latency)
        m.d.comb += [
            about.i.group.eq(group.group),
            about.i.slot.eq(group.slot),
            cut_valid.i.eq(group_valid),
        ]

        # 3: add to the other groups'
        m.submodules.ring = ring = Ring(width * n, cfg.fold)
        first = Signal()
        m.d.comb += first.eq(about.o.group.ntype == 0 if cfg.version == 0 else 1)
        bad2 = Signal(n)
        atom = Signal(width * n)
        for k, cut in enumerate(cuts):
            total = Signal(signed(width + 1), name=f"total{k}")
            m.d.comb += [
                total.eq(cut.o + Mux(first, 0, ring.o.word_select(k, width).as_signed())),
                bad2[k].eq(~fits(total, width)),
                ring.i.word_select(k, width).eq(total),
            ]
        m.d.comb += ring.push.eq(cut_valid.o)
        side = Signal(data.StructLayout({"ctype": cfg.type_bits, "none": 1, "last": 1}))
        atom_valid = Signal()
        m.d.sync += [
            atom.eq(ring.i),
            atom_valid.eq(cut_valid.o & about.o.group.last_of_atom),
            side.ctype.eq(about.o.group.ctype),
            side.none.eq(about.o.group.none),
            side.last.eq(about.o.slot == cfg.fold - 1),
        ]
        with m.If(cut_valid.o & bad2.any()):
            m.d.sync += self.overflow.eq(1)

        # 4: one column at a time to flt
        m.submodules.columns = columns = Columns(
            4 * width, side.shape().size, cfg.lanes, self.atoms * cfg.fold
        )
        m.d.comb += [
            columns.push.eq(atom_valid),
            columns.word.eq(atom),
            columns.side.eq(side),
        ]
        m.submodules.largest = largest = MaxExp(cfg, 4)
        for c in range(4):
            m.submodules[f"flt{c}"] = flt = Normalize(cfg, width)
            m.d.comb += [
                flt.i.eq(columns.column.word_select(c, width).as_signed()),
                flt.e.eq(-cfg.fix_frac - self.nix_shift),
                largest.i[c].eq(flt.o),
            ]
        m.submodules.column = column = Delay(largest.i.shape(), largest.latency)
        m.d.comb += column.i.eq(largest.i)

        # 5: the running maximum over the atom's columns
        wait = flt.latency + largest.latency
        m.submodules.side = later = Delay(side.shape(), wait)
        m.submodules.column_valid = column_valid = Delay(1, wait)
        so_far = Signal(signed(cfg.exp_int), init=cfg.exp_floor)
        emax = Signal.like(so_far)
        m.d.comb += [
            later.i.eq(columns.side_o),
            later.i.last.eq(data.View(side.shape(), columns.side_o).last & columns.last_lane),
            column_valid.i.eq(columns.valid),
            emax.eq(Mux(largest.o > so_far, largest.o, so_far)),
        ]
        m.d.sync += [
            self.column.valid.eq(column_valid.o),
            self.column.column.eq(column.o),
            self.column.last.eq(later.o.last),
            self.column.emax.eq(emax),
            self.column.ctype.eq(later.o.ctype),
            self.column.none.eq(later.o.none),
        ]
        with m.If(column_valid.o):
            m.d.sync += so_far.eq(Mux(later.o.last, cfg.exp_floor, emax))
        return m

    def _empty_slots(self, m: Module) -> list[Value]:
        """empties * K0 per lane, 1 + mult_latency cycles after `sums`."""
        cfg = self.cfg
        m.submodules.empty = empty = EmptySlot(cfg)
        share(m, self.load, empty.load)
        empties = Signal(cfg.count_bits)
        m.d.comb += [
            empty.ctype.eq(self.sums.group.ctype),
            empty.ntype.eq(self.sums.group.ntype),
            empty.slot.eq(self.sums.slot),
        ]
        m.d.sync += empties.eq(self.sums.group.empties)
        products = []
        for lane in range(cfg.lanes):
            m.submodules[f"empties{lane}"] = mult = Multiplier(
                cfg.count_bits + 1, 32, cfg.mult_latency, cfg.family
            )
            m.d.comb += [mult.a.eq(empties), mult.b.eq(empty.words[lane])]
            products.append(mult.p)
        return products

    @staticmethod
    def compute(
        cfg: AcceleratorConfig,
        sums: NDArray[np.int64],
        empties: Sequence[int],
        k0: NDArray[np.int64],
        nix_shift: int,
    ) -> NDArray[np.float64]:
        """GR of one atom.

        Parameters
        ----------
        cfg : AcceleratorConfig
            Formats.
        sums : ndarray of int64, shape (groups, 4, m1)
            From `GrAccumulate`.
        empties : sequence of int, length groups
            Empty slots of each group.
        k0 : ndarray of int64, shape (groups, m1)
            From `EmptySlot`, for the atom's centre type (zeros in version 1, SUB_VERSION 1).
        nix_shift : int
            log2 of NIX.

        Returns
        -------
        ndarray of float64, shape (4, m1)
            flt values.
        """
        total = np.array(sums)
        total[:, 0, :] += np.asarray(empties)[:, None] * k0
        typed = ops.fix_to_flt(total.astype(np.float64), cfg.frac, cfg.fix_frac).sum(axis=0)
        return np.asarray(ops.trunc_flt(typed * 2.0**-nix_shift, cfg.frac) + 0.0)
