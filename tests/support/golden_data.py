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

from nvnmd.deepmd.files import read_dict
from nvnmd.deepmd.weights import from_deepmd
from nvnmd.network.weights import FloatWeights
from nvnmd.quantize.formats import decode_flt
from nvnmd.quantize.model import Model, to_flt_table
from nvnmd.quantize.table_layout import TableLayout

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"

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
    return from_deepmd(weights, stage)


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


def _folder_settings(config: dict[str, Any]) -> dict[str, Any]:
    return {
        "type_map": tuple(config["dpin"]["type_map"]),
        "sel": tuple(int(s) for s in np.atleast_1d(config["dscp"]["sel"])),
        "max_nnei": int(config["ctrl"]["MAX_NNEI"]),
        "rcut": float(config["dscp"]["rcut"]),
        "rcut_smth": float(config["dscp"]["rcut_smth"]),
    }


def _folder_tables(stored: dict[str, Any]) -> dict[str, NDArray]:
    """The binary64 coefficients of a `map.npy`, in the shapes of `Model`."""
    raw = {}
    rows = int(stored["cfg_s2g"][-1][4])
    for suffix in ("", "_grad"):
        pair = [np.stack(stored[k + suffix]) for k in ("s", "h")]
        raw["table_u" + suffix] = np.stack(pair, axis=2)
        raw["table_g" + suffix] = np.stack([
            g.reshape(rows, -1, 4) for g in stored["g" + suffix]])
    return raw


def folder_frames(folder: Path, file: str = "expected.npz") -> tuple[Frame, ...]:
    """Read frames and DeePMD-kit's results for them, slots of the first one."""
    with np.load(folder / file, allow_pickle=False) as data:
        return tuple(
            Frame(
                f"frame{f}",
                data["coord"][f].reshape(-1, 3),
                data["box"][f].reshape(3, 3),
                data["type"].astype(np.int64),
                _results(data, "cnn", f),
                _results(data, "qnn", f),
                {} if f else {k: data[f"frame0_{k}"] for k in ("rij", "nlist", "env", "net_deriv")},
            )
            for f in range(len(data["coord"]))
        )


@cache
def load_type_folder(folder: Path) -> tuple[Model, tuple[Frame, ...]]:
    """Model and frames of a folder of version 1, read from DeePMD-kit's own names."""
    config = read_dict(folder / "nvnmd_cnn" / "config.npy")
    cnn, qnn = (read_dict(folder / f"nvnmd_{s}" / "weight.npy") for s in ("cnn", "qnn"))
    stored = read_dict(folder / "nvnmd_cnn" / "map.npy")
    layouts = tuple(TableLayout.from_config(stored[k]) for k in ("cfg_u2s", "cfg_s2g"))
    model_settings = _folder_settings(config)
    ntypes = len(model_settings["type_map"])
    gains = stored["gt"].reshape(ntypes + 1, ntypes + 1, -1)[:ntypes, :ntypes]

    def layers(weights: dict[str, Any], name: str, suffix: str = "") -> Any:
        return tuple(
            (weights[f"{name}.matrix_{i}{suffix}"], weights[f"{name}.bias_{i}{suffix}"])
            for i in (1, 2, 3)
        )

    names = ("layer_0.matrix_1", "layer_1.matrix", "layer_2.matrix", "final_layer.matrix")
    model = Model(
        version=1,
        **model_settings,
        u_layout=layouts[0],
        s_layout=layouts[1],
        **{k: to_flt_table(v, k) for k, v in _folder_tables(stored).items()},
        fit_weights=tuple(qnn[name][None] for name in names),
        fit_biases=tuple(qnn[f"{name.partition('.')[0]}.bias"][None] for name in names),
        t_bias_atom_e=qnn["t_bias_atom_e"],
        davg=cnn["descrpt_attr.t_avg"][:, :2],
        dstd=cnn["descrpt_attr.t_std"][:, :2],
        embedding=(layers(cnn, "filter_type_all"),),
        inv_std=to_flt_table(stored["dstd_inv"][:, :2], "dstd_inv"),
        type_gain=to_flt_table(gains, "gt"),
        t_ebd=stored["t_ebd"][:ntypes],
        tweight=qnn["layer_0.tweight"],
        type_embedding=((cnn["type_embed_net.matrix_1"], cnn["type_embed_net.bias_1"]),),
        type_net=layers(cnn, "filter_type_all", "_two_side_ebd"),
    )
    return model, folder_frames(folder)


def load_folder(folder: Path, frames: tuple[Frame, ...] | None = None) -> GoldenRun:
    """Read `nvnmd_cnn`, `nvnmd_qnn` and, without frames, `expected.npz` of DeePMD-kit's folder."""
    config = read_dict(folder / "nvnmd_cnn" / "config.npy")
    cnn = from_deepmd(read_dict(folder / "nvnmd_cnn" / "weight.npy"))
    qnn = from_deepmd(read_dict(folder / "nvnmd_qnn" / "weight.npy"))
    stored = read_dict(folder / "nvnmd_cnn" / "map.npy")
    raw = _folder_tables(stored)
    layouts = tuple(TableLayout.from_config(stored[k]) for k in ("cfg_u2s", "cfg_s2g"))
    tables = {k: to_flt_table(v, k) for k, v in raw.items()}
    model = _model(_folder_settings(config), tables, layouts, cnn, qnn)
    frames = folder_frames(folder) if frames is None else frames
    return GoldenRun(folder.name, model, cnn, frames, raw, None)
