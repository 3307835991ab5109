"""Data of other programs, read by ASE and dpdata, as systems to train on."""

from __future__ import annotations

import difflib
import gc
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nvnmd.data.find import find_systems
from nvnmd.data.incoming import (
    ASE_FORMATS,
    Frame,
    ase_frames,
    check_frame,
    deepmd_frames,
    dpdata_frames,
    exists,
    is_deepmd,
)
from nvnmd.data.outgoing import write_systems
from nvnmd.data.readable import check_readable
from nvnmd.data.systems import LABELS, load_groups
from nvnmd.errors import InputError

OUTPUTS = ("deepmd/npy", "deepmd/hdf5", "deepmd/npy/mixed")


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What was written.

    Attributes
    ----------
    systems : tuple of Path
        The systems.
    frames : int
        Frames in all.
    labels : tuple of str
        Labels that every system has, out of energy, force and virial.
    type_map : tuple of str
        Element names, in the order of the types.
    """

    systems: tuple[Path, ...]
    frames: int
    labels: tuple[str, ...]
    type_map: tuple[str, ...]


def convert(
    inputs: Sequence[str | Path],
    output: str | Path,
    *,
    source: str = "auto",
    target: str = "deepmd/npy",
    type_map: Sequence[str] | None = None,
    labelled: bool = True,
    warn: Callable[[str], None] = warnings.warn,
) -> Converted:
    """Read files with dpdata and write them as systems.

    Frames of the same composition, boundary and labels make one system, whichever file they are
    from; a frame that is periodic in some directions only is refused. The result is read back and
    checked before it takes its place.

    Parameters
    ----------
    inputs : sequence of path-like
        Files or folders, or ``file.hdf5#/group``.
    output : path-like
        What to write: a folder, for deepmd/hdf5 a file. It must not exist.
    source : str
        dpdata's name of the inputs' format; ``auto`` decides by the end of the file's name.
    target : {"deepmd/npy", "deepmd/hdf5", "deepmd/npy/mixed"}
        A system for each composition (the folder itself, if there is one only; in HDF5 a group
        each); or the mixed layout, one system for each number of atoms.
    type_map : sequence of str, optional
        Order of the elements, all of them; by default that of the alphabet. Formats that number
        their types need it.
    labelled : bool
        Whether the inputs have energies and forces.
    warn : callable
        Takes the warnings of the readers, and what of the labels is not kept.

    Raises
    ------
    InputError
        An input is missing or cannot be read, the formats are unknown, an element is not in
        `type_map`, the output exists, or the data are not usable (a value is not finite, say).
    """
    destination = Path(output)
    if target not in OUTPUTS:
        raise InputError(f"--format: got {target!r}, expected {', '.join(OUTPUTS)}")
    if destination.exists():
        raise InputError(f"{destination}: exists already, expected a name that is free")
    names = None if type_map is None else list(type_map)
    if names is not None and len(set(names)) < len(names):
        raise InputError(f"--type-map: got {' '.join(names)}, expected every element once")
    frames: list[Frame] = []
    for path in map(str, inputs):
        if not exists(path):
            raise InputError(f"{path}: no such file")
        kind = _format(path, source)
        check_readable(path, kind)
        with _as_input_error(f"{path}: could not be converted from {kind}", warn):
            frames += [check_frame(frame, labelled)
                       for frame in _frames(path, kind, names, labelled, warn)]
    if not frames:
        raise InputError(f"{inputs[0]}: no frames in it, as of a run that did not converge or was "
                         "cut short")
    used = sorted({str(symbol) for frame in frames for symbol in frame.symbols})
    for name in used:
        if names is not None and name not in names:
            raise InputError(f"--type-map: the data hold {name}, which is not among "
                             f"{' '.join(names)}")
    order = used if names is None else names
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
    except OSError as error:
        raise InputError(f"{destination}: cannot be written ({error.strerror})") from None
    try:
        made = work / destination.name
        with _as_input_error(f"{destination}: cannot be written", warn):
            write_systems(made, target, frames, order)
        checked = _check(made, order, labelled, destination)
        os.replace(made, destination)
    finally:
        shutil.rmtree(work)
    return checked


def _format(path: str, source: str) -> str:
    """dpdata's name of a format, ``auto`` settled."""
    from dpdata.format import Format

    kind = source.lower()
    known = Format.get_formats()
    if kind == "auto":
        kind = Path(path).name.rpartition(".")[2].lower()
    if kind not in known:
        near = difflib.get_close_matches(kind, known, 1) or ["one of those of dpdata, by -f"]
        raise InputError(f"-f: got {source!r} for {path}, expected a format as {near[0]}")
    return kind


def _frames(path: str, kind: str, names: list[str] | None, labelled: bool,
            warn: Callable[[str], None]) -> Iterator[Frame]:
    """The frames of an input, by the reader that serves its format."""
    if is_deepmd(kind):
        return deepmd_frames(path, names, warn)
    if kind in ASE_FORMATS:
        return ase_frames(path, kind, warn)
    return dpdata_frames(path, kind, names, labelled, warn)


def _check(made: Path, type_map: Sequence[str], labelled: bool, later: Path) -> Converted:
    """Read everything back; messages and the result name the place where it goes."""

    def moved(text: str) -> str:
        return text.replace(str(made), str(later), 1)

    try:
        folders = find_systems(made)
        read = [load_groups(folder, type_map, require=("energy",) if labelled else ())
                for folder in folders]
    except InputError as error:
        raise InputError(moved(str(error))) from None
    parts = [part for groups in read for part in groups]
    return Converted(
        systems=tuple(Path(moved(str(folder))) for folder in folders),
        frames=sum(part.nframes for part in parts),
        labels=tuple(key for key in LABELS if all(getattr(p, key) is not None for p in parts)),
        type_map=tuple(type_map))


@contextmanager
def _as_input_error(what: str, warn: Callable[[str], None]) -> Iterator[None]:
    """Make one line of whatever a reader raises; dpdata's readers raise what they run into."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:300] or "no reason given"
            raise InputError(f"{what} ({type(error).__name__}: {reason})") from None
        finally:
            # readers leave files open, which Python would tell on its own
            gc.collect()
    told = (one for one in caught if not issubclass(one.category, ResourceWarning))
    for message in dict.fromkeys(" ".join(str(one.message).split()) for one in told):
        warn(message)
