"""The host's end of the link: requests that arrive once, whatever happens to their bytes.

Up to `frames.SLOTS` requests are under way. A request whose reply does not come in time is sent
again, which the board answers without doing it twice. When nothing comes for long, the session is
over with a named error: nothing hangs, and no number is taken from a reply that is not the
request's own.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from nvnmd.boards.link.frames import PROTOCOL, REPLY, SLOTS, Decoder, Fault, Frame, Kind
from nvnmd.boards.link.transport import LinkError, Transport


@dataclass
class Counters:
    """What happened on the link.

    Attributes
    ----------
    sent, received : int
        Bytes.
    requests, replies : int
        Frames; a request counts each time it is sent.
    repeated : int
        Requests sent again.
    dropped : int
        Frames that did not arrive whole here.
    foreign : int
        Whole frames that answered nothing.
    """

    sent: int = 0
    received: int = 0
    requests: int = 0
    replies: int = 0
    repeated: int = 0
    dropped: int = 0
    foreign: int = 0


class BoardFaultError(LinkError):
    """The board refused a request.

    Attributes
    ----------
    fault : int
        A `Fault`.
    status : int
        The accelerator's status bits.
    """

    def __init__(self, message: str, fault: int = 0, status: int = 0) -> None:
        super().__init__(message)
        self.fault, self.status = fault, status


@dataclass
class _Pending:
    frame: Frame
    wait: float = 0.0
    sent: float = 0.0
    due: float = 0.0
    latest: float = 0.0
    tries: int = 0


@dataclass
class Session:
    """A conversation with a board.

    Parameters
    ----------
    transport : Transport
        The bytes.
    patience : float
        Seconds after which a reply that did not begin to come is asked for again, at the most: once
        replies have come, a request is repeated after three times what they took, and after twice
        as long with each try. A slow link takes the time of both frames on top.
    tries : int
        How often a request is sent before the board counts as silent.
    byte_time : float
        Seconds of a byte on the link, 0 if it is fast.

    Raises
    ------
    LinkError
        The board is silent, is held by another client, or speaks another protocol.
    """

    transport: Transport
    patience: float = 1.0
    tries: int = 20
    byte_time: float = 0.0
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        self._decoder = Decoder()
        self._out = bytearray()
        self._number = 0
        self._session = 0
        # seconds that a reply takes, a running mean
        self._usual = self.patience / 3
        self.facts: tuple[int, ...] = ()
        try:
            self._hello()
        except BaseException:
            # nobody else knows the transport
            self.transport.close()
            raise

    def close(self) -> None:
        """Give the link back."""
        self.transport.close()

    def request(self, kind: Kind, payload: bytes = b"") -> bytes:
        """Return the payload of the reply to one request."""
        (reply,) = self.requests([(kind, payload)])
        return reply

    def requests(self, items: Iterable[tuple[Kind, bytes]], under_way: int = SLOTS
                 ) -> Iterator[bytes]:
        """Yield the replies to several requests in their order.

        Parameters
        ----------
        items : iterable of (Kind, bytes)
            The requests.
        under_way : int
            How many are sent before the first of them is answered, at most `SLOTS`. When one is
            lost on its way, the board carries out the next before it: where the order counts, this
            must be 1.

        Raises
        ------
        BoardFaultError
            The board refused one.
        LinkError
            The board is silent, or somebody else has it.
        """
        waiting: deque[_Pending] = deque()
        replies: dict[int, bytes] = {}
        source = iter(items)
        more = True
        while more or waiting:
            while more and len(waiting) < under_way:
                item = next(source, None)
                if item is None:
                    more = False
                    break
                self._number = (self._number + 1) % 256
                pending = _Pending(Frame(item[0], self._number, self._session, item[1]))
                self._send(pending)
                waiting.append(pending)
            while waiting and waiting[0].frame.sequence in replies:
                yield replies.pop(waiting.popleft().frame.sequence)
            if waiting:
                self._turn(waiting, replies)

    def _hello(self) -> None:
        self._session = int.from_bytes(os.urandom(2), "little")
        self._number = 0
        waiting = deque([_Pending(Frame(Kind.HELLO, 0, self._session,
                                        PROTOCOL.to_bytes(4, "little")))])
        self._send(waiting[0])
        replies: dict[int, bytes] = {}
        while 0 not in replies:
            self._turn(waiting, replies)
        words = words_of(replies[0])
        if not words or words[0] != PROTOCOL:
            found = words[0] if words else "none"
            raise LinkError(f"{self.transport.name}: the board speaks version {found} of the link, "
                            f"expected {PROTOCOL}; build its bitstream anew")
        self.facts = words

    def _send(self, pending: _Pending) -> None:
        """Queue a request's bytes, a flag before them so that the board is at a frame's begin."""
        data = pending.frame.encode()
        self._out += data
        pending.tries += 1
        self.counters.requests += 1
        self.counters.repeated += pending.tries > 1
        # a reply may be as long as the longest frame
        length = len(self._out) + 2 * 65536
        pending.sent = time.monotonic()
        pending.wait = min(self.patience, (3 * self._usual + 0.001) * 2.0 ** min(pending.tries - 1,
                                                                                 20))
        if pending.frame.kind == Kind.DIGEST:
            # asked again and again while the board is at work: no measure of other replies
            pending.wait = self.patience
        pending.due = pending.sent + pending.wait + length * self.byte_time
        # bytes that come put a repetition off, but not for ever: they may be nothing but noise
        pending.latest = pending.due + 20 * pending.wait

    def _turn(self, waiting: deque[_Pending], replies: dict[int, bytes]) -> None:
        """Write and read a little; ask again where a reply is late."""
        if self._out:
            sent = self.transport.write(bytes(self._out[:4096]))
            del self._out[:sent]
            self.counters.sent += sent
        data = self.transport.read(0.0 if self._out else 0.02)
        self.counters.received += len(data)
        dropped = self._decoder.dropped
        for frame in self._decoder.feed(data):
            self._take(frame, waiting, replies)
        self.counters.dropped += self._decoder.dropped - dropped
        now = time.monotonic()
        for pending in waiting:
            if pending.frame.sequence in replies:
                continue
            if data:
                # what comes may be the reply, however long it takes
                pending.due = max(pending.due, min(now + pending.wait, pending.latest))
            if now > pending.due and not self._out:
                if pending.tries >= self.tries:
                    raise LinkError(f"{self.transport.name}: the board does not answer "
                                    f"({pending.tries} tries)")
                self._send(pending)

    def _take(self, frame: Frame, waiting: deque[_Pending], replies: dict[int, bytes]) -> None:
        kind = frame.kind & ~REPLY
        words = words_of(frame.payload)
        if frame.kind == REPLY | Kind.ERROR and words and words[0] == Fault.HELD:
            name = frame.payload[4:].decode("ascii", "replace").strip()
            raise LinkError(f"{self.transport.name}: the board is held by {name}, expected a board "
                            "that is free")
        for pending in waiting:
            asked = pending.frame
            answers = (frame.kind & REPLY and frame.session == asked.session
                       and frame.sequence == asked.sequence and kind in (asked.kind, Kind.ERROR))
            if answers and asked.sequence not in replies:
                self.counters.replies += 1
                if pending.tries == 1 and asked.kind != Kind.DIGEST:
                    self._usual += 0.1 * (time.monotonic() - pending.sent - self._usual)
                if kind == Kind.ERROR:
                    raise _fault(self.transport.name, words)
                replies[asked.sequence] = frame.payload
                return
        self.counters.foreign += 1


def words_of(payload: bytes) -> tuple[int, ...]:
    """Return the 32-bit words of a payload."""
    return tuple(int.from_bytes(payload[k : k + 4], "little") for k in range(0, len(payload), 4))


_TEXTS = {
    Fault.KIND: "it does not know this request",
    Fault.LENGTH: "the request has a length that it cannot take",
    Fault.NO_MODEL: "it has no model",
    Fault.ORDER: "a part of the model came out of order",
    Fault.STATUS: "a value left its format or did not fit",
    Fault.STUCK: "the accelerator stopped answering",
    Fault.MEMORY: "its memories do not hold the model that was loaded",
}


def _fault(name: str, words: tuple[int, ...]) -> BoardFaultError:
    from nvnmd.hdl.core import STATUS_BITS

    code, status = (*words, 0, 0)[:2]
    known = _TEXTS.get(code, f"fault {code}")  # type: ignore[call-overload]
    bits = [bit for k, bit in enumerate(STATUS_BITS[:5]) if status >> k & 1]
    return BoardFaultError(
        f"{name}: the board refused: {known}{' (' + ', '.join(bits) + ')' if bits else ''}",
        code, status)
