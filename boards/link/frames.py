"""The format of a frame on the link, and its coding on the host.

Framing is that of RFC 1662 (HDLC-like): a frame stands between two flag bytes 0x7e, and a flag or
an escape byte 0x7d inside it is sent as 0x7d and the byte with bit 5 turned over. So a receiver
that lost its place finds it again at the next flag. Inside are, little-endian:

==========  =====  =========================================================
field       bytes  meaning
==========  =====  =========================================================
kind        1      `Kind`; a reply has bit 7 set
sequence    1      number of the request; its reply has the same
session     2      a number that the host draws when it connects
length      2      bytes of the payload, a multiple of 4
payload     any    32-bit words
check       4      CRC-32 of all that precedes (IEEE 802.3, as zlib.crc32)
==========  =====  =========================================================

A frame whose length or check is wrong is dropped; whoever waits for it repeats itself.
"""

from __future__ import annotations

import enum
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

PROTOCOL = 2
"""Version of the protocol; both sides tell theirs in the first exchange."""
FLAG, ESCAPE, TURN = 0x7E, 0x7D, 0x20
REPLY = 0x80
HEADER = struct.Struct("<BBHH")
CHECK = struct.Struct("<I")
SLOTS = 2
"""Requests that may be under way; request `n` has slot `n % SLOTS` on the board."""


class Kind(enum.IntEnum):
    """What a frame is about."""

    HELLO = 1
    """Begin a session; the payload is the protocol's version, the reply begins with the board's."""
    LOAD = 2
    """Beats of a load image: number of the first beat, then four words a beat."""
    ATOMS = 3
    """Atoms to evaluate: their number and the number of their neighbours, then neighbour beats."""
    STATUS = 4
    """Ask for the status and the counters."""
    ECHO = 5
    """Send the payload back; for tests of the link."""
    DIGEST = 6
    """Read all memories of the model back: the digests over them, and the cycles that took.

    A reply of one word says that it is at work; ask again.
    """
    ERROR = 0x7F
    """Reply only: a code of `Fault` and the accelerator's status."""


class Fault(enum.IntEnum):
    """Why a board refuses a request."""

    KIND = 1
    LENGTH = 2
    NO_MODEL = 3
    ORDER = 4
    STATUS = 5
    STUCK = 6
    HELD = 7
    MEMORY = 8


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes
    ----------
    kind : int
        With bit 7 for a reply.
    sequence, session : int
        See the module.
    payload : bytes
        A multiple of 4.
    """

    kind: int
    sequence: int
    session: int
    payload: bytes = b""

    def encode(self) -> bytes:
        """Return the bytes on the wire, flags included."""
        body = HEADER.pack(self.kind, self.sequence, self.session, len(self.payload)) + self.payload
        body += CHECK.pack(zlib.crc32(body))
        out = bytearray([FLAG])
        for byte in body:
            if byte in (FLAG, ESCAPE):
                out += bytes([ESCAPE, byte ^ TURN])
            else:
                out.append(byte)
        out.append(FLAG)
        return bytes(out)


class Decoder:
    """Frames from a stream of bytes that may be damaged.

    Parameters
    ----------
    longest : int
        Longest payload that is believed; memory never grows beyond it.

    Attributes
    ----------
    dropped : int
        Frames that were not whole.
    """

    def __init__(self, longest: int = 0xFFFC) -> None:
        self._most = HEADER.size + longest + CHECK.size
        self._body = bytearray()
        self._escaped = self._lost = False
        self.dropped = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that end within `data`."""
        for byte in data:
            if byte == FLAG:
                frame = self._end()
                if frame is not None:
                    yield frame
            elif byte == ESCAPE:
                self._lost |= self._escaped
                self._escaped = True
            elif len(self._body) >= self._most:
                self._lost = True
            else:
                self._body.append(byte ^ TURN if self._escaped else byte)
                self._escaped = False

    def _end(self) -> Frame | None:
        body, lost = bytes(self._body), self._lost or self._escaped
        self._body.clear()
        self._escaped = self._lost = False
        if not body and not lost:
            return None
        if not lost and len(body) >= HEADER.size + CHECK.size:
            kind, sequence, session, length = HEADER.unpack_from(body)
            (check,) = CHECK.unpack_from(body, len(body) - CHECK.size)
            whole = length == len(body) - HEADER.size - CHECK.size and length % 4 == 0
            if whole and zlib.crc32(body[: -CHECK.size]) == check:
                return Frame(kind, sequence, session, body[HEADER.size : -CHECK.size])
        self.dropped += 1
        return None
