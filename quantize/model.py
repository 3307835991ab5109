"""The frozen model: one file from which reference, hardware and calculators all start."""

from __future__ import annotations

import io
import json
import os
import zipfile
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.atomic_file import atomic_write
from nvnmd.errors import ModelFileError, RangeError
from nvnmd.npy_archive import DAMAGED, read_arrays, read_entries
from nvnmd.quantize.formats import FLT
from nvnmd.quantize.model_check import check_model
from nvnmd.quantize.model_data import ModelData
from nvnmd.quantize.model_parts import (
    arrays_of,
    digest_of,
    header_of,
    values_of,
)
from nvnmd.quantize.ops import trunc_flt

MAGIC = "nvnmd-model"
FORMAT_VERSION = 3
"""Format 2 added what the training saw, 3 the widths; files of formats 1 and 2 are read, too."""
READABLE = (1, 2, 3)

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Model(ModelData):
    """A frozen model as a file: the one hand-off to reference, hardware, boards and calculators."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the header's values and every array, in hexadecimal digits."""
        return digest_of(header_of(self), arrays_of(self))

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
    if found not in READABLE:
        raise ModelFileError(
            f"{path}: model file format {found}, this program reads formats 1 to {FORMAT_VERSION}"
        )
    model = document.get("model")
    version = model.get("version") if isinstance(model, dict) else None
    if version not in (0, 1):
        raise ModelFileError(f"{path}: NVNMD version {version}, expected 0 or 1")


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
