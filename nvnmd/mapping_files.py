"""The tables as `map.npy`, in DeePMD-kit's form, and the step from a CNN folder to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nvnmd.deepmd_files import read_dict, write_dict
from nvnmd.errors import ModelFileError
from nvnmd.mapping.build import Tables, build_tables, effective_distance
from nvnmd.mapping.layout import TableLayout
from nvnmd.weights import FloatWeights

MAP_FILE = "map.npy"


def tables_of_weights(
    weights: FloatWeights, rcut: float, rcut_smth: float, *, dmin: float = 0.0
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

    Raises
    ------
    InputError
        If `rcut` is beyond the table of u.
    """
    distance = effective_distance(dmin, weights.min_nbor_dist, rcut_smth)
    return build_tables(weights.embedding, weights.davg, weights.dstd, rcut, rcut_smth, distance)


def tables_to_map(tables: Tables) -> dict[str, Any]:
    """Return the dictionary of `map.npy`.

    Each table is a list per type of (rows, 4*outputs), coefficients a, b, c, d adjacent per output.
    """

    def rows(table: np.ndarray) -> list[np.ndarray]:
        return [t.reshape(t.shape[0], -1).copy() for t in table]

    def config(layout: TableLayout) -> list[list[Any]]:
        return [
            [np.float64(x0), np.float64(x1), np.float64(step), int(row0), int(row1)]
            for x0, x1, step, row0, row1 in layout.to_config()
        ]

    return {
        "cfg_u2s": config(tables.u_layout),
        "cfg_s2g": config(tables.s_layout),
        "s": rows(tables.u[:, :, :1]),
        "s_grad": rows(tables.u_grad[:, :, :1]),
        "h": rows(tables.u[:, :, 1:]),
        "h_grad": rows(tables.u_grad[:, :, 1:]),
        "g": rows(tables.g),
        "g_grad": rows(tables.g_grad),
    }


def tables_from_map(content: Mapping[str, Any], source: str | Path = MAP_FILE) -> Tables:
    """Take the dictionary of a `map.npy` of version 0.

    Raises
    ------
    ModelFileError
        A key is missing, shapes or layouts contradict each other, a number is not finite, or the
        model is of version 1.
    """
    if "gt" in content:
        raise ModelFileError(f"{source}: tables of NVNMD version 1, expected version 0")
    try:
        layouts = {key: TableLayout.from_config(content[key]) for key in ("cfg_u2s", "cfg_s2g")}
        raw = {
            key: np.stack([np.asarray(t, dtype=np.float64) for t in content[key]])
            for key in ("s", "s_grad", "h", "h_grad", "g", "g_grad")
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
        cubics("s", "h"),
        cubics("s_grad", "h_grad"),
        cubics("g"),
        cubics("g_grad"),
    )


def write_map(path: str | Path, tables: Tables) -> None:
    """Write `map.npy`."""
    write_dict(path, tables_to_map(tables))


def read_map(path: str | Path) -> Tables:
    """Read a `map.npy` of version 0, from this program or from DeePMD-kit.

    Raises
    ------
    ModelFileError
        See `tables_from_map` and `read_dict`.
    """
    return tables_from_map(read_dict(path), path)


def map_folder(folder: str | Path, output: str | Path | None = None) -> Path:
    """Build the tables of a CNN folder and write them.

    Parameters
    ----------
    folder : path-like
        Holds `weight.npy` and `config.npy`, from `train-cnn` or from DeePMD-kit.
    output : path-like, optional
        The file to write; `map.npy` in the folder by default.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ModelFileError
        A file is missing or damaged, has no embedding nets, or is of version 1.
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
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{config_file}: no usable value of {error}") from None
    if version != 0:
        raise ModelFileError(f"{config_file}: NVNMD version {version}, expected version 0")
    weights = FloatWeights.from_deepmd(read_dict(weight_file), str(weight_file))
    if not all(weights.embedding):
        raise ModelFileError(
            f"{weight_file}: holds no embedding nets (filter_type_all.matrix_1_0), "
            "expected the file of a CNN stage"
        )
    target = folder / MAP_FILE if output is None else Path(output)
    write_map(target, tables_of_weights(weights, rcut, rcut_smth, dmin=dmin))
    return target
