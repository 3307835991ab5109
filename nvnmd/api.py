"""Evaluate models from Python: ``nvnmd.load_model(path).evaluate(coord, box, types)``."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nvnmd.cells import cell_problem
from nvnmd.errors import InputError, ModelFileError
from nvnmd.evaluate import (
    Backend,
    Evaluator,
    FloatNetwork,
    Prediction,
    evaluate_frames,
    make_evaluator,
)
from nvnmd.neighbors import Overflow

if TYPE_CHECKING:
    from nvnmd.quantize.model import Model

MODEL_NAME = "model.nvnmd"

__all__ = ["Potential", "Prediction", "load_model"]


class Potential:
    """A model that evaluates frames; what its backends derive from it is kept between calls.

    Parameters
    ----------
    network : Model or FloatNetwork
        A frozen model, or a float network alone.
    work_dir : Path, optional
        Where the backend `sim` builds its simulator; by default a temporary folder that lives as
        long as this object.
    """

    def __init__(self, network: Model | FloatNetwork, work_dir: Path | None = None) -> None:
        self.network = network
        self._work_dir = work_dir
        self._temporary: tempfile.TemporaryDirectory | None = None
        self._evaluators: dict[str, Evaluator] = {}

    @property
    def type_map(self) -> tuple[str, ...]:
        """Element names; a type is an index into them."""
        return self.network.type_map

    @property
    def rcut(self) -> float:
        """Cut-off radius in Å."""
        return self.network.rcut

    def evaluate(
        self,
        coord: ArrayLike,
        box: ArrayLike | None,
        types: ArrayLike,
        backend: Backend = "fixed",
        *,
        overflow: Overflow = "error",
    ) -> Prediction:
        """Energies, forces and virials of frames of the same atoms.

        Parameters
        ----------
        coord : array_like, (frames, atoms, 3) or (frames, 3*atoms)
            Positions in Å; atoms outside of the cell are wrapped into it.
        box : array_like, (frames, 3, 3) or (frames, 9), or None
            Cell vectors in rows, in Å; None for open boundaries.
        types : array_like of int, (atoms,)
            Types as indices into `type_map`.
        backend : {"float", "fixed", "sim"}
            The nets before quantization, the integer network (what the hardware computes, bit by
            bit), or the hardware itself, simulated.
        overflow : {"error", "truncate"}
            What happens if an atom has more neighbours than the model has slots: an error, or the
            farthest are left out and counted in the result's `dropped`.

        Returns
        -------
        Prediction
            In eV and Å, atoms in the order given.

        Raises
        ------
        InputError
            An argument has a wrong shape or value.
        NeighborOverflowError
            An atom has too many neighbours, with ``overflow="error"``.
        RangeError
            A value leaves the number format that the hardware gives it.
        ToolMissingError
            The backend `sim` lacks a program.
        """
        x, h, kinds = _arrays(coord, box, types, len(self.type_map))
        if overflow not in ("error", "truncate"):
            raise InputError(f"overflow: got {overflow!r}, expected error or truncate")
        return evaluate_frames(self.network, self._evaluator(backend), x, h, kinds, overflow)

    def _evaluator(self, backend: Backend) -> Evaluator:
        if backend not in self._evaluators:
            work_dir = self._work_dir
            if backend == "sim" and work_dir is None:
                self._temporary = tempfile.TemporaryDirectory(prefix="nvnmd-sim-")
                work_dir = Path(self._temporary.name)
            self._evaluators[backend] = make_evaluator(self.network, backend, work_dir)
        return self._evaluators[backend]


def load_model(
    path: str | os.PathLike[str], type_map: Sequence[str] | None = None
) -> Potential:
    """Read a model.

    Parameters
    ----------
    path : path-like
        A model file of this program (or the folder that holds its `model.nvnmd`), a run folder of
        DeePMD-kit, a folder with its `config.npy`, `weight.npy` and `map.npy`, or a `model.pb`.
        The folder of `train-cnn` gives its float network, which has the backend `float` only.
    type_map : sequence of str, optional
        Element names for a `model.pb`, which holds none.

    Raises
    ------
    ModelFileError
        The file or folder is missing, damaged, or none of these.
    """
    file = Path(path)
    if not file.exists():
        raise ModelFileError(f"{file}: no such file, expected a model file, a run folder or a "
                             "model.pb")
    if file.is_dir() and (file / MODEL_NAME).is_file():
        file = file / MODEL_NAME
    if file.is_file() and file.suffix != ".pb":
        from nvnmd.quantize.model import Model

        return Potential(Model.load(file))
    if file.is_dir() and (file / "weight.npy").is_file() and _is_float_stage(file):
        return Potential(FloatNetwork.load(file))
    from nvnmd.deepmd_import import import_model

    return Potential(import_model(file, type_map))


def _is_float_stage(folder: Path) -> bool:
    """The first stage's own folder: named so, or without the tables that a second stage needs."""
    return folder.name == "nvnmd_cnn" or not (folder / "map.npy").is_file()


def _arrays(
    coord: ArrayLike, box: ArrayLike | None, types: ArrayLike, ntypes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, NDArray[np.int64]]:
    """Arguments in the shapes (f, n, 3), (f, 3, 3) or None, (n,), or InputError."""
    try:
        kinds = np.asarray(types)
    except ValueError:
        raise InputError("types: expected integers (atoms,)") from None
    n = kinds.size
    if n == 0:
        raise InputError("types: the system has no atoms")
    if kinds.ndim != 1 or kinds.dtype.kind not in "iu":
        raise InputError(f"types: got {_told(kinds)}, expected integers (atoms,)")
    if kinds.min() < 0 or kinds.max() >= ntypes:
        atom = int(np.argmax((kinds < 0) | (kinds >= ntypes)))
        raise InputError(f"types: atom {atom} has type {kinds[atom]}, expected 0 to {ntypes - 1}")
    x = _numbers(coord, "coord")
    if x.ndim not in (2, 3) or x.shape[1:] not in ((n, 3), (3 * n,)):
        raise InputError(f"coord: got {_told(x)}, expected (frames, {n}, 3) or (frames, {3 * n})")
    x = x.reshape(-1, n, 3)
    if box is None:
        return x, None, kinds.astype(np.int64)
    h = _numbers(box, "box")
    if h.shape not in ((len(x), 3, 3), (len(x), 9)):
        raise InputError(f"box: got {_told(h)}, expected ({len(x)}, 3, 3), ({len(x)}, 9) or None")
    h = h.reshape(-1, 3, 3)
    for frame, cell in enumerate(h):
        problem = cell_problem(cell)
        if problem:
            raise InputError(f"box: frame {frame}: {problem}")
    return x, h, kinds.astype(np.int64)


def _numbers(values: ArrayLike, name: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(values)
    except ValueError:
        raise InputError(f"{name}: expected an array of numbers") from None
    if array.dtype.kind not in "iuf":
        raise InputError(f"{name}: got {_told(array)}, expected an array of numbers")
    return array.astype(np.float64)


def _told(array: NDArray) -> str:
    return f"{array.dtype} {array.shape}"
