"""Gateware: bytes of the link into verified requests.

Schedule: one byte per cycle. Header bytes go into registers, payload bytes into the request
memory of the slot that the sequence number names, four to a word, while the CRC runs along; the
closing flag decides. A slot whose request is still at work is never written to, whatever a
damaged header says.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from nvnmd.boards.link.frames import CHECK, ESCAPE, FLAG, HEADER, SLOTS, TURN


class Receiver(wiring.Component):
    """Take bytes; announce each whole frame in the cycle after its closing flag.

    Parameters
    ----------
    words : int
        Words of a slot's request memory, a power of two.

    Attributes
    ----------
    bytes : In, stream of 8 bits
        Always ready.
    open : In
        Slots whose memory may be written to, a bit each.
    valid : Out
        A pulse: a whole frame, described by `kind`, `sequence`, `session`, `length` (words).
    landed : Out
        Beside `valid`: the payload is in the slot's memory.
    dropped : Out
        A pulse: a frame that was not whole.
    write_en, write_addr, write_data : Out
        To the request memory of `SLOTS * words` words.
    """

    def __init__(self, words: int) -> None:
        self.words = words
        super().__init__({
            "bytes": In(stream.Signature(8)),
            "open": In(SLOTS),
            "valid": Out(1), "landed": Out(1), "dropped": Out(1),
            "kind": Out(8), "sequence": Out(8), "session": Out(16), "length": Out(14),
            "write_en": Out(1), "write_addr": Out(range(SLOTS * words)), "write_data": Out(32),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.crc = crc = CRC32_ISO_HDLC(data_width=8).create()
        escaped, lost, began = Signal(), Signal(), Signal()
        landing = Signal()
        count = Signal(17)  # unescaped bytes of the frame
        length = Signal(16)
        word = Signal(24)
        byte = self.bytes.payload
        plain = Mux(escaped, byte ^ TURN, byte)
        slot = self.sequence[: (SLOTS - 1).bit_length()]
        offset = Signal(17)  # of the byte in the payload
        m.d.comb += [
            self.bytes.ready.eq(1),
            offset.eq(count - HEADER.size),
            crc.data.eq(plain),
            self.write_data.eq(Cat(word, plain)),
            self.write_addr.eq(slot * self.words + (offset >> 2)),
        ]
        m.d.sync += [self.valid.eq(0), self.dropped.eq(0)]
        most = HEADER.size + 4 * self.words + CHECK.size
        with m.If(self.bytes.valid):
            with m.If(byte == FLAG):
                whole = Signal()
                m.d.comb += [
                    whole.eq(~lost & ~escaped & crc.match_detected
                             & (count == length + HEADER.size + CHECK.size)
                             & (length[:2] == 0)),
                    crc.start.eq(1),
                ]
                with m.If(began):
                    m.d.sync += [self.valid.eq(whole), self.dropped.eq(~whole),
                                 self.landed.eq(landing), self.length.eq(length >> 2)]
                m.d.sync += [began.eq(0), escaped.eq(0), lost.eq(0), count.eq(0), landing.eq(0)]
            with m.Elif(byte == ESCAPE):
                m.d.sync += [escaped.eq(1), began.eq(1), lost.eq(lost | escaped)]
            with m.Else():
                m.d.sync += [escaped.eq(0), began.eq(1)]
                with m.If(count == most):
                    m.d.sync += lost.eq(1)
                with m.Else():
                    m.d.comb += crc.valid.eq(1)
                    m.d.sync += count.eq(count + 1)
                with m.Switch(count):
                    with m.Case(0):
                        m.d.sync += self.kind.eq(plain)
                    with m.Case(1):
                        m.d.sync += self.sequence.eq(plain)
                    with m.Case(2, 3):
                        m.d.sync += self.session.eq(Cat(self.session[8:], plain))
                    with m.Case(4):
                        m.d.sync += length[:8].eq(plain)
                    with m.Case(5):
                        # the slot's memory must be free from the first byte to the last
                        m.d.sync += [length[8:].eq(plain),
                                     landing.eq(self.open.bit_select(slot, 1))]
                payload = (count >= HEADER.size) & (offset < length)
                with m.If(payload):
                    m.d.sync += word.eq(Cat(word[8:], plain))
                    with m.If(offset[:2] == 3):
                        m.d.comb += self.write_en.eq(
                            landing & self.open.bit_select(slot, 1) & (count < most))
        # a slot that was taken meanwhile does not hold this frame
        with m.If(landing & ~self.open.bit_select(slot, 1)):
            m.d.sync += landing.eq(0)
        return m
