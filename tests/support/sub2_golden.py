"""DeePMD-kit's own run of version 1, SUB_VERSION 2, as a model and frames."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from support.golden_data import Frame

from nvnmd.quantize.model import Model, to_flt_table
from nvnmd.quantize.table_layout import TableLayout

FOLDER = "v1_sub2"
RUN, EXTREME = "gete_vu9p_sel128", "extreme"
SLOTS = ("rij", "nlist", "env", "net_deriv", "descriptor")


@cache
def arrays(file: Path) -> dict[str, Any]:
    """What a golden file holds."""
    with np.load(file, allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


def part(data: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The arrays whose names begin so, without the beginning."""
    return {k.removeprefix(prefix): v for k, v in data.items() if k.startswith(prefix)}


def stored_map(data: dict[str, Any]) -> dict[str, Any]:
    """The dictionary of its `map.npy`."""
    tables = part(data, "map_")
    for key in ("cfg_u2s", "cfg_s2g"):
        tables[key] = [[*row[:3], int(row[3]), int(row[4])] for row in tables[key]]
    for key in ("s", "h", "k", "g"):
        for name in (key, key + "_grad"):
            tables[name] = list(tables[name])
    return tables


@cache
def golden_model(golden: Path) -> Model:
    """The quantized model of the run."""
    data = arrays(golden / FOLDER / f"{RUN}.npz")
    cnn, qnn, tables = part(data, "cnn_w_"), part(data, "qnn_w_"), stored_map(data)
    raw = {}
    for suffix in ("", "_grad"):
        raw["table_u" + suffix] = np.stack(
            [np.stack(tables[k + suffix]) for k in ("s", "h", "k")], axis=2)
        raw["table_g" + suffix] = np.stack([g.reshape(512, -1, 4) for g in tables["g" + suffix]])
    gains = tables["gt"].reshape(3, 3, -1)[:2, :2]

    def layers(suffix: str) -> Any:
        return tuple((cnn[f"filter_type_all.matrix_{i}{suffix}"],
                      cnn[f"filter_type_all.bias_{i}{suffix}"]) for i in (1, 2, 3))

    names = ("layer_0.matrix_1", "layer_1.matrix", "layer_2.matrix", "final_layer.matrix")
    return Model(
        version=1, sub_version=2, type_map=("Ge", "Te"), sel=(int(data["cfg_sel"]),),
        max_nnei=int(data["cfg_MAX_NNEI"]), rcut=float(data["cfg_rcut"]),
        rcut_smth=float(data["cfg_rcut_smth"]),
        u_layout=TableLayout.from_config(tables["cfg_u2s"]),
        s_layout=TableLayout.from_config(tables["cfg_s2g"]),
        **{k: to_flt_table(v, k) for k, v in raw.items()},
        fit_weights=tuple(qnn[name][None] for name in names),
        fit_biases=tuple(qnn[f"{name.partition('.')[0]}.bias"][None] for name in names),
        t_bias_atom_e=qnn["t_bias_atom_e"],
        davg=cnn["descrpt_attr.t_avg"][:, :2], dstd=cnn["descrpt_attr.t_std"][:, :2],
        embedding=(layers(""),),
        inv_std=to_flt_table(tables["dstd_inv"][:, :2], "dstd_inv"),
        minus_avg=to_flt_table(-cnn["descrpt_attr.t_avg"][:, 0], "davg"),
        type_gain=to_flt_table(gains, "gt"), t_ebd=tables["t_ebd"][:2],
        tweight=qnn["layer_0.tweight"],
        type_embedding=((cnn["type_embed_net.matrix_1"], cnn["type_embed_net.bias_1"]),),
        type_net=layers("_two_side_ebd"),
    )


def golden_frames(golden: Path, name: str) -> tuple[Frame, ...]:
    """The frames of `RUN` or of `EXTREME`, slots of the first; the latter has no float results."""
    data = arrays(golden / FOLDER / f"{name}.npz")
    frames = len(np.atleast_2d(data["qnn_energy"]))
    coord, box = data["coord"].reshape(frames, -1, 3), data["box"].reshape(frames, 3, 3)
    n = coord.shape[1]

    def results(stage: str, f: int) -> dict[str, Any]:
        shapes: dict[str, tuple[int, ...]] = {
            "energy": (), "atom_energy": (n,), "force": (n, 3), "virial": (3, 3)}
        found = {what: data.get(f"{stage}_{what}") for what in shapes}
        return {w: v[f].reshape(shapes[w]) for w, v in found.items() if v is not None}

    return tuple(
        Frame(f"{name}{f}", coord[f], box[f], data["type"].astype(np.int64), results("cnn", f),
              results("qnn", f), {} if f else {k: data[f"frame0_{k}"] for k in SLOTS})
        for f in range(frames))
