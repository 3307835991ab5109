"""Holding an input document against the tree of its keys and the rules for them.

Every mistake found is reported. dargs holds the tree; it stops at the first unknown key, admits
`true` as a number and knows no file, so the walk over the tree is done here.
"""

from __future__ import annotations

import difflib
import functools
import math
import re
from collections.abc import Mapping
from types import UnionType
from typing import Any, get_args, get_origin

from dargs import Argument, Variant

from nvnmd.inputs.contract import walk
from nvnmd.inputs.mistakes import Mistakes, show
from nvnmd.inputs.policy import find_rule, table
from nvnmd.inputs.rule import Rule
from nvnmd.inputs.tree import document_tree

TYPE_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "a string",
              list: "a list", dict: "a section {...}", type(None): "null"}
PLURALS = {bool: "truth values", int: "integers", float: "numbers", str: "strings",
           type(None): "nulls"}


def _has_type(value: Any, dtype: Any) -> bool:
    origin = get_origin(dtype)
    if origin is UnionType:
        return any(_has_type(value, part) for part in get_args(dtype))
    if origin is list:
        return isinstance(value, list) and all(_has_type(v, get_args(dtype)[0]) for v in value)
    if dtype is None or dtype is type(None):
        return value is None
    if dtype is int:
        # of 64 bits, as every number of steps, atoms or frames is
        return (isinstance(value, int) and not isinstance(value, bool)
                and -(2**63) <= value < 2**63)
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
        return f"a list of {_plural(get_args(dtype)[0])}"
    if get_origin(dtype) is UnionType:
        return " or ".join(_type_name(part) for part in get_args(dtype))
    return TYPE_NAMES[dtype or type(None)]


def _plural(dtype: Any) -> str:
    if get_origin(dtype) is list:
        return f"lists of {_plural(get_args(dtype)[0])}"
    if get_origin(dtype) is UnionType:
        return " or ".join(_plural(part) for part in get_args(dtype))
    return PLURALS[type(None) if dtype is None else dtype]


def argument_types(argument: Argument) -> str:
    """The types of a key in words."""
    names = {_type_name(dtype) for dtype in argument.dtype}
    if float in argument.dtype:
        # an integer is a number
        names.discard(TYPE_NAMES[int])
    return " or ".join(sorted(names))


def check_section(argument: Argument, value: dict[str, Any], path: str, mistakes: Mistakes,
                  rules: Mapping[str, Rule], flags: Mapping[str, str],
                  where: str = "") -> dict[str, Any]:
    """Hold one section, comments already removed, against its keys; recurses into sections.

    Parameters
    ----------
    argument : Argument
        The section.
    value : dict
        What the document has there.
    path, where : str
        Its path in the document, and in the contract (with the choices in brackets).
    mistakes : Mistakes
        Takes what is wrong.
    rules : mapping
        What is done with each contract path.
    flags : mapping
        For a contract path of a section, the choice where its flag key is left out.

    Returns
    -------
    dict
        The section as given, under the keys' own names instead of their other names, without
        the values that are wrong.
    """
    fields = {field.name: (field, f"{where}/{field.name}".lstrip("/"))
              for field in argument.sub_fields.values()}
    prefix = f"{path}/" if path else ""
    found: dict[str, Any] = {}
    complete = True
    for variant in argument.sub_variants.values():
        chosen = _choose(variant, value, prefix, where, mistakes, rules, flags)
        if chosen is None:
            complete = False
            mistakes.distrust(path)
            continue
        if variant.flag_name in value:
            found[variant.flag_name] = value[variant.flag_name]
        inside = f"{where}[{chosen.name}]"
        fields |= {field.name: (field, f"{inside}/{field.name}")
                   for field in chosen.sub_fields.values()}
    names = {name: field for field, _ in fields.values() for name in (field.name, *field.alias)}
    flag_names = [variant.flag_name for variant in argument.sub_variants.values()]
    for key in value:
        if key not in names and key not in flag_names and complete:
            kind = f"a key of {path}" if path else "a section"
            mistakes.add_unknown(prefix + key, f"got an unknown key, expected {kind}"
                                               + _hint(key, [*names, *flag_names]))
    for name, (field, at) in fields.items():
        given = [one for one in (name, *field.alias) if one in value]
        rule = find_rule(rules, at)
        if not given:
            if not field.optional and rule.kind != "refused":
                mistakes.add_text(prefix + name, f"missing key, expected {argument_types(field)}")
            continue
        if len(given) > 1:
            mistakes.add_text(prefix + given[1], f'got the same as "{given[0]}" a second time, '
                                                 "expected one of the two")
        before = len(mistakes.lines)
        result = _check_value(field, value[given[0]], prefix + given[0], mistakes, rules, flags,
                              at)
        # a section stays, without what is wrong in it
        is_section = isinstance(result, dict) and bool(field.sub_fields or field.sub_variants)
        if is_section or len(mistakes.lines) == before:
            found[name] = result
    return found


