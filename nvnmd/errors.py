"""The errors a user can cause: one clear line each, with an exit code, never a traceback."""

from __future__ import annotations


class NvnmdError(Exception):
    """A mistake in the input or the environment that the user can mend.

    The message is one line that names the file, the key path or the atom, and says what was
    expected. The command line prints it and ends with `exit_code`; a bug keeps its traceback.
    """

    exit_code = 1


class InputError(NvnmdError):
    """The input document, the command line or a data file is not valid (exit code 2)."""

    exit_code = 2


class ModelFileError(NvnmdError):
    """A model file is damaged, cut short, or of a version this program does not read."""


class NeighborOverflowError(NvnmdError):
    """An atom has more neighbours of a type than `sel` admits."""


class RangeError(NvnmdError):
    """A value leaves the number format that the hardware gives it."""


class ToolMissingError(NvnmdError):
    """A program this command needs (Verilator, a C++ compiler, a library) is not installed."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, which batch systems send, in the place of Ctrl-C; exit code 143."""


def one_line(error: BaseException) -> str:
    """Return what an error of a library says, short and on one line; else its name."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split())[:200] or type(error).__name__
