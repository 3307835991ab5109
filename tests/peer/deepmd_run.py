"""Drive DeePMD-kit 3.2.0: both NVNMD stages, and what its graphs compute for given frames.

Runs in the environment that holds DeePMD-kit (`make peer`), never in the project's own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

# Threads add to DeePMD-kit's virials in the order in which they come to it; one thread repeats its
# bits. Read when DeePMD-kit is loaded, which happens below.
os.environ["OMP_NUM_THREADS"] = "1"


def dp(folder: Path, *arguments: str) -> None:
    """Run one `dp` command in a folder."""
    command([str(Path(sys.executable).parent / "dp"), *arguments], folder)


def command(arguments: list[str], folder: Path) -> None:
    """Run a command in a folder, single-threaded; its output goes to `dp.log` there."""
    env = dict(
        os.environ,
        OMP_NUM_THREADS="1",
        DP_INTRA_OP_PARALLELISM_THREADS="1",
        DP_INTER_OP_PARALLELISM_THREADS="1",
        TF_CPP_MIN_LOG_LEVEL="2",
    )
    with open(folder / "dp.log", "a") as log:
        done = subprocess.run(arguments, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        tail = (folder / "dp.log").read_text().splitlines()[-30:]
        raise RuntimeError("\n".join([f"{' '.join(arguments)} failed in {folder}", *tail]))


def train_cnn(folder: Path, input_file: str) -> None:
    """First stage: continuous net, frozen model, `weight.npy`, tables."""
    dp(folder, "train-nvnmd", input_file, "-s", "s1")


def train_qnn(folder: Path, input_file: str) -> None:
    """Second stage: quantized net from the first one's weights and tables."""
    dp(folder, "train-nvnmd", input_file, "-s", "s2")


def freeze(folder: Path, stage: str) -> None:
    """Freeze a stage's last checkpoint again, as the stage itself does at its end."""
    dp(folder, "freeze", "-c", stage, "-o", f"{stage}/frozen_model.pb", "-w", f"{stage}/weight.npy")


def map_tables(folder: Path) -> None:
    """Build the tables again from `nvnmd_cnn/weight.npy`; no `dp` command does only that."""
    code = (
        "from deepmd.tf.nvnmd.entrypoints.mapt import mapt\n"
        "mapt(nvnmd_config='nvnmd_cnn/config.npy', nvnmd_weight='nvnmd_cnn/weight.npy',"
        " nvnmd_map='nvnmd_cnn/map.npy')"
    )
    command([sys.executable, "-c", code], folder)


def round_checkpoint(folder: Path, stage: str, bits: int) -> None:
    """Round the fitting net's hidden matrices in a stage's last checkpoint to multiples of 2^-bits.

    A matrix on a coarse grid compresses; DeePMD-kit then freezes and evaluates exactly this matrix.
    """
    import deepmd.tf.env  # noqa: F401  (registers DeePMD-kit's operators)
    import tensorflow.compat.v1 as tf

    checkpoint = tf.train.latest_checkpoint(str(folder / stage))
    with tf.Graph().as_default(), tf.Session() as session:
        saver = tf.train.import_meta_graph(checkpoint + ".meta", clear_devices=True)
        saver.restore(session, checkpoint)
        for variable in tf.global_variables():
            name = variable.op.name
            if name.startswith("layer_") and name.endswith("/matrix"):
                value = session.run(variable)
                variable.load(np.rint(value * 2.0**bits) / 2.0**bits, session)
        saver.save(session, checkpoint)


def load_dict(path: Path) -> dict[str, Any]:
    """One of DeePMD-kit's pickled dictionaries, written by the run itself a moment ago."""
    return np.load(path, allow_pickle=True)[0]


@cache
def potential(model: Path) -> Any:
    """DeepPot of a frozen model, which must not change from now on."""
    from deepmd.infer import DeepPot

    return DeepPot(str(model))


def evaluate(model: Path, coord: np.ndarray, box: np.ndarray | None, types: np.ndarray) -> dict:
    """Energy, forces, virials and atomic energies of one frame from a frozen model.

    `coord` (n, 3) and `box` (3, 3) in Å, `box` None for an open boundary, `types` (n,).
    """
    cells = None if box is None else box.reshape(1, 9)
    energy, force, virial, atom_energy, atom_virial = potential(model).eval(
        coord.reshape(1, -1), cells, types.tolist(), atomic=True
    )
    return {
        "energy": energy.reshape(()),
        "force": force.reshape(-1, 3),
        "virial": virial.reshape(9),
        "atom_energy": atom_energy.reshape(-1),
        "atom_virial": atom_virial.reshape(-1, 9),
    }


def internals(model: Path, coord: np.ndarray, box: np.ndarray | None, types: np.ndarray) -> dict:
    """What the graph holds per neighbour slot, atoms sorted by type.

    Returns `order` (n,), `rij` (n, m, 3), `nlist` (n, m), `env` (n, m, 4) = [u, x, y, z] in the
    quantized net, `net_deriv` (n, m, 4) = dE/d[u, x, y, z] and `descriptor` (n, 128). They are the
    inputs of the force operator, found by its type because gradient nodes have no stable name.
    """
    evaluator = potential(model).deep_eval
    graph = evaluator.graph
    (force,) = [op for op in graph.get_operations() if op.type == "ProdForceSeA"]
    scope = force.name.split("/")[0] + "/" if force.name.startswith("load") else ""
    tensors = {
        "net_deriv": force.inputs[0],
        "nlist": force.inputs[2],
        "rij": graph.get_tensor_by_name(f"{scope}o_rij:0"),
        "env": graph.get_tensor_by_name(f"{scope}o_rmat:0"),
        "descriptor": graph.get_tensor_by_name(f"{scope}o_descriptor:0"),
    }
    cells = None if box is None else box.reshape(1, 9)
    prepared = evaluator._prepare_feed_dict(coord.reshape(1, -1), cells, types)
    values = evaluator.sess.run(tensors, prepared[0])
    n = len(types)
    m = values["nlist"].size // n
    return {
        "order": np.argsort(types, kind="stable"),
        "rij": values["rij"].reshape(n, m, 3),
        "nlist": values["nlist"].reshape(n, m),
        "env": values["env"].reshape(n, m, 4),
        "net_deriv": values["net_deriv"].reshape(n, m, 4),
        "descriptor": values["descriptor"].reshape(n, -1),
    }
