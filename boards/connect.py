"""Where a board is, in words: `nvnmd.connect`."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from nvnmd.boards.client import Board
from nvnmd.boards.link.session import Session
from nvnmd.boards.link.transport import SerialTransport, TcpTransport
from nvnmd.boards.simulated import PATIENCE, Workbench
from nvnmd.errors import InputError
from nvnmd.hdl.export import config_for
from nvnmd.hdl.presets import DEFAULT, preset

BAUD = 3_000_000


def connect(target: str = "sim", *, baud: int = BAUD, size: str = DEFAULT,
            fold: int | None = None, fit_cols: int | None = None, fit_rows: int | None = None,
            fit_atoms: int | None = None, directory: Path | None = None) -> Board:
    """Open a board, as a context manager that releases it at its end.

    Parameters
    ----------
    target : str
        ``sim``: a simulated board of its own, started with the first model. ``HOST:PORT``: a
        simulated board that runs. Anything with a slash: the name of a serial port.
    baud : int
        Bits per second of a serial port.
    size : str
        Preset (`nvnmd.hdl.presets`) of the board that ``sim`` starts; every other board is as it
        was built.
    fold, fit_cols, fit_rows, fit_atoms : int, optional
        Each replaces a part of the preset.
    directory : Path, optional
        Where simulators are kept; by default in the user's cache.

    Returns
    -------
    Board

    Raises
    ------
    InputError
        The target has none of these forms.
    LinkError
        No board answers there, or another client has it.

    Examples
    --------
    ::

        with nvnmd.connect("sim") as board:
            board.load(model)
            found = board.evaluate(coord, box, types)
    """
    if target == "sim":
        bench = Workbench(directory)
        return Board(bench, bench.stop,
                     partial(preset(size).config, fold=fold, fit_cols=fit_cols, fit_rows=fit_rows,
                             fit_atoms=fit_atoms))
    if "/" in target:
        # a byte takes ten bits of a serial line
        line = SerialTransport(target, baud)
        return _wired(Session(line, patience=PATIENCE, byte_time=10 / baud))
    host, colon, port = target.rpartition(":")
    if not (colon and host and re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 65536):
        raise InputError(f"board: got {target!r}, expected sim, HOST:PORT, or the path of a serial "
                         "port")
    return _wired(Session(TcpTransport(host, int(port)), patience=PATIENCE))


def _wired(session: Session) -> Board:
    """A board that is there, with the accelerator that it was built with."""
    return Board(lambda _: session, session.close, partial(config_for, fold=1, fit_cols=4),
                 session)
