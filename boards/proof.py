"""Atoms on a board, every word that comes back against the integer reference."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.atomic_file import atomic_write
from nvnmd.boards.client import Board
from nvnmd.hdl.verify.stimulus import build_stimulus, expected_words
from nvnmd.neighbors.slots import Neighborhood
from nvnmd.quantize.model import Model
from nvnmd.sim.accelerator import Atoms


@dataclass(frozen=True, kw_only=True)
class BoardRun:
    """What a board made of some atoms.

    Attributes
    ----------
    name : str
        Where the board is.
    atoms, compared, differing : int
        Atoms, words compared with the reference's, words that differ.
    cycles : int
        Clock cycles in which the accelerator was at work on them.
    sent, received : int
        Bytes over the link for these atoms.
    repeated, dropped : int
        Requests sent again, and replies that came damaged.
    model_digest : str
        Of the model.
    """

    name: str
    atoms: int
    compared: int
    differing: int
    cycles: int
    sent: int
    received: int
    repeated: int
    dropped: int
    model_digest: str

    @property
    def equal(self) -> bool:
        """No word differs, and there are some."""
        return self.differing == 0 and self.compared > 0

    @property
    def line(self) -> str:
        """The line that scripts look for."""
        return f"board: {self.atoms} atoms, {self.compared} words compared, {self.differing} differ"

    @property
    def summary(self) -> dict[str, Any]:
        """All of it in JSON's types, in the form of `nvnmd simulate --json`."""
        problems = [] if self.equal else [f"{self.differing} words differ"]
        return {"on": self.name, "atoms": self.atoms, "words_compared": self.compared,
                "words_differing": self.differing, "cycles": self.cycles,
                "cycles_per_atom": self.cycles / max(1, self.atoms),
                "link": {"sent": self.sent, "received": self.received, "repeated": self.repeated,
                         "dropped": self.dropped},
                "model_digest": self.model_digest, "problems": problems}

    def lines(self) -> list[str]:
        """All lines that are printed; `line` is the first."""
        return [self.line,
                f"cycles per atom: {self.cycles / max(1, self.atoms):.1f}, waiting for the link's "
                "bytes not counted",
                f"link: {self.sent} bytes out, {self.received} in, {self.repeated} requests sent "
                f"again, {self.dropped} replies damaged"]

    def write(self, path: Path) -> None:
        """Keep the summary."""
        with atomic_write(path) as file:
            file.write((json.dumps(self.summary, indent=1) + "\n").encode())


def run_on_board(board: Board, model: Model, hood: Neighborhood, chosen: NDArray[np.int64]
                 ) -> BoardRun:
    """Load a model, evaluate some atoms of a frame, and compare.

    Parameters
    ----------
    board : Board
        Any board.
    model : Model
        The frozen model.
    hood : Neighborhood
        The frame's neighbour lists.
    chosen : (n,) int
        Which of its atoms.

    Raises
    ------
    LinkError, RangeError
        The board failed; a word that differs is no error here, but counted.
    """
    atoms = Atoms(hood.center_types[chosen], hood.rij[chosen], hood.mask[chosen],
                  hood.neighbor_types[chosen])
    expected = expected_words(atoms.evaluate(model), atoms.mask, model.widths)
    board.load(model)
    counters = board.session.counters
    before = (counters.sent, counters.received, counters.repeated, counters.dropped)
    found = board.words(build_stimulus(atoms.center_types, atoms.rij, atoms.mask,
                                       atoms.neighbor_types, model.widths))
    after = (counters.sent, counters.received, counters.repeated, counters.dropped)
    sent, received, repeated, dropped = (b - a for a, b in zip(before, after, strict=True))
    differing = int((found.energy != expected.energy).sum() + (found.deriv != expected.deriv).sum())
    return BoardRun(
        name=board.session.transport.name, atoms=len(chosen), compared=expected.words,
        differing=differing, cycles=found.cycles, sent=sent, received=received, repeated=repeated,
        dropped=dropped, model_digest=model.digest)
