"""Input documents for the tests, and a setting of every honoured key."""

from __future__ import annotations

import re

from nvnmd.inputs.data_section import DATA_KEYS
from nvnmd.inputs.policy import DESCRIPTOR
from nvnmd.inputs.read import parse_document

BASE = {
    "nvnmd": {"version": 0, "max_nnei": 128, "net_size": 128},
    "training": {"numb_steps": 10, "training_data": {"systems": ["one", "two"]}},
    "model": {"type_map": ["Ge", "Te"], "descriptor": {"sel": [60, 60]}},
}

# A setting of each honoured key that differs from BASE and from the default
SETTINGS = {
    "nvnmd/version": 0, "nvnmd/max_nnei": 256, "nvnmd/tables": "octave", "nvnmd/net_size": 128,
    "nvnmd/sub_version": 2, "nvnmd/device": "vu13p", "nvnmd/seed": 6,
    "nvnmd/map_file": "run/map.npy", "nvnmd/config_file": "run/config.npy",
    "nvnmd/weight_file": "run/weight.npy",
    "nvnmd/restore_descriptor": True, "nvnmd/restore_fitting_net": True,
    "nvnmd/quantize_descriptor": True, "nvnmd/quantize_fitting_net": True,
    "nvnmd/sel": [30, 40], "nvnmd/rcut": 7.0, "nvnmd/rcut_smth": 1.0,
    "nvnmd/type_map": ["H", "O"],
    "learning_rate/scale_by_worker": "sqrt",
    "learning_rate[exp]/start_lr": 0.5, "learning_rate[exp]/stop_lr": 1e-6,
    "learning_rate[exp]/decay_steps": 7, "learning_rate[exp]/decay_rate": 0.9,
    "training/warmup_steps": 3, "training/gradient_max_norm": 2.0, "loss[ener]/relative_f": 0.5,
    "training/training_data/auto_prob": "prob_sys_size;0:1:0.3;1:2:0.7",
    "training/training_data/sys_probs": [0.25, 0.75],
    "training/validation_data/auto_prob": "prob_uniform",
    "training/validation_data/sys_probs": [1.0],
    "training/training_data/set_prefix": "part", "training/validation_data/set_prefix": "part",
    "training/set_prefix": "part", "model[standard]/fitting_net[ener]/rcond": 1e-3,
    "training/auto_prob": "prob_uniform", "training/sys_probs": [0.25, 0.75],
    "training/training_data/systems": ["three"], "training/training_data/batch_size": 3,
    "training/numb_steps": 11, "training/seed": 5, "training/disp_file": "out",
    "training/disp_freq": 3, "training/save_freq": 3, "training/save_ckpt": "ckpt",
    "training/max_ckpt_keep": 2, "training/disp_training": False,
    "training/time_training": False,
    "training/systems": ["four"], "training/batch_size": 4,
    "training/validation_data": {"systems": ["five"]},
    "training/validation_data/systems": ["five"], "training/validation_data/batch_size": 2,
    "training/validation_data/numb_btch": 3,
    "model/type_map": ["H", "O"],
    f"{DESCRIPTOR}[se_e2_a]/sel": [30, 40], f"{DESCRIPTOR}[se_e2_a]/rcut": 7.0,
    f"{DESCRIPTOR}[se_e2_a]/rcut_smth": 1.0, f"{DESCRIPTOR}[se_e2_a]/seed": 6,
    f"{DESCRIPTOR}[se_e2_a]/neuron": [16, 32, 32], f"{DESCRIPTOR}[se_e2_a]/axis_neuron": 4,
    "model[standard]/fitting_net[ener]/neuron": [128, 128],
    "model[standard]/fitting_net[ener]/seed": 6,
    **{f"loss[ener]/{end}_pref_{term}": 3.5 for end in ("start", "limit")
       for term in ("e", "f", "v", "ae", "pf")},
    "model/data_stat_nbatch": 3, "model/data_stat_protect": 0.1, "training/stat_file": "stat.npz",
    f"{DESCRIPTOR}[se_e2_a]/set_davg_zero": True, f"{DESCRIPTOR}[se_e2_a]/trainable": False,
    "model[standard]/fitting_net[ener]/trainable": [True, False, True, True],
    "training/tensorboard": True, "training/tensorboard_log_dir": "board",
    "training/tensorboard_freq": 5, "training/profiling": True,
    "training/profiling_file": "trace.json", "training/enable_profiler": True,
    "model[standard]/fitting_net[ener]/atom_ener": [-1.5, None],
    "training/mixed_precision/compute_prec": "bfloat16",
    f"{DESCRIPTOR}[se_e2_a]/exclude_types": [[1, 0]], "model/pair_exclude_types": [[1, 1]],
    "model[standard]/fitting_net[ener]/precision": "float32",
    f"{DESCRIPTOR}[se_e2_a]/precision": "float32",
    "loss[ener]/enable_atom_ener_coeff": True, "loss[ener]/numb_generalized_coord": 2,
    "training/training_data/rglob_patterns": ["a*"], "training/rglob_patterns": ["a*"],
    "training/validation_data/rglob_patterns": ["a*"], "training/numb_epoch": 2.5,
    "learning_rate/stop_lr_ratio": 0.5, "learning_rate/warmup_steps": 3,
    "learning_rate/warmup_ratio": 0.3, "learning_rate/warmup_start_factor": 0.5,
    "loss[ener]/start_pref_gf": 3.5, "loss[ener]/limit_pref_gf": 3.5,
}


def parse(document: dict):
    return parse_document(document, "in.json", find_systems=False)


def place(document: dict, path: str, value: object) -> str:
    """Set a contract path in a document, with the choices that it names; return its plain path."""
    section, plain = document, []
    *heads, name = path.split("/")
    for head in heads:
        key, choice = re.fullmatch(r"(\w+)(?:\[(\w+)\])?", head).groups()
        section = section.setdefault(key, {})
        plain.append(key)
        if choice:
            section["opt_type" if key == "training" else "type"] = choice
    section[name] = value
    return "/".join([*plain, name])


def without_twin(document: dict, path: str) -> dict:
    """Take out of BASE what the path gives in its other place."""
    name = path.rpartition("/")[2]
    if path.startswith("nvnmd/"):
        document["model"].pop(name, None)
        document["model"]["descriptor"].pop(name, None)
    if path in {f"training/{key}" for key in DATA_KEYS}:
        document["training"].pop("training_data")
        document["training"]["systems"] = ["one", "two"]
    if path == "training/numb_epoch":
        document["training"].pop("numb_steps")
    if path == "training/mixed_precision/output_prec":
        document["training"]["mixed_precision"] = {"compute_prec": "float16"}
    if path.startswith("training/validation_data/"):
        document["training"]["validation_data"] = {"systems": ["v"]}
    return document
