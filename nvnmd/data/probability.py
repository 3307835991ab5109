"""How often each system of the data is drawn."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

UNIFORM, BY_SIZE = "prob_uniform", "prob_sys_size"
_BLOCK = re.compile(r"(\d+):(\d+):(\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)")


def blocks_of(style: str) -> list[tuple[int, int, float]]:
    """First system, system after the last, and weight of each block of a style.

    Empty for ``prob_uniform`` and ``prob_sys_size``.

    Raises
    ------
    ValueError
        It is no style, a block ends before it begins, or the weights have no finite sum.
    """
    if style in (UNIFORM, BY_SIZE):
        return []
    name, *parts = style.split(";")
    matches = [_BLOCK.fullmatch(part.strip()) for part in parts]
    if name != BY_SIZE or not matches or None in matches:
        raise ValueError(style)
    blocks = [(int(m[1]), int(m[2]), float(m[3])) for m in matches if m is not None]
    if any(begin >= end for begin, end, _ in blocks):
        raise ValueError(style)
    if not math.isfinite(sum(weight for *_, weight in blocks)):
        raise ValueError(style)
    return blocks


def problem(style: str, count: int) -> str | None:
    """What a style should be where it does not fit `count` systems; None where it fits."""
    blocks = blocks_of(style)
    if not blocks:
        return None
    if max(end for _, end, _ in blocks) > count:
        return f"blocks within the {count} systems"
    members = [index for begin, end, _ in blocks for index in range(begin, end)]
    if len(set(members)) < len(members):
        return "every system in one block at most"
    return None if sum(weight for *_, weight in blocks) > 0 else "a weight above 0"


def given_problem(given: Sequence[float], count: int) -> str | None:
    """What a message expects where given probabilities do not fit `count` systems; or None."""
    if len(given) != count:
        return f"{count} numbers, one for each system"
    rest = 1.0 - sum(value for value in given if value >= 0)
    if min(given) < 0 and rest < 1e-6:
        return ("numbers whose sum leaves something for the systems with a negative one, which "
                "share the rest")
    if min(given) >= 0 and abs(rest) > 1e-6:
        return "numbers whose sum is 1, or a negative one for the systems that share the rest"
    return None


def system_probabilities(batches: Sequence[int] | NDArray[np.int64], style: str = BY_SIZE,
                         given: Sequence[float] | None = None) -> NDArray[np.float64]:
    """Return the probability of each system, (n,), of sum 1.

    Parameters
    ----------
    batches : (n,) sequence of int
        Batches of each system.
    style : str
        ``prob_uniform``; ``prob_sys_size``, in proportion to the batches; or
        ``prob_sys_size;BEGIN:END:WEIGHT;...``, where each block of systems gets its share of the
        weights, within a block in proportion to the batches, and a system in no block nothing.
    given : sequence of float, optional
        The probabilities, instead of a style; systems with a negative one share what the others
        leave, in proportion to their batches.
    """
    sizes = np.asarray(batches, dtype=np.float64)
    if given is not None:
        found = np.asarray(given, dtype=np.float64)
        free = found < 0
        if free.any():
            rest = 1.0 - found[~free].sum()
            found = np.where(free, rest * sizes / sizes[free].sum(), found)
    elif style == UNIFORM:
        found = np.ones(len(sizes))
    else:
        found = np.zeros(len(sizes))
        for begin, end, weight in blocks_of(style) or [(0, len(sizes), 1.0)]:
            found[begin:end] = weight * sizes[begin:end] / sizes[begin:end].sum()
    return found / found.sum()
