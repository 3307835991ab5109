"""Reading an input document and holding it against the tree of its keys.

Every mistake found is reported, each in a line of its own that names file and key path. dargs holds
the tree; it stops at the first unknown key, admits `true` as a number and knows no file, so the
walk over the tree is done here.
"""

from __future__ import annotations

import difflib
import json
import math
from pathlib import Path
from typing import Any, get_args, get_origin

from dargs import Argument

from nvnmd.errors import InputError

TYPE_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "a string",
              list: "a list", dict: "a section {...}", type(None): "null"}
PLURALS = {int: "integers", float: "numbers", str: "strings"}


def show(value: Any, limit: int = 60) -> str:
    """A value as it looks in JSON, shortened to one short line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= limit else text[: limit - 4] + " ..."


class Mistakes:
    """The mistakes found in one document."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines: list[str] = []

    def add(self, path: str, got: Any, expected: str) -> None:
        """Note `SOURCE: PATH: got GOT, expected EXPECTED`, `got` as a value of the document."""
        self.add_text(path, f"got {show(got)}, expected {expected}")

    def add_text(self, path: str, text: str) -> None:
        """Note `SOURCE: PATH: TEXT`."""
        self.lines.append(f"{self.source}: {path}: {text}" if path else f"{self.source}: {text}")

    def check(self) -> None:
        """Raise one InputError with everything noted; a document may have several mistakes."""
        if self.lines:
            raise InputError("\n".join(self.lines))


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object; a syntax error names file, line and column.

    Raises
    ------
    InputError
        No such file, not UTF-8, not JSON, not an object, NaN or infinity, or a key given twice.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file, expected an input document") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8, expected JSON text") from None

    def constant(name: str) -> float:
        raise InputError(f"{path}: got {name}, expected finite numbers only")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found and not key.startswith("_"):
                raise InputError(f"{path}: {key}: given twice in one section, expected once")
            found[key] = value
        return found

    try:
        document = json.loads(text, parse_constant=constant, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: line {error.lineno}, column {error.colno}: not JSON, "
                         f"{error.msg[:1].lower() + error.msg[1:]}") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply, expected an input document") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: got {show(document)}, expected a section {{...}}")
    return document


def without_comments(value: Any) -> Any:
    """The document without keys that start with `_`, at any depth."""
    if isinstance(value, dict):
        return {k: without_comments(v) for k, v in value.items() if not k.startswith("_")}
    if isinstance(value, list):
        return [without_comments(item) for item in value]
    return value


def _has_type(value: Any, dtype: Any) -> bool:
    origin = get_origin(dtype)
    if origin is list:
        return isinstance(value, list) and all(_has_type(v, get_args(dtype)[0]) for v in value)
    if dtype is None or dtype is type(None):
        return value is None
    if dtype is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if dtype is float:
        # an integer of more than 308 digits is no binary64
        try:
            return (isinstance(value, (int, float)) and not isinstance(value, bool)
                    and math.isfinite(value))
        except OverflowError:
            return False
    return isinstance(value, dtype)


def _type_name(dtype: Any) -> str:
    if get_origin(dtype) is list:
        return f"a list of {PLURALS[get_args(dtype)[0]]}"
    return TYPE_NAMES[dtype or type(None)]


def argument_types(argument: Argument) -> str:
    """The types of a key in words."""
    return " or ".join(sorted({_type_name(dtype) for dtype in argument.dtype}))


def check_section(argument: Argument, value: dict[str, Any], path: str,
                  mistakes: Mistakes) -> None:
    """Hold one section, comments already removed, against its keys; recurses into sections."""
    names = {name: field for field in argument.sub_fields.values()
             for name in (field.name, *field.alias)}
    prefix = f"{path}/" if path else ""
    for key in value:
        if key not in names:
            where = f"a key of {path}" if path else "a section"
            near = difflib.get_close_matches(key, names, n=1, cutoff=0.0)
            mistakes.add_text(prefix + key, f'got an unknown key, expected {where}; '
                                            f'the nearest is "{near[0]}"')
    for field in argument.sub_fields.values():
        given = [name for name in (field.name, *field.alias) if name in value]
        if not given:
            if not field.optional:
                mistakes.add_text(prefix + field.name,
                                  f"missing key, expected {argument_types(field)}")
            continue
        if len(given) > 1:
            mistakes.add_text(prefix + given[1], f'got the same as "{given[0]}" a second time, '
                                                 "expected one of the two")
        _check_value(field, value[given[0]], prefix + given[0], mistakes)


def _check_value(field: Argument, value: Any, path: str, mistakes: Mistakes) -> None:
    if not any(_has_type(value, dtype) for dtype in field.dtype):
        lists = [dtype for dtype in field.dtype if get_origin(dtype) is list]
        if lists and isinstance(value, list):
            item = get_args(lists[0])[0]
            index = next(i for i, v in enumerate(value) if not _has_type(v, item))
            mistakes.add(f"{path}/{index}", value[index], _type_name(item))
        else:
            mistakes.add(path, value, argument_types(field))
    elif isinstance(value, dict):
        check_section(field, value, path, mistakes)
    elif field.extra_check is not None and not field.extra_check(value):
        mistakes.add(path, value, field.extra_check_errmsg)
