"""The input contract as a JSON schema (draft 2020-12) that refuses unknown keys.

It holds names, types, choices and required keys; keys that start with ``_`` are comments. What this
program does with a key beyond that stands in its description, and `nvnmd check` says it of a
document.
"""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from dargs import Argument

from nvnmd.inputs.contract import NO_DEFAULT, walk
from nvnmd.inputs.tree import DESCRIPTOR_DEFAULT, described_sections

NAMES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array",
         dict: "object", NoneType: "null", None: "null"}


def json_schema() -> dict[str, Any]:
    """Return the schema of a whole document."""
    root = Argument("input", dict, described_sections(), doc="An input document of nvnmd.")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "nvnmd input",
            **_key(root)}


def _type(dtype: Any) -> dict[str, Any]:
    if get_origin(dtype) is list:
        return {"type": "array", "items": _any([_type(part) for part in get_args(dtype)])}
    if get_origin(dtype) is UnionType:
        return _any([_type(part) for part in get_args(dtype)])
    return {"type": NAMES[dtype]}


def _any(found: list[dict[str, Any]]) -> dict[str, Any]:
    return found[0] if len(found) == 1 else {"anyOf": found}


def _key(argument: Argument) -> dict[str, Any]:
    parts = []
    for dtype in argument.dtype:
        part = _type(dtype)
        if dtype is dict and (argument.sub_fields or argument.sub_variants):
            part |= _section(argument)
        parts.append(part)
    found = {"description": argument.doc, **_any(parts)}
    default = next(walk([argument])).default
    if default is not NO_DEFAULT:
        found["default"] = default
    return found


def _fields(fields: list[Argument]) -> dict[str, Any]:
    """Properties, which of them must be there, and that none stands under two names."""
    found: dict[str, Any] = {
        "properties": {name: _key(field) for field in fields
                       for name in (field.name, *field.alias)},
        "required": [field.name for field in fields if not field.optional and not field.alias],
    }
    once = []
    for field in fields:
        names = [{"required": [name]} for name in (field.name, *field.alias)]
        if len(names) > 1:
            once.append({"oneOf": names} if not field.optional else
                        {"not": {"required": [field.name, field.alias[0]]}})
    if once:
        found["allOf"] = once
    return found


def _section(argument: Argument) -> dict[str, Any]:
    found = _fields(list(argument.sub_fields.values()))
    for variant in argument.sub_variants.values():
        flag = variant.flag_name
        names = [*variant.choice_dict, *variant.choice_alias]
        found["properties"][flag] = {"description": variant.doc, "enum": names}
        default = variant.default_tag
        if argument.name == "descriptor":
            # left out, the version tells it, which this section does not see: either may be meant
            either = [_fields(list(variant.choice_dict[name].sub_fields.values()))
                      for name in DESCRIPTOR_DEFAULT.values()]
            found.setdefault("allOf", []).append(
                {"if": {"not": {"required": [flag]}}, "then": {"anyOf": either}})
        elif not variant.optional:
            found["required"].append(flag)
        for name, choice in variant.choice_dict.items():
            chosen: dict[str, Any] = {"properties": {flag: {"enum": [name, *choice.alias]}}}
            if name != default:
                chosen["required"] = [flag]
            inner = _fields(list(choice.sub_fields.values()))
            found.setdefault("allOf", []).append({"if": chosen, "then": inner})
    return {**found, "patternProperties": {"^_": True}, "unevaluatedProperties": False}
