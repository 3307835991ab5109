"""The names that data give to the numbers of their types."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nvnmd.data.source import open_source
from nvnmd.errors import InputError

NAMES = "type_map.raw"


def named_types(systems: Iterable[str | Path]) -> list[str]:
    """Return the names of types 0, 1, ... of several systems; empty where no system names them.

    Raises
    ------
    InputError
        Two systems give a number other names, or one cannot be read.
    """
    longest: list[str] = []
    where: str | Path = ""
    for system in systems:
        source = open_source(system)
        if NAMES not in source:
            continue
        names = source.words(NAMES)
        for number, (one, other) in enumerate(zip(names, longest, strict=False)):
            if one != other:
                raise InputError(f"{system}/{NAMES}: type {number} is {one}, but in {where} it is "
                                 f"{other}; expected a type_map in the document")
        if len(names) > len(longest):
            longest, where = names, system
    return longest
