"""The frozen model: one file from which reference, hardware and calculators all start."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.errors import ModelFileError, RangeError
from nvnmd.mapping.layout import Segment, TableLayout
from nvnmd.quantize.formats import FLT, decode_flt, encode_flt
from nvnmd.quantize.ops import trunc_flt

MAGIC = "nvnmd-model"
FORMAT_VERSION = 1
# What a header may claim at most, checked before any memory is taken
_MAX_ENTRY_BYTES = 256 << 20

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A quantized Deep Potential of NVNMD version 0, and the float model it came from.

    Attributes
    ----------
    version : int
        NVNMD version.
    type_map : tuple of str
        Element names.
    sel : tuple of int
        Neighbour slots per neighbour type.
    max_nnei : int
        Neighbour capacity of the hardware the model was trained for.
    rcut, rcut_smth : float
        Cut-off radius and start of smoothing, in Å.
    axis_neuron : int
        M2.
    u_layout, s_layout : TableLayout
        Where the rows of the u and G tables lie.
    table_u, table_u_grad : (ntypes, rows, 2, 4)
        Coefficients a, b, c, d of s and h (and their derivatives by u) per centre type, flt values.
    table_g, table_g_grad : (ntypes, rows, M1, 4)
        Coefficients of G (and dG/ds) per neighbour type, flt values.
    fit_weights, fit_biases : tuples of (ntypes, nin, nout) and (ntypes, nout)
        The fitting nets, per centre type, unrounded binary64.
    t_bias_atom_e : (ntypes,)
        Atomic energy bias in eV.
    davg, dstd : (ntypes, 2)
        Mean and deviation of the radial and the angular part of the environment matrix.
    embedding : tuple over neighbour types of tuples over layers of (W, b)
        The embedding nets, which only the float model uses.
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
    origin: Mapping[str, Any] = field(default_factory=dict, compare=False)

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
        return _digest(self._header(), self._arrays())

    def with_fitting(self, weights: tuple[Floats, ...], biases: tuple[Floats, ...]) -> Model:
        """The same model with other fitting nets."""
        return replace(self, fit_weights=weights, fit_biases=biases)

    def _header(self) -> dict:
        return {
            "version": self.version,
            "type_map": list(self.type_map),
            "sel": list(self.sel),
            "max_nnei": self.max_nnei,
            "rcut": float(self.rcut).hex(),
            "rcut_smth": float(self.rcut_smth).hex(),
            "axis_neuron": self.axis_neuron,
            "layouts": {
                name: {
                    "x0": float(layout.x0).hex(),
                    "segments": [
                        [float(s.start).hex(), float(s.step).hex(), s.rows, s.first_row]
                        for s in layout.segments
                    ],
                }
                for name, layout in (("u", self.u_layout), ("s", self.s_layout))
            },
            "embedding_layers": [len(net) for net in self.embedding],
            "fitting_layers": len(self.fit_weights),
            "origin": dict(self.origin),
        }

    def _arrays(self) -> dict[str, NDArray]:
        arrays: dict[str, NDArray] = {
            name: encode_flt(getattr(self, name), what=name).astype("<u4")
            for name in ("table_u", "table_u_grad", "table_g", "table_g_grad")
        }
        for i, (w, b) in enumerate(zip(self.fit_weights, self.fit_biases, strict=True)):
            arrays[f"fit_w{i}"], arrays[f"fit_b{i}"] = w, b
        for name in ("t_bias_atom_e", "davg", "dstd"):
            arrays[name] = getattr(self, name)
        for t, net in enumerate(self.embedding):
            for i, (w, b) in enumerate(net):
                arrays[f"emb{t}_w{i}"], arrays[f"emb{t}_b{i}"] = w, b
        return arrays

    def save(self, path: str | os.PathLike) -> None:
        """Write the model file (a zip of a JSON header and npy arrays), all or nothing.

        Raises
        ------
        RangeError
            If a table coefficient leaves the flt format.
        """
        header, arrays = self._header(), self._arrays()
        document = {
            "magic": MAGIC,
            "format": FORMAT_VERSION,
            "digest": _digest(header, arrays),
            "model": header,
        }
        target = Path(path)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
                _write_entry(archive, "header.json", json.dumps(document, indent=1).encode())
                for name, array in arrays.items():
                    buffer = io.BytesIO()
                    np.lib.format.write_array(buffer, np.ascontiguousarray(array))
                    _write_entry(archive, f"{name}.npy", buffer.getvalue())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Model:
        """Read a model file.

        Raises
        ------
        ModelFileError
            If the file is missing, cut short, altered, or of another format version.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                document = json.loads(_read_entry(archive, "header.json", path))
                _check_document(document, path)
                arrays = {
                    entry.filename[:-4]: _read_array(archive, entry.filename, path)
                    for entry in archive.infolist()
                    if entry.filename.endswith(".npy")
                }
        except FileNotFoundError:
            raise ModelFileError(f"{path}: no such file, expected a model file") from None
        except (zipfile.BadZipFile, EOFError, OSError, ValueError, KeyError) as error:
            raise ModelFileError(
                f"{path}: not a whole model file ({error}), expected one written by train-qnn"
            ) from None
        header = document["model"]
        if _digest(header, arrays) != document["digest"]:
            raise ModelFileError(f"{path}: its digest does not match its contents, file damaged")
        return cls._from_parts(header, arrays)

    @classmethod
    def _from_parts(cls, header: dict, arrays: dict[str, NDArray]) -> Model:
        layouts = {
            name: TableLayout(
                x0=float.fromhex(entry["x0"]),
                segments=tuple(
                    Segment(float.fromhex(start), float.fromhex(step), rows, first)
                    for start, step, rows, first in entry["segments"]
                ),
            )
            for name, entry in header["layouts"].items()
        }
        layers = range(header["fitting_layers"])
        return cls(
            version=header["version"],
            type_map=tuple(header["type_map"]),
            sel=tuple(header["sel"]),
            max_nnei=header["max_nnei"],
            rcut=float.fromhex(header["rcut"]),
            rcut_smth=float.fromhex(header["rcut_smth"]),
            axis_neuron=header["axis_neuron"],
            u_layout=layouts["u"],
            s_layout=layouts["s"],
            table_u=decode_flt(arrays["table_u"]),
            table_u_grad=decode_flt(arrays["table_u_grad"]),
            table_g=decode_flt(arrays["table_g"]),
            table_g_grad=decode_flt(arrays["table_g_grad"]),
            fit_weights=tuple(arrays[f"fit_w{i}"] for i in layers),
            fit_biases=tuple(arrays[f"fit_b{i}"] for i in layers),
            t_bias_atom_e=arrays["t_bias_atom_e"],
            davg=arrays["davg"],
            dstd=arrays["dstd"],
            embedding=tuple(
                tuple((arrays[f"emb{t}_w{i}"], arrays[f"emb{t}_b{i}"]) for i in range(count))
                for t, count in enumerate(header["embedding_layers"])
            ),
            origin=header["origin"],
        )


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


