"""The weights and statistics of the float model, independent of the program that trained them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nvnmd.atomic_file import atomic_write
from nvnmd.errors import ModelFileError
from nvnmd.npy_archive import DAMAGED, read_arrays, read_entries

Array = NDArray[np.float64]
Layer = tuple[Array, Array]
Net = tuple[Layer, ...]

FORMAT = "nvnmd-float-weights-1"


@dataclass(frozen=True, kw_only=True)
class FloatWeights:
    """Float model of either version.

    Version 0 has one embedding net per neighbour type and one fitting net per centre type;
    version 1 one of each for all types, whose type vectors tell the types apart.

    Attributes
    ----------
    embedding : per neighbour type, per layer: (weight (nin, nout), bias (nout,))
        Nets from the scaled radial value s to the M1 features; tanh. One net in version 1.
    fit_weights : per layer (ntypes, nin, nout)
        Fitting nets, one per centre type (version 1: one in all, leading axis 1); the last layer
        has one output.
    fit_biases : per layer (ntypes, nout)
        Their biases.
    davg, dstd : (ntypes, 2)
        Mean and deviation of the radial and of the angular columns (1/Å), per centre type.
    t_bias_atom_e : (ntypes,)
        Energy of an atom of each type that is added to the net's output, in eV.
    min_nbor_dist : float
        Smallest distance between two atoms in the training data, in Å.
    tweight : (type vector's width, width of the first layer) or None
        Version 1: what the centre's type vector adds to the first fitting layer.
    type_embedding : per layer (weight, bias)
        Version 1: from the one-hot type to the type vector, without activation.
    sub_version : int
        SUB_VERSION of version 1, 1 or 2.
    type_net : per layer (weight, bias)
        Version 1: from the type vectors of neighbour and centre to the gains of the M1 features
        (SUB_VERSION 1: less 1); tanh. Absent after the quantized stage, as `embedding` is.
    """

    embedding: tuple[tuple[Layer, ...], ...]
    fit_weights: tuple[Array, ...]
    fit_biases: tuple[Array, ...]
    davg: Array
    dstd: Array
    t_bias_atom_e: Array
    min_nbor_dist: float
    tweight: Array | None = None
    type_embedding: Net = ()
    type_net: Net = ()
    sub_version: int = 1

    @property
    def version(self) -> int:
        """NVNMD version."""
        return 0 if self.tweight is None else 1

    @property
    def ntypes(self) -> int:
        """Number of atom types."""
        return len(self.t_bias_atom_e)

    def arrays(self) -> dict[str, NDArray]:
        """Return every number under a flat name, as checkpoints and `save` store them."""
        out: dict[str, NDArray] = {}
        for t, net in enumerate(self.embedding):
            for k, (weight, bias) in enumerate(net):
                out[f"embedding.{t}.{k}.weight"] = weight
                out[f"embedding.{t}.{k}.bias"] = bias
        for k, (weight, bias) in enumerate(zip(self.fit_weights, self.fit_biases, strict=True)):
            out[f"fitting.{k}.weight"] = weight
            out[f"fitting.{k}.bias"] = bias
        if self.tweight is not None:
            out["tweight"] = self.tweight
        for name, net in (("type_embedding", self.type_embedding), ("type_net", self.type_net)):
            for k, (weight, bias) in enumerate(net):
                out[f"{name}.{k}.weight"] = weight
                out[f"{name}.{k}.bias"] = bias
        if self.sub_version != 1:
            out["sub_version"] = np.array(self.sub_version)
        out["davg"], out["dstd"] = self.davg, self.dstd
        out["t_bias_atom_e"] = self.t_bias_atom_e
        out["min_nbor_dist"] = np.array(self.min_nbor_dist)
        return out

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> FloatWeights:
        """Rebuild the weights from the names that `arrays` gives.

        Raises
        ------
        KeyError
            A name is missing.
        """
        def number(name: str) -> Array:
            return np.asarray(arrays[name], dtype=np.float64)

        def net(name: str) -> Net:
            depth = sum(1 for key in arrays if key.startswith(f"{name}.")) // 2
            return tuple(
                (number(f"{name}.{k}.weight"), number(f"{name}.{k}.bias")) for k in range(depth)
            )

        nets = 1 if "tweight" in arrays else len(arrays["t_bias_atom_e"])
        fitting = net("fitting")
        return cls(
            embedding=tuple(net(f"embedding.{t}") for t in range(nets)),
            fit_weights=tuple(weight for weight, _ in fitting),
            fit_biases=tuple(bias for _, bias in fitting),
            davg=number("davg"),
            dstd=number("dstd"),
            t_bias_atom_e=number("t_bias_atom_e"),
            min_nbor_dist=float(arrays["min_nbor_dist"]),
            tweight=number("tweight") if "tweight" in arrays else None,
            type_embedding=net("type_embedding"),
            type_net=net("type_net"),
            sub_version=int(arrays.get("sub_version", 1)),
        )

    @classmethod
    def from_file(cls, arrays: Mapping[str, NDArray], path: str | Path) -> FloatWeights:
        """Rebuild the weights from arrays that were read from a file.

        Raises
        ------
        ModelFileError
            A name is missing, or what it names are not finite numbers.
        """
        for name, array in arrays.items():
            if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
                raise ModelFileError(f"{path}: the array {name} does not hold finite numbers only")
        try:
            return cls.from_arrays(arrays)
        except KeyError as error:
            raise ModelFileError(f"{path}: the array {error} is missing") from None
        except (TypeError, ValueError) as error:
            raise ModelFileError(f"{path}: not the arrays of weights ({error})") from None

    def save(self, path: str | Path) -> None:
        """Write the weights as an npz file without pickles, replacing it in one step."""
        with atomic_write(path) as file:
            np.savez(file, format=np.array(FORMAT), **self.arrays())  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> FloatWeights:
        """Read what `save` wrote.

        Raises
        ------
        ModelFileError
            The file is missing, damaged, or holds something else.
        """
        try:
            arrays = read_arrays(read_entries(path))
        except FileNotFoundError:
            raise ModelFileError(f"{path}: no such file") from None
        except DAMAGED as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelFileError(f"{path}: not a readable weight file ({reason})") from None
        if str(arrays.pop("format", "")) != FORMAT:
            raise ModelFileError(f"{path}: not a weight file of format {FORMAT}")
        return cls.from_file(arrays, path)
