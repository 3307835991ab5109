"""The input contract as a whole: its tree, and a walk over its keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType
from typing import Any, get_args, get_origin

from dargs import Argument

from nvnmd.inputs.contract_model import model_section
from nvnmd.inputs.contract_parts import ABSENT, key
from nvnmd.inputs.contract_training import (
    learning_rate_section,
    loss_variant,
    nvnmd_section,
    training_section,
)

NO_DEFAULT = ABSENT


def contract_sections() -> list[Argument]:
    """Every section of a document, in the order of the contract."""
    return [
        model_section(), learning_rate_section(),
        key("learning_rate_dict", dict, "A learning rate for each task's name.", ABSENT),
        key("loss", dict, "Weights of the terms of the loss.", ABSENT, variants=[loss_variant()]),
        key("loss_dict", dict, "A loss for each task's name.", ABSENT),
        training_section(), nvnmd_section(),
    ]


def contract_tree() -> Argument:
    """The whole document."""
    return Argument("nvnmd", dict, contract_sections(), doc="An input document.")


@dataclass(frozen=True)
class Entry:
    """A key of the contract.

    Attributes
    ----------
    path : str
        As ``model[standard]/descriptor[se_e2_a]/sel``.
    argument : Argument or None
        The key; None for a flag key.
    types : frozenset of str
        The value's types, as in ``{"str", "list[int]"}``.
    optional : bool
        Whether a document may leave it out.
    default : object
        `NO_DEFAULT` where there is none.
    alias : tuple of str
        Other names.
    choices : dict
        Of a flag key: each choice with its other names.
    doc : str
        What it is for.
    """

    path: str
    argument: Argument | None
    types: frozenset[str]
    optional: bool
    default: Any
    alias: tuple[str, ...]
    choices: dict[str, tuple[str, ...]]
    doc: str


def type_name(dtype: Any) -> str:
    """Name of a type, as ``list[float | None]``."""
    if dtype is None or dtype is NoneType:
        return "None"
    if get_origin(dtype) is list:
        return f"list[{type_name(get_args(dtype)[0])}]"
    parts = get_args(dtype)
    if parts:
        return " | ".join(type_name(part) for part in parts)
    return str(dtype.__name__)


def walk(sections: list[Argument] | None = None) -> Iterator[Entry]:
    """Go through every key, sections before what they hold."""
    for section in contract_sections() if sections is None else sections:
        yield from _walk(section, section.name)


def _walk(argument: Argument, path: str) -> Iterator[Entry]:
    has_default = argument.optional and not hasattr(argument.default, "name")
    yield Entry(path, argument, frozenset(type_name(t) for t in argument.dtype),
                argument.optional, argument.default if has_default else NO_DEFAULT,
                tuple(argument.alias), {}, argument.doc)
    for field in argument.sub_fields.values():
        yield from _walk(field, f"{path}/{field.name}")
    for variant in argument.sub_variants.values():
        choices = {name: tuple(one.alias) for name, one in variant.choice_dict.items()}
        yield Entry(f"{path}/{variant.flag_name}", None, frozenset({"str"}), variant.optional,
                    variant.default_tag if variant.optional else NO_DEFAULT, (), choices,
                    variant.doc)
        for name, one in variant.choice_dict.items():
            for field in one.sub_fields.values():
                yield from _walk(field, f"{path}[{name}]/{field.name}")
