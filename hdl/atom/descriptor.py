"""The descriptor D of an atom from its GR matrix, one word per cycle."""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from nvnmd.errors import InputError
from nvnmd.hdl.arith.align import Align
from nvnmd.hdl.arith.multiplier import Multiplier
from nvnmd.hdl.arith.whole import TruncateWhole
from nvnmd.hdl.layouts import ColumnLayout, DescriptorLayout, GrLayout
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.delay import Delay
from nvnmd.hdl.pipeline.memories import make_memory
from nvnmd.quantize import ops


class ToData(wiring.Component):
    """``o = floor(trunc(p * 2**(2*emax - 2*frac)) * 2**fix_frac)``, signed of `data_bits`.

    With octave tables the nearest whole number in place of the floor, halves away from zero.

    `p` is the integer sum of products of mantissas aligned to `emax`; `trunc` keeps man_bits
    significant bits, toward zero. One value per cycle, `latency` cycles later; `overflow` with `o`
    when the value does not fit.
    """

    latency = TruncateWhole.latency + 3

    def __init__(self, cfg: AcceleratorConfig, bits: int) -> None:
        self.cfg = cfg
        self.bits = bits
        super().__init__(
            {
                "p": In(signed(bits)),
                "emax": In(signed(cfg.exp_int)),
                "o": Out(signed(cfg.data_bits)),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        # A number whose mantissa is not shifted is at least 2**frac: an exponent from `limit` on
        # gives squares that leave data_bits, so that no larger shift to the left is needed.
        limit = (cfg.data_bits - cfg.fix_frac) // 2
        lift = max(0, 2 * limit + cfg.fix_frac - 2 * cfg.frac)
        wide = self.bits + lift
        # rounding needs one place more: minus half a unit is -1, a quarter is not
        most = wide + cfg.octave
        shift_bits = most.bit_length()

        m.submodules.cut = cut = TruncateWhole(self.bits, cfg.man_bits)
        right = Signal(signed(cfg.exp_int + 3))
        p, shift, beyond = Signal(signed(wide)), Signal(shift_bits), Signal()
        m.submodules.right = later = Delay(right.shape(), cut.latency)
        m.d.comb += [
            cut.i.eq(self.p),
            later.i.eq(2 * cfg.frac - cfg.fix_frac + lift - 2 * self.emax),
            right.eq(later.o),
        ]
        m.d.sync += [
            p.eq(cut.o << lift),
            shift.eq(Mux(right > most, most, Mux(right < 0, 0, right))),
            beyond.eq(right < 0),
        ]
        whole = Signal(signed(most + 1))
        shift2, beyond2 = Signal(shift_bits), Signal()
        m.d.sync += [whole.eq(p), shift2.eq(shift), beyond2.eq(beyond & (p != 0))]
        if cfg.octave:
            # half of the last place kept, less one below zero: halves go away from zero
            half = Signal(most)
            m.d.comb += half.eq((Const(1, 1) << shift) >> 1)
            m.d.sync += whole.eq(p + half - (p[-1] & half.any()))
        shifted = Signal(signed(wide))
        top = shifted[cfg.data_bits - 1 :]
        m.d.comb += shifted.eq(whole >> shift2)
        m.d.sync += [
            self.o.eq(shifted),
            self.overflow.eq(beyond2 | (top.any() & ~top.all())),
        ]
        return m


class Descriptor(wiring.Component):
    """``D[m2*i + k] = floor(sum_c GR[c,i]*GR[c,(i+k) mod m1])`` from aligned mantissas.

    With octave tables rounded to the nearest in place of the floor.

    All of an atom's 4*m1 mantissas are aligned to its largest exponent. The GR columns of up to
    `atoms` atoms are held; each atom's are read twice, independently: for the words of `d`, with 4
    multipliers, and for the stream `gr`.

    Latency: `latency` cycles from the atom's last column to its first word of `d`. Throughput: one
    word of `d` and one column of `gr` per cycle; the input has no back-pressure.

    Attributes
    ----------
    column : `ColumnLayout`, in
    d : stream of `DescriptorLayout`, out
        m1*m2 words per atom.
    gr : stream of `GrLayout`, out
        m1 columns per atom.
    atom_return : out
        Pulse: the oldest atom's columns have been read for both streams, its place is free.
    overflow : out
        Set until reset when a word leaves `data_bits`.
    """

    def __init__(self, cfg: AcceleratorConfig, *, atoms: int = 2) -> None:
        if atoms < 1 or atoms & (atoms - 1):
            raise InputError(f"accelerator: atoms is {atoms}, expected a power of two")
        self.cfg = cfg
        self.atoms = atoms
        self._align = [Align(cfg) for _ in range(4)]
        super().__init__(
            {
                "column": In(ColumnLayout(cfg)),
                "d": Out(stream.Signature(DescriptorLayout(cfg))),
                "gr": Out(stream.Signature(GrLayout(cfg))),
                "atom_return": Out(1),
                "overflow": Out(1),
            }
        )

    @property
    def _pipeline(self) -> int:
        """Cycles from the address of a column to the finished word."""
        return 1 + self._align[0].latency + self.cfg.mult_latency + 1 + ToData.latency

    @property
    def latency(self) -> int:
        """Cycles from an atom's last column to its first word."""
        return 1 + self._pipeline + 2

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m1 = cfg.m1
        columns = data.ArrayLayout(ColumnLayout(cfg)["column"].shape.elem_shape, 4)
        m.submodules.columns = mem = make_memory(columns, self.atoms * m1)
        write, d_read, gr_read = mem.write_port(), mem.read_port(), mem.read_port()

        # columns in
        head = Signal(range(self.atoms * m1))
        about = Array(
            Signal(data.StructLayout({"emax": signed(cfg.exp_int), "ctype": cfg.type_bits,
                                      "none": 1}), name=f"about{n}")
            for n in range(self.atoms)
        )
        here = head[m1.bit_length() - 1 :]
        done = Signal()
        m.d.comb += [
            write.addr.eq(head),
            write.data.eq(self.column.column),
            write.en.eq(self.column.valid),
            done.eq(self.column.valid & self.column.last),
        ]
        with m.If(self.column.valid):
            m.d.sync += head.eq(head + 1)
        for n in range(self.atoms):
            with m.If(done & (here == n)):
                m.d.sync += [
                    about[n].emax.eq(self.column.emax),
                    about[n].ctype.eq(self.column.ctype),
                    about[n].none.eq(self.column.none),
                ]

        d_done = self._read_d(m, d_read, about, done)
        gr_done = self._read_gr(m, gr_read, about, done)

        # an atom's place is free when both have read it
        count = range(self.atoms + 1)
        d_ahead, gr_ahead = Signal(count), Signal(count)
        m.d.comb += self.atom_return.eq((d_ahead != 0) & (gr_ahead != 0))
        m.d.sync += [
            d_ahead.eq(d_ahead + d_done - self.atom_return),
            gr_ahead.eq(gr_ahead + gr_done - self.atom_return),
        ]
        return m

    def _reader(
        self, m: Module, name: str, steps: int, room: int, done: Signal
    ) -> tuple[Signal, Signal, Signal, Signal]:
        """Walk `steps` steps through each finished atom while there is room behind.

        Returns
        -------
        go, step, atom, pop
            `go`: a step is taken now; `pop`, to be driven: a place behind became free.
        """
        waiting = Signal(range(self.atoms + 1), name=f"{name}_waiting")
        credit = Signal(range(room + 1), init=room, name=f"{name}_credit")
        step = Signal(range(max(2, steps)), name=f"{name}_step")
        atom = Signal(range(max(2, self.atoms)), name=f"{name}_atom")
        go, pop = Signal(name=f"{name}_go"), Signal(name=f"{name}_pop")
        last = Signal(name=f"{name}_last")
        m.d.comb += [
            go.eq((waiting != 0) & (credit != 0)),
            last.eq(go & (step == steps - 1)),
        ]
        m.d.sync += [
            waiting.eq(waiting + done - last),
            credit.eq(credit + pop - go),
        ]
        with m.If(go):
            m.d.sync += step.eq(step + 1)
        with m.If(last):
            m.d.sync += step.eq(0)
            m.d.sync += atom.eq(atom + 1 if self.atoms > 1 else 0)
        return go, step, atom, pop

    def _read_d(
        self, m: Module, read: memory.ReadPort, about: Array, done: Signal
    ) -> Signal:
        cfg = self.cfg
        room = self._pipeline + 4
        go, step, atom, pop = self._reader(m, "d", cfg.width, room, done)
        k_bits = cfg.m2.bit_length() - 1
        column = Signal(range(cfg.m1))
        last = Signal()
        m.d.comb += [
            column.eq((step >> k_bits) + (step & (cfg.m2 - 1))),
            read.addr.eq(Cat(column, atom) if self.atoms > 1 else column),
            read.en.eq(1),
            last.eq(step == cfg.width - 1),
        ]

        # the column, aligned; the first of m2 is the left factor of all
        first, emax = Signal(), Signal(signed(cfg.exp_int))
        m.d.sync += [first.eq((step & (cfg.m2 - 1)) == 0), emax.eq(about[atom].emax)]
        wait = self._align[0].latency
        m.submodules.first = first_later = Delay(1, wait)
        m.d.comb += first_later.i.eq(first)
        summed = Signal(signed(2 * (cfg.man_bits + 1) + 2))
        terms = []
        for c, unit in enumerate(self._align):
            m.submodules[f"align{c}"] = unit
            m.submodules[f"mult{c}"] = mult = Multiplier(
                cfg.man_bits + 1, cfg.man_bits + 1, cfg.mult_latency, cfg.family
            )
            left, kept = Signal.like(mult.a, name=f"left{c}"), Signal.like(mult.a, name=f"kept{c}")
            m.d.comb += [
                unit.i.eq(read.data[c]),
                unit.emax.eq(emax),
                left.eq(Mux(first_later.o, unit.o, kept)),
                mult.a.eq(left),
                mult.b.eq(unit.o),
            ]
            m.d.sync += kept.eq(left)
            terms.append(mult.p)
        m.d.sync += summed.eq(sum(terms[1:], terms[0]))

        wait += cfg.mult_latency + 1
        m.submodules.emax = emax_later = Delay(emax.shape(), wait)
        m.submodules.to_data = to_data = ToData(cfg, len(summed))
        m.submodules.d_valid = valid = Delay(1, self._pipeline)
        side_shape = data.StructLayout({"ctype": cfg.type_bits, "last": 1})
        m.submodules.d_side = side = Delay(side_shape, self._pipeline)
        m.d.comb += [
            emax_later.i.eq(emax),
            to_data.p.eq(summed),
            to_data.emax.eq(emax_later.o),
            valid.i.eq(go),
            side.i.ctype.eq(about[atom].ctype),
            side.i.last.eq(last),
        ]
        with m.If(valid.o & to_data.overflow):
            m.d.sync += self.overflow.eq(1)

        m.submodules.d_queue = queue = fifo.SyncFIFOBuffered(
            width=self.d.payload.shape().size, depth=room
        )
        m.d.comb += [
            queue.w_data.eq(Cat(to_data.o, side.o.ctype, side.o.last)),
            queue.w_en.eq(valid.o),
            self.d.payload.eq(queue.r_data),
            self.d.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.d.ready),
            pop.eq(self.d.valid & self.d.ready),
        ]
        return go & last

    def _read_gr(
        self, m: Module, read: memory.ReadPort, about: Array, done: Signal
    ) -> Signal:
        cfg = self.cfg
        room = 4
        go, step, atom, pop = self._reader(m, "gr", cfg.m1, room, done)
        last = Signal()
        valid, ends, none = Signal(), Signal(), Signal()
        m.d.comb += [
            read.addr.eq(Cat(step, atom) if self.atoms > 1 else step),
            read.en.eq(1),
            last.eq(step == cfg.m1 - 1),
        ]
        m.d.sync += [valid.eq(go), ends.eq(last), none.eq(about[atom].none)]
        m.submodules.gr_queue = queue = fifo.SyncFIFOBuffered(
            width=self.gr.payload.shape().size, depth=room
        )
        m.d.comb += [
            queue.w_data.eq(Cat(read.data, none, ends)),
            queue.w_en.eq(valid),
            self.gr.payload.eq(queue.r_data),
            self.gr.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.gr.ready),
            pop.eq(self.gr.valid & self.gr.ready),
        ]
        return go & last

    @staticmethod
    def compute(cfg: AcceleratorConfig, gr: NDArray[np.float64]) -> NDArray[np.int64]:
        """The words of one atom.

        Parameters
        ----------
        cfg : AcceleratorConfig
            Sizes and formats.
        gr : ndarray of float64, shape (4, m1)
            flt values.

        Returns
        -------
        ndarray of int64, shape (m1*m2,)
            Whole numbers of 2**-fix_frac, not checked against `data_bits`.
        """
        product = ops.matmul_flt(gr.T, gr, 0, cfg.frac)
        i = np.arange(cfg.m1)[:, None]
        k = (i + np.arange(cfg.m2)) % cfg.m1
        to_grid = ops.round_bits if cfg.octave else ops.floor_bits
        words = to_grid(product[i, k].reshape(-1), cfg.fix_frac) * 2.0**cfg.fix_frac
        return np.asarray(words).astype(np.int64)
