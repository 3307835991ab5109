"""The reference of the input keys, written from the tree of keys: ``python -m nvnmd.input_doc``.

A test holds docs/input.md against it, so that the documentation cannot drift from the program.
"""

from __future__ import annotations

from dargs import Argument

from nvnmd.input_check import argument_types, show
from nvnmd.input_keys import document_tree


def reference() -> str:
    """Markdown: one table of keys for each section."""
    parts: list[str] = []
    _section(document_tree(), "", parts)
    return "\n".join(parts)


def _section(argument: Argument, path: str, parts: list[str]) -> None:
    plain = [f for f in argument.sub_fields.values() if not f.sub_fields]
    if path:
        parts += [f"### {path}", "", f"{'Optional. ' if argument.optional else ''}{argument.doc}",
                  "", "| key | type | default | meaning |", "|---|---|---|---|"]
        parts += [_row(field) for field in plain] + [""]
    for field in argument.sub_fields.values():
        if field.sub_fields:
            _section(field, f"{path}/{field.name}".strip("/"), parts)


def _row(field: Argument) -> str:
    names = ", ".join(f"`{name}`" for name in (field.name, *field.alias))
    if not field.optional:
        default = "required"
    elif isinstance(field.default, (bool, int, float, str, list)) or field.default is None:
        default = f"`{show(field.default)}`"
    else:
        default = ""
    return f"| {names} | {argument_types(field)} | {default} | {field.doc} |"


if __name__ == "__main__":
    print(reference(), end="")
