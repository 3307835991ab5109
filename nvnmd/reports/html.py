"""HTML that is safe by construction: every text is escaped unless it was made here."""

from __future__ import annotations

import html
from collections.abc import Iterable

VOID = {"meta", "br", "hr"}


class Markup(str):
    """HTML as it goes to the page; made by `tag` alone, so nothing from a file is one."""

    __slots__ = ()


LINE_END = Markup("\n")


def escaped(content: object) -> Markup:
    """Text as HTML; `Markup` as it is.

    Control characters are written out: a page may not hold most of them, and a line end in a name
    would look like a space.
    """
    if isinstance(content, Markup):
        return content
    text = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
                   for c in str(content))
    return Markup(html.escape(text, quote=True))


def tag(name: str, /, *content: object, **attributes: object) -> Markup:
    """An element: `content` is escaped; an attribute may end with `_` where Python has its name.

    An attribute of None is left out.
    """
    given = "".join(f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"'
                    for key, value in attributes.items() if value is not None)
    if name in VOID:
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{join(content)}</{name}>")


def join(parts: Iterable[object], between: str = "") -> Markup:
    """Several parts one behind the other."""
    return Markup(escaped(between).join(escaped(part) for part in parts))


def table(heads: Iterable[object], rows: Iterable[Iterable[object]],
          numbers: Iterable[int] = ()) -> Markup:
    """A table that scrolls by itself on a narrow screen; columns in `numbers` are set right."""
    right = set(numbers)

    def cells(kind: str, row: Iterable[object]) -> Markup:
        return tag("tr", *(tag(kind, cell, class_="n" if k in right else None)
                           for k, cell in enumerate(row)))

    heads = list(heads)
    head = [tag("thead", cells("th", heads))] if any(heads) else []
    body = tag("tbody", *(cells("td", row) for row in rows))
    return tag("div", tag("table", *head, body), class_="scroll", tabindex="0", role="region",
               aria_label="table")
