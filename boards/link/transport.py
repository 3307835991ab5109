"""Bytes to and from a board: a serial port, or a TCP connection of the simulated board."""

from __future__ import annotations

import contextlib
import select
import socket
from typing import Any, Protocol

from nvnmd.errors import NvnmdError, ToolMissingError


class LinkError(NvnmdError):
    """The link to a board does not work; exit code 1."""


class Transport(Protocol):
    """Both directions of a link; `read` waits, `write` may be cut short."""

    name: str

    def read(self, seconds: float) -> bytes:
        """Return what has come, after waiting for some; empty if nothing came in time."""

    def write(self, data: bytes) -> int:
        """Send some of the data; return how much, 0 where there is no room now."""

    def close(self) -> None:
        """Give the link back."""


class TcpTransport:
    """A TCP connection.

    Raises
    ------
    LinkError
        Nobody listens there.
    """

    def __init__(self, host: str, port: int) -> None:
        self.name = f"{host}:{port}"
        try:
            self._socket = socket.create_connection((host, port), timeout=10)
        except OSError as error:
            raise LinkError(f"{self.name}: no board answers ({error.strerror or error})") from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)

    def read(self, seconds: float) -> bytes:
        """See `Transport`."""
        try:
            ready, _, _ = select.select([self._socket], [], [], seconds)
            if not ready:
                return b""
            data = self._socket.recv(1 << 16)
        except OSError as error:
            raise LinkError(f"{self.name}: the link broke ({error.strerror})") from None
        if not data:
            raise LinkError(f"{self.name}: the board has gone")
        return data

    def write(self, data: bytes) -> int:
        """See `Transport`."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise LinkError(f"{self.name}: the link broke ({error.strerror})") from None

    def close(self) -> None:
        """See `Transport`."""
        self._socket.close()


class SerialTransport:
    """A serial port or pseudo-terminal, by pyserial.

    Raises
    ------
    ToolMissingError
        pyserial is not installed.
    LinkError
        The port cannot be opened.
    """

    def __init__(self, port: str, baud: int = 3_000_000) -> None:
        try:
            import serial
        except ImportError:
            raise ToolMissingError("Python package pyserial is not installed, expected it from: "
                                   "pip install 'nvnmd[boards]'") from None
        self.name = port
        try:
            # exclusive: a second program on the same port would take half of the bytes
            self._port: Any = serial.Serial(port, baud, timeout=0, write_timeout=0, exclusive=True)
        except (OSError, ValueError) as error:
            raise LinkError(f"{port}: the serial port cannot be opened ({error})") from None
        self._errors = (OSError, serial.SerialException)
        self._busy = serial.SerialTimeoutException

    def read(self, seconds: float) -> bytes:
        """See `Transport`."""
        try:
            ready, _, _ = select.select([self._port.fileno()], [], [], seconds)
            return bytes(self._port.read(max(1, self._port.in_waiting))) if ready else b""
        except self._errors as error:
            raise LinkError(f"{self.name}: the link broke ({error})") from None

    def write(self, data: bytes) -> int:
        """See `Transport`."""
        try:
            return int(self._port.write(data) or 0)
        except self._busy:
            return 0
        except self._errors as error:
            raise LinkError(f"{self.name}: the link broke ({error})") from None

    def close(self) -> None:
        """See `Transport`."""
        with contextlib.suppress(*self._errors):
            self._port.close()
