"""Verilog in which modules that are alike but for names stand once.

Amaranth writes a module for every instance: of the 581 modules of a small accelerator 193 differ.
What reads the text (Verilator, Yosys, Vivado, people) has half of it to read.
"""

from __future__ import annotations

import re

_NAME = r"\\\S+ |[A-Za-z_][\w$]*"
_MODULE = re.compile(rf"(?m)^(?:\(\*[^\n]*\*\)\n)*module (?P<name>{_NAME})")
_INSTANCE = re.compile(
    rf"(?ms)^  (?P<module>{_NAME}) ?(?P<name>(?:{_NAME}) ?)\(\n(?P<ports>.*?)^  \);$")
_PORT = re.compile(rf"(?m)^(?P<dot> +\.)(?P<name>{_NAME})")
_DECLARED = re.compile(
    rf"(?m)^  (?:input|output|inout|wire|reg|integer)(?: signed)?(?: \[[^\]]*\])? (?!reg\b|wire\b)"
    rf"(?P<name>{_NAME})")
# what is a name where it stands alone; names of a module that is kept stand between zeros
_WORD = re.compile(rf"\0[^\0]*\0|\"[^\"\n]*\"|\d*'s?[bodh][\w?]+|(?P<name>{_NAME})")


def each_module_once(verilog: str) -> str:
    """Verilog of the same design, in which no module is the text of another with other names.

    Names of instances, and so the hierarchy, stay; a module bears the name of its first instance.

    Parameters
    ----------
    verilog : str
        As Yosys writes it: one declaration or port a line, bodies indented by two blanks.
    """
    starts = [found.start() for found in _MODULE.finditer(verilog)]
    texts = {}
    for start, end in zip(starts, [*starts, len(verilog)][1:], strict=True):
        found = _MODULE.match(verilog, start)
        assert found is not None
        texts[found["name"].strip()] = f"{verilog[start:end].rstrip()}\n"
    # of a module: the name of the one that stands for it, and what its ports are called there
    known: dict[str, tuple[str, dict[str, str]]] = {}
    # of a text without its own names: the module that has it, its names in order
    first: dict[str, tuple[str, list[str]]] = {}
    kept = [verilog[: starts[0] if starts else len(verilog)].rstrip() + "\n"]

    def instance(found: re.Match[str]) -> str:
        name = found["module"].strip()
        if name not in texts:
            # a primitive of the FPGA
            return found[0]
        stands, ports = known[name] if name in known else look(name)

        def port(found: re.Match[str]) -> str:
            return f"{found['dot']}\0{_written(ports[found['name'].strip()])}\0"

        return f"  \0{_written(stands)}\0 {found['name']}(\n{_PORT.sub(port, found['ports'])}  );"

    def look(name: str) -> tuple[str, dict[str, str]]:
        text = _INSTANCE.sub(instance, texts[name])
        pattern, names = _without_names(text, name)
        if pattern not in first:
            first[pattern] = name, names
            kept.append(text.replace("\0", ""))
        stands, called = first[pattern]
        known[name] = stands, dict(zip(names, called, strict=True))
        return known[name]

    for name in texts:
        if name not in known:
            look(name)
    return "\n".join(kept)


def _written(name: str) -> str:
    """A name as it stands in a text: an escaped one ends with a blank."""
    return f"{name} " if name.startswith("\\") else name


def _without_names(text: str, name: str) -> tuple[str, list[str]]:
    """A module's text with its own names numbered as they come, and these names.

    Its own are those it declares, and its name. All other words stay: keywords, functions,
    instances and modules that it uses.
    """
    own = {found["name"].strip() for found in _DECLARED.finditer(text)} | {name}
    places: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        word = (found["name"] or "").strip()
        return f"\1{places.setdefault(word, len(places))}\1" if word in own else found[0]

    return _WORD.sub(number, text), list(places)