def _hint(key: str, known: list[str]) -> str:
    """Where an unknown key belongs, or which known one is nearest to it."""
    if key in _places():
        own, places = _places()[key]
        subject = "it" if own == key else f"{key} (another name of {own})"
        return f"; {subject} is one of {_listed(places)}"
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if near:
        return f'; the nearest is "{_places().get(near[0], near)[0]}"'
    near = difflib.get_close_matches(key, _places(), n=1, cutoff=0.75)
    if near:
        own, places = _places()[near[0]]
        return f'; the nearest is "{own}", one of {_listed(places)}'
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
    return f'; the nearest is "{near[0]}"' if near else ""


def _listed(places: tuple[str, ...]) -> str:
    """The places in words, those of a document's inner sections first."""
    *first, last = sorted(places, key=lambda place: (-place.count("/"), place))
    return f"{', '.join(first)} or {last}" if first else last


@functools.cache
def _places() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Of each name that a key has: the key's own name, and the sections that take it."""
    rules = {**table(1), **table(0)}
    found: dict[str, tuple[str, list[str]]] = {}
    for entry in walk(list(document_tree().sub_fields.values())):
        where, _, own = re.sub(r"\[\w+\]", "", entry.path).rpartition("/")
        if not where or entry.choices or find_rule(rules, entry.path).kind == "refused":
            continue
        for name in (own, *entry.alias):
            places = found.setdefault(name, (own, []))[1]
            if where not in places:
                places.append(where)
    return {name: (own, tuple(places)) for name, (own, places) in found.items()}


def _choose(variant: Variant, value: dict[str, Any], prefix: str, where: str, mistakes: Mistakes,
            rules: Mapping[str, Rule], flags: Mapping[str, str]) -> Argument | None:
    """The choice that a section makes; None where it makes none that is known."""
    flag = variant.flag_name
    if flag not in value:
        name = variant.default_tag if variant.optional else flags.get(where)
        if name is None:
            mistakes.add_text(prefix + flag, "missing key, expected a string")
            return None
        return variant.choice_dict[name]
    name = value[flag]
    if not isinstance(name, str):
        mistakes.add(prefix + flag, name, "a string")
        return None
    rule = find_rule(rules, f"{where}/{flag}")
    chosen = variant.choice_dict.get(variant.choice_alias.get(name, name))
    if name not in rule.values:
        line = rule.expected
        if chosen is not None:
            line = " or ".join(show(one) for one in rule.values)
            line += f": {find_rule(rules, f'{where}[{chosen.name}]').note}"
        else:
            known = [*variant.choice_dict, *variant.choice_alias]
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            line += f'; the nearest of the known ones is "{near[0]}"'
        mistakes.add(prefix + flag, name, line)
        # what the section holds besides belongs to something else
        return None
    return chosen


def _check_value(field: Argument, value: Any, path: str, mistakes: Mistakes,
                 rules: Mapping[str, Rule], flags: Mapping[str, str], where: str) -> Any:
    """Hold one value against types and rule; return it, sections with their keys' own names."""
    rule = find_rule(rules, where)
    if rule.kind == "refused":
        mistakes.add_text(path, f"refused, expected it left out: {rule.note}")
    elif not any(_has_type(value, dtype) for dtype in field.dtype):
        lists = [dtype for dtype in field.dtype if get_origin(dtype) is list]
        if lists and isinstance(value, list):
            item = get_args(lists[0])[0]
            index = next(i for i, v in enumerate(value) if not _has_type(v, item))
            mistakes.add(f"{path}/{index}", value[index], _type_name(item))
        else:
            mistakes.add(path, value, argument_types(field))
    elif isinstance(value, dict) and (field.sub_fields or field.sub_variants):
        return check_section(field, value, path, mistakes, rules, flags, where)
    elif rule.kind == "only" and value not in rule.values:
        mistakes.add(path, value, rule.expected)
    elif rule.check is not None and not rule.check(value):
        limit = rule.limit
        mistakes.add(path, value, limit if isinstance(limit, str) else limit(value))
    return value
