"""What is known of each board, in one form; the boards themselves are one file each."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Literal

from nvnmd.errors import InputError

NAMES = ("sim", "ulx3s-85f", "ecpix5-85f", "kc705", "genesys2", "vcu118")
"""All boards; `ulx3s-85f` is in the file ``ulx3s_85f.py``, `sim` in ``sim_board.py``."""
Checked = Literal["simulated", "routed", "elaborated"]


@dataclass(frozen=True, kw_only=True)
class BoardType:
    """A board.

    Attributes
    ----------
    name : str
        As commands take it.
    fpga, part : str
        Family, as in `nvnmd.hdl.budget.FAMILIES`, and the device; empty for the simulated board.
    oscillator : float
        Its clock, in Hz.
    link : str
        How a host reaches it.
    baud : int
        Of a serial link; 0 without one.
    luts, multipliers, memories : int
        What the FPGA has: logic cells, and blocks of its family.
    checked : {"simulated", "routed", "elaborated"}
        What the project's tests and figures rest on. None of the boards was touched yet.
    platform : str
        Class of amaranth-boards with its pins.
    cable : str
        openFPGALoader's name of the board.
    """

    name: str
    fpga: str
    part: str
    oscillator: float
    link: str
    baud: int
    luts: int
    multipliers: int
    memories: int
    checked: Checked
    platform: str = ""
    cable: str = ""


def find_board(name: str) -> BoardType:
    """Return a board by its name.

    Raises
    ------
    InputError
        There is none of that name.
    """
    if name not in NAMES:
        raise InputError(f"board: got {name!r}, expected one of {', '.join(NAMES)}")
    file = "sim_board" if name == "sim" else name.replace("-", "_")
    found: BoardType = importlib.import_module(f"nvnmd.boards.{file}").BOARD
    return found


def all_boards() -> list[BoardType]:
    """Every board, the simulated one first."""
    return [find_board(name) for name in NAMES]
