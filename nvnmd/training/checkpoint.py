"""Checkpoints: everything a training needs to go on exactly where it stopped.

One npz file without pickles: a JSON header (kind, step, state of the sampler, ...) and named
arrays. A text file `checkpoint` beside them names the newest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.atomic_file import atomic_write
from nvnmd.errors import ModelFileError, one_line
from nvnmd.npy_archive import DAMAGED, digest_of, read_arrays, read_entries
from nvnmd.regular_file import text_of

FORMAT = "nvnmd-checkpoint-2"
"""Format 2 added a digest of state and arrays; files of format 1 are read, too."""
READABLE = ("nvnmd-checkpoint-1", FORMAT)
POINTER = "checkpoint"
_MOST_TEXT = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A state of a training.

    Attributes
    ----------
    kind : str
        Which trainer wrote it, such as ``"cnn"``.
    step : int
        Finished steps.
    state : dict
        What JSON can hold: the sampler's state, names, sizes.
    arrays : dict of arrays
        Weights and the optimizer's moments.
    """

    kind: str
    step: int
    state: dict[str, Any]
    arrays: dict[str, NDArray]

    def save(self, folder: Path, prefix: str, keep: int = 0) -> Path:
        """Write ``<prefix>-<step>.npz``, point to it, and delete the oldest ones.

        Parameters
        ----------
        folder : Path
            Where to.
        prefix : str
            Begin of the file name, such as ``model.ckpt``.
        keep : int
            How many checkpoints stay; 0 keeps all.

        Returns
        -------
        Path
            The file written.
        """
        path = folder / f"{prefix}-{self.step}.npz"
        header = {"format": FORMAT, "kind": self.kind, "step": self.step, "state": self.state}
        header["digest"] = digest_of(header, self.arrays)
        with atomic_write(path) as file:
            np.savez(file, header=np.array(json.dumps(header)), **self.arrays)  # type: ignore[arg-type]
        with atomic_write(folder / POINTER) as file:
            file.write(f'model_checkpoint_path: "{path.name}"\n'.encode())
        if keep > 0:
            # A later step than this one is a leftover of an abandoned run and counts as oldest.
            older = [p for s, p in checkpoint_files(folder, prefix) if s != self.step]
            older.sort(key=lambda p: p.stat().st_mtime_ns)
            for old in older[: max(len(older) + 1 - keep, 0)]:
                old.unlink()
        return path

    @classmethod
    def load(cls, path: str | Path, kind: str, prefix: str = "model.ckpt") -> Checkpoint:
        """Read a checkpoint.

        Parameters
        ----------
        path : path-like
            The file, its name without ``.npz``, its folder, or ``<folder>/<prefix>`` for the
            newest.
        kind : str
            The trainer that must have written it.
        prefix : str
            Begin of the checkpoints' names in the folder.

        Raises
        ------
        ModelFileError
            There is no such file, or it is damaged or of another kind.
        """
        file = find_checkpoint(path, prefix)
        try:
            arrays = read_arrays(read_entries(file))
            header = json.loads(str(arrays.pop("header")))
            if not isinstance(header, dict):
                raise ValueError("its header is no section")
            if header["format"] not in READABLE:
                raise ValueError(f"format {str(header['format'])[:40]!r}, expected {FORMAT!r}")
            if not isinstance(header["state"], dict) or not isinstance(header["kind"], str) or (
                    type(header["step"]) is not int or header["step"] < 0):
                raise ValueError("a state, a kind or a step that no training has")
            if header["format"] == FORMAT:
                digest = header.pop("digest")
                if digest_of(header, arrays) != digest:
                    raise ValueError("its digest does not match its contents")
            for name, array in arrays.items():
                if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
                    raise ValueError(f"{name} holds other than finite numbers")
            found = cls(
                kind=header["kind"], step=int(header["step"]), state=header["state"], arrays=arrays
            )
        except DAMAGED as error:
            raise ModelFileError(
                f"{file}: not a readable checkpoint ({one_line(error)})") from None
        if found.kind != kind:
            raise ModelFileError(f"{file}: a checkpoint of train-{found.kind}, not of train-{kind}")
        return found


def find_checkpoint(path: str | Path, prefix: str = "model.ckpt") -> Path:
    """Return the file that `path` means; see `Checkpoint.load`.

    Raises
    ------
    ModelFileError
        There is none.
    """
    path = Path(path)
    if path.is_file() and path.name != POINTER:
        return path
    beside = path.with_name(path.name + ".npz")
    if beside.is_file():
        return beside
    folder = path if path.is_dir() else path.parent
    asked = path.is_dir() or path.name in (prefix, POINTER)
    pointer = folder / POINTER
    if asked and pointer.is_file():
        try:
            match = re.search(r'"([^"]+)"', text_of(pointer, _MOST_TEXT))
        except (OSError, ValueError) as error:
            raise ModelFileError(f"{pointer}: cannot be read ({one_line(error)})") from None
        if match and (folder / Path(match[1]).name).is_file():
            return folder / Path(match[1]).name
    raise ModelFileError(f"{path}: no checkpoint there, expected a file such as {prefix}-1000.npz")


def prefixed(arrays: Mapping[str, NDArray], prefix: str) -> dict[str, NDArray]:
    """Return the arrays under ``<prefix>/<name>``."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def unprefixed(arrays: Mapping[str, NDArray], prefix: str) -> dict[str, NDArray]:
    """Return those arrays that `prefixed` named with this prefix, under their own names."""
    start = f"{prefix}/"
    return {name[len(start) :]: a for name, a in arrays.items() if name.startswith(start)}


def checkpoint_files(folder: Path, prefix: str) -> list[tuple[int, Path]]:
    """Return step and path of every checkpoint in a folder."""
    pattern = re.compile(re.escape(prefix) + r"-(\d+)\.npz")
    matches = ((pattern.fullmatch(path.name), path) for path in folder.iterdir())
    return [(int(match[1]), path) for match, path in matches if match]
