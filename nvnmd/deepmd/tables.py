"""The tables as `map.npy`, in DeePMD-kit's form, and the step from a CNN folder to it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nvnmd.deepmd.config import LAYOUT_ENTRY
from nvnmd.deepmd.files import read_dict, write_dict
from nvnmd.deepmd.weights import from_deepmd
from nvnmd.errors import InputError, ModelFileError
from nvnmd.mapping.build import (
    Tables,
    build_shared_tables,
    build_tables,
    effective_distance,
)
from nvnmd.mapping.type_tables import TypeTables
from nvnmd.network.weights import FloatWeights
from nvnmd.quantize.table_layout import LAYOUTS, OCTAVE, VENDOR, TableLayout

MAP_FILE = "map.npy"
# an entry that only tables without those of the derivatives have
LAYOUT_KEY = "nvnmd_tables"


def tables_of_weights(
    weights: FloatWeights, rcut: float, rcut_smth: float, *, dmin: float = 0.0,
    name: str = VENDOR,
) -> Tables:
    """Build the tables of a float model.

    Parameters
    ----------
    weights : FloatWeights
        With embedding nets.
    rcut, rcut_smth : float
        Å.
    dmin : float
        Smallest distance that counts if it is known; else the weights' `min_nbor_dist`.
    name : str
        The tables' layout, one of `nvnmd.quantize.table_layout.LAYOUTS`.

    Raises
    ------
    InputError
        If `rcut` is beyond the table of u.
    """
    distance = effective_distance(dmin, weights.min_nbor_dist, rcut_smth)
    if weights.version == 1:
        return build_shared_tables(
            weights.embedding[0],
            weights.type_embedding,
            weights.type_net,
            weights.davg,
            weights.dstd,
            rcut,
            rcut_smth,
            distance,
            weights.sub_version,
            name,
        )
    return build_tables(
        weights.embedding, weights.davg, weights.dstd, rcut, rcut_smth, distance, name
    )


def tables_to_map(tables: Tables) -> dict[str, Any]:
    """Return the dictionary of `map.npy`.

    Each table is a list per type of (rows, 4*outputs), coefficients a, b, c, d adjacent per output.
    In version 1 the lists have one entry, and what the types contribute follows.
    """

    def rows(table: np.ndarray) -> list[np.ndarray]:
        return [t.reshape(t.shape[0], -1).copy() for t in table]

    def config(layout: TableLayout) -> list[list[Any]]:
        return [
            [np.float64(x0), np.float64(x1), np.float64(step), int(row0), int(row1)]
            for x0, x1, step, row0, row1 in layout.to_config()
        ]

    content: dict[str, Any] = {
        "cfg_u2s": config(tables.u_layout),
        "cfg_s2g": config(tables.s_layout),
    }
    of_u = ("s", "h", "k")[: tables.u.shape[2]]
    columns = [(key, slice(k, k + 1), tables.u, tables.u_grad) for k, key in enumerate(of_u)]
    for key, column, values, slopes in [*columns, ("g", slice(None), tables.g, tables.g_grad)]:
        content[key] = rows(values[:, :, column])
        if slopes is not None:
            content[f"{key}_grad"] = rows(slopes[:, :, column])
    if tables.own_slopes:
        # no form of DeePMD-kit's, whose reader misses the derivatives: ours alone
        content[LAYOUT_KEY] = tables.name
    if tables.types is not None:
        types = tables.types
        content["t_ebd"] = types.vectors
        content["gt"] = types.gain.reshape(-1, types.gain.shape[-1])
        content["davg_opp"], content["dstd_inv"] = types.davg_opp, types.dstd_inv
    return content


def tables_from_map(content: Mapping[str, Any], source: str | Path = MAP_FILE) -> Tables:
    """Take the dictionary of a `map.npy`; with `gt` it is of version 1, else of version 0.

    Raises
    ------
    ModelFileError
        A key is missing, shapes or layouts contradict each other, or a number is not finite.
    """
    try:
        layouts = {key: TableLayout.from_config(content[key]) for key in ("cfg_u2s", "cfg_s2g")}
        of_u = ("s", "h", "k") if "k" in content else ("s", "h")
        own = str(content.get(LAYOUT_KEY, VENDOR)) == OCTAVE
        if own:
            layouts["cfg_u2s"] = replace(layouts["cfg_u2s"], half_open=True)
        raw = {
            f"{key}{suffix}":
                np.stack([np.asarray(t, dtype=np.float64) for t in content[f"{key}{suffix}"]])
            for key in (*of_u, "g") for suffix in (("",) if own else ("", "_grad"))
        }
        outputs = raw["g"].shape[-1] // 4
        for key, table in raw.items():
            layout = layouts["cfg_s2g" if key.startswith("g") else "cfg_u2s"]
            width = 4 * (outputs if key.startswith("g") else 1)
            expected = (len(raw["s"]), layout.rows, width)
            if table.shape != expected:
                raise ValueError(f"{key} has shape {table.shape}, expected {expected}")
            if not np.all(np.isfinite(table)):
                raise ValueError(f"{key} has a value that is not finite")
        types = _types_from_map(content, outputs, "k" in content) if "gt" in content else None
        if types is None and "k" in content:
            raise ValueError("tables of k without gt, expected both in SUB_VERSION 2")
        if types is not None and len(raw["s"]) != 1:
            raise ValueError(f"{len(raw['s'])} tables of s, expected one in version 1")
    except KeyError as error:
        raise ModelFileError(f"{source}: the key {error} is missing") from None
    except (ValueError, TypeError, IndexError) as error:
        raise ModelFileError(f"{source}: not the tables of a model: {error}") from None

    def cubics(*keys: str) -> np.ndarray:
        tables = [raw[key].reshape(*raw[key].shape[:2], -1, 4) for key in keys]
        return np.concatenate(tables, axis=2)

    return Tables(
        layouts["cfg_u2s"],
        layouts["cfg_s2g"],
        cubics(*of_u),
        None if own else cubics(*(f"{key}_grad" for key in of_u)),
        cubics("g"),
        None if own else cubics("g_grad"),
        types,
    )


def _types_from_map(content: Mapping[str, Any], outputs: int, means: bool) -> TypeTables:
    """Take what version 1 adds; raises KeyError and ValueError."""
    found = {
        key: np.asarray(content[key], dtype=np.float64)
        for key in ("t_ebd", "gt", "davg_opp", "dstd_inv")
    }
    n = len(found["t_ebd"])
    expected = {
        "t_ebd": (n, found["t_ebd"].shape[-1]),
        "gt": (n * n, outputs),
        "davg_opp": (n - 1, 4),
        "dstd_inv": (n - 1, 4),
    }
    for key, array in found.items():
        if array.shape != expected[key]:
            raise ValueError(f"{key} has shape {array.shape}, expected {expected[key]}")
        if not np.all(np.isfinite(array)):
            raise ValueError(f"{key} has a value that is not finite")
    if not means and found["davg_opp"].any():
        raise ValueError("davg_opp is not 0, but the hardware of version 1 has no mean")
    return TypeTables(
        found["t_ebd"], found["gt"].reshape(n, n, outputs), found["davg_opp"], found["dstd_inv"]
    )


def sub_version_of(config: Mapping[str, Any]) -> int:
    """SUB_VERSION of the dictionary of a `config.npy`; 1 where it names none."""
    return int(config.get("ctrl", {}).get("SUB_VERSION", 1))


def write_map(path: str | Path, tables: Tables) -> None:
    """Write `map.npy`."""
    write_dict(path, tables_to_map(tables))


def read_map(path: str | Path) -> Tables:
    """Read a `map.npy` of either version, from this program or from DeePMD-kit.

    Raises
    ------
    ModelFileError
        See `tables_from_map` and `read_dict`.
    """
    return tables_from_map(read_dict(path), path)


def map_folder(
    folder: str | Path, output: str | Path | None = None, name: str | None = None
) -> Path:
    """Build the tables of a CNN folder and write them.

    Parameters
    ----------
    folder : path-like
        Holds `weight.npy` and `config.npy`, from `train-cnn` or from DeePMD-kit.
    output : path-like, optional
        The file to write; `map.npy` in the folder by default.
    name : str, optional
        The tables' layout, one of `nvnmd.quantize.table_layout.LAYOUTS`; that of `config.npy`, by
        default, which is the vendor's unless the input of `train-cnn` asked for another.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ModelFileError
        A file is missing or damaged, has no embedding nets, or its version is unknown or not that
        of the other.
    InputError
        The cut-off is beyond the tables.
    """
    folder = Path(folder)
    config_file, weight_file = folder / "config.npy", folder / "weight.npy"
    config = read_dict(config_file)
    try:
        version = int(config["ctrl"]["VERSION"])
        dscp = config["dscp"]
        rcut, rcut_smth = float(dscp["rcut"]), float(dscp["rcut_smth"])
        dmin = float(dscp.get("dmin", 0.0))
        layout = name or str(config["ctrl"].get(LAYOUT_ENTRY, VENDOR))
        sub_version = sub_version_of(config)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelFileError(f"{config_file}: no usable value of {error}") from None
    if layout not in LAYOUTS:
        raise ModelFileError(f"{config_file}: tables {layout[:40]!r}, expected "
                             f"{', '.join(LAYOUTS[:-1])} or {LAYOUTS[-1]}")
    if not (0.0 <= rcut_smth < rcut < math.inf and 0.0 <= dmin < math.inf):
        raise ModelFileError(f"{config_file}: rcut_smth {rcut_smth}, rcut {rcut} and dmin {dmin}, "
                             "expected 0 <= rcut_smth < rcut and no negative dmin")
    if version not in (0, 1):
        raise ModelFileError(f"{config_file}: NVNMD version {version}, expected 0 or 1")
    weights = from_deepmd(read_dict(weight_file), str(weight_file), sub_version)
    if weights.version != version:
        raise ModelFileError(
            f"{config_file}: NVNMD version {version}, but {weight_file.name} holds weights of "
            f"version {weights.version}"
        )
    if not all(weights.embedding) or (version == 1 and not weights.type_net):
        name = f"filter_type_all.matrix_1{'' if version else '_0'}"
        raise ModelFileError(
            f"{weight_file}: holds no embedding nets ({name}), expected the file of a CNN stage"
        )
    target = folder / MAP_FILE if output is None else Path(output)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        try:
            tables = tables_of_weights(weights, rcut, rcut_smth, dmin=dmin, name=layout)
        except OverflowError:
            raise ModelFileError(f"{weight_file}: its statistics give an s that is not finite, "
                                 "expected those of a training") from None
        except InputError as error:
            raise InputError(f"{config_file}: {error}") from None
    for name in ("u", "u_grad", "g", "g_grad"):
        table = getattr(tables, name)
        # tables of the octave layout have no derivatives of their own
        if table is not None and not np.isfinite(table).all():
            raise ModelFileError(f"{weight_file}: its table of {name} would have a value that is "
                                 "not finite, expected weights and statistics of a training")
    write_map(target, tables)
    return target
