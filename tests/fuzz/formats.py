"""Valid small files of every format, and what reads them.

A reader gets the folder and returns what tells whether a file with a digest was read as it was
written, or None where a format has no digest.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from support.small_models import random_model, random_weights, small_config

SYMBOLS = ("Cu", "Au")


@dataclass(frozen=True)
class Format:
    """A format: `make(folder)` writes files and returns the names of those to damage."""

    make: Callable[[Path], list[str]]
    read: Callable[[Path], Any]
    level: str = "bytes"
    digest: bool = False


def system_arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3), -1).reshape(1, 24) * 3.0
    return {"coord": grid + rng.normal(0, 0.1, (3, 24)),
            "box": np.tile(np.eye(3).ravel() * 6, (3, 1)), "energy": rng.normal(size=3),
            "force": rng.normal(size=(3, 24)), "virial": rng.normal(size=(3, 9))}


def make_npy(folder: Path) -> list[str]:
    (folder / "system/set.000").mkdir(parents=True)
    (folder / "system/type.raw").write_text("0 1 0 1 0 1 0 1\n")
    (folder / "system/type_map.raw").write_text("Cu\nAu\n")
    for name, array in system_arrays().items():
        np.save(folder / f"system/set.000/{name}.npy", array)
    np.save(folder / "system/set.000/numb_copy.npy", np.array([1, 2, 1]))
    return [f"system/set.000/{name}.npy" for name in (*system_arrays(), "numb_copy")] + [
        "system/type.raw", "system/type_map.raw"]


def read_npy_system(folder: Path) -> None:
    from nvnmd.data.systems import load_system

    _finite(load_system(folder / "system", SYMBOLS))


def _finite(system: Any) -> None:
    assert all(np.isfinite(array).all() for array in (
        system.coord, system.box, system.energy, system.force, system.virial) if array is not None)


def make_hdf5(folder: Path) -> list[str]:
    import h5py

    with h5py.File(folder / "data.hdf5", "w") as file:
        group = file.create_group("system")
        group["type.raw"] = np.arange(8) % 2
        group["type_map.raw"] = np.array(SYMBOLS, dtype="S2")
        for name, array in system_arrays().items():
            group.create_dataset(f"set.000/{name}.npy", data=array, chunks=array.shape,
                                 compression="gzip")
    return ["data.hdf5"]


def read_hdf5(folder: Path) -> None:
    from nvnmd.data.systems import load_system

    _finite(load_system(f"{folder}/data.hdf5#/system", SYMBOLS))


DOCUMENT = {
    "nvnmd": {"version": 0, "max_nnei": 128, "net_size": 128},
    "learning_rate": {"type": "exp", "start_lr": 0.001, "stop_lr": 1e-6, "decay_steps": 10},
    "loss": {"start_pref_e": 0.02, "limit_pref_e": 2, "start_pref_f": 1000, "limit_pref_f": 1},
    "training": {"numb_steps": 100, "seed": 1, "disp_freq": 5, "save_freq": 50,
                 "training_data": {"systems": ["one", "two"], "batch_size": [1, 2]},
                 "validation_data": {"systems": ["three"], "batch_size": "auto:3"}},
    "model": {"type_map": ["Ge", "Te"],
              "descriptor": {"type": "se_e2_a", "sel": [60, 60], "rcut": 6.5, "rcut_smth": 0.5},
              "fitting_net": {"seed": 7, "trainable": True}},
}


def make_json(folder: Path) -> list[str]:
    (folder / "input.json").write_text(json.dumps(DOCUMENT, indent=1))
    return ["input.json"]


def read_json_input(folder: Path) -> None:
    from nvnmd.inputs.read import load_input
    from nvnmd.inputs.written import normalized_document

    json.dumps(normalized_document(load_input(
        folder / "input.json", warn=lambda _: None, find_systems=False)), allow_nan=False)


def make_run(folder: Path) -> list[str]:
    from nvnmd.deepmd.config import deepmd_config
    from nvnmd.deepmd.files import write_dict
    from nvnmd.deepmd.tables import map_folder
    from nvnmd.deepmd.weights import to_deepmd

    weights, config = random_weights(np.random.default_rng(1)), small_config()
    for stage in ("nvnmd_cnn", "nvnmd_qnn"):
        (folder / stage).mkdir()
        write_dict(folder / stage / "weight.npy", to_deepmd(weights, config.descriptor.sel))
        write_dict(folder / stage / "config.npy", deepmd_config(config, weights))
        (folder / stage / "train.json").write_text(json.dumps(DOCUMENT))
    map_folder(folder / "nvnmd_cnn")
    return [f"{stage}/{name}" for stage, names in (
        ("nvnmd_cnn", ("config.npy", "weight.npy", "map.npy", "train.json")),
        ("nvnmd_qnn", ("config.npy", "weight.npy", "train.json"))) for name in names]


def read_run(folder: Path) -> None:
    from nvnmd.deepmd.importer import import_model

    model = import_model(folder)
    assert np.isfinite(model.table_u).all() and np.isfinite(model.table_g).all()


def make_float(folder: Path) -> list[str]:
    return [name for name in make_run(folder) if name.startswith("nvnmd_cnn/") and
            name.endswith(("config.npy", "weight.npy"))]


def read_float(folder: Path) -> None:
    from nvnmd.errors import NvnmdError
    from nvnmd.evaluation.potential import load_model

    model, arrays = load_model(folder / "nvnmd_cnn"), system_arrays()
    try:
        found = model.evaluate(arrays["coord"][:1], arrays["box"][:1], np.arange(8) % 2, "float",
                               overflow="truncate")
    except NvnmdError as error:
        # it names the frame, and the command line the system
        raise type(error)(f"{folder}: {error}") from None
    assert np.isfinite(found.energy).all() and np.isfinite(found.force).all()


def read_map_step(folder: Path) -> None:
    from nvnmd.deepmd.files import read_dict
    from nvnmd.deepmd.tables import map_folder

    target = folder / "made.npy"
    content = read_dict(map_folder(folder / "nvnmd_cnn", target))
    target.unlink()
    for key in ("s", "s_grad", "h", "h_grad", "g", "g_grad"):
        assert all(np.isfinite(table).all() for table in content[key]), key


def make_checkpoint(folder: Path) -> list[str]:
    from nvnmd.training.checkpoint import Checkpoint, prefixed

    weights = random_weights(np.random.default_rng(1))
    state = {"model": {"sel": [1, 2]}, "data": {"training": []}, "training": {"a": [1, 2, 3]}}
    Checkpoint(kind="cnn", step=7, state=state, arrays=prefixed(weights.arrays(), "weights")).save(
        folder, "model.ckpt")
    return ["model.ckpt-7.npz", "checkpoint"]


def read_checkpoint(folder: Path) -> Any:
    from nvnmd.network.weights import FloatWeights
    from nvnmd.training.checkpoint import Checkpoint, unprefixed

    found = Checkpoint.load(folder, "cnn")
    FloatWeights.from_file(unprefixed(found.arrays, "weights"), folder)
    return _digest({"step": found.step, "kind": found.kind, "state": found.state}, found.arrays)


def _digest(header: Any, arrays: dict[str, Any]) -> str:
    from nvnmd.npy_archive import digest_of

    return digest_of(header, {name: np.asarray(array) for name, array in arrays.items()})


def make_model(folder: Path) -> list[str]:
    random_model(np.random.default_rng(1)).save(folder / "model.nvnmd")
    return ["model.nvnmd"]


def read_model(folder: Path) -> Any:
    from nvnmd.quantize.model import Model
    from nvnmd.quantize.model_parts import arrays_of, digest_of, header_of

    found = Model.load(folder / "model.nvnmd")
    return digest_of(header_of(found), arrays_of(found))


def make_modelpb(folder: Path) -> list[str]:
    from support.exchange_models import wide_model

    from nvnmd.deepmd.modelpb import write_modelpb

    write_modelpb(folder / "model.pb", wide_model("v0-128"))
    return ["model.pb"]


def read_modelpb_file(folder: Path) -> None:
    from nvnmd.deepmd.modelpb import read_modelpb

    read_modelpb(folder / "model.pb")


def make_weights(folder: Path) -> list[str]:
    random_weights(np.random.default_rng(1)).save(folder / "weights.npz")
    return ["weights.npz"]


def read_weights(folder: Path) -> None:
    from nvnmd.network.weights import FloatWeights

    assert all(np.isfinite(array).all()
               for array in FloatWeights.load(folder / "weights.npz").arrays().values())


def make_curve(folder: Path) -> list[str]:
    lines = [f"{k:8d}   1.05e-01   2.5e-03  {k}e-01  1.0e-03" for k in range(0, 200, 10)]
    (folder / "lcurve.out").write_text("\n".join([
        "#  step      rmse_trn    rmse_e_trn    rmse_f_trn      lr", *lines, ""]))
    return ["lcurve.out"]


def read_curve(folder: Path) -> None:
    from nvnmd.training.lcurve import read_lcurve

    read_lcurve(folder / "lcurve.out")


def make_script(folder: Path) -> list[str]:
    (folder / "in.lammps").write_text(
        "units metal\natom_style atomic\nread_data more.data\ninclude pair.in\n"
        "fix 1 all nve\nrun 10 # steps\nthermo &\n 5\n")
    (folder / "pair.in").write_text("pair_style nvnmd model.pb\npair_coeff * * Cu Au\n")
    return ["in.lammps", "pair.in"]


def read_lammps(folder: Path) -> None:
    import os

    from nvnmd.integrations.lammps_script import read_script

    before = Path.cwd()
    os.chdir(folder)
    try:
        read_script(folder / "in.lammps", 6.0)
    finally:
        os.chdir(before)


def make_extxyz(folder: Path) -> list[str]:
    arrays = system_arrays()
    lines = []
    for frame in range(3):
        box = " ".join(map(str, arrays["box"][frame]))
        lines += ["8", f'Lattice="{box}" Properties=species:S:1:pos:R:3:forces:R:3 '
                       f'energy={arrays["energy"][frame]} pbc="T T T"']
        for k in range(8):
            row = (*arrays["coord"][frame, 3 * k : 3 * k + 3],
                   *arrays["force"][frame, 3 * k : 3 * k + 3])
            lines.append(" ".join([SYMBOLS[k % 2], *map(str, row)]))
    (folder / "frames.extxyz").write_text("\n".join(lines) + "\n")
    return ["frames.extxyz"]


def read_extxyz(folder: Path) -> None:
    import shutil

    from nvnmd.data.convert import convert
    from nvnmd.data.systems import find_systems, load_groups

    target = folder / "made"
    try:
        found = convert([folder / "frames.extxyz"], target, warn=lambda _: None)
        for system in find_systems(target):
            for part in load_groups(system, found.type_map):
                _finite(part)
    finally:
        shutil.rmtree(target, ignore_errors=True)


def make_state(folder: Path) -> list[str]:
    from nvnmd.npy_archive import digest_of

    rng = np.random.default_rng(1)
    arrays = {"identity": json.dumps({"model": "x", "settings": {"timestep": 1.0}}), "step": 4,
              "positions": rng.normal(size=(8, 3)), "momenta": rng.normal(size=(8, 3)),
              "cell": np.eye(3), "rng": json.dumps(rng.bit_generator.state), "sizes": [3, 4]}
    known = {name: np.asarray(value) for name, value in arrays.items()}
    np.savez(folder / "run.state.npz", digest=np.array(digest_of({}, known)), **known)
    return ["run.state.npz"]


def read_state(folder: Path) -> Any:
    from nvnmd.integrations.dynamics import _read_state

    identity = json.dumps({"model": "x", "settings": {"timestep": 1.0}})
    return _digest({}, _read_state(folder / "run.state.npz", identity))


STATISTICS = {"version": 0, "sel": [4, 4], "type_map": list(SYMBOLS), "rcut": 6.0}


def make_statistics(folder: Path) -> list[str]:
    from nvnmd.network.statistics import Statistics
    from nvnmd.training.statistics_file import _save

    found = Statistics(davg=np.zeros((2, 2)), dstd=np.ones((2, 2)), t_bias_atom_e=np.ones(2),
                       min_nbor_dist=1.5, largest_counts=np.array([3, 4]),
                       s_sample=np.linspace(0.0, 8.0, 64), mean_neighbors=20.0)
    _save(folder / "stat.npz", found, STATISTICS, "0" * 64)
    return ["stat.npz"]


def read_statistics(folder: Path) -> Any:
    from nvnmd.training.statistics_file import ARRAYS, _load

    found, data = _load(folder / "stat.npz", STATISTICS, 2)
    return _digest({"data": data}, {name: getattr(found, name) for name in ARRAYS})


FORMATS = {
    "npy": Format(make_npy, read_npy_system),
    "hdf5": Format(make_hdf5, read_hdf5, "hdf5"),
    "json": Format(make_json, read_json_input, "json"),
    "run-folder": Format(make_run, read_run, "dictionary"),
    "float-folder": Format(make_float, read_float, "dictionary"),
    "map": Format(make_float, read_map_step, "dictionary"),
    "checkpoint": Format(make_checkpoint, read_checkpoint, "zip", digest=True),
    "model.nvnmd": Format(make_model, read_model, "zip", digest=True),
    "model.pb": Format(make_modelpb, read_modelpb_file),
    "weights": Format(make_weights, read_weights, "zip"),
    "statistics": Format(make_statistics, read_statistics, "zip", digest=True),
    "md-state": Format(make_state, read_state, "zip", digest=True),
    "learning-curve": Format(make_curve, read_curve),
    "lammps-script": Format(make_script, read_lammps),
    "extxyz": Format(make_extxyz, read_extxyz),
}
