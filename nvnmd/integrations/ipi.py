"""i-PI: a driver over its sockets, and a class that i-PI loads in its own process (`ffdirect`).

The protocol is spoken here; nothing of i-PI is imported. Units are converted with i-PI's own
numbers, so that what its input says in ångström and electronvolt arrives as that.
"""

from __future__ import annotations

import atexit
import socket
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.errors import InputError, NvnmdError, ToolMissingError
from nvnmd.evaluation.potential import Potential, load_model
from nvnmd.evaluation.stepper import Stepper
from nvnmd.neighbors.skin import SKIN

Floats = NDArray[np.float64]
BOHR = 1.0 / 1.8897261
"""Bohr radius in Å, as i-PI 3.3.1 has it."""
HARTREE = 1.0 / 0.036749326
"""Hartree in eV, as i-PI 3.3.1 has it."""
DECIMALS = 10
"""Decimals of positions and cells in Å that are kept after conversion.

i-PI's unit changes the last bits of what its input said, and `fixed` truncates these bits to steps
of its own, so that some forces would move by a step. What was given with no more decimals has the
very bits of its text again. 1e-10 Å changes a force by less than 1e-8 eV/Å.
"""
HEADER = 12
_WAIT_AFTER_ERROR = 2.0

__DRIVER_NAME__ = "nvnmd"
__DRIVER_CLASS__ = "Driver"


class Driver:
    """A model in i-PI's units; i-PI's `ffdirect` loads it by `pes_path`, with these parameters.

    Parameters
    ----------
    model : path-like or Potential
        What `nvnmd.load_model` reads.
    template : str
        A file with the structure that ASE reads, for its elements; or elements with commas.
    backend : {"fixed", "float", "sim", "board"} or Evaluator or Board
    board : str
        Where the board of the backend ``board`` is, see `nvnmd.connect`.
    periodic : bool
        Whether the cell counts.
    """

    def __init__(self, model: Any = None, template: str | Sequence[str] = "",
                 backend: Any = "fixed", periodic: Any = True, skin: float = SKIN,
                 overflow: Any = "error", board: str = "sim", verbose: bool = False,
                 **unknown: Any) -> None:
        unknown.pop("verbosity", None)
        self._opened: Any = None
        if model is None or not template or unknown:
            named = ", ".join(sorted(unknown)) or "no model or no template"
            raise InputError(f"nvnmd: parameters of the driver: got {named}, expected model and "
                             "template, and perhaps backend, board, periodic, skin, overflow")
        if isinstance(backend, str) and backend == "board":
            from nvnmd.boards.connect import connect as connect_board

            self._opened = backend = connect_board(board)
            # i-PI tells its drivers nothing of its end
            atexit.register(self.close)
        self.potential = model if isinstance(model, Potential) else load_model(model)
        self.periodic = str(periodic).lower() not in ("false", "0", "no")
        self.stepper = Stepper(self.potential, elements_of(template), backend, skin=float(skin),
                               overflow=overflow)

    def close(self) -> None:
        """Give back a board that was opened for `board`; the driver is of no use then."""
        if self._opened is not None:
            self._opened.close()

    def __call__(self, cell: Any, pos: Any) -> Any:
        """One structure, or several in lists: energy, forces, virial, and an empty string."""
        if isinstance(cell, list):
            return [self(one, where) for one, where in zip(cell, pos, strict=True)]
        x = _angstrom(pos)
        if len(x) != len(self.stepper.types):
            raise InputError(f"i-PI: got {len(x)} atoms, expected the "
                             f"{len(self.stepper.types)} of the template")
        # i-PI keeps cell vectors in columns
        box = np.ascontiguousarray(_angstrom(cell).T) if self.periodic else None
        found = self.stepper.evaluate(x, box)
        virial = 0.5 * (found.virial + found.virial.T) / HARTREE
        return float(found.energy) / HARTREE, found.force * (BOHR / HARTREE), virial, ""


def _angstrom(lengths: Any) -> Floats:
    """Rows of three lengths in Å, see `DECIMALS`."""
    return np.round(np.asarray(lengths, dtype=np.float64).reshape(-1, 3) * BOHR, DECIMALS)


def elements_of(template: str | Sequence[str]) -> list[str]:
    """Elements of a structure file, or of a list.

    Raises
    ------
    InputError
        ASE cannot read the file.
    ToolMissingError
        ASE is not installed.
    """
    if not isinstance(template, str):
        return list(template)
    if "," in template:
        return [word.strip() for word in template.split(",")]
    try:
        import ase.io
    except ImportError:
        raise ToolMissingError("i-PI: ase not installed, which reads the template; pip install "
                               "'nvnmd[md]', or give elements with commas") from None
    try:
        return list(ase.io.read(template, index=0).get_chemical_symbols())
    # readers raise what they like
    except Exception as error:
        raise InputError(f"{template}: ASE cannot read it: {type(error).__name__}: "
                         f"{' '.join(str(error).split())}") from None


