"""The fitting net in hardware: one atom's descriptor in, its energy and dE/dD out.

See docs/schedule_fitnet.md for the exact integers and the cycle of every word.
"""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike

from nvnmd.hdl.arith.fixed import delayed
from nvnmd.hdl.fitting.integers import FitResult, compute
from nvnmd.hdl.fitting.mac import MacArray
from nvnmd.hdl.fitting.one_copy import OneCopyArray
from nvnmd.hdl.fitting.passes import Passes
from nvnmd.hdl.fitting.post import FitPost
from nvnmd.hdl.fitting.schedule import Schedule
from nvnmd.hdl.fitting.weights import fit_image
from nvnmd.hdl.layouts import DescriptorLayout, dd_layout
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.lane_memory import LaneMemory, log2, span
from nvnmd.hdl.pipeline.loadbus import LoadBus
from nvnmd.hdl.pipeline.owners import share


class FitNetSignature(wiring.Signature):
    """Ports of the fitting net.

    ``d``: width beats per atom, {value (data_bits, fix_frac fraction bits), ctype, last};
    ``energy``: one beat per atom, {value (energy_bits, fix_frac fraction bits), ctype};
    ``dd``: width beats per atom, {value (dd_bits), last}; ``overflow``: a pulse whenever a value
    leaves its format. With `trace`: ``z_valid`` marks a group of ``len(z)`` consecutive outputs
    ``z_index..`` of hidden layer ``z_layer`` before the activation, of the atom at ``z_place``, and
    ``fault`` flips their last bit.
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
                "z_place": Out(span(cfg.fit_atoms)),
                "z_index": Out(span(cfg.width)),
                "z": Out(data.ArrayLayout(word, lanes)),
            }
        super().__init__(members)


class FitNet(wiring.Component):
    """Fitting net, forward and backward (ports: `FitNetSignature`).

    An atom is 2*hidden passes of the multiplier array: the hidden layers forward, then backward
    with the transposed matrices (`weights_once`: with the same ones the other way). The last layer
    rides along with the last forward pass. `Passes` chooses them: `fit_atoms` atoms take turns, and
    one's pass fills the time in which another's results are on their way.

    The next atoms are taken in while others are at work (two input banks per place); energies wait
    in a register (with several places, in a queue) and gradients in a memory of `gradients` atoms.
    Throughput: ``schedule.atom_cycles(hidden, fit_atoms)`` cycles per atom.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self.schedule = Schedule.best(cfg)
        self.post_lanes = self.schedule.lanes
        self.banks = 2 * cfg.fit_atoms
        super().__init__(FitNetSignature(cfg, self.post_lanes))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg, lanes = self.cfg, self.post_lanes
        word = signed(cfg.data_bits)
        m.submodules.array = array = (OneCopyArray if cfg.weights_once else MacArray)(cfg)
        m.submodules.post = post = FitPost(cfg, lanes)
        m.submodules.passes = passes = Passes(cfg, self.schedule, self.banks)
        m.submodules.inputs = inputs = LaneMemory(
            self.banks * cfg.width, word, write_lanes=1, read_lanes=cfg.fit_rows)
        m.submodules.activations = activations = LaneMemory(
            2 * cfg.fit_atoms * cfg.width, word, write_lanes=lanes, read_lanes=cfg.fit_rows)
        share(m, self.load, array.load, post.load)

        self._input(m, inputs, passes)
        self._energy(m, post, passes)
        self._gradients(m, post, passes)

        job = passes.job
        chunk = Signal(span(array.chunks))
        place_bits = log2(cfg.fit_atoms)
        m.d.comb += [
            chunk.eq(passes.place_in_pass[:log2(array.chunks)]),
            array.step.eq(passes.step),
            array.first.eq(chunk == 0),
            array.last.eq(chunk == array.chunks - 1),
            array.matrix.eq(job.matrix),
            array.chunk.eq(chunk),
            array.block.eq(passes.place_in_pass >> log2(array.chunks)),
            inputs.r_index.eq(Cat(chunk[:log2(array.chunks)], passes.reads_bank)),
            activations.r_index.eq(
                Cat(chunk[:log2(array.chunks)], ~job.bank, job.place[:place_bits])),
            array.x.eq(Mux(delayed(m, passes.reads_input, 1), inputs.r_data.as_value(),
                           activations.r_data.as_value())),
            activations.w_en.eq(post.x_valid),
            activations.w_index.eq(Cat(post.group[:log2(post.groups)], post.x_bank,
                                       post.x_place[:place_bits])),
            activations.w_data.eq(post.x),
            post.sums_valid.eq(array.sums_valid),
            post.sums.eq(array.sums),
            post.job.as_value().eq(delayed(m, job.as_value(), array.latency)),
            post.block.eq(delayed(m, array.block, array.latency)),
            self.overflow.eq(post.overflow),
        ]
        if isinstance(array, OneCopyArray):
            self._across(m, array, post, job)
        if cfg.trace:
            m.d.comb += [
                post.fault.eq(self.fault),
                self.z_valid.eq(post.z_valid),
                self.z_layer.eq(post.z_layer),
                self.z_place.eq(post.z_place),
                self.z_index.eq(post.z_group << log2(lanes)),
                self.z.eq(post.z),
            ]
        return m

    def _across(self, m: Module, array: OneCopyArray, post: FitPost, job: data.View) -> None:
        """The results once more, read by as many as a backward step takes."""
        cfg = self.cfg
        place_bits = log2(cfg.fit_atoms)
        m.submodules.across = across = LaneMemory(
            2 * cfg.fit_atoms * cfg.width, signed(cfg.data_bits), write_lanes=self.post_lanes,
            read_lanes=cfg.fit_cols)
        m.d.comb += [
            across.w_en.eq(post.x_valid),
            across.w_index.eq(Cat(post.group[:log2(post.groups)], post.x_bank,
                                  post.x_place[:place_bits])),
            across.w_data.eq(post.x),
            across.r_index.eq(Cat(array.chunk[log2(cfg.fit_cols):log2(array.chunks)], ~job.bank,
                                  job.place[:place_bits])),
            array.backward.eq(job.backward),
            array.across.eq(across.r_data),
        ]

    def _input(self, m: Module, inputs: LaneMemory, passes: Passes) -> None:
        """Fill the input banks one after the other."""
        cfg = self.cfg
        full = Signal(self.banks)
        kinds = Signal(data.ArrayLayout(cfg.type_bits, self.banks))
        filling = Signal(span(self.banks))
        at = Signal(span(cfg.width))
        accepted, done = Signal(), Signal()
        m.d.comb += [
            self.d.ready.eq(~full.bit_select(filling, 1)),
            accepted.eq(self.d.valid & self.d.ready),
            done.eq(accepted & (at == cfg.width - 1)),
            inputs.w_en.eq(accepted),
            inputs.w_index.eq(Cat(at, filling)),
            inputs.w_data[0].eq(self.d.payload.value),
            passes.ready.eq(full.bit_select(passes.bank, 1)),
            passes.ctype.eq(kinds[passes.bank]),
        ]
        with m.If(accepted):
            m.d.sync += [at.eq(at + 1), kinds[filling].eq(self.d.payload.ctype)]
        with m.If(done):
            m.d.sync += filling.eq(Mux(filling == self.banks - 1, 0, filling + 1))
        for bank in range(self.banks):
            with m.If(done & (filling == bank)):
                m.d.sync += full[bank].eq(1)
            with m.If(passes.freed & (passes.reads_bank == bank)):
                m.d.sync += full[bank].eq(0)

    def _energy(self, m: Module, post: FitPost, passes: Passes) -> None:
        """Hand out the energies; a pass that yields one begins only if there is room."""
        cfg = self.cfg
        taken = Signal()
        m.d.comb += taken.eq(self.energy.valid & self.energy.ready)
        # an energy is under way for longer than the passes of a net with one hidden layer take
        depth = 2 * cfg.fit_atoms + 2
        m.submodules.energies = queue = fifo.SyncFIFOBuffered(
            width=self.energy.payload.shape().size, depth=depth)
        held = Signal(range(depth + 1))
        m.d.sync += held.eq(held + passes.energy_begins - taken)
        m.d.comb += [
            passes.energy_room.eq(held != depth),
            queue.w_en.eq(post.energy_valid),
            queue.w_data.eq(Cat(post.energy, post.energy_type)),
            self.energy.valid.eq(queue.r_rdy),
            self.energy.payload.as_value().eq(queue.r_data),
            queue.r_en.eq(self.energy.ready),
        ]

    def _gradients(self, m: Module, post: FitPost, passes: Passes) -> None:
        """Hand out dE/dD from a memory of `gradients` atoms, one word per cycle."""
        cfg, places = self.cfg, self.cfg.gradients
        bits = log2(places)
        m.submodules.results = results = LaneMemory(
            places * cfg.width, signed(cfg.dd_bits), write_lanes=self.post_lanes, read_lanes=1)
        held, full = Signal(range(places + 1)), Signal(range(places + 1))
        writing, reading = Signal(span(places)), Signal(span(places))
        at = Signal(span(cfg.width))
        accepted, written, emptied = Signal(), Signal(), Signal()
        m.d.comb += [
            passes.dd_room.eq(held != places),
            written.eq(post.dd_valid & (post.group == post.groups - 1)),
            accepted.eq(self.dd.valid & self.dd.ready),
            emptied.eq(accepted & self.dd.payload.last),
            results.w_en.eq(post.dd_valid),
            results.w_index.eq(Cat(post.group[:log2(post.groups)], writing[:bits])),
            results.w_data.eq(post.dd),
            # ask for the next word while this one is taken
            results.r_index.eq(Cat((at + accepted)[:log2(cfg.width)],
                                   (reading + emptied)[:bits])),
            self.dd.payload.value.eq(results.r_data[0]),
            self.dd.payload.last.eq(at == cfg.width - 1),
        ]
        m.d.sync += [
            held.eq(held + passes.dd_begins - emptied),
            full.eq(full + written - emptied),
            # the first word of an atom is asked for once it is full
            self.dd.valid.eq(Mux(emptied, full > 1 if places > 1 else 0, full != 0)),
        ]
        if bits:
            m.d.sync += [writing.eq(writing + written), reading.eq(reading + emptied)]
        with m.If(accepted):
            m.d.sync += at.eq(at + 1)

    def compute(
        self, weights: Sequence[ArrayLike], biases: Sequence[ArrayLike], d: ArrayLike, ctype: int,
        type_terms: ArrayLike | None = None,
    ) -> FitResult:
        """See `compute`."""
        return compute(fit_image(weights, biases, self.cfg, type_terms), d, ctype, self.cfg)
