"""The loader: checks the load stream and spreads it over the model memories.

Schedule: one beat per cycle. Cycle 0 of a packet holds the header (magic, fingerprint of the sizes,
payload beats, CRC-32); cycles 1..N hold the sections in order. The bus shows each payload beat one
cycle after it was taken. The packet's last beat must be beat N; the model becomes valid in the
cycle after the CRC of the last beat is known (two cycles after it was taken), if length and CRC are
right. Whatever is wrong sets `bad_load` and leaves no valid model: a memory half written is never
used.

Schedule of a digest: with nothing in flight, one beat per cycle is asked for on the bus, in the
order of the payload; its words come `READ_LATENCY` cycles later, are joined in a register, and go
into the CRC of the load stream. The digest of memories that hold the image is thus the header's
CRC-32. Where some words are held twice a second round reads the second copies. `digest_cycles` says
how long it takes.
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.host.image import MAGIC, NEAR_BIT, fingerprint, section_beats
from nvnmd.hdl.params import AcceleratorConfig, ceil_div
from nvnmd.hdl.pipeline.delay import Delay
from nvnmd.hdl.pipeline.loadbus import LANE_BITS, LANES, LoadBus, Section
from nvnmd.hdl.pipeline.owners import READ_LATENCY, answer


class LoadBeat(data.StructLayout):
    """A beat of the load stream: four lanes and the packet's last mark."""

    def __init__(self) -> None:
        super().__init__({"data": LANES * LANE_BITS, "last": 1})


def rounds(cfg: AcceleratorConfig) -> int:
    """How often a digest goes through the image: twice where some words are held twice."""
    return 2 if cfg.version or cfg.weights_once else 1


def digest_cycles(cfg: AcceleratorConfig) -> int:
    """Cycles of a digest over all memories of the model."""
    return rounds(cfg) * (sum(section_beats(cfg).values()) + READ_LATENCY + 3)


