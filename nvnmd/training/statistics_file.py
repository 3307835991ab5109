"""The statistics of a training's data: taken from the data, or from the file of an earlier run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.atomic_file import atomic_write
from nvnmd.data.frame_pairs import NeighborCache
from nvnmd.data.mixed import pools
from nvnmd.data.systems import System
from nvnmd.errors import InputError, one_line
from nvnmd.inputs.config import RunConfig
from nvnmd.network.statistics import Statistics, collect_statistics
from nvnmd.npy_archive import DAMAGED, digest_of, read_arrays, read_entries
from nvnmd.progress import Log, counted

FORMAT = "nvnmd-statistics-2"
"""Format 2 added a digest; files of format 1 are read, too."""
READABLE = ("nvnmd-statistics-1", FORMAT)
ARRAYS = tuple(field.name for field in fields(Statistics))


def training_statistics(
    config: RunConfig, cache: NeighborCache, log: Log, *, write: bool = True
) -> Statistics:
    """Return the statistics that a training begins with.

    With a `stat_file` that exists, mean, deviation and energy bias are those of the file; what the
    nearest distance and the most neighbours are is found anew if the data are others than then.
    A file that does not exist is written, unless `write` is false, as in all workers but one.

    Raises
    ------
    InputError
        No two atoms are within the cut-off; the file is not readable, or other settings made it.
    """
    chosen = sampled_frames(cache.systems, config.training.batch_size, config.statistics.nbatch,
                            config.training.seed)

    def collected() -> Statistics:
        with counted("statistics") as progress:
            return collect_statistics(
                cache, config.descriptor.rcut_smth, progress=progress, rcond=config.fitting.rcond,
                atom_ener=config.fitting.atom_ener, frames=chosen,
                protection=config.statistics.protect, zero_mean=config.descriptor.set_davg_zero,
                shared_mean=config.sub_version == 2)

    if config.training.stat_file is None:
        return collected()
    file = Path(config.training.stat_file)
    digest = data_digest(cache.systems)
    if not file.exists():
        found = collected()
        if write:
            _save(file, found, _settings(config), digest)
            log(f"statistics: written to {file}")
        return found
    stored, theirs = _load(file, _settings(config), config.ntypes)
    if theirs == digest:
        log(f"statistics: read from {file}")
        return stored
    log(f"statistics: normalisation and energy bias read from {file}, which is of other data")
    present = collected()
    return replace(stored, largest_counts=present.largest_counts,
                   min_nbor_dist=min(present.min_nbor_dist, stored.min_nbor_dist))


def sampled_frames(systems: Sequence[System], batch_sizes: Sequence[int], nbatch: int,
                   seed: int | None) -> list[NDArray[np.int64]]:
    """Draw `nbatch` batches of each system, ascending; all its frames if it has no more.

    A batch size belongs to a system as it was read; its parts of one composition share the draw.
    """
    rng = np.random.default_rng(seed)
    chosen = [np.zeros(0, np.int64)] * len(systems)
    for parts, size in zip(pools(systems), batch_sizes, strict=True):
        ends = np.cumsum([systems[part].nframes for part in parts])
        drawn = np.sort(rng.permutation(ends[-1])[: nbatch * size])
        for part, end in zip(parts, ends, strict=True):
            first = end - systems[part].nframes
            chosen[part] = drawn[(drawn >= first) & (drawn < end)] - first
    return chosen


def data_digest(systems: Sequence[System]) -> str:
    """Return a number that changes with any type, position, cell or energy of the data."""
    total = hashlib.sha256()
    for system in systems:
        for array in (system.types, system.coord, system.box, system.energy):
            total.update(str(None if array is None else array.shape).encode())
            if array is not None:
                total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def _settings(config: RunConfig) -> dict[str, Any]:
    """What the normalisation and the energy bias depend on beside the data."""
    return {
        "version": config.version, "type_map": list(config.type_map),
        "sel": list(config.descriptor.sel), "rcut": config.descriptor.rcut,
        "rcut_smth": config.descriptor.rcut_smth,
        "exclude_types": [list(pair) for pair in config.descriptor.exclude_types],
        "enable_atom_ener_coeff": config.loss.enable_atom_ener_coeff,
        "set_davg_zero": config.descriptor.set_davg_zero, "rcond": config.fitting.rcond,
        "atom_ener": list(config.fitting.atom_ener),
        **{f"data_stat_{key}": value for key, value in asdict(config.statistics).items()},
    }


def _save(file: Path, statistics: Statistics, settings: dict[str, Any], digest: str) -> None:
    header = {"format": FORMAT, "settings": settings, "data": digest}
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {name: np.asarray(getattr(statistics, name)) for name in ARRAYS}
    # as the file's reader sees them: texts of JSON, no tuples
    header["digest"] = digest_of(json.loads(json.dumps(header)), arrays)
    with atomic_write(file) as stream:
        np.savez(stream, header=np.array(json.dumps(header)), **arrays)


def _load(file: Path, settings: dict[str, Any], ntypes: int) -> tuple[Statistics, str]:
    """Read a file, and check that these settings made it."""
    try:
        arrays = read_arrays(read_entries(file))
        header = json.loads(str(arrays.pop("header")))
        if header["format"] not in READABLE:
            raise ValueError(f"format {str(header['format'])[:40]!r}, expected {FORMAT!r}")
        if header["format"] == FORMAT and header.pop("digest") != digest_of(header, arrays):
            raise ValueError("its digest does not match its contents")
        theirs, digest = dict(header["settings"]), str(header["data"])
        values: dict[str, Any] = {name: arrays[name] for name in ARRAYS}
        shapes = {"davg": (ntypes, 2), "dstd": (ntypes, 2), "t_bias_atom_e": (ntypes,),
                  "min_nbor_dist": (), "largest_counts": (len(settings["sel"]),)}
        for name, array in values.items():
            if not np.isfinite(array).all():
                raise ValueError(f"{name} has a value that is not finite")
            if theirs == settings and array.shape != shapes.get(name, array.shape):
                raise ValueError(f"{name} has the shape {array.shape}, expected {shapes[name]}")
        if not (values["dstd"] > 0).all():
            raise ValueError("a deviation is not above 0")
        values["min_nbor_dist"] = float(values["min_nbor_dist"])
    except DAMAGED as error:
        raise InputError(f"{file}: not a readable file of statistics ({one_line(error)}); "
                         "training/stat_file names one that train-cnn wrote") from None
    for key, wanted in settings.items():
        if theirs.get(key) != wanted:
            raise InputError(f"{file}: written with {key} = {theirs.get(key)}, the input has "
                             f"{wanted}; expected the same or another training/stat_file")
    return Statistics(**values), digest
