"""What documents of NVNMD's first release leave out: version, number of neighbours, element names.

DeePMD-kit trains them as version 0 with 128 neighbours and takes the types of the data by their
numbers; element names are then those of the data, where these bring some.
"""

from __future__ import annotations

from typing import Any

from nvnmd.data.types import named_types
from nvnmd.errors import InputError
from nvnmd.inputs.data_section import expand
from nvnmd.inputs.mistakes import Mistakes

VERSION, MAX_NNEI = 0, 128


def take_defaults(given: dict[str, Any], mistakes: Mistakes, find: bool) -> str:
    """Fill in what is left out; return a line about it, empty where nothing is.

    Parameters
    ----------
    given : dict
        The document, checked; changed.
    mistakes : Mistakes
        Of the document.
    find : bool
        Look into the data for element names.
    """
    section, told = given["nvnmd"], []
    for key, default in (("version", VERSION), ("max_nnei", MAX_NNEI)):
        if key not in section:
            section[key] = default
            if mistakes.sound(f"nvnmd/{key}"):
                told.append(f"{key} {default}")
    names = _types(given, mistakes, find)
    if names is not None:
        section["type_map"] = names
        told.append("types by their numbers in the data, " + ", ".join(
            f"{number} = {name}" for number, name in enumerate(names)))
    if not told or not mistakes.sound("nvnmd"):
        return ""
    return f"nvnmd: {'; '.join(told)} taken for what is not given"


def _types(given: dict[str, Any], mistakes: Mistakes, find: bool) -> list[str] | None:
    """Names of the types of a document that names none; None where their number is not known."""
    places = (given["nvnmd"], given["model"], given["model"]["descriptor"])
    if any("type_map" in section for section in places) or not mistakes.sound(
            "nvnmd/type_map", "model/type_map"):
        return None
    sel = next((section["sel"] for section in places if "sel" in section), None)
    count = len(sel) if isinstance(sel, list) and given["nvnmd"]["version"] == 0 else 0
    found: list[str] = []
    training = given["training"]
    data = training.get("training_data", training)
    if find and data.get("systems") and mistakes.sound("training"):
        # what is wrong with the folders is told where the data are looked for
        systems = expand(data["systems"], data.get("rglob_patterns"), "", Mistakes(""), True)
        try:
            found = named_types(systems)
        except InputError as error:
            mistakes.add_text("nvnmd/type_map", f"missing key, and {error}")
            return None
    if not count and not found:
        return None
    return found + [f"Type_{number}" for number in range(len(found), count)]
