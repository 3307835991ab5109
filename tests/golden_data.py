"""DeePMD-kit's own runs as test data: the committed fixtures and the shared reference folders.

Both become one `GoldenRun`: weights of both stages, the tables as DeePMD-kit used them, frames, and
what its frozen models gave for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.deepmd_files import read_dict
from nvnmd.mapping.layout import TableLayout
from nvnmd.quantize.formats import decode_flt
from nvnmd.quantize.model import Model, to_flt_table
from nvnmd.weights import FloatWeights

FIXTURES = Path(__file__).resolve().parent / "fixtures"

COMMITTED = {128: "deepmd_v0_ni128", 256: "deepmd_v0_ni256"}
"""Names of the committed fixtures by neighbour capacity."""


@dataclass(frozen=True)
class Frame:
    """One frame and DeePMD-kit's results for it; atoms in input order, in Å and eV.

    `cnn` and `qnn` hold energy (), atom_energy (n,), force (n, 3) and virial (3, 3).
    `slots` holds, where known, rij (n, m, 3), nlist (n, m), env and net_deriv (n, m, 4) and
    descriptor (n, 128) of the quantized net, atoms sorted by type.
    """

    name: str
    coord: NDArray[np.float64]
    box: NDArray[np.float64] | None
    types: NDArray[np.int64]
    cnn: dict[str, NDArray[np.float64]]
    qnn: dict[str, NDArray[np.float64]]
    slots: dict[str, NDArray]


@dataclass(frozen=True)
class GoldenRun:
    """A two-stage run of DeePMD-kit, version 0.

    `raw_tables` are the binary64 coefficients, where known (the fixtures hold words);
    `g_rows` lists per type the rows of the G tables that are present, or None for all.
    """

    name: str
    model: Model
    cnn: FloatWeights
    frames: tuple[Frame, ...]
    raw_tables: dict[str, NDArray[np.float64]] | None
    g_rows: tuple[NDArray[np.int64], ...] | None


def _model(
    settings: dict[str, Any],
    tables: dict[str, NDArray],
    layouts: tuple[TableLayout, TableLayout],
    cnn: FloatWeights,
    qnn: FloatWeights,
) -> Model:
    return Model(
        version=0,
        **settings,
        u_layout=layouts[0],
        s_layout=layouts[1],
        **tables,
        fit_weights=qnn.fit_weights,
        fit_biases=qnn.fit_biases,
        t_bias_atom_e=qnn.t_bias_atom_e,
        davg=cnn.davg,
        dstd=cnn.dstd,
        embedding=cnn.embedding,
    )


def _results(data: Any, stage: str, f: int) -> dict[str, NDArray[np.float64]]:
    n = data[f"{stage}_force"].shape[1]
    return {
        "energy": data[f"{stage}_energy"][f].reshape(()),
        "atom_energy": data[f"{stage}_atom_energy"][f].reshape(n),
        "force": data[f"{stage}_force"][f].reshape(n, 3),
        "virial": data[f"{stage}_virial"][f].reshape(3, 3),
    }


def _fixture_weights(data: dict[str, NDArray], stage: str) -> FloatWeights:
    """Put DeePMD-kit's weight names together again from the packed arrays."""
    weights = {
        key: value
        for key, value in data.items()
        if key.startswith(("descrpt_attr.", "filter_type_all.", "train_attr."))
    }
    weights["t_bias_atom_e"] = data[f"{stage}.t_bias_atom_e"]
    for key, value in data.items():
        if key.startswith(f"{stage}.") and "_type_" in key and not key.endswith(".change"):
            weights[key[4:]] = value
    for key in [k for k in data if k.startswith("cnn.layer_") and k.endswith(".matrix")]:
        matrix = data[key] * 0.5 ** float(data["cnn_bits"])
        if stage == "qnn":
            change = data[f"qnn.{key[4:].removesuffix('.matrix')}.change"]
            matrix = matrix + change * 0.5 ** float(data["qnn_bits"])
        weights[key[4:]] = matrix
    return FloatWeights.from_deepmd(weights, stage)


