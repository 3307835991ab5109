"""Reading the JSON text of an input document."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nvnmd.errors import InputError
from nvnmd.inputs.mistakes import Mistakes, show
from nvnmd.regular_file import text_of

# Python takes no longer integers from text; no key takes one of half this length
_DIGITS = 4300
# Far above any document
MOST_TEXT = 64 << 20


class _Section(dict[str, Any]):
    """A section that remembers which of its keys were given more than once."""

    twice: tuple[str, ...] = ()


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object; a syntax error names file, line and column.

    Raises
    ------
    InputError
        No such file, not UTF-8, not JSON, not an object; or, each with its path, NaN or infinity,
        a key given twice, a character that no name can have.
    """
    path = Path(path)
    try:
        text = text_of(path, MOST_TEXT)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file, expected an input document") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8, expected JSON text") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}, expected an input document") from None

    def integer(digits: str) -> int:
        if len(digits) > _DIGITS:
            raise InputError(f"{path}: got an integer of {len(digits)} digits, expected one of at "
                             "most 19")
        return int(digits)

    try:
        document = json.loads(text, object_pairs_hook=_section, parse_int=integer)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: line {error.lineno}, column {error.colno}: not JSON, "
                         f"{error.msg[:1].lower() + error.msg[1:]}"
                         + _remark(path, text, error.pos)) from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply, expected an input document") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: got {show(document)}, expected a section {{...}}")
    mistakes = Mistakes(str(path))
    for where, line in _unusable(document, ""):
        mistakes.add_text(where, line)
    mistakes.check()
    return document


def _remark(path: Path, text: str, place: int) -> str:
    """What a text that is no JSON is perhaps meant to be."""
    if not text.strip():
        return "; the file is empty"
    if path.suffix in (".yaml", ".yml"):
        return "; YAML is not read: write the document as JSON"
    if text[place:].lstrip().startswith(("//", "/*", "#")):
        return "; JSON has no comments: notes are keys that begin with _"
    return ""


def _section(pairs: list[tuple[str, Any]]) -> _Section:
    found = _Section(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs if not name.startswith("_")]
        found.twice = tuple(sorted({name for name in names if names.count(name) > 1}))
    return found


def _unusable(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Path and message of everything that JSON or Python admits, but no document."""
    if isinstance(value, _Section):
        for name in value.twice:
            yield f"{path}/{name}".lstrip("/"), "given twice in one section, expected once"
        for name, inner in value.items():
            if not name.startswith("_"):
                yield from _unusable(name, path)
                yield from _unusable(inner, f"{path}/{name}".lstrip("/"))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _unusable(inner, f"{path}/{index}")
    elif isinstance(value, float) and not math.isfinite(value):
        yield path, f"got {show(value)}, expected finite numbers only"
    elif isinstance(value, str) and not _is_text(value):
        yield path, (f"got {json.dumps(value)[:60]}, expected text without \\u0000 or half a "
                     "character")


def _is_text(value: str) -> bool:
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


def without_comments(value: Any) -> Any:
    """The document without keys that start with `_`, at any depth."""
    if isinstance(value, dict):
        return {k: without_comments(v) for k, v in value.items() if not k.startswith("_")}
    if isinstance(value, list):
        return [without_comments(item) for item in value]
    return value
