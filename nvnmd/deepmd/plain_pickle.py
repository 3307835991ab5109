"""Pickles of NumPy arrays, NumPy numbers and plain containers, read without running anything.

Whatever a pickle refers to by name becomes one of the three stand-ins below or is refused by that
name; none of NumPy's own constructors is called with the file's arguments. Before that, the opcodes
are walked once: claimed lengths must lie in the file, and places in the memo must be dense, so that
no claim takes memory.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MODULES = ("numpy._core.multiarray", "numpy.core.multiarray")
_NUMBER = re.compile(r"([<>|=]?)([fiub][1248]|b1|f8)")
_OBJECT = re.compile(r"\|?O8?")
# classes and functions of other modules, persistent objects, extension codes, out-of-band buffers
_REFUSED = {
    "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4",
    "NEXT_BUFFER", "READONLY_BUFFER", "BYTEARRAY8", "FROZENSET", "EMPTY_SET", "ADDITEMS",
}  # fmt: skip
MAX_DEPTH = 16
# An array takes five; a model of 32 types has some hundred arrays
MOST_TUPLES = 20_000


def _refuse(reason: str) -> pickle.UnpicklingError:
    return pickle.UnpicklingError(reason)


class _ArrayType:
    """Stands for `numpy.ndarray`, which is only a mark in an array's pickle."""

    __slots__ = ()

    def __setstate__(self, _: object) -> None:
        raise _refuse("it changes numpy.ndarray, which is not admitted")


class _Type:
    """Stands for one `numpy.dtype`: a number type, or that of the object array around the whole."""

    __slots__ = ("code", "order")

    def __init__(self, code: str, order: str) -> None:
        self.code, self.order = code, order

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "|", "="):
            raise _refuse("it has a type of unknown form")
        if any(part is not None for part in state[2:5]):
            raise _refuse("it has a type with fields, which is not admitted")
        self.order = state[1]

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.order + self.code if self.code != "O" else "O")


class _MakeType:
    __slots__ = ()

    def __call__(self, *arguments: Any) -> _Type:
        name = arguments[0] if arguments else None
        found = _NUMBER.fullmatch(name) if isinstance(name, str) else None
        if found:
            return _Type(found[2], found[1] or "=")
        if isinstance(name, str) and _OBJECT.fullmatch(name):
            return _Type("O", "|")
        raise _refuse(f"it has an array of {str(name)[:40]!r}, which is not admitted")

    __setstate__ = _ArrayType.__setstate__


class _Array:
    """An array in the making; `value` is set once its state has been checked."""

    __slots__ = ("items", "room", "value")

    def __init__(self, room: _Room) -> None:
        self.room = room
        self.value: NDArray | None = None
        self.items: list | None = None

    def __setstate__(self, state: Any) -> None:
        try:
            _, shape, kind, fortran, content = state
        except (TypeError, ValueError):
            raise _refuse("it has an array of unknown form") from None
        if not (isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)):
            raise _refuse(f"it has an array of shape {str(shape)[:40]}")
        again = self.value is not None or self.items is not None
        if len(shape) > 8 or not isinstance(kind, _Type) or again:
            raise _refuse("it has an array of unknown form")
        count = 1
        for n in shape:
            count *= n
        if kind.code == "O":
            if shape not in ((), (1,)) or not isinstance(content, list) or len(content) != 1:
                raise _refuse(f"it has an array of objects of shape {shape}")
            self.items = content
            return
        if not isinstance(content, bytes) or count * kind.dtype.itemsize != len(content):
            found = len(content) if isinstance(content, bytes) else 0
            raise _refuse(f"an array claims the shape {str(shape)[:60]}, but holds {found} bytes")
        self.room.take(len(content))
        flat = np.frombuffer(content, dtype=kind.dtype).astype(kind.dtype.newbyteorder("="))
        self.value = flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


class _Room:
    """Bytes that arrays may have in all: those of the file, as each brings its own content."""

    def __init__(self, most: int) -> None:
        self.left = most

    def take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise _refuse("its arrays claim more bytes than the file has")


