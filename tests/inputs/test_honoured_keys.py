"""Every honoured key changes what a training does, not only what the program has read.

Each run is three steps on a few atoms. Beside it stands one without the setting; its files, or what
it shows, must differ. The table holds every honoured key of the policy but those that the tests in
`ELSEWHERE` run.
"""

from __future__ import annotations

import copy
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from inputs.test_loss_terms import labelled
from support.cnn_runs import data  # noqa: F401
from support.input_documents import place

from nvnmd.inputs.contract import walk
from nvnmd.inputs.data_section import DATA_KEYS
from nvnmd.inputs.policy import DESCRIPTOR, table
from nvnmd.inputs.read import for_stage, parse_document
from nvnmd.inputs.tree import sections

FITTING = "model[standard]/fitting_net[ener]"
OF_VALIDATION = "training/validation_data"
BASE = {
    "nvnmd": {"version": 0, "max_nnei": 128, "net_size": 128},
    "learning_rate": {"start_lr": 5e-3, "stop_lr": 1e-4, "decay_steps": 2},
    "training": {
        "numb_steps": 5, "seed": 3, "disp_freq": 1, "save_freq": 1, "max_ckpt_keep": 2,
        "time_training": False,
        "training_data": {"systems": ["large", "small"], "batch_size": 1},
        "validation_data": {"systems": ["small", "large"], "batch_size": 1},
    },
    "model": {"type_map": ["Cu", "Au"],
              "descriptor": {"sel": [24, 24], "rcut": 4.6, "rcut_smth": 1.5}},
}
# Keys, a setting of each, and what both runs are given besides
CHANGES: dict[str, tuple] = {
    "nvnmd/version": (1,),
    "nvnmd/max_nnei": (256,), "nvnmd/seed": (8,), "nvnmd/tables": ("octave",),
    "model/type_map": (["Au", "Cu"],),
    "model/data_stat_nbatch": (1,), "model/data_stat_protect": (0.5,),
    "model/pair_exclude_types": ([[0, 1]],),
    f"{DESCRIPTOR}[se_e2_a]/sel": ([28, 24],), f"{DESCRIPTOR}[se_e2_a]/rcut": (4.0,),
    f"{DESCRIPTOR}[se_e2_a]/rcut_smth": (2.0,), f"{DESCRIPTOR}[se_e2_a]/seed": (8,),
    f"{DESCRIPTOR}[se_e2_a]/trainable": (False,),
    f"{DESCRIPTOR}[se_e2_a]/set_davg_zero": (True,),
    f"{DESCRIPTOR}[se_e2_a]/exclude_types": ([[0, 1]],),
    f"{DESCRIPTOR}[se_e2_a]/neuron": ([16, 32, 32],), f"{FITTING}/neuron": ([128],),
    f"{DESCRIPTOR}[se_e2_a]/axis_neuron": (2, {"nvnmd": {"version": 0, "max_nnei": 128}}),
    f"{FITTING}/seed": (8,), f"{FITTING}/trainable": ([True, False, True, True],),
    f"{FITTING}/rcond": (0.9,),
    "learning_rate[exp]/start_lr": (1e-3,), "learning_rate[exp]/stop_lr": (1e-3,),
    "learning_rate[exp]/decay_steps": (1,), "learning_rate[exp]/decay_rate": (0.9,),
    **{f"loss[ener]/{end}_pref_{term}": (2.5,) for end in ("start", "limit")
       for term in ("e", "f", "v", "ae", "pf")},
    **{f"loss[ener]/{end}_pref_gf": (2.5, {"loss/numb_generalized_coord": 2})
       for end in ("start", "limit")},
    "loss[ener]/relative_f": (1.0,), "loss[ener]/enable_atom_ener_coeff": (True,),
    "training/numb_steps": (4,), "training/seed": (4,), "training/disp_file": ("curve",),
    "training/disp_freq": (3,), "training/save_freq": (3,), "training/save_ckpt": ("ck",),
    "training/max_ckpt_keep": (1,), "training/disp_training": (False,),
    "training/time_training": (True,), "training/warmup_steps": (2,),
    "training/gradient_max_norm": (1e-3,), "training/stat_file": ("run/stat.npz",),
    "training/training_data/systems": (["small"],), "training/training_data/batch_size": (2,),
    "training/training_data/set_prefix": ("part",),
    "training/training_data/auto_prob": ("prob_sys_size;1:2:1",),
    "training/training_data/sys_probs": ([0.0, 1.0],),
    f"{OF_VALIDATION}/systems": (["large"],), f"{OF_VALIDATION}/batch_size": (2,),
    f"{OF_VALIDATION}/set_prefix": ("part",), f"{OF_VALIDATION}/numb_btch": (3,),
    f"{OF_VALIDATION}/auto_prob": ("prob_sys_size;1:2:1",),
    f"{OF_VALIDATION}/sys_probs": ([0.0, 1.0],),
}
ELSEWHERE = {
    "test_input_stage.py and test_part_stages.py": {
        *(f"nvnmd/{kind}_file" for kind in ("map", "config", "weight")),
        *(f"nvnmd/{verb}_{half}" for verb in ("restore", "quantize")
          for half in ("descriptor", "fitting_net"))},
    "test_workers.py": {"learning_rate/scale_by_worker"},
    "test_monitor.py": {f"training/{key}" for key in (
        "tensorboard", "tensorboard_log_dir", "tensorboard_freq", "profiling", "profiling_file",
        "enable_profiler")},
    "test_precision.py": {"training/mixed_precision/compute_prec", f"{FITTING}/precision",
                          f"{DESCRIPTOR}[se_e2_a]/precision"},
    "test_sub_version2_training.py": {"nvnmd/sub_version", "nvnmd/device"},
    "test_sizes.py": {"nvnmd/net_size"},
    "test_vacuum.py": {f"{FITTING}/atom_ener"},
    "test_later_keys.py": {
        "training/numb_epoch",
        *(f"training/{part}/rglob_patterns" for part in ("training_data", "validation_data")),
        *(f"learning_rate/{key}" for key in ("stop_lr_ratio", "warmup_steps", "warmup_ratio",
                                             "warmup_start_factor"))},
    "test_loss_terms.py": {"loss[ener]/numb_generalized_coord"},
    "the tests of the other places below": {
        *(f"nvnmd/{key}" for key in ("sel", "rcut", "rcut_smth", "type_map")),
        *(f"training/{key}" for key in DATA_KEYS if key != "min_pair_dist")},
}


