"""The rule for a key of the input contract, and the rules that several keys share."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from nvnmd.inputs.limits import SEED_LIMIT, is_seed, not_negative, positive

Check = Callable[[Any], bool]


@dataclass(frozen=True)
class Rule:
    """How this program treats a key.

    Attributes
    ----------
    kind : {"honoured", "only", "refused", "warned"}
        Done as it says; admitted with one of `values`; not admitted; without effect, which a
        warning says.
    note : str
        Why, or what it means here beyond the contract.
    values : tuple
        The settings that ``only`` admits; the first is that of a document without the key.
    check, limit : callable, str or callable
        Further bounds of an honoured key, and how a message names them, to the value if it is a
        callable.
    """

    kind: Literal["honoured", "only", "refused", "warned"]
    note: str = ""
    values: tuple[Any, ...] = ()
    check: Check | None = None
    limit: str | Callable[[Any], str] = ""

    @property
    def expected(self) -> str:
        """What an ``only`` key admits, and why, for a message."""
        shown = " or ".join(json.dumps(value) for value in self.values)
        return f"{shown} ({self.note})"


def honoured(note: str = "", check: Check | None = None,
             limit: str | Callable[[Any], str] = "") -> Rule:
    return Rule("honoured", note, check=check, limit=limit)


def only(*values: Any, why: str) -> Rule:
    return Rule("only", why, values)


def refused(why: str) -> Rule:
    return Rule("refused", why)


SECTION = honoured()
SEED = honoured("nvnmd/seed or training/seed if not given.", is_seed, SEED_LIMIT)
WEIGHT = honoured("", not_negative, "a number of at least 0")
COUNT = honoured("", positive, "an integer above 0")
RCUT = honoured("Here or in model/descriptor; 6.0 if in neither. At most 8, where the tables end.",
                 lambda v: 0 < v <= 8, "a radius above 0 and at most 8 Å, where the tables end")
RCUT_SMTH = honoured("Here or in model/descriptor; 0.5 if in neither.", positive,
                      "a distance above 0 Å")