def connect(host: str = "localhost", port: int = 31415, unix: str | None = None,
            wait: float = 30.0) -> socket.socket:
    """Connect to a server that may still be starting.

    Parameters
    ----------
    host, port
        Of an `inet` socket.
    unix : str, optional
        Name of a `unix` socket (i-PI's `address`: /tmp/ipi_NAME), or its path.
    wait : float
        Seconds to try.

    Raises
    ------
    NvnmdError
        Nobody answers.
    """
    if unix is None:
        where: Any = (host, port)
        family, told = socket.AF_INET, f"{host}:{port}"
    else:
        where = unix if "/" in unix else f"/tmp/ipi_{unix}"
        family, told = socket.AF_UNIX, where
    end = time.monotonic() + wait
    while True:
        line = socket.socket(family, socket.SOCK_STREAM)
        try:
            line.connect(where)
            if family == socket.AF_INET:
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return line
        except OSError as error:
            line.close()
            if time.monotonic() > end:
                raise NvnmdError(f"i-PI: {told}: {error.strerror or error}, expected a server "
                                 "that listens there") from None
            time.sleep(0.1)


def drive(line: socket.socket, driver: Driver) -> int:
    """Answer a server until it says EXIT or hangs up; returns the number of evaluations.

    Raises
    ------
    NvnmdError
        A structure cannot be evaluated, or the server speaks otherwise. The server's pending
        messages are read before: i-PI 3.3.1 would wait for ever for a driver that leaves its
        GETFORCE unread.
    """
    steps, ready, result = 0, False, None
    try:
        while True:
            header = _header(line)
            if header in ("", "EXIT"):
                return steps
            if header == "STATUS":
                state = "HAVEDATA" if result is not None else "READY" if ready else "NEEDINIT"
                line.sendall(state.ljust(HEADER).encode())
            elif header == "INIT":
                _integer(line)
                text = _exactly(line, _integer(line)).decode("utf-8", "replace")
                if "batch_size" in text:
                    raise InputError(f"i-PI: got {text.strip()}, expected batches of 1")
                ready = True
            elif header == "POSDATA":
                cell = np.frombuffer(_exactly(line, 72)).reshape(3, 3)
                _exactly(line, 72)
                atoms = _integer(line)
                pos = np.frombuffer(_exactly(line, 24 * atoms)).reshape(-1, 3)
                result = driver(cell, pos)
                steps += 1
            elif header == "GETFORCE":
                if result is None:
                    raise NvnmdError("i-PI: got GETFORCE, expected POSDATA before it")
                _send(line, result)
                result = None
            else:
                raise NvnmdError(f"i-PI: got {header!r}, expected a message of its protocol")
    except (ConnectionError, TimeoutError) as error:
        raise NvnmdError(f"i-PI: the connection broke: {error}") from None
    except Exception:
        _read_pending(line)
        raise


def _send(line: socket.socket, result: tuple[float, Floats, Floats, str]) -> None:
    energy, force, virial, extra = result
    line.sendall(b"".join([
        b"FORCEREADY".ljust(HEADER), np.float64(energy).tobytes(),
        np.int32(len(force)).tobytes(), np.ascontiguousarray(force).tobytes(),
        # transposed, as the cell comes
        np.ascontiguousarray(virial.T).tobytes(), np.int32(len(extra)).tobytes(),
        extra.encode()]))


def _read_pending(line: socket.socket) -> None:
    """Read what the server has sent, up to its GETFORCE."""
    seen = b""
    end = time.monotonic() + _WAIT_AFTER_ERROR
    try:
        while b"GETFORCE" not in seen and time.monotonic() < end:
            line.settimeout(max(end - time.monotonic(), 0.01))
            part = line.recv(4096)
            if not part:
                return
            seen += part
            if seen.strip().endswith(b"STATUS"):
                line.sendall(b"HAVEDATA".ljust(HEADER))
    except OSError:
        pass


def _header(line: socket.socket) -> str:
    first = line.recv(HEADER)
    if not first:
        return ""
    rest = b"" if len(first) == HEADER else _exactly(line, HEADER - len(first))
    return (first + rest).decode("ascii", "replace").strip()


def _integer(line: socket.socket) -> int:
    return int(np.frombuffer(_exactly(line, 4), np.int32)[0])


def _exactly(line: socket.socket, count: int) -> bytes:
    """Read `count` bytes."""
    parts = []
    while count:
        part = line.recv(min(count, 1 << 20))
        if not part:
            raise ConnectionError("the server hung up within a message")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
