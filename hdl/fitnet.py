"""The fitting net in hardware: one atom's descriptor in, its energy and dE/dD out.

See docs/schedule_fitnet.md for the exact integers and the cycle of every word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike, NDArray

from nvnmd.errors import RangeError
from nvnmd.hdl.fitmac import MacArray, mac_latency
from nvnmd.hdl.fitmath import delayed, gradient_drop, net_of, round_half_away
from nvnmd.hdl.fitmem import LaneMemory, log2, span
from nvnmd.hdl.fitpost import FitPost, JobLayout, post_latency
from nvnmd.hdl.fitweights import fit_image
from nvnmd.hdl.layouts import DescriptorLayout, dd_layout
from nvnmd.hdl.load import LoadBus, Section
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.tanh4 import Tanh4


class FitNetSignature(wiring.Signature):
    """Ports of the fitting net.

    ``d``: width beats per atom, {value (data_bits, fix_frac fraction bits), ctype, last};
    ``energy``: one beat per atom, {value (energy_bits, fix_frac fraction bits), ctype};
    ``dd``: width beats per atom, {value (dd_bits), last}; ``overflow``: a pulse whenever a value
    leaves its format. With `trace`: ``z_valid`` marks a group of ``len(z)`` consecutive outputs
    ``z_index..`` of hidden layer ``z_layer`` before the activation, and ``fault`` flips their last
    bit.
    """

    def __init__(self, cfg: AcceleratorConfig, lanes: int) -> None:
        word = signed(cfg.data_bits)
        members = {
            "load": In(LoadBus()),
            "d": In(stream.Signature(DescriptorLayout(cfg))),
            "energy": Out(stream.Signature(
                data.StructLayout({"value": signed(cfg.energy_bits), "ctype": cfg.type_bits}))),
            "dd": Out(stream.Signature(dd_layout(cfg))),
            "overflow": Out(1),
        }
        if cfg.trace:
            members |= {
                "fault": In(1),
                "z_valid": Out(1),
                "z_layer": Out(span(cfg.hidden)),
                "z_index": Out(span(cfg.width)),
                "z": Out(data.ArrayLayout(word, lanes)),
            }
        super().__init__(members)


@dataclass(frozen=True)
class Schedule:
    """The cycles of one pass of the array, derived from the configuration and the post lanes.

    Attributes
    ----------
    steps : int
        Array steps of a pass: width^2 / (fit_cols*fit_rows).
    gap : int
        Idle cycles before a pass of the same atom, until its inputs are written in time.
    latency : int
        From a block's last step until its first group of results can be read.
    """

    lanes: int
    steps: int
    gap: int
    latency: int

    @classmethod
    def of(cls, cfg: AcceleratorConfig, lanes: int) -> Schedule:
        """The schedule with a given number of post lanes."""
        chunks = cfg.width // cfg.fit_rows
        steps = chunks * (cfg.width // cfg.fit_cols)
        latency = mac_latency(cfg) + post_latency(cfg) + 1
        gap = 0
        for chunk in range(chunks):
            block, col = divmod((chunk + 1) * cfg.fit_rows - 1, cfg.fit_cols)
            readable = (block + 1) * chunks - 1 + latency + col // lanes
            gap = max(gap, readable - steps - chunk)
        return cls(lanes, steps, gap, latency)

    @classmethod
    def best(cls, cfg: AcceleratorConfig) -> Schedule:
        """The fewest post lanes with which a pass is within 1/16 of the shortest possible."""
        lanes = max(1, cfg.fit_cols * cfg.fit_rows // cfg.width)
        shortest = cls.of(cfg, cfg.fit_cols)
        while True:
            tried = cls.of(cfg, lanes)
            if 16 * (tried.steps + tried.gap) <= 17 * (shortest.steps + shortest.gap):
                return tried
            lanes *= 2

    def atom_cycles(self, hidden: int) -> int:
        """Cycles between atoms that wait for nothing else."""
        return 2 * hidden * self.steps + (2 * hidden - 1) * self.gap


class FitNet(wiring.Component):
    """Fitting net, forward and backward, one atom after the other (ports: `FitNetSignature`).

    An atom is 2*hidden passes of the multiplier array: the hidden layers forward, then backward
    with the transposed matrices. The last layer rides along with the last forward pass. A pass
    starts as soon as its first inputs are sure to be written before it reads them (`Schedule`).

    The next atom is taken in while one is at work (two input banks), and its first pass follows
    the last of the atom before without a gap; energies and gradients wait in a register and in a
    memory of one atom. Throughput: ``schedule.atom_cycles(hidden)`` cycles per atom.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self.schedule = Schedule.best(cfg)
        self.post_lanes = self.schedule.lanes
        super().__init__(FitNetSignature(cfg, self.post_lanes))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg, lanes = self.cfg, self.post_lanes
        word = signed(cfg.data_bits)
        m.submodules.array = array = MacArray(cfg)
        m.submodules.post = post = FitPost(cfg, lanes)
        m.submodules.inputs = inputs = LaneMemory(
            2 * cfg.width, word, write_lanes=1, read_lanes=cfg.fit_rows)
        m.submodules.activations = activations = LaneMemory(
            2 * cfg.width, word, write_lanes=lanes, read_lanes=cfg.fit_rows)
        for part in (array, post):
            wiring.connect(m, part.load, wiring.flipped(self.load))

        taken = Signal()  # the input bank in use is no longer needed
        ready, ctype, bank = self._input(m, inputs, taken)
        self._output(m, post)
        job, reads_input = self._passes(m, array, ready, ctype, taken)

        chunk = array.chunk[:log2(array.chunks)]
        m.d.comb += [
            inputs.r_index.eq(Cat(chunk, bank)),
            activations.r_index.eq(Cat(chunk, ~job.bank)),
            array.x.eq(Mux(delayed(m, reads_input, 1), inputs.r_data.as_value(),
                           activations.r_data.as_value())),
            activations.w_en.eq(post.x_valid),
            activations.w_index.eq(Cat(post.group[:log2(post.groups)], post.x_bank)),
            activations.w_data.eq(post.x),
            post.sums_valid.eq(array.sums_valid),
            post.sums.eq(array.sums),
            post.job.as_value().eq(delayed(m, job, array.latency)),
            post.block.eq(delayed(m, array.block, array.latency)),
            self.overflow.eq(post.overflow),
        ]
        if cfg.trace:
            m.d.comb += [
                post.fault.eq(self.fault),
                self.z_valid.eq(post.z_valid),
                self.z_layer.eq(post.z_layer),
                self.z_index.eq(post.z_group << log2(lanes)),
                self.z.eq(post.z),
            ]
        return m

    def _input(
        self, m: Module, inputs: LaneMemory, taken: Signal
    ) -> tuple[Signal, Signal, Signal]:
        """Fill two banks alternately; returns whether the oldest is full, its type and number."""
        cfg = self.cfg
        full = [Signal(name=f"full{i}") for i in range(2)]
        kinds = [Signal(cfg.type_bits, name=f"ctype{i}") for i in range(2)]
        filling, using = Signal(), Signal()
        at = Signal(span(cfg.width))
        accepted = Signal()
        m.d.comb += [
            self.d.ready.eq(~Mux(filling, full[1], full[0])),
            accepted.eq(self.d.valid & self.d.ready),
            inputs.w_en.eq(accepted),
            inputs.w_index.eq(Cat(at, filling)),
            inputs.w_data[0].eq(self.d.payload.value),
        ]
        done = accepted & (at == cfg.width - 1)
        with m.If(accepted):
            m.d.sync += at.eq(at + 1)
        m.d.sync += [filling.eq(filling ^ done), using.eq(using ^ taken)]
        for i in range(2):
            with m.If(accepted & (filling == i)):
                m.d.sync += kinds[i].eq(self.d.payload.ctype)
            with m.If(done & (filling == i)):
                m.d.sync += full[i].eq(1)
            with m.If(taken & (using == i)):
                m.d.sync += full[i].eq(0)
        ready, kind = Signal(), Signal(cfg.type_bits)
        m.d.comb += [
            ready.eq(Mux(using, full[1], full[0])),
            kind.eq(Mux(using, kinds[1], kinds[0])),
        ]
        return ready, kind, using

    def _passes(
        self, m: Module, array: MacArray, ready: Signal, ctype: Signal, taken: Signal
    ) -> tuple[data.View, Signal]:
        """Walk through the passes; returns the current one, and whether it reads the inputs.

        A pass whose results have nowhere to go yet waits before it begins, not on the way.
        """
        cfg, hidden, gap = self.cfg, self.cfg.hidden, self.schedule.gap
        number = Signal(span(2 * hidden))  # the pass that comes next
        job = Signal(JobLayout(cfg))
        step = Signal()  # a pass is under way
        place = Signal(span(self.schedule.steps))
        waited = Signal(span(gap))
        energy_busy = Signal()
        dd_busy = Signal()

        finishing = Signal()
        begin = Signal()
        rested = Signal()
        blocked = Signal()
        m.d.comb += [
            finishing.eq(step & (place == self.schedule.steps - 1)),
            # an atom's first pass needs no results of the one before
            rested.eq(Mux(number == 0, ready, waited == gap - 1 if gap else 1)),
            blocked.eq(((number == hidden - 1) & energy_busy)
                       | ((number == 2 * hidden - 1) & dd_busy)),
            begin.eq(rested & ~blocked
                     & (~step | (finishing & ((number == 0) if gap else 1)))),
        ]
        backward = number >= hidden
        layer = Mux(backward, 2 * hidden - 1 - number, number)
        kind = Mux(number == 0, ctype, job.ctype)
        bases = Array(t * hidden for t in range(1 << cfg.type_bits if cfg.version == 0 else 1))
        with m.If(step):
            m.d.sync += place.eq(Mux(finishing, 0, place + 1))
        with m.If(finishing):
            m.d.sync += [step.eq(0), waited.eq(0)]
        with m.Elif(waited != max(0, gap - 1)):
            m.d.sync += waited.eq(waited + 1)
        with m.If(begin):
            m.d.sync += [
                step.eq(1),
                job.backward.eq(backward),
                job.layer.eq(layer),
                job.ctype.eq(kind),
                job.matrix.eq(bases[net_of(cfg, kind)] + layer
                              + Mux(backward, cfg.nets * hidden, 0)),
                job.bank.eq(~number[0]),
                number.eq(Mux(number == 2 * hidden - 1, 0, number + 1)),
            ]

        with m.If(begin & (number == hidden - 1)):
            m.d.sync += energy_busy.eq(1)
        with m.Elif(self.energy.valid & self.energy.ready):
            m.d.sync += energy_busy.eq(0)
        with m.If(begin & (number == 2 * hidden - 1)):
            m.d.sync += dd_busy.eq(1)
        with m.Elif(self.dd.valid & self.dd.ready & self.dd.payload.last):
            m.d.sync += dd_busy.eq(0)

        chunk = Signal(span(array.chunks))
        reads_input = Signal()
        m.d.comb += [
            chunk.eq(place[:log2(array.chunks)]),
            reads_input.eq(~job.backward & (job.layer == 0)),
            taken.eq(finishing & reads_input),
            array.step.eq(step),
            array.first.eq(chunk == 0),
            array.last.eq(chunk == array.chunks - 1),
            array.matrix.eq(job.matrix),
            array.chunk.eq(chunk),
            array.block.eq(place >> log2(array.chunks)),
        ]
        return job, reads_input

    def _output(self, m: Module, post: FitPost) -> None:
        """Hand out the energy from a register and dE/dD from a memory, one word per cycle."""
        cfg = self.cfg
        with m.If(post.energy_valid):
            m.d.sync += [
                self.energy.valid.eq(1),
                self.energy.payload.value.eq(post.energy),
                self.energy.payload.ctype.eq(post.energy_type),
            ]
        with m.Elif(self.energy.ready):
            m.d.sync += self.energy.valid.eq(0)

        m.submodules.results = results = LaneMemory(
            cfg.width, signed(cfg.dd_bits), write_lanes=self.post_lanes, read_lanes=1)
        full = Signal()
        at = Signal(span(cfg.width))
        accepted = self.dd.valid & self.dd.ready
        m.d.comb += [
            results.w_en.eq(post.dd_valid),
            results.w_index.eq(post.group),
            results.w_data.eq(post.dd),
            # ask for the next word while this one is taken
            results.r_index.eq(at + accepted),
            self.dd.payload.value.eq(results.r_data[0]),
            self.dd.payload.last.eq(at == cfg.width - 1),
        ]
        with m.If(post.dd_valid & (post.group == post.groups - 1)):
            m.d.sync += full.eq(1)
        with m.If(full):
            m.d.sync += self.dd.valid.eq(1)
        with m.If(accepted):
            m.d.sync += at.eq(at + 1)
            with m.If(self.dd.payload.last):
                m.d.sync += [self.dd.valid.eq(0), full.eq(0)]

    def compute(
        self, weights: Sequence[ArrayLike], biases: Sequence[ArrayLike], d: ArrayLike, ctype: int,
        type_terms: ArrayLike | None = None,
    ) -> FitResult:
        """See `compute`."""
        return compute(fit_image(weights, biases, self.cfg, type_terms), d, ctype, self.cfg)