def test_the_table_holds_every_honoured_key():
    leaves = {entry.path for entry in walk(sections())
              if not entry.choices and not entry.types & {"dict"}}
    honoured = {path for path, rule in table(0).items()
                if rule.kind == "honoured" and path in leaves}
    named = set().union(*ELSEWHERE.values())
    assert honoured == set(CHANGES) | named and not set(CHANGES) & named
    for name in ELSEWHERE:
        for file in name.split(" and ") if name.startswith("test_") else ():
            assert list(Path(__file__).resolve().parents[1].rglob(file))


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory):
    """A working directory with both systems: labels per atom, a second set of other frames."""
    home = tmp_path_factory.mktemp("keys")
    for name, source in zip(("large", "small"), data, strict=True):
        labelled(source, home / name)
        shutil.copytree(home / name / "set.000", home / name / "part.000")
        for file in (home / name / "part.000").glob("*.npy"):
            np.save(file, np.load(file)[:2])
    # another composition
    (home / "small/type.raw").write_text("0 0 0 1")
    return home


@pytest.fixture(scope="module")
def outcome(folder):
    """What comes of a document: the output's files but its copy of the document, and the lines."""
    known: dict[str, tuple] = {}

    def run(document):
        from nvnmd.training.continuous.train import train_cnn

        key = repr(document)
        if key not in known:
            before = os.getcwd()
            os.chdir(folder)
            try:
                config = for_stage(parse_document(document, "in.json", warn=lambda line: None),
                                   "cnn", "run")
                lines = []
                train_cnn(config, Path("run"), log=lines.append, overflow="truncate")
                files = {path.name: path.read_bytes() for path in Path("run").iterdir()
                         if path.name != "train.json"}
                known[key] = files, lines
            finally:
                # also after an error: what it left would be every later test's error
                shutil.rmtree("run", ignore_errors=True)
                os.chdir(before)
        return known[key]

    return run


def with_changes(changes: dict) -> dict:
    document = copy.deepcopy(BASE)
    for path, value in changes.items():
        place(document, path, value)
    return document


@pytest.mark.parametrize("path", sorted(CHANGES))
def test_a_setting_changes_the_training(outcome, path):
    value, *others = CHANGES[path]
    besides = others[0] if others else {}
    assert outcome(with_changes({**besides, path: value})) != outcome(with_changes(besides))


def test_a_training_is_the_same_again(outcome):
    # otherwise the others would prove nothing; the comment makes it another document
    assert outcome({**BASE, "_again": True}) == outcome(BASE)


def test_the_other_place_of_a_key_gives_the_same_training(outcome):
    document = copy.deepcopy(BASE)
    document["nvnmd"] |= {**document["model"].pop("descriptor"), **document.pop("model")}
    assert outcome(document) == outcome(BASE)
    document["training"] |= {**document["training"].pop("training_data"),
                             "sys_probs": [0.25, 0.75], "set_prefix": "part"}
    expected = with_changes({"training/training_data/sys_probs": [0.25, 0.75],
                             "training/training_data/set_prefix": "part"})
    assert outcome(document) == outcome(expected)
    del document["training"]["sys_probs"]
    del expected["training"]["training_data"]["sys_probs"]
    document["training"]["auto_prob"] = "prob_sys_size;0:1:1;1:2:3"
    expected["training"]["training_data"]["auto_prob_style"] = "prob_sys_size;0:1:1;1:2:3"
    assert outcome(document) == outcome(expected)
