"""Evaluation from neighbour pairs that the caller lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nvnmd.errors import InputError
from nvnmd.evaluation.arguments import numbers
from nvnmd.evaluation.backends import Evaluator, FloatNetwork
from nvnmd.evaluation.frames import Prediction, evaluate_neighborhood
from nvnmd.neighbors.cells import cell_problem
from nvnmd.neighbors.pairs import Pairs, neighborhood_of_pairs
from nvnmd.neighbors.slots import Overflow

if TYPE_CHECKING:
    from nvnmd.quantize.model import Model


def evaluate_given(
    network: Model | FloatNetwork,
    evaluator: Evaluator,
    types: NDArray[np.int64],
    pairs: Pairs | tuple[ArrayLike, ArrayLike],
    *,
    centers: int | None = None,
    coord: ArrayLike | None = None,
    vectors: ArrayLike | None = None,
    box: ArrayLike | None = None,
    shift: ArrayLike | None = None,
    owner: ArrayLike | None = None,
    volume: float | None = None,
    overflow: Overflow = "error",
) -> Prediction:
    """See `Potential.evaluate_pairs`; types are numbers here."""
    atoms = len(types)
    count = atoms if centers is None else centers
    if not 0 <= count <= atoms:
        raise InputError(f"centers: got {count}, expected 0 to {atoms}")
    if (coord is None) == (vectors is None):
        raise InputError("coord, vectors: expected one of them")
    if overflow not in ("error", "truncate"):
        raise InputError(f"overflow: got {overflow!r}, expected error or truncate")
    if not isinstance(pairs, Pairs):
        first, second = (np.asarray(one) for one in pairs)
        pairs = Pairs.of(first, second, atoms, count)
    x = None if coord is None else _rows(coord, "coord", atoms)
    d = None if vectors is None else _rows(vectors, "vectors", len(pairs.second))
    if d is not None and pairs.order is not None:
        d = d[pairs.order]
    h, cells = _images(box, shift, x, types)
    hood = neighborhood_of_pairs(
        types, count, pairs, network.sel, network.rcut, coord=x, vectors=d, box=h, shift=cells,
        owner=None if owner is None else _owners(owner, types), overflow=overflow,
        type_names=network.type_map, ntypes=getattr(network, "shared_types", None),
        exclude=getattr(network, "exclude", ()))
    return evaluate_neighborhood(network, evaluator, hood, volume)


def _images(
    box: ArrayLike | None, shift: ArrayLike | None, x: NDArray[np.float64] | None,
    types: NDArray[np.int64],
) -> tuple[NDArray[np.float64] | None, NDArray[np.int64] | None]:
    """Cell and shifts, both or none."""
    if box is None and shift is None:
        return None, None
    if box is None or shift is None or x is None:
        raise InputError("box, shift: expected both, and coord with them")
    h, cells = numbers(box, "box"), np.asarray(shift)
    problem = cell_problem(h)
    if problem:
        raise InputError(f"box: {problem}")
    if cells.shape != (len(types), 3) or cells.dtype.kind not in "iu":
        raise InputError(f"shift: got {cells.dtype} {cells.shape}, expected integers "
                         f"({len(types)}, 3)")
    return h, cells.astype(np.int64)


def _rows(values: ArrayLike, name: str, count: int) -> NDArray[np.float64]:
    array = numbers(values, name)
    if array.shape != (count, 3):
        raise InputError(f"{name}: got {array.shape} numbers, expected ({count}, 3)")
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        raise InputError(f"{name}: row {int(np.argmax(bad))} has a value that is not finite")
    return array


def _owners(owner: ArrayLike, types: NDArray[np.int64]) -> NDArray[np.int64]:
    array = np.asarray(owner)
    if array.shape != types.shape or array.dtype.kind not in "iu":
        raise InputError(f"owner: got {array.dtype} {array.shape}, expected {len(types)} integers")
    wrong = (array < 0) | (array >= len(types))
    if not wrong.any():
        wrong = types[array] != types
    if wrong.any():
        atom = int(np.argmax(wrong))
        raise InputError(f"owner: atom {atom} has {array[atom]}, expected an atom of its type")
    return array.astype(np.int64)
