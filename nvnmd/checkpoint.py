"""Checkpoints: everything a training needs to go on exactly where it stopped.

One npz file without pickles: a JSON header (kind, step, state of the sampler, ...) and named
arrays. A text file `checkpoint` beside them names the newest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.atomic_file import atomic_write
from nvnmd.errors import ModelFileError
from nvnmd.npy_archive import DAMAGED, read_arrays, read_entries

FORMAT = "nvnmd-checkpoint-1"
POINTER = "checkpoint"


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
        with atomic_write(path) as file:
            np.savez(file, header=np.array(json.dumps(header)), **self.arrays)  # type: ignore[arg-type]
        with atomic_write(folder / POINTER) as file:
            file.write(f'model_checkpoint_path: "{path.name}"\n'.encode())
        # what a run that was killed while writing left behind
        for stale in folder.glob(f".{escape(prefix)}-*.npz.*"):
            stale.unlink()
        if keep > 0:
            # A later step than this one is a leftover of an abandoned run and counts as oldest.
            older = [p for s, p in _steps(folder, prefix) if s != self.step]
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
            if header["format"] != FORMAT:
                raise ValueError(f"format {header['format']!r}, expected {FORMAT!r}")
            if not isinstance(header["state"], dict) or int(header["step"]) < 0:
                raise ValueError("a state or a step that no training has")
            found = cls(
                kind=header["kind"], step=int(header["step"]), state=header["state"], arrays=arrays
            )
        except DAMAGED as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelFileError(f"{file}: not a readable checkpoint ({reason})") from None
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
        match = re.search(r'"([^"]+)"', pointer.read_text(encoding="utf-8", errors="replace"))
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


def _steps(folder: Path, prefix: str) -> list[tuple[int, Path]]:
    """Return step and path of every checkpoint in a folder."""
    pattern = re.compile(re.escape(prefix) + r"-(\d+)\.npz")
    matches = ((pattern.fullmatch(path.name), path) for path in folder.iterdir())
    return [(int(match[1]), path) for match, path in matches if match]
