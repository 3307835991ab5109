"""The frozen model: one file from which reference, hardware and calculators all start."""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.atomic_file import atomic_write
from nvnmd.errors import ModelFileError, RangeError
from nvnmd.mapping.layout import TableLayout
from nvnmd.npy_archive import DAMAGED, read_arrays, read_entries
from nvnmd.quantize.formats import FLT
from nvnmd.quantize.model_check import check_model
from nvnmd.quantize.model_parts import (
    TYPE_ARRAYS,
    arrays_of,
    digest_of,
    header_of,
    values_of,
)
from nvnmd.quantize.ops import FIX_FRAC, round_bits, trunc_flt

MAGIC = "nvnmd-model"
FORMAT_VERSION = 1

Floats = NDArray[np.float64]
Net = tuple[tuple[Floats, Floats], ...]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A quantized Deep Potential of NVNMD version 0 or 1, and the float model it came from.

    ``ntab`` is the number of parameter sets: one per type in version 0, one in version 1, where
    the type enters by `inv_std`, `type_gain` and `tweight`.

    Attributes
    ----------
    version : int
        NVNMD version.
    type_map : tuple of str
        Element names.
    sel : tuple of int
        Neighbour slots per neighbour type; in version 1 one number for all types together.
    max_nnei : int
        Neighbour capacity of the hardware the model was trained for.
    rcut, rcut_smth : float
        Cut-off radius and start of smoothing, in Å.
    axis_neuron : int
        M2.
    u_layout, s_layout : TableLayout
        Where the rows of the u and G tables lie.
    table_u, table_u_grad : (ntab, rows, 2, 4)
        Coefficients a, b, c, d of s and h (and their derivatives by u) per centre type, flt values;
        in version 1 without mean and deviation.
    table_g, table_g_grad : (ntab, rows, M1, 4)
        Coefficients of G (and dG/ds) per neighbour type, flt values; in version 1 before the type
        gain.
    fit_weights, fit_biases : tuples of (ntab, nin, nout) and (ntab, nout)
        The fitting nets, per centre type, unrounded binary64.
    t_bias_atom_e : (ntypes,)
        Atomic energy bias in eV.
    davg, dstd : (ntypes, 2)
        Mean and deviation of the radial and the angular part of the environment matrix.
    embedding : tuple over neighbour types of tuples over layers of (W, b)
        The embedding nets, which only the float model uses; one in version 1.
    inv_std : (ntypes, 2)
        Version 1: inverse deviations of s and h by centre type, flt values.
    type_gain : (ntypes, ntypes, M1)
        Version 1: what G is multiplied by, by centre and neighbour type, flt values.
    t_ebd : (ntypes, 8)
        Version 1: the types' vectors.
    tweight : (8, width)
        Version 1: weights of the centre's type vector in the first fitting layer.
    type_embedding, type_net : tuples over layers of (W, b)
        Version 1: the nets behind `t_ebd` and `type_gain`, which only the float model uses.
    origin : mapping
        Where the model comes from, in JSON's types. A model that was read from a `model.pb` has no
        float network: `embedding`, `davg` and `dstd` are empty there, and `rcut_smth` is 0.
    extras : mapping of names to arrays
        Numbers that only files for DeePMD-kit hold (see `nvnmd.model_extras`): the float stage's
        fitting nets, table coefficients as binary64.
    """

    version: int
    type_map: tuple[str, ...]
    sel: tuple[int, ...]
    max_nnei: int
    rcut: float
    rcut_smth: float
    u_layout: TableLayout
    s_layout: TableLayout
    table_u: Floats
    table_u_grad: Floats
    table_g: Floats
    table_g_grad: Floats
    fit_weights: tuple[Floats, ...]
    fit_biases: tuple[Floats, ...]
    t_bias_atom_e: Floats
    davg: Floats
    dstd: Floats
    embedding: tuple[tuple[tuple[Floats, Floats], ...], ...]
    axis_neuron: int = 4
    inv_std: Floats | None = None
    type_gain: Floats | None = None
    t_ebd: Floats | None = None
    tweight: Floats | None = None
    type_embedding: Net = ()
    type_net: Net = ()
    origin: Mapping[str, Any] = field(default_factory=dict, compare=False)
    extras: Mapping[str, NDArray] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        missing = [name for name in TYPE_ARRAYS if getattr(self, name) is None]
        if self.version == 1 and missing:
            raise ValueError(f"a model of version 1 needs {', '.join(missing)}")
        if self.version == 0 and len(missing) != len(TYPE_ARRAYS):
            raise ValueError("a model of version 0 has no type arrays")

    @property
    def ntypes(self) -> int:
        """Number of atom types."""
        return len(self.type_map)

    @property
    def m1(self) -> int:
        """Width of the embedding."""
        return int(self.table_g.shape[2])

    @property
    def m2(self) -> int:
        """Axis neurons."""
        return self.axis_neuron

    @property
    def width(self) -> int:
        """Width of the hidden layers of the fitting net."""
        return int(self.fit_weights[0].shape[2])

    @property
    def hidden(self) -> int:
        """Number of hidden layers of the fitting net."""
        return len(self.fit_weights) - 1

    @property
    def nnei(self) -> int:
        """Neighbour slots of an atom."""
        return sum(self.sel)

    @property
    def shared_types(self) -> int | None:
        """Number of types that share the neighbour slots (version 1); None in version 0."""
        return self.ntypes if self.version else None

    @property
    def nix_shift(self) -> int:
        """log2 of NIX, the power of two that GR is divided by."""
        return math.ceil(math.log2(self.nnei / 1.5))

    @property
    def nix(self) -> int:
        """``2^ceil(log2(nnei/1.5))``."""
        return 1 << self.nix_shift

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the header's values and every array, in hexadecimal digits."""
        return digest_of(header_of(self), arrays_of(self))

    @property
    def type_terms(self) -> Floats:
        """Version 1: what the centre's type adds in the first fitting layer, (ntypes, width).

        ``round_23(t_ebd @ tweight)``, the product in binary64 of unquantized factors.
        """
        if self.t_ebd is None or self.tweight is None:
            raise ValueError("only a model of version 1 has type terms")
        return np.asarray(round_bits(np.matmul(self.t_ebd, self.tweight), FIX_FRAC))

    def save(self, path: str | os.PathLike) -> None:
        """Write the model file (a zip of a JSON header and npy arrays), all or nothing.

        Raises
        ------
        RangeError
            If a table coefficient leaves the flt format.
        """
        header, arrays = header_of(self), arrays_of(self)
        document = {
            "magic": MAGIC,
            "format": FORMAT_VERSION,
            "digest": digest_of(header, arrays),
            "model": header,
        }
        with (
            atomic_write(path) as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            _write_entry(archive, "header.json", json.dumps(document, indent=1).encode())
            for name, array in arrays.items():
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, np.ascontiguousarray(array))
                _write_entry(archive, f"{name}.npy", buffer.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike) -> Model:
        """Read a model file.

        Raises
        ------
        ModelFileError
            If the file is missing, cut short, altered, or of another format version.
        """
        try:
            entries = read_entries(path)
            document = json.loads(entries.pop("header.json"))
        except FileNotFoundError:
            raise ModelFileError(f"{path}: no such file, expected a model file") from None
        except DAMAGED as error:
            raise _not_whole(path, error) from None
        _check_document(document, path)
        try:
            header, arrays = document["model"], read_arrays(entries)
            for name, array in arrays.items():
                if array.dtype.kind not in "fu" or not np.all(np.isfinite(array)):
                    raise ValueError(f"{name} holds {array.dtype}, expected finite numbers")
            damaged = digest_of(header, arrays) != document["digest"]
            model = None if damaged else cls(**values_of(header, arrays))
            if model is not None:
                check_model(model)
        except (*DAMAGED, AttributeError, IndexError, OverflowError) as error:
            raise _not_whole(path, error) from None
        if model is None:
            raise ModelFileError(f"{path}: its digest does not match its contents, file damaged")
        return model

