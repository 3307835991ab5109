"""The arrays of one set of frames, read and checked."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nvnmd.data.source import Source
from nvnmd.data.system import COPIES, LABELS, PER_ATOM
from nvnmd.errors import InputError
from nvnmd.neighbors.cells import FARTHEST, cell_problem

# Draws of the frames of a set in one pass, kept as a list of that length
MOST_COPIES = 10_000_000


def read_set(
    source: Source, folder: str, part: str, natoms: int, periodic: bool, require: Sequence[str],
    further: Mapping[str, tuple[int, ...]],
) -> dict[str, NDArray]:
    """Read one set of frames into arrays of the shapes that `System` has."""
    shapes: dict[str, tuple[int, ...]] = {
        "coord": (natoms, 3),
        "box": (3, 3),
        "energy": (),
        "force": (natoms, 3),
        "virial": (3, 3),
        **{key: (natoms, *shape) for key, shape in further.items()},
    }
    needed = {"coord", *require} | ({"box"} if periodic else set())
    found: dict[str, NDArray] = {}
    for key, shape in shapes.items():
        if key == "box" and not periodic:
            continue
        file = _file_of(key, source, part)
        if file is None:
            if key not in needed:
                continue
            hint = " (an open system has a file named nopbc)" if key == "box" else ""
            kind = "label" if key in LABELS else "array"
            raise InputError(f"{folder}/{key}.npy: missing, the {kind} {key} is needed here{hint}"
                             + _nearest(key, source, part))
        array = source.array(f"{part}/{file}")
        found[key] = as_frames(array, f"{folder}/{file}", shape,
                               per_atom=key in (*PER_ATOM, *further))
    frames = len(found["coord"])
    if frames == 0:
        raise InputError(f"{folder}/coord.npy: the set has no frames")
    for key, array in found.items():
        if len(array) != frames:
            raise InputError(f"{folder}/{key}.npy: {len(array)} frames, but coord.npy has {frames}")
    for frame, cell in enumerate(found.get("box", ())):
        problem = cell_problem(cell)
        if problem:
            raise InputError(f"{folder}/box.npy: frame {frame}: {problem}")
    if f"{part}/{COPIES}.npy" in source:
        found[COPIES] = _copies(source.array(f"{part}/{COPIES}.npy"), f"{folder}/{COPIES}.npy",
                                frames)
    return found


def _file_of(key: str, source: Source, part: str) -> str | None:
    """Name of the file with an array of a set, which DeePMD-kit lets begin with either word."""
    names = [f"{key}.npy"]
    if key.startswith("atom_"):
        names.append(f"atomic_{key.removeprefix('atom_')}.npy")
    return next((name for name in names if f"{part}/{name}" in source), None)


def _nearest(key: str, source: Source, part: str) -> str:
    """Name a file of the set that was perhaps meant to be an array."""
    stems = {name.partition(".")[0]: name for name in source.labels(part)}
    others = [stem for stem in stems if stem not in ("coord", "box", *LABELS) or stem == key]
    found = difflib.get_close_matches(key, others, 1, 0.7)
    return f"; there is {stems[found[0]]}" if found else ""


def _copies(array: NDArray, file: str, frames: int) -> NDArray[np.int64]:
    """Return how often each frame of a set is drawn, (frames,)."""
    numbers = as_frames(array, file, (), per_atom=False)
    if len(numbers) != frames:
        raise InputError(f"{file}: {len(numbers)} frames, but coord.npy has {frames}")
    wrong = (numbers < 0) | (numbers != np.floor(numbers))
    if wrong.any():
        frame = int(np.argmax(wrong))
        raise InputError(f"{file}: frame {frame} has {numbers[frame]:g}, expected how often it is "
                         "drawn, a whole number of at least 0")
    if numbers.sum() > MOST_COPIES:
        raise InputError(f"{file}: got {numbers.sum():g} draws in all, expected at most "
                         f"{MOST_COPIES}")
    return numbers.astype(np.int64)


def as_frames(
    array: object, file: str, shape: tuple[int, ...], *, per_atom: bool
) -> NDArray[np.float64]:
    """Return an array of frames, each of `shape`, as binary64, all finite.

    Axes of a frame may be written as one, and the first may be missing where there is one frame,
    as `numpy.loadtxt` leaves it out. Other shapes of the right size are not guessed at.
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise InputError(f"{file}: expected an array of numbers")
    width = math.prod(shape)
    if array.ndim == 0 or (array.ndim == 1 and width > 1 and array.size == width):
        array = array[None]
    if array.size != len(array) * width or not _divides(array.shape[1:], shape):
        forms = dict.fromkeys(["(frames)"] if width == 1 else []) | dict.fromkeys(
            f"(frames, {', '.join(map(str, form))})" for form in ((width,), shape) if form)
        raise InputError(f"{file}: expected an array {' or '.join(forms)}, found shape "
                         f"{array.shape}")
    data = array.reshape((len(array), *shape)).astype(np.float64)
    # the second also finds numbers read in another format than they were written in
    for bad, what in ((~np.isfinite(data), "that is not finite"),
                      (np.abs(data) > FARTHEST, f"beyond {FARTHEST:.0e}")):
        if bad.any():
            where = np.argwhere(bad)[0]
            atom = f", atom {where[1]}" if per_atom else ""
            raise InputError(f"{file}: frame {where[0]}{atom} has a value {what}")
    return data


def _divides(found: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether axes are those of a frame, neighbouring ones perhaps written as one."""
    places = set(np.cumprod([1, *shape]).tolist())
    return set(np.cumprod([1, *found]).tolist()) <= places
