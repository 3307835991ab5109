"""Which pass of the multiplier array comes next, and when."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.arith.fixed import net_of
from nvnmd.hdl.fitting.post import JobLayout
from nvnmd.hdl.fitting.schedule import Schedule
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.lane_memory import span


class Passes(wiring.Component):
    """Walks through the passes of `fit_atoms` atoms, which take turns.

    An atom gets the next *place* in a circle and keeps it for its 2*hidden passes. The array goes
    round the places: a place whose atom waits for its results holds the array up, one without an
    atom is passed over. So the atoms' results keep the atoms' order.

    A pass begins when the array is free, its atom's results of the pass before are sure to be
    written before they are read (`Schedule.gap`), and what it will produce has room: a pass whose
    results have nowhere to go yet waits before it begins, not on the way.

    Latency: `step` follows the cycle in which a pass is chosen by one. Throughput: one step per
    cycle; a place that is passed over costs one cycle if the array is free.

    Attributes
    ----------
    ready, ctype : In
        A descriptor waits in input bank `bank`, of an atom of this type.
    energy_room, dd_room : In
        The pass that yields an energy (dE/dD) may begin.
    energy_begins, dd_begins : Out
        Such a pass is chosen: its result is under way.
    bank : Out
        The input bank of the next atom.
    freed : Out
        The input bank `reads_bank` is no longer needed (pulse).
    step, place_in_pass : Out
        A step of the array and its number in the pass.
    reads_input, reads_bank : Out
        The pass takes its inputs from the descriptor, in this bank.
    job : Out
        The pass under way.
    """

    def __init__(self, cfg: AcceleratorConfig, schedule: Schedule, banks: int) -> None:
        self.cfg = cfg
        self.schedule = schedule
        self.banks = banks
        super().__init__(
            {
                "ready": In(1),
                "ctype": In(cfg.type_bits),
                "energy_room": In(1),
                "dd_room": In(1),
                "energy_begins": Out(1),
                "dd_begins": Out(1),
                "bank": Out(span(banks)),
                "freed": Out(1),
                "step": Out(1),
                "place_in_pass": Out(span(schedule.steps)),
                "reads_input": Out(1),
                "reads_bank": Out(span(banks)),
                "job": Out(JobLayout(cfg)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg, gap, steps = self.cfg, self.schedule.gap, self.schedule.steps
        hidden, count = cfg.hidden, cfg.fit_atoms
        job, step, at = self.job, self.step, self.place_in_pass
        turn = Signal(span(count))
        # of each place: the pass that comes next, cycles since its last one, its atom's type
        numbers = Array(Signal(span(2 * hidden), name=f"number{p}") for p in range(count))
        waits = Array(Signal(span(gap), init=max(0, gap - 1), name=f"waited{p}")
                      for p in range(count))
        kinds = Array(Signal(cfg.type_bits, name=f"ctype{p}") for p in range(count))

        number, finishing, begin = Signal(span(2 * hidden)), Signal(), Signal()
        first, rested, room, pass_over = Signal(), Signal(), Signal(), Signal()
        under_way = step & (job.place == turn)
        m.d.comb += [
            number.eq(numbers[turn]),
            first.eq(number == 0),
            finishing.eq(step & (at == steps - 1)),
            # an atom's first pass needs no results of the one before
            rested.eq(Mux(first, self.ready,
                          ~under_way & (waits[turn] == gap - 1) if gap else 1)),
            room.eq(((number != hidden - 1) | self.energy_room)
                    & ((number != 2 * hidden - 1) | self.dd_room)),
            begin.eq(rested & room & (~step | finishing)),
            pass_over.eq(first & ~self.ready),
            self.energy_begins.eq(begin & (number == hidden - 1)),
            self.dd_begins.eq(begin & (number == 2 * hidden - 1)),
        ]
        following = Mux(turn == count - 1, 0, turn + 1)
        with m.If(begin | pass_over):
            m.d.sync += turn.eq(following)

        backward = number >= hidden
        layer = Mux(backward, 2 * hidden - 1 - number, number)
        kind = Mux(first, self.ctype, kinds[turn])
        bases = Array(t * hidden for t in range(1 << cfg.type_bits if cfg.version == 0 else 1))
        with m.If(step):
            m.d.sync += at.eq(Mux(finishing, 0, at + 1))
        with m.If(finishing):
            m.d.sync += step.eq(0)
        for place in range(count):
            with m.If(finishing & (job.place == place)):
                m.d.sync += waits[place].eq(0)
            with m.Elif(waits[place] != max(0, gap - 1)):
                m.d.sync += waits[place].eq(waits[place] + 1)
        with m.If(begin):
            m.d.sync += [
                step.eq(1),
                job.backward.eq(backward),
                job.layer.eq(layer),
                job.ctype.eq(kind),
                job.matrix.eq(bases[net_of(cfg, kind)] + layer
                              + Mux(backward, cfg.nets * hidden, 0)),
                job.bank.eq(~number[0]),
                job.place.eq(turn),
                numbers[turn].eq(Mux(number == 2 * hidden - 1, 0, number + 1)),
                kinds[turn].eq(kind),
            ]
            with m.If(first):
                m.d.sync += [
                    self.reads_bank.eq(self.bank),
                    self.bank.eq(Mux(self.bank == self.banks - 1, 0, self.bank + 1)),
                ]
        m.d.comb += [
            self.reads_input.eq(~job.backward & (job.layer == 0)),
            self.freed.eq(finishing & self.reads_input),
        ]
        return m
