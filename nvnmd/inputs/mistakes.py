"""The mistakes of one input document, each a line of its own that names file and key path."""

from __future__ import annotations

import json
from typing import Any

from nvnmd.errors import InputError


def show(value: Any, limit: int = 60) -> str:
    """A value as it looks in JSON, shortened to one short line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= limit else text[: limit - 4] + " ..."


def on_one_line(path: str) -> str:
    """A key path with line ends and the like written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in path)


class Mistakes:
    """The mistakes found in one document."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines: list[str] = []
        self._wrong: list[str] = []

    def add(self, path: str, got: Any, expected: str) -> None:
        """Note `SOURCE: PATH: got GOT, expected EXPECTED`, `got` as a value of the document."""
        self.add_text(path, f"got {show(got)}, expected {expected}")

    def add_text(self, path: str, text: str) -> None:
        """Note `SOURCE: PATH: TEXT` of a value that is wrong or missing."""
        self._wrong.append(path)
        self.add_unknown(path, text)

    def add_unknown(self, path: str, text: str) -> None:
        """Note `SOURCE: PATH: TEXT` of a key that no value was taken from."""
        where = f"{self.source}: {on_one_line(path)}" if path else self.source
        self.lines.append(f"{where}: {text}")

    def distrust(self, path: str) -> None:
        """Count a section as wrong whose keys cannot be read; its type is noted already."""
        self._wrong.append(path)

    def sound(self, *paths: str) -> bool:
        """Whether no mistake is noted for these values, anything inside them, or their sections.

        What depends on several values is looked at only where they are sound, so that one mistake
        gives one line.
        """
        return not any(wrong == path or wrong.startswith(f"{path}/") or path.startswith(f"{wrong}/")
                       for wrong in self._wrong for path in paths)

    def check(self) -> None:
        """Raise one InputError with everything noted; a document may have several mistakes."""
        if self.lines:
            raise InputError("\n".join(self.lines))