class _Reconstruct:
    __slots__ = ("room",)

    def __init__(self, room: _Room) -> None:
        self.room = room

    def __call__(self, *arguments: Any) -> _Array:
        if len(arguments) != 3 or not isinstance(arguments[0], _ArrayType):
            raise _refuse("it makes something that is no plain array")
        return _Array(self.room)

    __setstate__ = _ArrayType.__setstate__


class _Scalar:
    __slots__ = ()

    def __call__(self, *arguments: Any) -> np.generic:
        if len(arguments) == 2 and isinstance(arguments[0], _Type) and arguments[0].code != "O":
            kind, content = arguments[0].dtype, arguments[1]
            if isinstance(content, bytes) and len(content) == kind.itemsize:
                return np.frombuffer(content, dtype=kind).astype(kind.newbyteorder("="))[0]
        raise _refuse("it has a NumPy number of unknown form")

    __setstate__ = _ArrayType.__setstate__


class _PlainUnpickler(pickle.Unpickler):
    """An unpickler that knows the stand-ins and no other class or function."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.room = _Room(len(data))

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "ndarray"):
            return _ArrayType()
        if (module, name) == ("numpy", "dtype"):
            return _MakeType()
        if module in _MODULES and name == "_reconstruct":
            return _Reconstruct(self.room)
        if module in _MODULES and name == "scalar":
            return _Scalar()
        raise _refuse(f"it refers to {module}.{name}, which is not admitted")


def load_plain(data: bytes) -> Any:
    """Read a pickle of arrays, numbers, strings, lists, tuples and dictionaries.

    An object array of one element, DeePMD-kit's wrapping, becomes that element.

    Raises
    ------
    Exception
        Nearly anything, with the reason: a damaged pickle fails in many places.
    """
    _walk_opcodes(data)
    return _settle(_PlainUnpickler(data).load(), {}, 0)


def _walk_opcodes(data: bytes) -> None:
    """Check what would take memory before its content is read."""
    places = tuples = 0
    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name in _REFUSED:
            raise _refuse(f"its pickle uses {name}, which is not admitted")
        if name in ("PUT", "BINPUT", "LONG_BINPUT"):
            if not isinstance(argument, int) or not 0 <= argument <= 2 * places + 256:
                raise _refuse("its memo is numbered beyond the file's size")
            places += 1
        elif name == "MEMOIZE":
            places += 1
        elif name.startswith("TUPLE"):
            # tuples nested without end would be hashed without end
            tuples += 1
            if tuples > MOST_TUPLES:
                raise _refuse(f"it has more than {MOST_TUPLES} tuples")


def _settle(value: Any, done: dict[int, Any], depth: int) -> Any:
    """Arrays for the stand-ins, by whatever way they are reached; nothing else stays."""
    if value is None or type(value) in (bool, int, float, str, bytes) or isinstance(
        value, np.generic
    ):
        return value
    key = id(value)
    if key in done:
        if done[key] is _OPEN:
            raise _refuse("it contains itself")
        return done[key]
    if depth > MAX_DEPTH:
        raise _refuse(f"it is nested deeper than {MAX_DEPTH} levels")
    done[key] = _OPEN
    out: Any
    if isinstance(value, _Array):
        if value.items is not None and depth == 0:
            out = _settle(value.items[0], done, depth + 1)
        elif value.value is not None:
            out = value.value
        else:
            raise _refuse("it has an array of objects inside, or one without content")
    elif type(value) is dict:
        if not all(isinstance(name, str) for name in value):
            raise _refuse("a dictionary in it has a key that is no string")
        out = {name: _settle(item, done, depth + 1) for name, item in value.items()}
    elif type(value) in (list, tuple):
        out = type(value)(_settle(item, done, depth + 1) for item in value)
    else:
        kind = type(value).__name__.lstrip("_")
        raise _refuse(f"it holds a {kind}, which is no array, number or container")
    done[key] = out
    return out


_OPEN = object()