@cache
def load_fixture(capacity: int) -> GoldenRun:
    """Read the committed fixture of one neighbour capacity, 128 or 256."""
    name = COMMITTED[capacity]
    with np.load(FIXTURES / f"{name}.npz", allow_pickle=False) as file:
        data = {key: file[key] for key in file.files}
    cnn, qnn = _fixture_weights(data, "cnn"), _fixture_weights(data, "qnn")
    ntypes = cnn.ntypes
    g_rows = tuple(data[f"g_rows_{t}"].astype(np.int64) for t in range(ntypes))
    tables = {k: decode_flt(data[k]) for k in ("table_u", "table_u_grad")}
    for key in ("table_g", "table_g_grad"):
        whole = np.zeros((ntypes, 512, 32, 4))
        for t, rows in enumerate(g_rows):
            whole[t, rows] = decode_flt(data[f"{key}_{t}"])
        tables[key] = whole
    layouts = tuple(TableLayout.from_config(data[k].tolist()) for k in ("u_segments", "g_segments"))
    settings = {
        "type_map": tuple(str(t) for t in data["type_map"]),
        "sel": tuple(int(s) for s in data["sel"]),
        "max_nnei": int(data["max_nnei"]),
        "rcut": float(data["rcut"]),
        "rcut_smth": float(data["rcut_smth"]),
    }
    frames = []
    for f, frame_name in enumerate(data["frame_names"]):
        slots = {k: data[k][f] for k in ("rij", "nlist")}
        slots |= {k: decode_flt(data[k][f]) for k in ("env", "net_deriv")}
        slots["descriptor"] = data["descriptor"][f] * 2.0**-23
        frames.append(
            Frame(
                str(frame_name),
                data["coord"][f],
                data["box"][f] if data["box"][f].any() else None,
                data["type"].astype(np.int64),
                _results(data, "cnn", f),
                _results(data, "qnn", f),
                slots,
            )
        )
    model = _model(settings, tables, layouts, cnn, qnn)
    return GoldenRun(name, model, cnn, tuple(frames), None, g_rows)


def load_folder(folder: Path) -> GoldenRun:
    """Read a folder of DeePMD-kit's: `nvnmd_cnn`, `nvnmd_qnn` and `expected.npz`."""
    config = read_dict(folder / "nvnmd_cnn" / "config.npy")
    cnn = FloatWeights.from_deepmd(read_dict(folder / "nvnmd_cnn" / "weight.npy"))
    qnn = FloatWeights.from_deepmd(read_dict(folder / "nvnmd_qnn" / "weight.npy"))
    stored = read_dict(folder / "nvnmd_cnn" / "map.npy")
    raw = {}
    for suffix in ("", "_grad"):
        pair = [
            np.stack([stored[k + suffix][t] for k in ("s", "h")], axis=1) for t in range(cnn.ntypes)
        ]
        raw["table_u" + suffix] = np.stack(pair)
        raw["table_g" + suffix] = np.stack([g.reshape(512, -1, 4) for g in stored["g" + suffix]])
    layouts = tuple(TableLayout.from_config(stored[k]) for k in ("cfg_u2s", "cfg_s2g"))
    settings = {
        "type_map": tuple(config["dpin"]["type_map"]),
        "sel": tuple(config["dscp"]["sel"]),
        "max_nnei": int(config["ctrl"]["MAX_NNEI"]),
        "rcut": float(config["dscp"]["rcut"]),
        "rcut_smth": float(config["dscp"]["rcut_smth"]),
    }
    with np.load(folder / "expected.npz", allow_pickle=False) as data:
        frames = [
            Frame(
                f"frame{f}",
                data["coord"][f].reshape(-1, 3),
                data["box"][f].reshape(3, 3),
                data["type"],
                _results(data, "cnn", f),
                _results(data, "qnn", f),
                {} if f else {k: data[f"frame0_{k}"] for k in ("rij", "nlist", "env", "net_deriv")},
            )
            for f in range(len(data["coord"]))
        ]
    tables = {k: to_flt_table(v, k) for k, v in raw.items()}
    model = _model(settings, tables, layouts, cnn, qnn)
    return GoldenRun(folder.name, model, cnn, tuple(frames), raw, None)
