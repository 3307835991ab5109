"""Evaluate models from Python: ``nvnmd.load_model(path).evaluate(coord, box, types)``."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from nvnmd.errors import InputError, ModelFileError, NvnmdError
from nvnmd.evaluation.arguments import frame_arrays, types_of
from nvnmd.evaluation.backends import (
    Backend,
    Carrier,
    Evaluator,
    FloatNetwork,
    make_evaluator,
)
from nvnmd.evaluation.frames import Prediction, evaluate_frames
from nvnmd.evaluation.given_pairs import evaluate_given
from nvnmd.evaluation.outside import check_inside
from nvnmd.neighbors.pairs import Pairs
from nvnmd.neighbors.slots import Overflow

if TYPE_CHECKING:
    from nvnmd.quantize.model import Model
    from nvnmd.quantize.normalize import Mode

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
    tick : callable, optional
        Called after every frame, for a display of progress.
    """

    def __init__(self, network: Model | FloatNetwork, work_dir: Path | None = None,
                 tick: Callable[[], None] | None = None) -> None:
        self._tick = tick
        self.network = network
        self._work_dir = work_dir
        self._evaluators: dict[tuple[str, str | None], Evaluator] = {}

    @property
    def type_map(self) -> tuple[str, ...]:
        """Element names; a type is an index into them."""
        return self.network.type_map

    @property
    def rcut(self) -> float:
        """Cut-off radius in Å."""
        return self.network.rcut

    @property
    def version(self) -> int:
        """NVNMD version: 0 (a net per type) or 1 (types share one net)."""
        if isinstance(self.network, FloatNetwork):
            return self.network.weights.version
        return self.network.version

    @property
    def sel(self) -> tuple[int, ...]:
        """Neighbours that an atom can have: by type (version 0), or in all (version 1)."""
        return self.network.sel

    @property
    def min_distance(self) -> float | None:
        """Smallest distance of two atoms in the training data in Å; None where it is not known."""
        if isinstance(self.network, FloatNetwork):
            return self.network.weights.min_nbor_dist
        if self.network.seen is not None:
            return float(self.network.seen.distance.min())
        known = self.network.extras.get("cnn.min_nbor_dist")
        return None if known is None else float(np.ravel(known)[0])

    def __repr__(self) -> str:
        slots = ", ".join(str(number) for number in self.sel)
        least = self.min_distance
        seen = "" if least is None else f", min_distance {least:.3f} Å"
        kind = " (float network)" if isinstance(self.network, FloatNetwork) else ""
        return (f"<Potential{kind} of {' '.join(self.type_map)}: version {self.version}, "
                f"rcut {self.rcut:g} Å, sel {slots}{seen}>")

    def __getstate__(self) -> dict[str, Any]:
        # a copy builds its evaluators anew
        return self.__dict__ | {"_evaluators": {}, "_tick": None}

    def evaluate(
        self,
        coord: ArrayLike,
        box: ArrayLike | None,
        types: Sequence[str] | ArrayLike,
        backend: Backend | Evaluator | Carrier = "fixed",
        *,
        overflow: Overflow = "error",
        mode: Mode | None = None,
        strict: bool = False,
    ) -> Prediction:
        """Energies, forces and virials of frames of the same atoms.

        Parameters
        ----------
        coord : array_like, (frames, atoms, 3) or (frames, 3*atoms), or (atoms, 3)
            Positions in Å; atoms outside of the cell are wrapped into it. One frame without a
            leading axis gives results without one.
        box : array_like, (frames, 3, 3) or (frames, 9), or (3, 3); or None
            Cell vectors in rows, in Å; None for open boundaries. Left-handed vectors are swapped.
        types : sequence of str or array_like of int, (atoms,)
            Element names, or types as indices into `type_map`.
        backend : {"float", "fixed", "sim"} or Evaluator
            The nets before quantization, the integer network (what the hardware computes, bit by
            bit), or the hardware itself, simulated; a board (`nvnmd.connect`); or an object of
            your own that computes frames (`nvnmd.evaluation.backends.Evaluator`).
        overflow : {"error", "truncate"}
            What happens if an atom has more neighbours than the model has slots: an error, or the
            farthest are left out and counted in the result's `dropped`.
        mode : {"graph", "machine"}, optional
            Only version 1, SUB_VERSION 2, has two: whether `fixed` computes the words of
            DeePMD-kit's graph and of the trainer, which divides by the deviations in binary64, or
            those of the hardware (machine). Default: the graph's, if the model holds its numbers.
        strict : bool
            Whether an atom with a neighbour nearer than any in the training data
            (`Prediction.outside`) is an error.

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
            A value leaves the number format that the hardware gives it, or, with `strict`, an atom
            has a neighbour nearer than any in the training data.
        ToolMissingError
            The backend `sim` lacks a program.
        """
        kinds = types_of(types, self.type_map)
        x, h, single = frame_arrays(coord, box, kinds)
        if overflow not in ("error", "truncate"):
            raise InputError(f"overflow: got {overflow!r}, expected error or truncate")
        evaluator = self.evaluator(backend, mode)
        try:
            found = evaluate_frames(self.network, evaluator, x, h, kinds, overflow,
                                    self._tick)
        except NvnmdError as error:
            if single:
                raise type(error)(str(error).removeprefix("frame 0: ")) from error
            raise
        if strict:
            check_inside(self.network, [found], "evaluate")
        return found.frame(0) if single else found

    def evaluate_pairs(
        self,
        types: Sequence[str] | ArrayLike,
        pairs: Pairs | tuple[ArrayLike, ArrayLike],
        *,
        centers: int | None = None,
        coord: ArrayLike | None = None,
        vectors: ArrayLike | None = None,
        box: ArrayLike | None = None,
        shift: ArrayLike | None = None,
        owner: ArrayLike | None = None,
        volume: float | None = None,
        backend: Backend | Evaluator | Carrier = "fixed",
        overflow: Overflow = "error",
        mode: Mode | None = None,
    ) -> Prediction:
        """Energies of some atoms, and what they do to all, from neighbour pairs that are given.

        Nothing is searched: the pairs are those of a molecular dynamics program, or of a list that
        is kept between steps. Pairs beyond the cut-off are ignored.

        Parameters
        ----------
        types : sequence of str or array_like of int, (atoms,)
            Of all atoms. The first `centers` have an energy; the others, ghosts, are neighbours
            only.
        pairs : Pairs, or (first, second)
            Centre and neighbour of each pair. Every pair of two centres is listed in both
            directions.
        centers : int, optional
            All atoms by default; 0 is no error.
        coord : (atoms, 3), or vectors : (pairs, 3)
            Positions, used as they are, or displacements from centre to neighbour; in Å. One of
            them.
        box, shift : (3, 3) and (atoms, 3) of int, optional
            The cell, in Å and right-handed, and how many of its vectors each atom stands away from
            its `coord`, which for an image is that of its original. Displacements then have the
            bits of `evaluate`.
        owner : (atoms,) of int, optional
            Which atom gets what falls on each one: for an image, its original. By default itself.
        volume : float, optional
            Of the cell in Å³, for `Prediction.stress`.
        backend, overflow, mode
            See `evaluate`.

        Returns
        -------
        Prediction
            Without a leading axis: `atom_energy` (centers,), `force` (atoms, 3), `atom_virial`
            (atoms, 3, 3); energy and virial are the centres' sums.

        Raises
        ------
        InputError, NeighborOverflowError, RangeError
            See `evaluate`.

        Notes
        -----
        Where the displacements have the bits of those in `evaluate` and no two neighbours of an
        atom that share slots are equally far in binary32, atomic energies have the same bits. So
        have forces, where every ghost has an `owner` among the centres; else a ghost's share is
        summed by itself and rounding differs. `vectors` are judged by their own binary32 length
        where `evaluate` rounds positions first, which may order two neighbours otherwise.
        """
        return evaluate_given(
            self.network, self.evaluator(backend, mode), types_of(types, self.type_map), pairs,
            centers=centers, coord=coord, vectors=vectors, box=box, shift=shift, owner=owner,
            volume=volume, overflow=overflow)

    def evaluator(self, backend: Backend | Evaluator | Carrier,
                  mode: Mode | None = None) -> Evaluator:
        """Return what computes a neighbourhood; it is kept between calls."""
        if isinstance(backend, Carrier):
            if mode == "graph" and getattr(self.network, "sub_version", 1) == 2:
                raise InputError("mode: got graph with a board, which is a machine")
            return backend.for_model(self.network)
        if callable(backend):
            return backend
        key = backend, mode
        if key not in self._evaluators:
            work_dir = self._work_dir
            if backend == "sim" and work_dir is None:
                work_dir = Path(tempfile.mkdtemp(prefix="nvnmd-sim-"))
                # with the potential, or at the end of the program; without a warning
                weakref.finalize(self, shutil.rmtree, work_dir, ignore_errors=True)
            self._evaluators[key] = make_evaluator(self.network, backend, work_dir, mode)
        return self._evaluators[key]


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
    from nvnmd.deepmd.importer import import_model

    return Potential(import_model(file, type_map))


def _is_float_stage(folder: Path) -> bool:
    """The first stage's own folder: named so, or without the tables that a second stage needs."""
    return folder.name == "nvnmd_cnn" or not (folder / "map.npy").is_file()
