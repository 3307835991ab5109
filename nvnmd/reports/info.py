"""What a model file is: version, elements, sizes, layouts, ranges, digest, in JSON's types."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.errors import ModelFileError

if TYPE_CHECKING:
    from nvnmd.network.weights import FloatWeights
    from nvnmd.quantize.model import Model
    from nvnmd.quantize.table_layout import TableLayout

MODEL_NAME = "model.nvnmd"
WEIGHTS = "weights.npz"
CHECKPOINT = "model.ckpt"
PARTS = ("config.npy", "weight.npy", "map.npy")
"""Files that are a model together alone."""

Facts = dict[str, Any]


def describe(path: str | Path) -> Facts:
    """Say what a model file or folder is.

    Parameters
    ----------
    path : path-like
        A model file of this program (or the folder that holds its `model.nvnmd`), the folder of
        `train-cnn`, a file of weights, a checkpoint, a run folder of DeePMD-kit, a folder with its
        `config.npy`, `weight.npy` and `map.npy`, or a `model.pb`.

    Returns
    -------
    dict
        In JSON's types; `kind` is one of the names in `KINDS`, the rest depends on it. Lengths in
        Å, energies in eV.

    Raises
    ------
    ModelFileError
        It is none of these, or damaged.
    """
    path = Path(path)
    # the name without a step means the newest checkpoint, as for --restart
    newest = path.name == CHECKPOINT and (path.parent / "checkpoint").is_file()
    if not path.exists() and not newest:
        raise ModelFileError(f"{path}: no such file or folder, expected a model")
    kind = kind_of(path) if path.exists() else "checkpoint"
    return {"path": str(path), "kind": kind, **KINDS[kind](path)}


def kind_of(path: Path) -> str:
    """Name of what a path holds, by what its files are called; a name in `KINDS`."""
    if path.is_file():
        if path.suffix == ".pb":
            return "model.pb"
        if path.name in PARTS or path.suffix in (".index", ".meta") or ".data-0" in path.suffix:
            raise ModelFileError(f"{path}: one file of a folder of DeePMD-kit's NVNMD, expected "
                                 f"the folder, {path.parent}")
        if path.suffix == ".npz":
            return "weights" if path.name == WEIGHTS else "checkpoint"
        return "model"
    if (path / MODEL_NAME).is_file():
        return "model"
    if (path / "nvnmd_cnn").is_dir() or (path / "nvnmd_qnn").is_dir():
        return "run folder"
    if (path / "weight.npy").is_file():
        whole = path.name != "nvnmd_cnn" and (path / "map.npy").is_file()
        return "stage folder" if whole else "float folder"
    if (path / "checkpoint").is_file():
        return "checkpoint"
    raise ModelFileError(f"{path}: no {MODEL_NAME}, weight.npy, checkpoint or run folder in it, "
                         "expected a model")


def _model(path: Path) -> Facts:
    from nvnmd.quantize.model import Model

    file = path / MODEL_NAME if path.is_dir() else path
    return {"file": str(file), "bytes": file.stat().st_size, **model_facts(Model.load(file))}


def _imported(path: Path) -> Facts:
    from nvnmd.deepmd.importer import import_model

    size = {"bytes": path.stat().st_size} if path.is_file() else {}
    return {"file": str(path), **size, **model_facts(import_model(path))}


def _modelpb(path: Path) -> Facts:
    """One that cannot be computed with is described by its head and its blocks."""
    from nvnmd.reports.modelpb import blocks_facts

    blocks = blocks_facts(path)
    return {**blocks, **({} if blocks["lacking"] else _imported(path))}


def _run_folder(path: Path) -> Facts:
    """A run whose second stage is missing is described by its first."""
    second = path / "nvnmd_qnn"
    if (second / MODEL_NAME).is_file():
        return _model(second)
    if not (second / "weight.npy").is_file():
        return _float_folder(path / "nvnmd_cnn")
    return _imported(path)


def _float_folder(path: Path) -> Facts:
    from nvnmd.evaluation.evaluate import FloatNetwork

    network = FloatNetwork.load(path)
    return {"file": str(path / "weight.npy"), "type_map": list(network.type_map),
            "sel": list(network.sel), "rcut": network.rcut, "rcut_smth": network.rcut_smth,
            "axis_neuron": network.axis_neuron,
            "exclude_types": [list(pair) for pair in network.exclude],
            **weights_facts(network.weights)}


def _weights(path: Path) -> Facts:
    from nvnmd.network.weights import FloatWeights

    return {"file": str(path), "bytes": path.stat().st_size,
            **weights_facts(FloatWeights.load(path))}


def _checkpoint(path: Path) -> Facts:
    from nvnmd.npy_archive import DAMAGED, read_arrays, read_entries
    from nvnmd.training.checkpoint import FORMAT, find_checkpoint

    file = find_checkpoint(path, CHECKPOINT)
    try:
        arrays = read_arrays(read_entries(file))
        header = json.loads(str(arrays.pop("header")))
        if header["format"] != FORMAT:
            raise ValueError(f"format {header['format']!r}, expected {FORMAT!r}")
        facts = {"stage": f"train-{header['kind']}", "step": int(header["step"])}
    except DAMAGED as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelFileError(f"{file}: not a readable checkpoint ({reason})") from None
    return {"file": str(file), "bytes": file.stat().st_size, **facts,
            "arrays": [[name, list(array.shape)] for name, array in sorted(arrays.items())],
            "numbers": sum(array.size for array in arrays.values())}


KINDS: dict[str, Callable[[Path], Facts]] = {
    "model": _model,
    "run folder": _run_folder,
    "stage folder": _imported,
    "float folder": _float_folder,
    "weights": _weights,
    "checkpoint": _checkpoint,
    "model.pb": _modelpb,
}


def model_facts(model: Model) -> Facts:
    """Facts about a frozen model."""
    nets = len(model.fit_weights[0])
    tables: dict[str, Any] = {
        "table u": model.table_u, "table du": model.table_u_grad, "table G": model.table_g,
        "table dG": model.table_g_grad, "fitting weights": model.fit_weights,
        "fitting biases": model.fit_biases}
    return {
        "version": model.version,
        "sub_version": model.sub_version,
        "type_map": list(model.type_map),
        "sel": list(model.sel),
        "max_nnei": model.max_nnei,
        "nix": model.nix,
        "rcut": model.rcut,
        "rcut_smth": model.rcut_smth if model.embedding else None,
        "embedding": _widths(model.embedding[0]) if model.embedding else [model.m1],
        "axis_neuron": model.axis_neuron,
        "fitting": _widths([(w[0], b[0]) for w, b in
                            zip(model.fit_weights, model.fit_biases, strict=True)]),
        "fitting_nets": nets,
        "float_network": bool(model.embedding),
        "tables": {"u": layout_facts(model.u_layout), "s": layout_facts(model.s_layout)},
        "table_layout": model.tables,
        "ranges": {name: largest(values) for name, values in tables.items() if values is not None},
        "energy_bias": [float(b) for b in model.t_bias_atom_e],
        "seen": _seen(model),
        "origin": dict(model.origin),
        "digest": model.digest,
    }


def _seen(model: Model) -> Facts | None:
    """What the training saw, by pairs of elements; None where it is not known."""
    seen, names = model.seen, model.type_map
    if seen is None:
        return None
    distances = {f"{names[a]}-{names[b]}": float(seen.distance[a, b])
                 for a in range(len(names)) for b in range(a, len(names))
                 if seen.distance[a, b] < model.rcut}
    return {"smallest_distances": distances, "squared_distances": seen.u.tolist(),
            "s": {name: seen.s[k].tolist() for k, name in enumerate(names)}}


def weights_facts(weights: FloatWeights) -> Facts:
    """Facts about the weights of a float network."""
    layers = list(zip(weights.fit_weights, weights.fit_biases, strict=True))
    embedding = weights.embedding[0] if weights.embedding else ()
    return {
        "version": weights.version,
        "sub_version": weights.sub_version,
        "ntypes": weights.ntypes,
        "embedding": _widths(embedding),
        "fitting": _widths([(w[0], b[0]) for w, b in layers]),
        "fitting_nets": len(weights.fit_weights[0]),
        "smallest_distance": _finite(weights.min_nbor_dist),
        "ranges": {"embedding weights": largest([w for net in weights.embedding for w, _ in net]),
                   "fitting weights": largest(weights.fit_weights),
                   "fitting biases": largest(weights.fit_biases)},
        "energy_bias": [float(b) for b in weights.t_bias_atom_e],
        "numbers": sum(array.size for array in weights.arrays().values()),
    }


def layout_facts(layout: TableLayout) -> Facts:
    """Range and rows of a table."""
    return {"rows": layout.rows, "from": float(layout.row_starts().min()),
            "to": float(layout.row_ends().max()),
            "segments": [{"from": layout.x0 + s.start, "step": s.step, "rows": s.rows}
                         for s in layout.segments]}


def largest(values: NDArray | list | tuple) -> float | None:
    """Largest magnitude in some arrays; None where there is none."""
    sizes = [float(np.abs(array).max()) for array in values if np.size(array)]
    return max(sizes, default=None)


def _widths(net: Any) -> list[int]:
    """Widths of a net's layers."""
    return [int(weight.shape[1]) for weight, _ in net]


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
