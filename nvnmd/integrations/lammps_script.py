"""LAMMPS scripts as users of the hosted machine have them: the potential's lines translated."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from nvnmd.errors import InputError, one_line
from nvnmd.regular_file import read_regular

STYLES = ("nvnmd", "deepmd")
FIX = "nvnmd_model"
# Far above any script
_MOST_TEXT = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Script:
    """A script in two parts, between which the model is put in.

    Attributes
    ----------
    before, after : str
        Commands up to `pair_coeff`, and those after it.
    model : str or None
        The model that `pair_style` names.
    elements : tuple of str
        Elements of the atom types that `pair_coeff` names; empty where it names none.
    """

    before: str
    after: str
    model: str | None
    elements: tuple[str, ...]


def read_script(path: Path, rcut: float | None = None) -> Script:
    """Read and translate a script; the cut-off is needed for a script that is to run.

    Raises
    ------
    InputError
        A line that cannot be translated; the message names it.
    """
    try:
        lines = _logical_lines(_text(path))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {one_line(error)}, expected a LAMMPS "
                         "script") from None
    lines = _with_includes(lines, path)
    before: list[str] = []
    after: list[str] = []
    model: str | None = None
    elements: tuple[str, ...] | None = None
    styled = False
    for number, line in lines:
        words = line.split("#")[0].split()
        first = words[0] if words else ""
        where = f"{path}: line {number}"
        if first == "pair_style":
            if styled:
                raise InputError(f"{where}: a second pair_style, expected one")
            if len(words) < 2 or words[1] not in STYLES:
                raise InputError(f"{where}: got pair_style {' '.join(words[1:2])}, expected "
                                 f"pair_style {' or '.join(STYLES)}")
            if len(words) > 3:
                raise InputError(f"{where}: got {' '.join(words[2:])}, expected one model (how far "
                                 "several are apart: nvnmd model-devi)")
            model = words[2] if len(words) == 3 else None
            styled = True
            before.append(f"pair_style zero {rcut or 0.0!r} full\n"
                          "special_bonds lj/coul 1.0 1.0 1.0")
        elif first == "pair_coeff":
            if not styled:
                raise InputError(f"{where}: pair_coeff before pair_style")
            if elements is not None:
                raise InputError(f"{where}: a second pair_coeff, expected one")
            if words[1:3] not in ([], ["*", "*"]):
                raise InputError(f"{where}: got pair_coeff {' '.join(words[1:])}, expected "
                                 "pair_coeff * * and perhaps the types' elements")
            elements = tuple(words[3:])
            before.append("pair_coeff * *")
        else:
            if styled:
                _check(first, words, where)
            (before if elements is None else after).append(line)
    if not styled:
        raise InputError(f"{path}: no line pair_style {' or '.join(STYLES)}")
    if elements is None:
        raise InputError(f"{path}: no line pair_coeff after pair_style")
    return Script(before="\n".join(before) + "\n", after="\n".join(after) + "\n", model=model,
                  elements=elements)


def _check(first: str, words: list[str], where: str) -> None:
    """Refuse what would take the model's neighbours or the model away."""
    if first == "special_bonds" and _weights(words) != [1.0]:
        raise InputError(f"{where}: special_bonds other than 1: bonded atoms are neighbours of the "
                         "model, too")
    if first == "clear":
        raise InputError(f"{where}: clear after pair_style would take the model away; expected a "
                         "script of its own for what follows")


def _weights(words: list[str]) -> list[float]:
    """Distinct weights of a `special_bonds` command."""
    found = set()
    for word in words[1:]:
        if re.fullmatch(r"[-+.\deE]+", word):
            found.add(float(word))
        elif word in ("amber", "charmm", "dreiding"):
            found.add(0.0)
    return sorted(found)


def _logical_lines(text: str) -> list[tuple[int, str]]:
    """Lines with those joined that end in `&`, and their numbers."""
    found: list[tuple[int, str]] = []
    held, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        start = start or number
        if line.rstrip().endswith("&"):
            held += line.rstrip()[:-1] + " "
            continue
        found.append((start, held + line))
        held, start = "", 0
    if held:
        found.append((start, held))
    return found


def _with_includes(lines: list[tuple[int, str]], path: Path) -> list[tuple[int, str]]:
    """Put in the files that are included and hold lines of the potential."""
    found: list[tuple[int, str]] = []
    for number, line in lines:
        words = line.split("#")[0].split()
        if len(words) == 2 and words[0] == "include" and Path(words[1]).is_file():
            try:
                text = _text(Path(words[1]))
            except (OSError, ValueError) as error:
                raise InputError(f"{words[1]}: cannot be read: {one_line(error)}, expected a "
                                 "LAMMPS script") from None
            if re.search(r"^\s*pair_(style|coeff)\b", text, re.MULTILINE):
                found += [(number, inner) for _, inner in _logical_lines(text)]
                continue
        found.append((number, line))
    return found


def _text(path: Path) -> str:
    return read_regular(path, _MOST_TEXT).decode("utf-8", "replace")