class Loader(wiring.Component):
    """Take load packets, write the memories, and say whether a model is there.

    Throughput one beat per cycle; a packet starts only while `hold` is low (no atom in flight).

    Attributes
    ----------
    beats : In, stream of LoadBeat
    hold : In
        The accelerator is busy: do not start a packet.
    bus : Out, LoadBus
    verify : In
        Asks for a digest: high until `verified` is.
    verified : Out
        The digests are those of the memories as they are; low when `verify` is.
    digests : Out
        CRC-32 of the payload as it is read back, of either round (equal where there is one).
    loading : Out
        A packet or a digest is under way.
    model_valid : Out
    bad_load : Out
        Pulse: a packet was refused.
    ntypes, nix_shift, near_shift, s_x0, sel : Out
        The parameters of the loaded model.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        super().__init__(
            {
                "beats": In(stream.Signature(LoadBeat())),
                "hold": In(1),
                "bus": Out(LoadBus()),
                "verify": In(1),
                "verified": Out(1),
                "digests": Out(data.ArrayLayout(LANE_BITS, 2)),
                "loading": Out(1),
                "model_valid": Out(1),
                "bad_load": Out(1),
                "ntypes": Out(range(cfg.ntypes + 1)),
                "nix_shift": Out(8),
                "near_shift": Out(8),
                "s_x0": Out(signed(12)),
                "sel": Out(data.ArrayLayout(cfg.count_bits, cfg.ntypes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        cfg = self.cfg
        m = Module()
        counts = section_beats(cfg)
        total = sum(counts.values())
        order = list(counts)

        m.submodules.crc = crc = CRC32_ISO_HDLC(data_width=LANES * LANE_BITS).create()
        lanes = Signal(data.ArrayLayout(LANE_BITS, LANES))
        m.d.comb += [
            lanes.as_value().eq(self.beats.payload.data),
            crc.data.eq(self.beats.payload.data),
        ]
        nnei = Signal(cfg.count_bits)
        read, read_valid = self._read_back(m, nnei)
        second = Signal()
        expected_crc = Signal(LANE_BITS)
        position = Signal(range(len(order)))
        index = Signal(24)
        taken = Signal(range(total + 1))
        section_last = Signal()
        wait = Signal(range(READ_LATENCY + 3))
        m.d.comb += section_last.eq(
            index == Array([counts[s] - 1 for s in order])[position]
        )
        m.d.comb += self.bus.second.eq(second)
        m.d.sync += [self.bus.valid.eq(0), self.bus.check.eq(0), self.bad_load.eq(0)]
        with m.If(~self.verify):
            m.d.sync += self.verified.eq(0)

        with m.FSM() as fsm:
            m.d.comb += self.loading.eq(~fsm.ongoing("idle"))
            with m.State("idle"):
                m.d.comb += [self.beats.ready.eq(~self.hold), crc.start.eq(1)]
                m.d.sync += [position.eq(0), index.eq(0), taken.eq(0), second.eq(0)]
                with m.If(self.verify & ~self.verified & ~self.hold & ~self.beats.valid):
                    m.next = "read"
                with m.If(self.beats.valid & self.beats.ready):
                    m.d.sync += [self.model_valid.eq(0), self.verified.eq(0),
                                 expected_crc.eq(lanes[3])]
                    good = Signal()
                    m.d.comb += good.eq(
                        (lanes[0] == MAGIC)
                        & (lanes[1] == fingerprint(cfg))
                        & (lanes[2] == total)
                        & ~self.beats.payload.last
                    )
                    with m.If(good):
                        m.next = "payload"
                    with m.Else():
                        m.d.sync += self.bad_load.eq(1)
                        with m.If(~self.beats.payload.last):
                            m.next = "skip"
            with m.State("payload"):
                m.d.comb += self.beats.ready.eq(1)
                with m.If(self.beats.valid):
                    m.d.comb += crc.valid.eq(1)
                    m.d.sync += [
                        self.bus.valid.eq(1),
                        self.bus.section.eq(Array([int(s) for s in order])[position]),
                        self.bus.index.eq(index),
                        self.bus.data.eq(self.beats.payload.data),
                        index.eq(Mux(section_last, 0, index + 1)),
                        position.eq(position + section_last),
                        taken.eq(taken + 1),
                    ]
                    with m.If(taken == total - 1):
                        with m.If(self.beats.payload.last):
                            m.next = "check"
                        with m.Else():
                            m.d.sync += self.bad_load.eq(1)
                            m.next = "skip"
                    with m.Elif(self.beats.payload.last):
                        m.d.sync += self.bad_load.eq(1)
                        m.next = "idle"
            with m.State("read"):
                m.d.comb += [crc.data.eq(read), crc.valid.eq(read_valid)]
                m.d.sync += [
                    self.bus.check.eq(1),
                    self.bus.section.eq(Array([int(s) for s in order])[position]),
                    self.bus.index.eq(index),
                    index.eq(Mux(section_last, 0, index + 1)),
                    position.eq(position + section_last),
                    taken.eq(taken + 1),
                ]
                with m.If(taken == total - 1):
                    m.next = "drain"
            with m.State("drain"):
                m.d.comb += [crc.data.eq(read), crc.valid.eq(read_valid)]
                m.d.sync += [wait.eq(wait + 1), position.eq(0), index.eq(0), taken.eq(0)]
                with m.If(wait == READ_LATENCY + 2):
                    # the round's last beat went in a cycle ago
                    m.d.comb += crc.start.eq(1)
                    m.d.sync += [wait.eq(0), self.digests[1].eq(crc.crc), second.eq(1)]
                    with m.If(~second):
                        m.d.sync += self.digests[0].eq(crc.crc)
                    with m.If(second if rounds(cfg) == 2 else Const(1)):
                        m.d.sync += self.verified.eq(1)
                        m.next = "idle"
                    with m.Else():
                        m.next = "read"
            with m.State("check"):
                with m.If(crc.crc == expected_crc):
                    m.d.sync += self.model_valid.eq(1)
                with m.Else():
                    m.d.sync += self.bad_load.eq(1)
                m.next = "idle"
            with m.State("skip"):
                m.d.comb += self.beats.ready.eq(1)
                with m.If(self.beats.valid & self.beats.payload.last):
                    m.next = "idle"

        word = Signal(data.ArrayLayout(LANE_BITS, LANES))
        m.d.comb += word.as_value().eq(self.bus.data)
        with m.If(self.bus.valid & (self.bus.section == Section.PARAMS)):
            with m.If(self.bus.index == 0):
                m.d.sync += [
                    self.ntypes.eq(word[0]),
                    self.nix_shift.eq(word[1]),
                    self.near_shift.eq(word[1] >> NEAR_BIT),
                    self.s_x0.eq(word[2]),
                    nnei.eq(word[3]),
                ]
            for t in range(cfg.ntypes):
                with m.If(self.bus.index == 1 + t // LANES):
                    m.d.sync += self.sel[t].eq(word[t % LANES])
        return m

    def _read_back(self, m: Module, nnei: Signal) -> tuple[Value, Value]:
        """A beat that was read back, and whether there is one; the parameters stand here."""
        cfg = self.cfg
        m.submodules.place = place = Delay(range(1 + ceil_div(cfg.ntypes, LANES)), 3)
        m.submodules.there = there = Delay(1, READ_LATENCY + 1)
        quads = [
            [self.ntypes, Cat(self.nix_shift, self.near_shift), self.s_x0, nnei],
            *([self.sel[t] for t in range(first, min(first + LANES, cfg.ntypes))]
              for first in range(0, cfg.ntypes, LANES)),
        ]
        words = Signal(data.ArrayLayout(signed(LANE_BITS), LANES))
        with m.Switch(place.o):
            for k, quad in enumerate(quads):
                with m.Case(k):
                    m.d.comb += [words[lane].eq(word) for lane, word in enumerate(quad)]
        mine = answer(m, self.bus, Section.PARAMS, [*words], since=3)
        read = Signal(LANES * LANE_BITS, reset_less=True)
        m.d.sync += read.eq(self.bus.back | mine)
        m.d.comb += [place.i.eq(self.bus.index), there.i.eq(self.bus.check)]
        return read, there.o
