"""The frame format: coding, damage, and the worked example of the page."""

from __future__ import annotations

import random
import re
import tracemalloc
from pathlib import Path

import pytest

from nvnmd.boards.link.frames import Decoder, Frame, Kind

ROOT = Path(__file__).resolve().parents[2]


def frames_of(data: bytes, **options):
    decoder = Decoder(**options)
    return list(decoder.feed(data)), decoder.dropped


def test_frames_come_back():
    rng = random.Random(1)
    sent = [Frame(Kind.ECHO, k % 256, 0x7E7D, rng.randbytes(4 * rng.randrange(40)))
            for k in range(200)]
    sent.append(Frame(Kind.ECHO, 0x7E, 0x7D7E, b"\x7e\x7d\x5e\x5d" * 5))
    wire = b"".join(frame.encode() for frame in sent)
    assert frames_of(wire) == (sent, 0)
    decoder = Decoder()
    assert [frame for byte in wire for frame in decoder.feed(bytes([byte]))] == sent


@pytest.mark.parametrize("seed", range(20))
def test_damage_drops_frames_and_never_changes_one(seed):
    rng = random.Random(seed)
    sent = [Frame(Kind.ATOMS, k % 256, 5, rng.randbytes(4 * rng.randrange(20))) for k in range(100)]
    wire = bytearray(b"".join(frame.encode() for frame in sent))
    for _ in range(rng.randrange(1, 30)):
        at = rng.randrange(len(wire))
        match rng.randrange(4):
            case 0:
                wire[at] ^= 1 << rng.randrange(8)
            case 1:
                del wire[at]
            case 2:
                wire.insert(at, rng.randrange(256))
            case 3:
                wire[at:at] = wire[at : at + rng.randrange(40)]
    found, dropped = frames_of(bytes(wire))
    assert dropped > 0 and all(frame in sent for frame in found)
    assert len(found) >= 100 - 2 * 30


def test_memory_does_not_grow_with_what_arrives():
    decoder = Decoder(longest=64)
    tracemalloc.start()
    for _ in range(100):
        assert not list(decoder.feed(bytes(10000)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000 and decoder.dropped == 0
    assert not list(decoder.feed(b"\x7e")) and decoder.dropped == 1


def test_the_page_has_an_example_that_decodes():
    text = (ROOT / "docs" / "link.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```hex\n(.*?)```", text, re.DOTALL)
    (frame,), dropped = frames_of(bytes.fromhex(block))
    assert dropped == 0
    assert frame == Frame(Kind.ECHO, 3, 0x1234, bytes([0x7E, 0, 0, 1]))
    assert frame.encode() == bytes.fromhex(block)
