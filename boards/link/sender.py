"""Gateware: replies into bytes of the link.

Schedule: one byte per cycle where the other side takes it, two for a byte that is escaped: flag,
header, payload from the reply memory (read a word ahead), CRC, flag.
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from nvnmd.boards.link.frames import CHECK, ESCAPE, FLAG, HEADER, SLOTS, TURN


class Sender(wiring.Component):
    """Send one reply after another.

    Parameters
    ----------
    words : int
        Words of a slot's reply memory, a power of two.

    Attributes
    ----------
    start : In
        Send the reply of `slot`, described by `kind`, `sequence`, `session`, `length` (words);
        taken while `ready`.
    ready : Out
    read_addr : Out, read_data : In
        The reply memory of `SLOTS * words` words, read with one cycle of latency.
    bytes : Out, stream of 8 bits
    """

    def __init__(self, words: int) -> None:
        self.words = words
        super().__init__({
            "start": In(1), "ready": Out(1),
            "slot": In(range(SLOTS)),
            "kind": In(8), "sequence": In(8), "session": In(16), "length": In(14),
            "read_addr": Out(range(SLOTS * words)), "read_data": In(32),
            "bytes": Out(stream.Signature(8)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.crc = crc = CRC32_ISO_HDLC(data_width=8).create()
        header = Signal(8 * HEADER.size)
        slot = Signal(range(SLOTS))
        length = Signal(14)
        count = Signal(17)  # bytes of the body that were sent
        word = Signal(32)
        check = Signal(32)
        turned = Signal()  # the escape byte of this one was sent
        end = Signal(17)
        raw = Signal(8)
        in_payload = Signal()
        payload = Signal(17)
        m.d.comb += [
            end.eq(HEADER.size + 4 * length),
            payload.eq(count - HEADER.size),
            in_payload.eq((count >= HEADER.size) & (count < end)),
            self.read_addr.eq(slot * self.words + (payload + 1 >> 2)),
        ]
        headers = Array(header.word_select(k, 8) for k in range(HEADER.size))
        checks = Array(check.word_select(k, 8) for k in range(CHECK.size))
        words = Array(word.word_select(k, 8) for k in range(4))
        with m.If(count < HEADER.size):
            m.d.comb += raw.eq(headers[count[:3]])
        with m.Elif(in_payload):
            m.d.comb += raw.eq(words[payload[:2]])
        with m.Else():
            m.d.comb += raw.eq(checks[(count - end)[:2]])
        special = (raw == FLAG) | (raw == ESCAPE)
        m.d.comb += crc.data.eq(raw)
        with m.FSM():
            with m.State("idle"):
                m.d.comb += [self.ready.eq(1), crc.start.eq(1)]
                with m.If(self.start):
                    m.d.sync += [
                        header.eq(Cat(self.kind, self.sequence, self.session,
                                      Const(0, 2), self.length)),
                        slot.eq(self.slot), length.eq(self.length), count.eq(0), turned.eq(0),
                    ]
                    m.next = "open"
            with m.State("open"):
                m.d.comb += [self.bytes.valid.eq(1), self.bytes.payload.eq(FLAG)]
                with m.If(self.bytes.ready):
                    m.next = "body"
            with m.State("body"):
                m.d.comb += [
                    self.bytes.valid.eq(1),
                    self.bytes.payload.eq(Mux(special, Mux(turned, raw ^ TURN, ESCAPE), raw)),
                ]
                with m.If(self.bytes.ready):
                    with m.If(special & ~turned):
                        m.d.sync += turned.eq(1)
                    with m.Else():
                        m.d.sync += [turned.eq(0), count.eq(count + 1)]
                        m.d.comb += crc.valid.eq(count < end)
                        m.next = "step"
            with m.State("step"):
                # the CRC and the word that was asked for are there one cycle later
                with m.If(count == end):
                    m.d.sync += check.eq(crc.crc)
                with m.If((count >= HEADER.size) & (payload[:2] == 0)):
                    m.d.sync += word.eq(self.read_data)
                with m.If(count == end + CHECK.size):
                    m.next = "close"
                with m.Else():
                    m.next = "body"
            with m.State("close"):
                m.d.comb += [self.bytes.valid.eq(1), self.bytes.payload.eq(FLAG)]
                with m.If(self.bytes.ready):
                    m.next = "idle"
        return m
