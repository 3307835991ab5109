"""What may happen to a file: bytes, members of an archive, values of JSON, arrays of a dictionary.

An edit is made of integers, so that Hypothesis draws and shrinks it: a level, and steps of kind,
place and content.
"""

from __future__ import annotations

import copy
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Step = tuple[int, int, int]
Edit = tuple[int, list[Step]]

NUMBERS = (b"0", b"-1", b"1", b"2", b"3", b"7", b"255", b"65536", b"4294967296", b"1e400", b"nan",
           b"-9223372036854775809", b"0.5", b"1e-320", b"10000000000000")
WORDS = (b"", b"\0", b"\xff\xfe", b"null", b"true", b"NaN", b"Infinity", b"[]", b"{}", b'"', b"[",
         b"}", b",", b"'", b"(", b"\n", b"<f4", b"|O", b">i8", b"<U9", b"True", b"set", b"\xc3\x85")
VALUES: tuple[Any, ...] = (None, True, -1, 0, 1, 3, 2**31, -(2**63), 1e308, -0.5, 1e-320, "", "x",
                           "1", "\u00c5" * 5, [], [1], [[]], [None, 2], {}, {"a": 1}, ["Cu"] * 40)


def edited_bytes(data: bytes, steps: list[Step]) -> bytes:
    """Flips, cuts, repeated, moved and lost ranges, other numbers and words in a text."""
    out = bytearray(data)
    for kind, where, what in steps:
        if not out:
            break
        at = where % len(out)
        # what matters is often at the beginning, or at the end
        if where % 3 == 0:
            at %= 256
        elif where % 3 == 1:
            at = len(out) - 1 - at % 256
        at = min(max(at, 0), len(out) - 1)
        length = 1 + what % min(len(out), 4096)
        match kind % 9:
            case 0:
                out[at] ^= 1 << what % 8
            case 1:
                out[at] = what % 256
            case 2:
                del out[at:]
            case 3:
                out[at:at] = out[at : at + length]
            case 4:
                del out[at : at + length]
            case 5:
                out[at : at + length] = bytes(length)
            case 6:
                out[at : at + 4] = (what % 2**32).to_bytes(4, "little")
            case 7:
                out[at:at] = WORDS[what % len(WORDS)]
            case _:
                found = list(re.finditer(rb"[0-9]+", bytes(out[:20_000])))
                if found:
                    number = found[where % len(found)]
                    out[number.start() : number.end()] = NUMBERS[what % len(NUMBERS)]
    return bytes(out)


def places(tree: Any, path: tuple = ()) -> list[tuple]:
    """Paths of everything inside of a tree."""
    found: list[tuple] = [path] if path else []
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(
        tree, list) else ()
    for key, value in inner:
        found += places(value, (*path, key))
    return found


def edited_tree(tree: Any, steps: list[Step], other: Callable[[Any, int], Any]) -> Any:
    """A tree with values replaced, lost, renamed or put elsewhere."""
    out = copy.deepcopy(tree)
    for kind, where, what in steps:
        known = places(out)
        if not known:
            break
        path = known[where % len(known)]
        holder = out
        for key in path[:-1]:
            holder = holder[key]
        match kind % 8:
            case 0:
                del holder[path[-1]]
            case 1 if isinstance(holder, dict):
                holder[f"{path[-1]}x"] = holder.pop(path[-1])
            case 2:
                source = known[what % len(known)]
                value = out
                for key in source:
                    value = value[key]
                holder[path[-1]] = copy.deepcopy(value)
            case _:
                holder[path[-1]] = other(holder[path[-1]], what)
    return out


def other_value(value: Any, what: int) -> Any:
    """Something in the place of a value of JSON."""
    if isinstance(value, int | float) and not isinstance(value, bool) and what % 2:
        return [value + 1, -value, value * 1000, value / 7, [value], str(value)][what // 2 % 6]
    return copy.deepcopy(VALUES[what // 2 % len(VALUES)])


@np.errstate(all="ignore")
def other_array(value: Any, what: int) -> Any:
    """Something in the place of an array, or of another value of a dictionary.

    An earlier step may have narrowed the array, so that what comes into it overflows.
    """
    number = isinstance(value, np.ndarray) and value.size and value.dtype.kind in "fiub"
    if not number or what % 5 == 0:
        return other_value(value, what // 5)
    out = np.array(value)
    at = what // 64 % out.size
    match what % 16:
        case 1:
            return out.reshape(-1)
        case 2:
            return out[..., None]
        case 3:
            return out[: len(out) // 2] if out.ndim else out
        case 4:
            return np.concatenate([out, out]) if out.ndim else out
        case 6:
            return out.astype(np.float32)
        case 7:
            return np.nan_to_num(out).astype(np.int64)
        case 8:
            return out.astype("U5")
        case 9:
            return out.T
        case 11:
            return np.zeros_like(out)
        case 12:
            return out * 1e300 if out.dtype.kind == "f" else out
        case 13:
            return np.zeros((0, *out.shape[1:]))
        case _:
            if out.dtype.kind == "f":
                out.flat[at] = [np.nan, np.inf, -np.inf, 1e308, -1e-300][what // 16 % 5]
            return out


def edited_zip(data: bytes, level: int, steps: list[Step]) -> bytes:
    """An archive with right checksums and other members."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    for kind, where, what in steps:
        if not members:
            break
        at = where % len(members)
        name, content = members[at]
        match kind % 8:
            case 0:
                del members[at]
            case 1:
                members[at] = name[:-5] + "x.npy", content
            case 2:
                members[at] = name, members[what % len(members)][1]
            case 3:
                members.append((f"more{what % 9}.npy", content))
            case 4 if name.endswith(".npy"):
                members[at] = name, _edited_npy(content, what)
            case 5 if name.startswith("header"):
                members[at] = name, _edited_header(name, content, [(what, where // 7, what // 9)])
            case _:
                members[at] = name, edited_bytes(content, [(what, where // 7, what // 9)])
    buffer = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if level % 2 else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name, content in dict(members).items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _edited_npy(content: bytes, what: int) -> bytes:
    try:
        value = other_array(np.load(io.BytesIO(content)), what)
    except Exception:
        # an earlier step has damaged it
        return edited_bytes(content, [(what, what // 3, what // 5)])
    if not isinstance(value, np.ndarray):
        value = np.array(json.dumps(value, default=str))
    buffer = io.BytesIO()
    np.save(buffer, value)
    return buffer.getvalue()


def _edited_header(name: str, content: bytes, steps: list[Step]) -> bytes:
    """The JSON of a header, plain or as an array of one text."""
    plain = name.endswith(".json")
    try:
        text = content.decode() if plain else str(np.load(io.BytesIO(content)))
        changed = json.dumps(edited_tree(json.loads(text), steps, other_value))
    except Exception:
        return edited_bytes(content, steps)
    if plain:
        return changed.encode()
    buffer = io.BytesIO()
    np.save(buffer, np.array(changed))
    return buffer.getvalue()


def edited_json(data: bytes, steps: list[Step]) -> bytes:
    """JSON with other values."""
    return json.dumps(edited_tree(json.loads(data), steps, other_value)).encode()


def edited_dictionary(file: Path, steps: list[Step]) -> bytes:
    """A `config.npy`, `weight.npy` or `map.npy` with other values, in place of a valid one."""
    from nvnmd.deepmd.files import read_dict, write_dict

    write_dict(file, edited_tree(read_dict(file), steps, other_array))
    return file.read_bytes()
