"""The gradient of the descriptor: from dE/dD and GR to dE/dGR, aligned for the neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from amaranth import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from nvnmd.errors import InputError
from nvnmd.hdl.arith.flt import FltLayout
from nvnmd.hdl.atom.gradient_memory import ROWS, ReceiveG, ReceiveGr, dgr_port
from nvnmd.hdl.atom.gradient_stages import Lanes, Middle, Walk
from nvnmd.hdl.atom.gradient_sum import GradSum
from nvnmd.hdl.layouts import GrLayout, dd_layout
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.quantize import ops


@dataclass(frozen=True)
class AlignedGrad:
    """dE/dGR of one atom and its two aligned copies.

    `dgr` (4, m1) flt values; `rowmax` (4,) and `colmax` (m1,) exponents; `row`, `col` (4, m1)
    whole numbers.
    """

    dgr: NDArray[np.float64]
    rowmax: NDArray[np.int64]
    colmax: NDArray[np.int64]
    row: NDArray[np.int64]
    col: NDArray[np.int64]


class GradDescriptor(wiring.Component):
    """dE/dGR of one atom after the other, and its columns aligned to both kinds of exponent.

    ``dGR[c,i] = (trunc(sum_k t(g[i,k] GR[c,(i+k) mod m1]))
    + trunc(sum_k t(g[(i-k) mod m1,k] GR[c,(i-k) mod m1]))) / NIX`` with ``g = flt(dE/dD)``, by
    `GradSum`. An atom without neighbours is read and dropped.

    Stages, each working on an atom of its own: *receive* fills the g memory (2 atoms) and the GR
    memory (`atoms`); *sum* slides a window of 2*m2 - 1 columns over them, one element per cycle,
    rows within columns, and writes columns with their largest exponent into the middle memory
    (2 atoms); *align*, which needs the largest exponents of whole rows, reads the middle memory
    one column per cycle and writes the lane memories (2 atoms) that `dgr` reads.

    Latency: from the last of `dd` to `ready`, about 5*m1 cycles and the pipeline.
    Throughput: one atom in max(m1*m2, 4*m1 + 2*m2 - 1) cycles.

    Parameters
    ----------
    cfg : AcceleratorConfig
        Sizes and formats.
    atoms : int
        GR matrices that may wait for their dE/dD.

    Attributes
    ----------
    dd : In, stream of `dd_layout`
        m1*m2 beats per atom.
    gr : In, stream of `GrLayout`
        m1 beats per atom.
    nix_shift : In
        log2(NIX), constant while atoms are under way.
    dgr : Out, `dgr_port`
        The aligned columns.
    atom_return : Out
        High for one cycle when an atom's GR is no longer needed.
    overflow : Out
        High for one cycle when a product left the accumulator.
    fault : In, only with `cfg.trace`
        Flips the last mantissa bit of every element.
    tap_dgr : Out, only with `cfg.trace`
        Columns 0 to m1 - 1 of each atom as flt words.
    """

    def __init__(self, cfg: AcceleratorConfig, *, atoms: int = 2) -> None:
        if atoms < 1:
            raise InputError(f"accelerator: atoms is {atoms}, expected at least 1")
        self.cfg = cfg
        self.atoms = atoms
        self._sum = GradSum(cfg)
        ports = {
            "dd": In(stream.Signature(dd_layout(cfg))),
            "gr": In(stream.Signature(GrLayout(cfg))),
            "nix_shift": In(unsigned(5)),
            "dgr": Out(dgr_port(cfg)),
            "atom_return": Out(1),
            "overflow": Out(1),
        }
        if cfg.trace:
            words = data.ArrayLayout(cfg.flt_bits, ROWS)
            ports |= {
                "fault": In(1),
                "tap_dgr": Out(data.StructLayout({"valid": 1, "words": words})),
            }
        super().__init__(ports)

    @staticmethod
    def compute(
        cfg: AcceleratorConfig, dd: NDArray[np.int64], gr: NDArray[np.float64], nix_shift: int
    ) -> AlignedGrad:
        """Result of the component for one atom, computed in Python.

        Parameters
        ----------
        cfg : AcceleratorConfig
            Sizes and formats.
        dd : ndarray of int, shape (m1*m2,)
            dE/dD in units of 2**-fix_frac.
        gr : ndarray of float, shape (4, m1)
            GR, flt values.
        nix_shift : int
            log2(NIX).
        """
        g = ops.trunc_flt(np.asarray(dd, dtype=np.float64) * 2.0**-cfg.fix_frac, cfg.frac)
        pairs = np.zeros((cfg.m1, cfg.m1))
        for i in range(cfg.m1):
            for k in range(cfg.m2):
                pairs[i, (i + k) % cfg.m1] = g[cfg.m2 * i + k]
        total = ops.trunc_flt(
            ops.matmul_flt2fix(gr, pairs.T, cfg.frac, cfg.fix_frac)
            + ops.matmul_flt2fix(gr, pairs, cfg.frac, cfg.fix_frac),
            cfg.frac,
        )
        dgr = total * 2.0**-nix_shift + 0.0
        rowmax = ops.largest_exponent(dgr, -1)
        colmax = ops.largest_exponent(dgr, -2)
        return AlignedGrad(
            dgr,
            rowmax[:, 0],
            colmax[0],
            ops.align(dgr, rowmax, cfg.frac).astype(np.int64),
            ops.align(dgr, colmax, cfg.frac).astype(np.int64),
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        element = Signal(FltLayout(self.cfg))
        m.submodules.receive_g = receive_g = ReceiveG(self.cfg)
        m.submodules.receive_gr = receive_gr = ReceiveGr(self.cfg, self.atoms)
        m.submodules.walk = walk = Walk(self.cfg)
        m.submodules.sum = self._sum
        m.submodules.middle = middle = Middle(self.cfg)
        m.submodules.lanes = lanes = Lanes(self.cfg)
        wiring.connect(m, wiring.flipped(self.dd), receive_g.dd)
        wiring.connect(m, wiring.flipped(self.gr), receive_gr.gr)
        wiring.connect(m, lanes.dgr, wiring.flipped(self.dgr))
        m.d.comb += [
            walk.ready.eq(receive_g.ready & receive_gr.ready),
            walk.none.eq(receive_gr.none),
            walk.room.eq(middle.room),
            middle.reserve.eq(walk.reserve),
            receive_g.column.eq(walk.g_column),
            receive_gr.column.eq(walk.gr_column),
            walk.g.eq(receive_g.g),
            walk.gr.eq(receive_gr.o),
            receive_g.release.eq(walk.release),
            receive_gr.release.eq(walk.release),
            self.atom_return.eq(walk.release),
            self._sum.a.eq(walk.a),
            self._sum.b.eq(walk.b),
            self._sum.nix_shift.eq(self.nix_shift),
            middle.i.eq(element),
            lanes.available.eq(middle.available),
            lanes.rowmax.eq(middle.rowmax),
            middle.column.eq(lanes.column),
            middle.release.eq(lanes.release),
            lanes.i.eq(middle.o),
        ]
        mark = walk.mark
        for i in range(self._sum.latency):
            after = Signal.like(walk.mark, name=f"mark_{i}")
            m.d.sync += after.eq(mark)
            mark = after
        m.d.comb += [middle.mark.eq(mark), self.overflow.eq(mark.valid & self._sum.overflow)]
        m.d.comb += element.eq(self._sum.o)
        if self.cfg.trace:
            flip = self.fault & self._sum.o.man.any()
            m.d.comb += [
                element.man.eq(self._sum.o.man ^ flip),
                self.tap_dgr.eq(middle.tap),
            ]
        return m
