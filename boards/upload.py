"""Bitstreams and models onto boards."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

from nvnmd.boards.catalog import BoardType
from nvnmd.errors import InputError, NvnmdError
from nvnmd.external_tools import find_tool

# what openFPGALoader says where the machine, and not the board, is in the way
_HINTS = (
    ("libusb", "it needs the system's libusb-1.0 (Debian package libusb-1.0-0)"),
    ("libftdi", "it needs the system's libftdi1 (Debian package libftdi1-2)"),
    ("unable to open ftdi device", "is the cable plugged in, and may you open it? udev rules for "
     "it come with openFPGALoader (99-openfpgaloader.rules, group plugdev)"),
    ("permission", "you may not open the cable: udev rules for it come with openFPGALoader "
     "(99-openfpgaloader.rules, group plugdev)"),
    ("device not found", "is the cable plugged in, and the board switched on?"),
)


def loader_arguments(board: BoardType, bitstream: Path, *, cable: str | None = None,
                     flash: bool = False) -> list[str]:
    """What openFPGALoader is started with.

    Parameters
    ----------
    board : BoardType
        Has the loader's own name of it.
    bitstream : Path
        The file.
    cable : str, optional
        Another cable than the board's own.
    flash : bool
        Into the flash memory, to stay, not into the FPGA.

    Raises
    ------
    InputError
        The board takes no bitstream.
    """
    if not board.cable:
        raise InputError(f"--bitstream: the board {board.name} takes none, expected a board with "
                         "an FPGA")
    return ["--board", board.cable, *(["--cable", cable] if cable else []),
            "--write-flash" if flash else "--write-sram", str(bitstream)]


def upload_bitstream(board: BoardType, bitstream: Path, *, cable: str | None = None,
                     flash: bool = False, dry_run: bool = False,
                     say: Callable[[str], None] = lambda _: None) -> None:
    """Send a bitstream to a board; see `loader_arguments`.

    Parameters
    ----------
    dry_run : bool
        Only say what would be started.

    Raises
    ------
    ToolMissingError
        openFPGALoader is missing or too old.
    NvnmdError
        It failed: its exit code, its last line, and what may be the cause.
    """
    arguments = loader_arguments(board, bitstream, cable=cable, flash=flash)
    if not bitstream.is_file():
        raise InputError(f"{bitstream}: no such file, expected the bitstream of `nvnmd build`")
    if dry_run:
        say(f"would start: openFPGALoader {shlex.join(arguments)}")
        return
    tool = find_tool("openFPGALoader")
    say(tool.line)
    try:
        done = subprocess.run([*tool.command, *arguments], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                              env=tool.environment(), encoding="utf-8", errors="replace")
    except OSError as error:
        raise NvnmdError(f"openFPGALoader does not start: {error.strerror}") from None
    if done.returncode:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        told = next((line for line in lines if "error" in line.lower()),
                    lines[-1] if lines else "no message")
        hint = next((f"; {cure}" for word, cure in _HINTS if word in done.stdout.lower()), "")
        raise NvnmdError(f"openFPGALoader failed (exit code {done.returncode}): {told}{hint}")
    for line in done.stdout.splitlines()[-1:]:
        say(line.strip())
