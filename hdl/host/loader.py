"""The loader: checks the load stream and spreads it over the model memories.

Schedule: one beat per cycle. Cycle 0 of a packet holds the header (magic, fingerprint of the sizes,
payload beats, CRC-32); cycles 1..N hold the sections in order. The bus shows each payload beat one
cycle after it was taken. The packet's last beat must be beat N; the model becomes valid in the
cycle after the CRC of the last beat is known (two cycles after it was taken), if length and CRC are
right. Whatever is wrong sets `bad_load` and leaves no valid model: a memory half written is never
used.
"""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.host.image import MAGIC, NEAR_BIT, fingerprint, section_beats
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.loadbus import LANE_BITS, LANES, LoadBus, Section


class LoadBeat(data.StructLayout):
    """A beat of the load stream: four lanes and the packet's last mark."""

    def __init__(self) -> None:
        super().__init__({"data": LANES * LANE_BITS, "last": 1})


class Loader(wiring.Component):
    """Take load packets, write the memories, and say whether a model is there.

    Throughput one beat per cycle; a packet starts only while `hold` is low (no atom in flight).

    Attributes
    ----------
    beats : In, stream of LoadBeat
    hold : In
        The accelerator is busy: do not start a packet.
    bus : Out, LoadBus
    loading : Out
        A packet is under way.
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
                "loading": Out(1),
                "model_valid": Out(1),
                "bad_load": Out(1),
                "ntypes": Out(range(cfg.ntypes + 1)),
                "nix_shift": Out(8),
                "near_shift": Out(8),
                "s_x0": Out(12),
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
        expected_crc = Signal(LANE_BITS)
        position = Signal(range(len(order)))
        index = Signal(24)
        taken = Signal(range(total + 1))
        section_last = Signal()
        m.d.comb += section_last.eq(
            index == Array([counts[s] - 1 for s in order])[position]
        )
        m.d.sync += [self.bus.valid.eq(0), self.bad_load.eq(0)]

        with m.FSM() as fsm:
            m.d.comb += self.loading.eq(~fsm.ongoing("idle"))
            with m.State("idle"):
                m.d.comb += [self.beats.ready.eq(~self.hold), crc.start.eq(1)]
                m.d.sync += [position.eq(0), index.eq(0), taken.eq(0)]
                with m.If(self.beats.valid & self.beats.ready):
                    m.d.sync += [self.model_valid.eq(0), expected_crc.eq(lanes[3])]
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
                ]
            for t in range(cfg.ntypes):
                with m.If(self.bus.index == 1 + t // LANES):
                    m.d.sync += self.sel[t].eq(word[t % LANES])
        return m
