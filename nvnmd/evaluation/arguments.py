"""Arguments of the Python interface as checked arrays: positions, cells, types."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nvnmd.errors import InputError
from nvnmd.neighbors.cells import cell_problem, turned

Floats = NDArray[np.float64]


def types_of(types: Sequence[str] | ArrayLike, type_map: Sequence[str]) -> NDArray[np.int64]:
    """Types (atoms,) of element names, or types as they are.

    Raises
    ------
    InputError
        A name that the model does not know, a number that is no type, no atoms.
    """
    try:
        kinds = np.asarray(types)
    except ValueError:
        raise InputError("types: expected integers or element names (atoms,)") from None
    if kinds.size == 0:
        raise InputError("types: the system has no atoms")
    if kinds.ndim == 1 and kinds.dtype.kind in "UO" and all(isinstance(k, str) for k in kinds):
        numbers = {name: number for number, name in enumerate(type_map)}
        for atom, name in enumerate(kinds):
            if name not in numbers:
                raise InputError(f"types: atom {atom} is {name}, expected one of the model's "
                                 f"elements: {', '.join(type_map)}")
        return np.array([numbers[name] for name in kinds], dtype=np.int64)
    if kinds.ndim != 1 or kinds.dtype.kind not in "iu":
        raise InputError(f"types: got {_told(kinds)}, expected integers or element names (atoms,)")
    check_types(kinds, len(type_map))
    return kinds.astype(np.int64)


def check_types(kinds: NDArray, ntypes: int) -> None:
    """Raise InputError where a number is no type."""
    if kinds.size and (kinds.min() < 0 or kinds.max() >= ntypes):
        atom = int(np.argmax((kinds < 0) | (kinds >= ntypes)))
        raise InputError(f"types: atom {atom} has type {kinds[atom]}, expected 0 to {ntypes - 1}")


def frame_arrays(coord: ArrayLike, box: ArrayLike | None,
                 kinds: NDArray[np.int64]) -> tuple[Floats, Floats | None, bool]:
    """Positions (f, n, 3), cells (f, 3, 3) or None, right-handed, and whether it is one frame.

    One frame has positions (n, 3) and a cell (3, 3) or (9,). Of one atom without a cell positions
    (1, 3) are a frame with a leading axis.

    Raises
    ------
    InputError
        A wrong shape or value.
    """
    n = len(kinds)
    x = numbers(coord, "coord")
    h = None if box is None else numbers(box, "box")
    single = x.shape == (n, 3) and (n > 1 if h is None else h.shape in ((3, 3), (9,)))
    if single:
        x, h = x[None], None if h is None else h[None]
    if x.ndim not in (2, 3) or x.shape[1:] not in ((n, 3), (3 * n,)):
        raise InputError(f"coord: got {_told(x)}, expected (frames, {n}, 3) or (frames, {3 * n}), "
                         f"or one frame ({n}, 3)")
    x = x.reshape(-1, n, 3)
    if h is None:
        return x, None, single
    if h.shape not in ((len(x), 3, 3), (len(x), 9)):
        raise InputError(f"box: got {_told(h)}, expected ({len(x)}, 3, 3), ({len(x)}, 9) or None")
    h = h.reshape(-1, 3, 3)
    if np.isfinite(h).all():
        h = turned(h)
    for frame, cell in enumerate(h):
        problem = cell_problem(cell)
        if problem:
            raise InputError(f"box: {problem}" if single else f"box: frame {frame}: {problem}")
    return x, h, single


def numbers(values: ArrayLike, name: str) -> Floats:
    """Values as binary64, or InputError."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise InputError(f"{name}: expected an array of numbers") from None
    if array.dtype.kind not in "iuf":
        raise InputError(f"{name}: got {_told(array)}, expected an array of numbers")
    return array.astype(np.float64)


def _told(array: NDArray) -> str:
    return f"{array.dtype} {array.shape}"
