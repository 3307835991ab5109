"""The evaluators of a model: its float network, the integer network, the simulated hardware."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nvnmd.errors import InputError, ModelFileError
from nvnmd.neighbors.slots import Neighborhood

if TYPE_CHECKING:
    from nvnmd.network.weights import FloatWeights
    from nvnmd.quantize.forces import Forces
    from nvnmd.quantize.model import Model
    from nvnmd.quantize.normalize import Mode

Floats = NDArray[np.float64]
Backend = Literal["float", "fixed", "sim"]
# Far above any list of neighbours
_MOST_SLOTS = 1 << 16


class Evaluator(Protocol):
    """What computes a frame from its neighbours; any object that can be called so is a backend.

    A function will do, and so will an object that holds a board. It is called with a
    `Neighborhood` and returns atomic energies (n,) in eV, the bias of the type included, and
    `nvnmd.quantize.forces.Forces` of `n + ghosts` rows, atoms in the neighbourhood's order; `n` may
    be 0. What it cannot compute it raises as an `NvnmdError`.
    """

    def __call__(self, near: Neighborhood, /) -> tuple[Floats, Forces]: ...


@runtime_checkable
class Carrier(Protocol):
    """What can carry any model, like a board: it is asked for the evaluator of this one.

    So no frame is computed with a model that another user of the same object has loaded.
    """

    def for_model(self, model: Model | FloatNetwork, /) -> Evaluator: ...


@dataclass(frozen=True, kw_only=True)
class FloatNetwork:
    """The float network of a CNN folder, with what evaluating it needs; see `Model`."""

    weights: FloatWeights
    type_map: tuple[str, ...]
    sel: tuple[int, ...]
    rcut: float
    rcut_smth: float
    axis_neuron: int
    exclude: tuple[tuple[int, int], ...] = ()

    @property
    def shared_types(self) -> int | None:
        """Number of types that share the neighbour slots (version 1); None in version 0."""
        return self.weights.ntypes if self.weights.version else None

    @classmethod
    def load(cls, folder: Path) -> FloatNetwork:
        """Read `config.npy` and `weight.npy`.

        Raises
        ------
        ModelFileError
            A file is missing, damaged or of another version.
        """
        from nvnmd.deepmd.files import read_dict
        from nvnmd.deepmd.tables import sub_version_of
        from nvnmd.deepmd.weights import from_deepmd

        file = folder / "config.npy"
        config = read_dict(file)
        try:
            descriptor, sub_version = config["dscp"], sub_version_of(config)
            settings: dict[str, Any] = {
                "type_map": tuple(str(name) for name in config["dpin"]["type_map"]),
                # one number in version 1
                "sel": tuple(int(n) for n in np.atleast_1d(descriptor["sel"])),
                "rcut": float(descriptor["rcut"]), "rcut_smth": float(descriptor["rcut_smth"]),
                "axis_neuron": int(descriptor["axis_neuron"]),
                "exclude": tuple((int(a), int(b))
                                 for a, b in descriptor.get("exclude_types", []))}
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ModelFileError(f"{file}: no usable value of {error}") from None
        weights = from_deepmd(
            read_dict(folder / "weight.npy"), str(folder / "weight.npy"), sub_version)
        found = cls(weights=weights, **settings)
        found._check(file)
        return found

    def _check(self, file: Path) -> None:
        """Raise ModelFileError if settings of a file are not usable, or not those of the weights.
        """
        weights, n = self.weights, self.weights.ntypes
        if len(self.type_map) != n:
            raise ModelFileError(f"{file}: type_map of {len(self.type_map)} types, but the weights "
                                 f"are of {n}")
        usable = 0 <= min(self.sel, default=-1) <= max(self.sel, default=0) <= _MOST_SLOTS
        if len(self.sel) != (1 if weights.version else n) or not usable or not any(self.sel):
            raise ModelFileError(f"{file}: sel {str(self.sel)[:60]}, expected 1 to {_MOST_SLOTS} "
                                 f"slots for each of {n} types, or for all in version 1")
        if not 0.0 <= self.rcut_smth < self.rcut < math.inf:
            raise ModelFileError(f"{file}: rcut_smth {self.rcut_smth} and rcut {self.rcut}, "
                                 "expected 0 <= rcut_smth < rcut")
        if any(not (0 <= a < n and 0 <= b < n) for a, b in self.exclude):
            raise ModelFileError(f"{file}: exclude_types {str(self.exclude)[:60]}, expected types "
                                 f"0 to {n - 1}")
        features = weights.embedding[0][-1][0].shape[-1] if all(weights.embedding) else 0
        if features and (not 1 <= self.axis_neuron <= features or
                         weights.fit_weights[0].shape[1] != features * self.axis_neuron):
            raise ModelFileError(f"{file}: axis_neuron {self.axis_neuron}, but the weights have "
                                 f"{features} features and {weights.fit_weights[0].shape[1]} "
                                 "inputs of the fitting net, their product")


def float_evaluator(network: Model | FloatNetwork) -> Evaluator:
    """Evaluate with the nets before quantization."""
    held = network.weights if isinstance(network, FloatNetwork) else network
    if not held.embedding or not all(held.embedding) or (held.version and not held.type_net):
        raise InputError("backend: got float, but the model holds no continuous network (as one "
                         "from a model.pb), expected fixed or sim")
    from nvnmd.network.compiled import float_evaluator as build

    weights = network.weights if isinstance(network, FloatNetwork) else network
    return build(weights, sel=network.sel, rcut=network.rcut, rcut_smth=network.rcut_smth,
                 axis_neuron=network.axis_neuron)


def make_evaluator(network: Model | FloatNetwork, backend: Backend,
                   work_dir: Path | None = None, mode: Mode | None = None) -> Evaluator:
    """The evaluator of a backend; keep it between frames, it holds what the model implies.

    Parameters
    ----------
    network : Model or FloatNetwork
        The latter has the backend `float` only.
    backend : {"float", "fixed", "sim"}
        The nets before quantization, the integer network, or the simulated hardware.
    work_dir : Path, optional
        Where `sim` builds its simulator; one that is there already is used again.
    mode : {"graph", "machine"}, optional
        Whose words `fixed` computes in (`nvnmd.quantize.normalize`); the graph's by default, where
        the model has them. `sim` is a machine.

    Raises
    ------
    InputError
        There is no such backend, or a float network has only `float`.
    """
    if backend == "float":
        return float_evaluator(network)
    if backend not in ("fixed", "sim"):
        raise InputError(f"backend: got {backend!r}, expected float, fixed or sim")
    if isinstance(network, FloatNetwork):
        raise InputError(f"backend: got {backend}, but this is a continuous network, which has the "
                         "backend float only: give --backend float, or the model.nvnmd of "
                         "`train-qnn`")
    if mode == "graph" and backend == "sim" and network.sub_version == 2:
        raise InputError("mode: got graph with the backend sim, which is a machine")
    if backend == "fixed":
        from nvnmd.quantize.compiled.model import evaluator
        from nvnmd.quantize.normalize import chosen_mode

        return evaluator(network, chosen_mode(network, mode))
    from nvnmd.evaluation.simulate import sim_evaluator
    from nvnmd.hdl.export import config_for

    if work_dir is None:
        raise ValueError("the backend sim needs a work_dir")
    return sim_evaluator(network, config_for(network), work_dir)
