"""The weights and statistics of the float model, independent of the program that trained them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.atomic_file import atomic_write
from nvnmd.errors import ModelFileError

Array = NDArray[np.float64]
Layer = tuple[Array, Array]

FORMAT = "nvnmd-float-weights-1"


@dataclass(frozen=True, kw_only=True)
class FloatWeights:
    """Float model of version 0: one embedding net per neighbour type, one fitting net per type.

    Attributes
    ----------
    embedding : per neighbour type, per layer: (weight (nin, nout), bias (nout,))
        Nets from the scaled radial value s to the M1 features; tanh.
    fit_weights : per layer (ntypes, nin, nout)
        Fitting nets, one per centre type; the last layer has one output.
    fit_biases : per layer (ntypes, nout)
        Their biases.
    davg, dstd : (ntypes, 2)
        Mean and deviation of the radial and of the angular columns (1/Å), per centre type.
    t_bias_atom_e : (ntypes,)
        Energy of an atom of each type that is added to the net's output, in eV.
    min_nbor_dist : float
        Smallest distance between two atoms in the training data, in Å.
    """

    embedding: tuple[tuple[Layer, ...], ...]
    fit_weights: tuple[Array, ...]
    fit_biases: tuple[Array, ...]
    davg: Array
    dstd: Array
    t_bias_atom_e: Array
    min_nbor_dist: float

    @property
    def ntypes(self) -> int:
        """Number of atom types."""
        return len(self.embedding)

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
        ntypes = len(arrays["t_bias_atom_e"])
        depth = sum(1 for name in arrays if name.startswith("embedding.0.")) // 2
        layers = sum(1 for name in arrays if name.startswith("fitting.")) // 2
        return cls(
            embedding=tuple(
                tuple(
                    (
                        np.asarray(arrays[f"embedding.{t}.{k}.weight"], dtype=np.float64),
                        np.asarray(arrays[f"embedding.{t}.{k}.bias"], dtype=np.float64),
                    )
                    for k in range(depth)
                )
                for t in range(ntypes)
            ),
            fit_weights=tuple(
                np.asarray(arrays[f"fitting.{k}.weight"], dtype=np.float64) for k in range(layers)
            ),
            fit_biases=tuple(
                np.asarray(arrays[f"fitting.{k}.bias"], dtype=np.float64) for k in range(layers)
            ),
            davg=np.asarray(arrays["davg"], dtype=np.float64),
            dstd=np.asarray(arrays["dstd"], dtype=np.float64),
            t_bias_atom_e=np.asarray(arrays["t_bias_atom_e"], dtype=np.float64),
            min_nbor_dist=float(arrays["min_nbor_dist"]),
        )

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
            # From memory: NumPy leaves a file open when its archive is damaged.
            with np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except FileNotFoundError:
            raise ModelFileError(f"{path}: no such file") from None
        except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError) as error:
            raise ModelFileError(f"{path}: not a readable weight file ({error})") from None
        if str(arrays.pop("format", "")) != FORMAT:
            raise ModelFileError(f"{path}: not a weight file of format {FORMAT}")
        try:
            return cls.from_arrays(arrays)
        except KeyError as error:
            raise ModelFileError(f"{path}: the array {error} is missing") from None

    def to_deepmd(self, sel: Sequence[int]) -> dict[str, Any]:
        """Return the dictionary of `weight.npy`, with DeePMD-kit's names and shapes.

        Parameters
        ----------
        sel : sequence of int
            Slots per neighbour type: the statistics are repeated for each of the `sum(sel)` slots.
        """
        columns = [0, 1, 1, 1]
        slots = sum(sel)
        out: dict[str, Any] = {
            "descrpt_attr.t_avg": np.tile(self.davg[:, columns], (1, slots)),
            "descrpt_attr.t_std": np.tile(self.dstd[:, columns], (1, slots)),
        }
        for t, net in enumerate(self.embedding):
            for k, (weight, bias) in enumerate(net, start=1):
                out[f"filter_type_all.matrix_{k}_{t}"] = weight
                out[f"filter_type_all.bias_{k}_{t}"] = bias
        out["fitting_attr.t_bias_atom_e"] = self.t_bias_atom_e
        last = len(self.fit_weights) - 1
        for t in range(self.ntypes):
            for k, (weights, biases) in enumerate(
                zip(self.fit_weights, self.fit_biases, strict=True)
            ):
                layer = f"final_layer_type_{t}" if k == last else f"layer_{k}_type_{t}"
                out[f"{layer}.matrix"] = weights[t]
                out[f"{layer}.bias"] = biases[t]
        out["train_attr.min_nbor_dist"] = np.float64(self.min_nbor_dist)
        out["t_bias_atom_e"] = self.t_bias_atom_e
        return out

    @classmethod
    def from_deepmd(cls, weight: Mapping[str, Any], source: str = "weight.npy") -> FloatWeights:
        """Take the dictionary of a `weight.npy` of version 0.

        Parameters
        ----------
        weight : mapping
            Arrays under DeePMD-kit's names; a name may carry a `_1` suffix. Written after the
            quantized stage it holds no embedding nets: their tuples are then empty.
        source : str
            What to call the file in messages.

        Raises
        ------
        ModelFileError
            An array is missing or of an unexpected shape, or the model is not of version 0.
        """

        def get(name: str) -> Array:
            for key in (name, f"{name}_1"):
                if key in weight:
                    return np.asarray(weight[key], dtype=np.float64)
            raise ModelFileError(f"{source}: the array {name!r} is missing")

        if not any(key.startswith("layer_0_type_0.") for key in weight):
            raise ModelFileError(
                f"{source}: no 'layer_0_type_0.matrix', so not a model of NVNMD version 0"
            )
        bias_name = "t_bias_atom_e" if "t_bias_atom_e" in weight else "fitting_attr.t_bias_atom_e"
        bias = get(bias_name).reshape(-1)
        ntypes = len(bias)
        statistics = []
        for name in ("descrpt_attr.t_avg", "descrpt_attr.t_std"):
            table = get(name)
            if table.ndim != 2 or table.shape[0] != ntypes or table.shape[1] % 4:
                raise ModelFileError(
                    f"{source}: {name} has shape {table.shape}, "
                    f"expected ({ntypes}, 4 x neighbour slots)"
                )
            statistics.append(table[:, :2].copy())
        depth = 0
        while f"filter_type_all.matrix_{depth + 1}_0" in weight:
            depth += 1
        hidden = 0
        while any(f"layer_{hidden}_type_0.matrix{s}" in weight for s in ("", "_1")):
            hidden += 1
        names = [f"layer_{k}_type" for k in range(hidden)] + ["final_layer_type"]
        return cls(
            embedding=tuple(
                tuple(
                    (
                        get(f"filter_type_all.matrix_{k}_{t}"),
                        get(f"filter_type_all.bias_{k}_{t}").reshape(-1),
                    )
                    for k in range(1, depth + 1)
                )
                for t in range(ntypes)
            ),
            fit_weights=tuple(
                np.stack([get(f"{name}_{t}.matrix") for t in range(ntypes)]) for name in names
            ),
            fit_biases=tuple(
                np.stack([get(f"{name}_{t}.bias").reshape(-1) for t in range(ntypes)])
                for name in names
            ),
            davg=statistics[0],
            dstd=statistics[1],
            t_bias_atom_e=bias,
            min_nbor_dist=float(get("train_attr.min_nbor_dist")),
        )
