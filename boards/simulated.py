"""The simulated board: the gateware of a board in a process of its own, link framing included.

The Verilated design runs in a C++ loop (`sim/harness/board.cpp`) behind a TCP port and a
pseudo-terminal; simulators are built once per configuration and kept.
"""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nvnmd.boards.gateware import FlatBoard, LinkedAccelerator
from nvnmd.boards.link.endpoint import EchoBoard
from nvnmd.boards.link.session import Session
from nvnmd.boards.link.transport import LinkError, TcpTransport
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.verilog import cached_verilog, to_verilog
from nvnmd.sim.simulators import Program, build_simulator

TOP = "nvnmd_board"
WORDS = 8192
"""Words of a slot's memories on the simulated board."""
LOOPBACK = "127.0.0.1"
PATIENCE = 10.0
"""Seconds without a byte after which a board is asked again; a simulated one has slow hours."""


def board_program(cfg: AcceleratorConfig, directory: Path | None = None) -> Path:
    """Build the simulated board of a configuration, or take the one that is there."""
    return _program(_board_verilog(cfg), directory)


def echo_program(words: int, directory: Path | None = None) -> Path:
    """Build the link alone, with an application that sends every payload back."""
    return _program(to_verilog(FlatBoard(EchoBoard(words)), TOP), directory)


@cache
def _board_verilog(cfg: AcceleratorConfig) -> str:
    return cached_verilog(
        f"{TOP}, {WORDS} words, {cfg!r}",
        lambda: to_verilog(FlatBoard(LinkedAccelerator(cfg, WORDS, WORDS)), TOP))


def _program(verilog: str, directory: Path | None) -> Path:
    build = build_simulator(verilog, directory, top=TOP, program=Program("board.cpp"))
    return build.directory / TOP


class BoardProcess:
    """A running simulated board; a context that ends it.

    Parameters
    ----------
    program : Path
        From `board_program` or `echo_program`.
    host : str
        Where it listens: the loopback interface, unless others are to reach it.
    port : int
        0 for any.
    baud : float
        A byte takes ten of its bits; 0 for as fast as the gateware.
    clock : float
        Cycles a second that the baud refers to.

    Attributes
    ----------
    port : int
        Where it listens.
    terminal : str
        Name of its pseudo-terminal.

    Raises
    ------
    LinkError
        It does not start.
    """

    def __init__(self, program: Path, *, host: str = LOOPBACK, port: int = 0, baud: float = 0.0,
                 clock: float = 100e6) -> None:
        self.host = host
        self._process = subprocess.Popen(
            [str(program), host, str(port), str(baud), str(clock)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        try:
            told: dict[str, Any] = json.loads(line)
            self.port, self.terminal = int(told["tcp"]), str(told["pty"])
        except (ValueError, KeyError):
            assert self._process.stderr is not None
            self._process.wait()
            why = self._process.stderr.read().decode(errors="replace").strip()
            self.stop()
            raise LinkError(f"the simulated board does not start: {why or 'no word'}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.stop()

    def connect(self) -> TcpTransport:
        """Open a link to it."""
        return TcpTransport(LOOPBACK if self.host == "0.0.0.0" else self.host, self.port)

    def wait(self) -> int:
        """Wait for its end; its exit code."""
        return self._process.wait()

    def kill(self) -> None:
        """End it at once, as a board that loses its power."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it."""
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.kill()


class Workbench:
    """Starts a simulated board for each accelerator that is asked for; one at a time."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._process: BoardProcess | None = None
        self._session: Session | None = None
        self._cfg: AcceleratorConfig | None = None

    def __call__(self, cfg: AcceleratorConfig) -> Session:
        """Start one and open a session with it, unless it runs."""
        if self._session is None or cfg != self._cfg:
            self.stop()
            self._process = BoardProcess(board_program(cfg, self._directory))
            self._session = Session(self._process.connect(), patience=PATIENCE)
            self._cfg = cfg
        return self._session

    def stop(self) -> None:
        """End the board that runs."""
        if self._session is not None:
            self._session.close()
            self._session = None
        if self._process is not None:
            self._process.stop()
            self._process = None
