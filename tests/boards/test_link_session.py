"""The host's end of the link against a board in memory: damage, silence, another owner."""

from __future__ import annotations

import random

import pytest

from nvnmd.boards.link.frames import PROTOCOL, REPLY, Decoder, Fault, Frame, Kind
from nvnmd.boards.link.session import BoardFaultError, Session
from nvnmd.boards.link.transport import LinkError


class Board:
    """A transport to a board that sends payloads back, and counts what it carries out."""

    name = "board in memory"

    def __init__(self, damage: float = 0.0, seed: int = 0, protocol: int = PROTOCOL,
                 silent_after: int = 10**9) -> None:
        self.random, self.damage, self.protocol = random.Random(seed), damage, protocol
        self.decoder, self.out = Decoder(), bytearray()
        self.session, self.slots = -1, {}
        self.done, self.faults, self.left = 0, 0, silent_after

    def _hurt(self, data: bytes) -> bytes:
        hurt = bytearray(data)
        if self.random.random() < self.damage:
            self.faults += 1
            at = self.random.randrange(len(hurt))
            match self.random.randrange(4):
                case 0:
                    hurt[at] ^= 1 << self.random.randrange(8)
                case 1:
                    del hurt[at]
                case 2:
                    hurt.insert(at, self.random.randrange(256))
                case 3:
                    hurt += hurt[at:]
        return bytes(hurt)

    def write(self, data: bytes) -> int:
        part = data[: self.random.randrange(1, 200)]
        for frame in self.decoder.feed(self._hurt(part)):
            self._answer(frame)
        return len(part)

    def _answer(self, frame: Frame) -> None:
        if frame.kind == Kind.HELLO and frame.session != self.session:
            self.session, self.slots = frame.session, {}
        if frame.session != self.session or self.left <= 0:
            return
        self.left -= 1
        slot = frame.sequence % 2
        if slot not in self.slots or self.slots[slot].sequence != frame.sequence:
            self.done += 1
            kind, payload = frame.kind, frame.payload
            if frame.kind == Kind.HELLO:
                payload = self.protocol.to_bytes(4, "little")
            elif frame.kind != Kind.ECHO:
                kind, payload = Kind.ERROR, bytes([Fault.NO_MODEL, 0, 0, 0, 8, 0, 0, 0])
            self.slots[slot] = Frame(kind | REPLY, frame.sequence, frame.session, payload)
        self.out += self._hurt(self.slots[slot].encode())

    def read(self, seconds: float) -> bytes:
        part = bytes(self.out[: self.random.randrange(1, 300)])
        del self.out[: len(part)]
        return part

    def close(self) -> None:
        pass


def payloads(count: int, seed: int) -> list[tuple[Kind, bytes]]:
    rng = random.Random(seed)
    return [(Kind.ECHO, rng.randbytes(4 * rng.randrange(60))) for _ in range(count)]


def test_requests_are_answered_in_their_order():
    board = Board()
    items = payloads(600, 1)
    assert list(Session(board, patience=5).requests(items)) == [data for _, data in items]
    assert board.done == 601


@pytest.mark.parametrize("seed", range(5))
def test_damage_costs_time_and_nothing_else(seed):
    board = Board(damage=0.05, seed=seed)
    session = Session(board, patience=0.005, tries=200)
    items = payloads(300, seed)
    assert list(session.requests(items)) == [data for _, data in items]
    assert board.faults > 10 and session.counters.repeated > 0
    # each request once, however often it was sent
    assert board.done == 301


def test_a_board_that_falls_silent_is_named():
    session = Session(Board(silent_after=20), patience=0.002, tries=5)
    with pytest.raises(LinkError, match=r"board in memory: the board does not answer \(5 tries\)"):
        list(session.requests(payloads(100, 1)))


def test_noise_is_no_reason_to_wait_for_ever():
    class Noise(Board):
        def read(self, seconds: float) -> bytes:
            return bytes(self.random.randrange(256) for _ in range(50))

    with pytest.raises(LinkError, match="does not answer"):
        Session(Noise(), patience=0.002, tries=3)


def test_another_version_of_the_link():
    with pytest.raises(LinkError, match=f"speaks version 9 of the link, expected {PROTOCOL}"):
        Session(Board(protocol=9))


def test_a_fault_of_the_board_is_an_error():
    with pytest.raises(BoardFaultError, match="the board refused: it has no model") as caught:
        Session(Board()).request(Kind.ATOMS, b"")
    assert caught.value.fault == Fault.NO_MODEL


def test_a_board_that_somebody_else_has():
    class Held(Board):
        def write(self, data: bytes) -> int:
            told = bytes([Fault.HELD, 0, 0, 0]) + b"one.of.us:99"
            self.out += Frame(Kind.ERROR | REPLY, 0, 0, told).encode()
            return len(data)

    with pytest.raises(LinkError, match=r"the board is held by one\.of\.us:99"):
        Session(Held())