def to_flt_table(coefficients: Floats, what: str) -> Floats:
    """Table coefficients as the hardware holds them: cut to flt, tiny ones flushed to zero.

    Raises
    ------
    RangeError
        If a coefficient is too large for the format or not finite.
    """
    cut = trunc_flt(np.asarray(coefficients, dtype=np.float64))
    if not np.all(np.isfinite(cut)) or np.any(np.abs(cut) >= 2.0**FLT.bias):
        raise RangeError(f"{what}: a coefficient leaves the flt format, expected below 2**128")
    return np.where(np.abs(cut) < FLT.smallest, 0.0, cut)


def _write_entry(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    # a fixed date, so that equal models give equal files
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, data)


def _not_whole(path: str | os.PathLike, error: BaseException) -> ModelFileError:
    reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
    return ModelFileError(
        f"{path}: not a whole model file ({reason or type(error).__name__}), expected one written "
        "by train-qnn or import"
    )


def _check_document(document: Any, path: str | os.PathLike) -> None:
    if not isinstance(document, dict) or document.get("magic") != MAGIC:
        raise ModelFileError(f"{path}: no {MAGIC} header, expected a file written by train-qnn")
    found = document.get("format")
    if found != FORMAT_VERSION:
        raise ModelFileError(
            f"{path}: model file format {found}, this program reads format {FORMAT_VERSION}"
        )
    model = document.get("model")
    version = model.get("version") if isinstance(model, dict) else None
    if version not in (0, 1):
        raise ModelFileError(f"{path}: NVNMD version {version}, expected 0 or 1")