@dataclass(frozen=True)
class FitResult:
    """What the fitting net makes of one atom, in units of ``2**-fix_frac``.

    z : (hidden, width) int64, before each activation; energy : int; dd : (width,) int64.
    """

    z: NDArray[np.int64]
    energy: int
    dd: NDArray[np.int64]


def compute(
    image: dict[Section, NDArray[np.int64]], d: ArrayLike, ctype: int, cfg: AcceleratorConfig
) -> FitResult:
    """The fitting net in integers, from the words of its load image.

    Parameters
    ----------
    image : dict
        Sections of `nvnmd.hdl.fitweights.fit_image`.
    d : array_like of int, shape (width,)
        Descriptor, ``fix_frac`` fraction bits.
    ctype : int
        Type of the atom.

    Raises
    ------
    RangeError
        If a value leaves its format, where the hardware raises `overflow`.
    """
    nt, hidden, width, f = cfg.nets, cfg.hidden, cfg.width, cfg.fix_frac
    net = ctype if cfg.version == 0 else 0
    square = (nt, hidden, width, width)
    forward = image[Section.FIT_FORWARD].reshape(square)[net]
    backward = image[Section.FIT_BACKWARD].reshape(square)[net]
    columns = image[Section.FIT_COLUMN].reshape(2, nt, hidden, width)[:, net]
    shift = cfg.weight_frac - columns
    bias = image[Section.FIT_BIAS].reshape(nt, hidden, width)[net].copy()
    if cfg.version:
        bias[0] += image[Section.TYPE_TERM].reshape(cfg.ntypes, width)[ctype]
    last = image[Section.FIT_LAST_FORWARD].reshape(nt, width)[net]
    last_back = image[Section.FIT_LAST_BACKWARD].reshape(nt, width)[net]
    e_last, e_back, last_bias, _ = image[Section.FIT_LAST][net].tolist()
    drop = gradient_drop(f)

    x = np.asarray(d, dtype=np.int64)
    z_all, slopes = [], []
    for layer in range(hidden):
        z = _fits((x @ forward[layer] >> shift[0, layer]) + bias[layer], cfg.data_bits, "z")
        pairs = np.array([Tanh4.compute(v, cfg) for v in z.tolist()], dtype=np.int64)
        z_all.append(z)
        slopes.append(pairs[:, 1])
        x = _fits(pairs[:, 0] + (x if layer else 0), cfg.data_bits, "activation")
    energy = (int(x @ last) >> (cfg.weight_frac - e_last)) + last_bias
    _fits(np.array(energy), cfg.energy_bits, "energy")

    g = _fits((last_back << f) >> (cfg.weight_frac - e_back), cfg.data_bits, "last weight")
    for layer in reversed(range(hidden)):
        through = (slopes[layer] * g >> cfg.short_frac).tolist()
        kept = np.array([round_half_away(v, drop) << drop for v in through], dtype=np.int64)
        _fits(kept, cfg.data_bits, "gradient")
        back = kept @ backward[layer] >> shift[1, layer]
        g = _fits(back + g, cfg.data_bits, "gradient") if layer else back
    _fits(g, cfg.dd_bits, "dE/dD")
    return FitResult(np.array(z_all), energy, g)


def _fits(values: NDArray[np.int64], bits: int, what: str) -> NDArray[np.int64]:
    """The values, if they fit in `bits` signed bits."""
    if np.any((values >= 1 << (bits - 1)) | (values < -(1 << (bits - 1)))):
        raise RangeError(f"fitting net: a {what} leaves its format of {bits} bits")
    return values
