#!/bin/sh
# `dp compress` takes an NVNMD model, ends well, and writes another one: fitting nets as trained,
# embedding nets as before the training. Shown without this package, on a model that DeePMD-kit
# trains here; the exit code is not 0 if that has changed. Some two minutes of one core.
# Needs Python 3.11 and the packages below.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q --disable-pip-version-check install \
    deepmd-kit==3.2.0 tensorflow-cpu==2.21.0 numpy==2.4.6 h5py==3.14.0
cd "$work"
export OMP_NUM_THREADS=1 DP_INTRA_OP_PARALLELISM_THREADS=1 DP_INTER_OP_PARALLELISM_THREADS=1
export TF_CPP_MIN_LOG_LEVEL=3

# 32 atoms of a rattled crystal, pulled back to their sites: small, smooth and trainable
"$work/venv/bin/python" - <<'END'
import json
from pathlib import Path

import numpy as np

rng = np.random.default_rng(1)
sites = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0]], dtype=float)
sites = np.concatenate([sites + 4.0 * np.array(c) for c in np.ndindex(2, 2, 2)])
moved = 0.1 * rng.normal(size=(12, 32, 3))
data = Path("train/set.000")
data.mkdir(parents=True)
np.save(data / "coord.npy", (sites + moved).reshape(12, -1))
np.save(data / "box.npy", np.tile(np.diag([8.0] * 3).ravel(), (12, 1)))
np.save(data / "energy.npy", (moved**2).sum(axis=(1, 2)))
np.save(data / "force.npy", (-2 * moved).reshape(12, -1))
Path("train/type.raw").write_text("\n".join(["0", "1"] * 16) + "\n")
Path("train/type_map.raw").write_text("Cu\nAu\n")
Path("cnn.json").write_text(json.dumps({
    "nvnmd": {"version": 0, "max_nnei": 128, "net_size": 128, "sel": [56, 56], "rcut": 6.0,
              "rcut_smth": 0.5, "type_map": ["Cu", "Au"]},
    "learning_rate": {"type": "exp", "start_lr": 5e-4, "stop_lr": 1e-4, "decay_steps": 4},
    "loss": {"start_pref_e": 0.02, "limit_pref_e": 1, "start_pref_f": 1000, "limit_pref_f": 1,
             "start_pref_v": 0, "limit_pref_v": 0},
    "training": {"seed": 1, "stop_batch": 40, "disp_file": "lcurve.out", "disp_freq": 4,
                 "save_ckpt": "model.ckpt", "save_freq": 40,
                 "training_data": {"systems": ["train"], "batch_size": [1]}}}))
END
"$work/venv/bin/dp" train-nvnmd cnn.json -s s1 > train.log 2>&1
"$work/venv/bin/dp" compress -i nvnmd_cnn/frozen_model.pb -o compressed.pb -t cnn.json \
    > compress.log 2>&1
echo "deepmd-kit 3.2.0: dp compress of nvnmd_cnn/frozen_model.pb ends with exit code 0"

"$work/venv/bin/python" - 2> compare.log <<'END'
import sys

import numpy as np
import tensorflow.compat.v1 as tf
from deepmd.infer import DeepPot

files = ("nvnmd_cnn/frozen_model.pb", "compressed.pb")


def constants(file):
    graph = tf.GraphDef()
    with open(file, "rb") as content:
        graph.ParseFromString(content.read())
    return {node.name: tf.make_ndarray(node.attr["value"].tensor) for node in graph.node
            if node.op == "Const" and node.name.split("/")[-1].startswith(("matrix", "bias"))}


first, second = map(constants, files)
embedding = [name for name in first if name.startswith("filter_type")]
fitting = [name for name in first if name.startswith(("layer_", "final_layer"))]
same = [name for name in fitting if np.array_equal(first[name], second[name])]
other = [name for name in embedding if not np.array_equal(first[name], second[name])]
print(f"fitting nets: {len(same)} of {len(fitting)} arrays as in the model; "
      f"embedding nets: {len(other)} of {len(embedding)} differ")
coord, box = np.load("train/set.000/coord.npy")[:1], np.load("train/set.000/box.npy")[:1]
energies = [float(DeepPot(file).eval(coord, box, [0, 1] * 16)[0][0, 0]) for file in files]
print(f"energy of one frame: {energies[0]:.3f} eV before, {energies[1]:.3f} eV after")
sys.exit(not (fitting and embedding and len(same) == len(fitting)
              and len(other) == len(embedding) and abs(energies[0] - energies[1]) > 1e-3))
END
