"""Compare what the hardware answered with the reference, word by word."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nvnmd.hdl.verify.stimulus import Expected
from nvnmd.quantize.formats import decode_flt
from nvnmd.quantize.widths import VENDOR_WIDTHS, Widths

LAST_MARK = "last mark"
# fixed-point words; the words of all other stages are flt
FIXED_POINT = ("d", "z", "energy", "dd")
COMPONENTS = ("dE/du", "dE/dx", "dE/dy", "dE/dz")


@dataclass(frozen=True)
class Difference:
    """The first word that differs.

    Attributes
    ----------
    stage : str
        Stage whose result it is.
    atom : int
        Position of the centre atom in the evaluated set.
    neighbor : int or None
        Position of the neighbour among the atom's neighbours.
    word : str
        Which word of the stage.
    expected, found : int
        Both words; `found` is -1 where none came.
    widths : Widths
        What the words are words of.
    """

    stage: str
    atom: int
    neighbor: int | None
    word: str
    expected: int
    found: int
    widths: Widths = VENDOR_WIDTHS

    def __str__(self) -> str:
        where = f"atom {self.atom}"
        if self.neighbor is not None:
            where += f", neighbour {self.neighbor}"
        found = "nothing" if self.found == -1 else self._told(self.found)
        return (
            f"first difference: stage {self.stage}, {where}, word {self.word}: "
            f"reference {self._told(self.expected)}, RTL {found}"
        )

    def _told(self, word: int) -> str:
        """The word's value and the word."""
        word &= 0xFFFFFFFF
        if self.word == LAST_MARK:
            return str(word)
        if self.stage in FIXED_POINT:
            value = int(np.uint32(word).astype(np.int32)) * 2.0**-self.widths.fix_frac
        else:
            value = float(decode_flt(word, self.widths.flt))
        return f"{value!r} ({word:#010x})"


@dataclass(frozen=True)
class Comparison:
    """How many words were compared, how many differ, and where the first difference lies."""

    atoms: int
    compared: int
    differing: int
    first: Difference | None
    missing: int
    surplus: int

    @property
    def equal(self) -> bool:
        """Every expected word came, no other came, and none differs."""
        return self.differing == 0 and self.missing == 0 and self.surplus == 0


def atom_of_neighbor(counts: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Atom and position within the atom of each neighbour in the stream."""
    atom = np.repeat(np.arange(len(counts)), counts)
    start = np.concatenate([[0], np.cumsum(counts)[:-1]]) if len(counts) else np.zeros(0, int)
    return atom, np.arange(len(atom)) - np.repeat(start, counts)


def compare_outputs(
    expected: Expected,
    energy: NDArray[np.integer],
    deriv: NDArray[np.integer],
    last: NDArray[np.bool_],
    counts: NDArray[np.integer],
) -> Comparison:
    """Compare energies and derivatives.

    Parameters
    ----------
    expected : Expected
        The reference's words.
    energy, deriv, last
        What came back: (n,) words, (k, 4) words, (k,) last marks.
    counts : (n,)
        Neighbours of each atom.

    Returns
    -------
    Comparison
        A last mark at the wrong neighbour counts as a differing word of that neighbour.
    """
    n, k = min(len(energy), len(expected.energy)), min(len(deriv), len(expected.deriv))
    bad_energy = np.flatnonzero(
        (energy[:n] ^ expected.energy[:n]) & 0xFFFFFFFF
    )
    bad_deriv = np.argwhere(deriv[:k].astype(np.int64) != expected.deriv[:k].astype(np.int64))
    bad_last = np.flatnonzero(last[:k] != expected.last[:k])
    atom, position = atom_of_neighbor(counts)
    candidates: list[tuple[tuple[int, int, int], Difference]] = []
    if bad_energy.size:
        i = int(bad_energy[0])
        candidates.append(((i, 0, 0), Difference(
            "energy", i, None, "energy", int(expected.energy[i]), int(energy[i]) & 0xFFFFFFFF)))
    if len(bad_deriv):
        j, c = (int(x) for x in bad_deriv[0])
        candidates.append(((int(atom[j]), 1, j), Difference(
            "deriv", int(atom[j]), int(position[j]), COMPONENTS[c],
            int(expected.deriv[j, c]), int(deriv[j, c]))))
    if bad_last.size:
        j = int(bad_last[0])
        candidates.append(((int(atom[j]), 2, j), Difference(
            "deriv", int(atom[j]), int(position[j]), LAST_MARK,
            int(expected.last[j]), int(last[j]))))
    missing = expected.words - n - 4 * k
    if missing and not candidates:
        if n < len(expected.energy):
            lacking = Difference("energy", n, None, "energy", int(expected.energy[n]), -1)
        else:
            lacking = Difference("deriv", int(atom[k]), int(position[k]), COMPONENTS[0],
                                 int(expected.deriv[k, 0]), -1)
        candidates.append(((n, 3, 0), lacking))
    first = min(candidates, key=lambda item: item[0])[1] if candidates else None
    if first is not None:
        first = replace(first, widths=expected.widths)
    surplus = max(0, len(energy) - n) + 4 * max(0, len(deriv) - k)
    return Comparison(
        atoms=n,
        compared=n + 4 * k,
        differing=len(bad_energy) + len(bad_deriv) + len(bad_last),
        first=first,
        missing=missing,
        surplus=surplus,
    )
