"""A link that flips, drops, inserts, doubles and delays bytes at random, both ways."""

from __future__ import annotations

import random
from collections import Counter

KINDS = ("flip", "drop", "insert", "double", "delay")


class FaultyTransport:
    """Another transport with faults between it and whoever uses it.

    Parameters
    ----------
    inner : Transport
        The bytes.
    rate : float
        Faults per byte, in either direction.
    seed : int
        Of what is drawn.
    most : int
        So many faults at most.

    Attributes
    ----------
    faults : Counter
        Faults so far, by ``direction kind``.
    """

    def __init__(self, inner, rate: float, seed: int, most: int = 10**9) -> None:
        self.name, self._inner, self._rate, self._most = inner.name, inner, rate, most
        self._random = random.Random(seed)
        self.faults: Counter[str] = Counter()
        self.injected = 0
        self._next = {"out": self._gap(), "in": self._gap()}
        self._held = {"out": bytearray(), "in": bytearray()}
        self._unsent = bytearray()

    def _gap(self) -> int:
        return 1 + int(self._random.expovariate(self._rate)) if self._rate else 10**18

    def _hurt(self, data: bytes, way: str) -> bytes:
        held = self._held[way]
        if self._next[way] > len(data) and not held:
            self._next[way] -= len(data)
            return data
        hurt = bytearray(held)
        held.clear()
        for at, byte in enumerate(data):
            self._next[way] -= 1
            if self._next[way] > 0 or self.injected >= self._most:
                hurt.append(byte)
                continue
            self._next[way] = self._gap()
            kind = self._random.choice(KINDS)
            self.faults[f"{way} {kind}"] += 1
            self.injected += 1
            match kind:
                case "flip":
                    hurt.append(byte ^ 1 << self._random.randrange(8))
                case "insert":
                    hurt += bytes([self._random.randrange(256), byte])
                case "double":
                    hurt += bytes([byte, byte])
                case "delay":
                    # the rest of this piece comes with the next
                    held += data[at:]
                    self._next[way] += self._random.randrange(2)
                    return bytes(hurt)
        return bytes(hurt)

    def read(self, seconds: float) -> bytes:
        """See `Transport`."""
        data = self._inner.read(min(seconds, 0.001))
        return self._hurt(data, "in")

    def write(self, data: bytes) -> int:
        """See `Transport`; takes all, and keeps what the link has no room for."""
        self._unsent += self._hurt(data, "out")
        while self._unsent:
            sent = self._inner.write(bytes(self._unsent))
            if not sent:
                break
            del self._unsent[:sent]
        return len(data)

    def close(self) -> None:
        """See `Transport`."""
        self._inner.close()
