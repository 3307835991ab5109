"""The link's gateware in Amaranth's simulator: byte by byte, with stalls and damage."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("amaranth", reason="Amaranth is not installed")

from amaranth.sim import Simulator

from nvnmd.boards.link.endpoint import EchoBoard
from nvnmd.boards.link.frames import REPLY, Decoder, Frame, Kind

WORDS = 16


def run(wire: bytes, *, stall: float = 0.0, seed: int = 0, idle: int = 400) -> list[Frame]:
    """What the echo board answers to some bytes."""
    dut = EchoBoard(WORDS)
    rng = random.Random(seed)
    answered = bytearray()

    async def bench(ctx):
        position = quiet = 0
        while quiet < idle:
            offer = position < len(wire) and rng.random() >= stall
            take = rng.random() >= stall
            ctx.set(dut.rx.valid, offer)
            ctx.set(dut.rx.payload, wire[position] if offer else 0)
            ctx.set(dut.tx.ready, take)
            took = offer and ctx.get(dut.rx.ready)
            if take and ctx.get(dut.tx.valid):
                answered.append(ctx.get(dut.tx.payload))
                quiet = 0
            position += took
            quiet = 0 if position < len(wire) else quiet + 1
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    decoder = Decoder()
    frames = list(decoder.feed(bytes(answered)))
    assert decoder.dropped == 0
    return frames


def hello(session: int) -> Frame:
    return Frame(Kind.HELLO, 0, session, b"\x01\0\0\0")


def reply_of(frame: Frame) -> Frame:
    return Frame(frame.kind | REPLY, frame.sequence, frame.session, frame.payload)


def payload(rng: random.Random, words: int) -> bytes:
    return bytes(rng.choice([0x7E, 0x7D, 0x5E, 0x5D, rng.randrange(256)]) for _ in range(4 * words))


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_payloads_of_every_length_come_back(stall):
    rng = random.Random(1)
    sent = [hello(0x7E7D)]
    sent += [Frame(Kind.ECHO, k + 1, 0x7E7D, payload(rng, k)) for k in range(WORDS + 1)]
    wire = b"".join(frame.encode() + bytes([0x7E] * 300) for frame in sent)
    assert run(wire, stall=stall) == [reply_of(frame) for frame in sent]


def test_a_request_is_answered_again_and_not_carried_out_twice():
    one = Frame(Kind.ECHO, 1, 5, b"abcd")
    gap = bytes([0x7E] * 100)
    wire = gap.join(frame.encode() for frame in (hello(5), one, one, one))
    assert run(wire) == [reply_of(hello(5)), *[reply_of(one)] * 3]


def test_two_requests_may_be_under_way():
    rng = random.Random(2)
    sent = [hello(9)] + [Frame(Kind.ECHO, k, 9, payload(rng, 12)) for k in (1, 2)]
    wire = sent[0].encode() + bytes([0x7E] * 100) + sent[1].encode() + sent[2].encode()
    assert run(wire) == [reply_of(frame) for frame in sent]


def test_what_is_not_of_the_session_is_not_answered():
    stranger = Frame(Kind.ECHO, 1, 6, b"abcd")
    answer = Frame(Kind.ECHO | REPLY, 1, 5, b"abcd")
    wire = bytes([0x7E] * 60).join(
        frame.encode() for frame in (stranger, hello(5), stranger, answer, hello(5)))
    assert run(wire) == [reply_of(hello(5))] * 2


def test_a_new_session_forgets_the_old_one():
    old, new = Frame(Kind.ECHO, 1, 5, b"abcd"), Frame(Kind.ECHO, 1, 6, b"efgh")
    gap = bytes([0x7E] * 100)
    wire = gap.join(frame.encode() for frame in (hello(5), old, hello(6), new, old))
    assert run(wire) == [reply_of(f) for f in (hello(5), old, hello(6), new)]


def test_a_new_session_under_the_same_number_gets_no_old_reply():
    """Both drew 5, and both ask with number 1."""
    old, new = Frame(Kind.ECHO, 1, 5, b"abcd"), Frame(Kind.ECHO, 1, 5, b"efgh")
    gap = bytes([0x7E] * 100)
    wire = gap.join(frame.encode() for frame in (hello(5), old, hello(5), new))
    assert run(wire) == [reply_of(f) for f in (hello(5), old, hello(5), new)]


@pytest.mark.parametrize("seed", range(6))
def test_damaged_frames_are_never_answered_with_another_payload(seed):
    rng = random.Random(seed)
    sent = [hello(77)] + [Frame(Kind.ECHO, k % 256, 77, payload(rng, rng.randrange(WORDS + 1)))
                          for k in range(1, 60)]
    wire = bytearray(b"".join(frame.encode() + bytes([0x7E] * 90) for frame in sent))
    begin = len(sent[0].encode())
    for _ in range(25):
        at = rng.randrange(begin, len(wire))
        match rng.randrange(3):
            case 0:
                wire[at] ^= 1 << rng.randrange(8)
            case 1:
                del wire[at]
            case 2:
                wire.insert(at, rng.randrange(256))
    found = run(bytes(wire))
    assert len(found) > 30 and all(frame in [reply_of(f) for f in sent] for frame in found)


def test_frames_that_are_too_long_or_not_of_words():
    import struct
    import zlib

    def raw(body: bytes) -> bytes:
        body += struct.pack("<I", zlib.crc32(body))
        out = b"".join(bytes([0x7D, b ^ 0x20]) if b in (0x7E, 0x7D) else bytes([b]) for b in body)
        return b"\x7e" + out + b"\x7e"

    head = struct.pack("<BBH", Kind.ECHO, 1, 5)
    wrong = [head + struct.pack("<H", n) + bytes(m)
             for n, m in ((4, 3), (3, 3), (8, 4), (0, 4), (4 * WORDS + 4, 4 * WORDS + 4),
                          (0xFFFC, 200), (4, 0))]
    good = Frame(Kind.ECHO, 2, 5, b"good")
    wire = hello(5).encode() + bytes([0x7E] * 60)
    wire += b"".join(raw(one) + bytes([0x7E] * 60) for one in wrong) + good.encode()
    assert run(wire) == [reply_of(hello(5)), reply_of(good)]