def _digest(header: dict, arrays: Mapping[str, NDArray]) -> str:
    sha = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        sha.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


def _write_entry(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    # a fixed date, so that equal models give equal files
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, data)


def _read_entry(archive: zipfile.ZipFile, name: str, path: str | os.PathLike) -> bytes:
    if archive.getinfo(name).file_size > _MAX_ENTRY_BYTES:
        raise ModelFileError(f"{path}: {name} claims more than {_MAX_ENTRY_BYTES} bytes, refused")
    return archive.read(name)


def _read_array(archive: zipfile.ZipFile, name: str, path: str | os.PathLike) -> NDArray:
    array = np.lib.format.read_array(
        io.BytesIO(_read_entry(archive, name, path)), allow_pickle=False
    )
    if array.dtype.kind not in "fu" or not np.all(np.isfinite(array)):
        raise ModelFileError(f"{path}: {name} holds {array.dtype}, expected finite numbers")
    return array


def _check_document(document: Any, path: str | os.PathLike) -> None:
    if not isinstance(document, dict) or document.get("magic") != MAGIC:
        raise ModelFileError(f"{path}: no {MAGIC} header, expected a file written by train-qnn")
    found = document.get("format")
    if found != FORMAT_VERSION:
        raise ModelFileError(
            f"{path}: model file format {found}, this program reads format {FORMAT_VERSION}"
        )
