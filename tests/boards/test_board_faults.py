"""Faults on the whole board and on the link with an echo: no wrong number, no hang, all counted."""

from __future__ import annotations

import random
import time
import zlib
from collections import Counter

import pytest

pytest.importorskip("amaranth", reason="Amaranth is not installed")

from support.board_cases import (
    ECHO_WORDS,
    BoardProcess,
    board_file,
    board_on,
    crystal,
    echo_file,
    potential,
)
from support.faulty_link import KINDS, FaultyTransport
from support.golden_checks import assert_same_bits

from nvnmd.boards.link import frames
from nvnmd.boards.link.frames import Frame, Kind
from nvnmd.boards.link.session import Session
from nvnmd.boards.link.transport import LinkError

# a damaged request is asked again after so many seconds at most; more tries than it ever takes
OPTIONS = {"patience": 0.3, "tries": 1000}


def report(what: str, faults: Counter, session: Session, seconds: float) -> None:
    """One line with the counts, for docs/boards.md (`pytest -s`)."""
    kinds = ", ".join(f"{kind} {sum(faults[f'{way} {kind}'] for way in ('in', 'out'))}"
                      for kind in KINDS)
    found = session.counters
    print(f"\n{what}: {faults.total()} faults ({kinds}); {found.requests} requests sent, "
          f"{found.repeated} of them again, {found.dropped} replies damaged, "
          f"{whole_share(session):.0%} of replies whole, {seconds:.0f} s")


def whole_share(session: Session) -> float:
    """Share of the replies that came whole, those that came twice included."""
    found = session.counters
    whole = found.replies + found.foreign
    return whole / (whole + found.dropped)


@pytest.mark.parametrize("count", [
    10_000, pytest.param(1_000_000, marks=pytest.mark.slow, id="million")])
def test_echo(count):
    """Payloads come back as they were sent, each once and in order."""
    rng = random.Random(count)
    with BoardProcess(echo_file()) as process:
        link = FaultyTransport(process.connect(), 1 / 150, seed=count, most=count)
        begin = time.monotonic()
        session = Session(link, **(OPTIONS | {"patience": 0.01, "tries": 10_000}))
        while link.injected < count:
            sent = [rng.randbytes(4 * rng.randrange(1, 20)) for _ in range(200)]
            assert list(session.requests((Kind.ECHO, data) for data in sent)) == sent
        report("echo", link.faults, session, time.monotonic() - begin)
        assert {key.split()[1] for key in link.faults} == set(KINDS)
        assert session.counters.repeated > 0 and whole_share(session) > 0.5
        session.close()


@pytest.mark.parametrize("count", [
    200, pytest.param(2_000, marks=pytest.mark.slow, id="thousands")])
def test_whole_board(count):
    """Model and atoms through a damaged link: the bits of `fixed`, every time."""
    frame = crystal(3)
    expected = potential().evaluate(*frame)
    with BoardProcess(board_file()) as process:
        link = FaultyTransport(process.connect(), 1 / 3000, seed=count, most=count)
        begin = time.monotonic()
        with board_on(link, frame_words=128, **OPTIONS) as board:
            rounds = 0
            while link.injected < count:
                found = potential().evaluate(*frame, board)
                for name in ("energy", "force", "virial"):
                    assert_same_bits(getattr(found, name), getattr(expected, name), name)
                rounds += 1
                # an image and ten frames each
                if rounds % 10 == 0:
                    board._model = None
            assert board.status().dropped > 0
            report("board", link.faults, board.session, time.monotonic() - begin)
            assert board.session.counters.repeated > 0 and whole_share(board.session) > 0.5


def test_a_broken_check_is_caught(monkeypatch):
    """With a host whose CRC-32 always holds, a damaged reply gives a wrong payload."""
    rng = random.Random(5)

    def run() -> int:
        wrong = 0
        with BoardProcess(echo_file()) as process:
            link = FaultyTransport(process.connect(), 0.0, seed=5)
            session = Session(link, **OPTIONS)
            # about two faults a reply: one in six comes whole, one in three has flipped bits alone
            link._rate = 1 / 150
            link._next["in"] = 5
            for _ in range(40):
                sent = rng.randbytes(4 * ECHO_WORDS)
                wrong += session.request(Kind.ECHO, sent) != sent
            session.close()
        return wrong

    assert run() == 0

    def believing(self):
        body = bytes(self._body)
        self._body.clear()
        self._escaped = self._lost = False
        size = frames.HEADER.size
        if len(body) < size + 4 or len(body) % 4 != 2:
            return None
        kind, sequence, session, _ = frames.HEADER.unpack_from(body)
        return Frame(kind, sequence, session, body[size:-4])

    monkeypatch.setattr(frames.Decoder, "_end", believing)
    assert run() > 0


def test_a_link_cut_in_the_middle_of_a_frame():
    """A new client is served although the board is within a frame of the old one."""
    whole = Frame(Kind.ECHO, 1, 5, bytes(64)).encode()
    with BoardProcess(echo_file()) as process:
        for cut in range(1, len(whole), 7):
            link = process.connect()
            link.write(whole[:cut])
            link.close()
            session = Session(process.connect(), **OPTIONS)
            assert session.request(Kind.ECHO, b"abcd") == b"abcd"
            session.close()


def test_a_silent_board_is_an_error_in_time():
    """A link that swallows everything: a named error after the tries."""
    with BoardProcess(echo_file()) as process:
        link = process.connect()
        link.write = len
        begin = time.monotonic()
        with pytest.raises(LinkError, match=r"the board does not answer \(5 tries\)"):
            Session(link, patience=0.01, tries=5)
        assert time.monotonic() - begin < 30


def test_the_check_is_the_usual_one():
    frame = Frame(Kind.STATUS, 1, 2)
    assert frame.encode()[-5:-1] == zlib.crc32(frame.encode()[1:-5]).to_bytes(4, "little")
