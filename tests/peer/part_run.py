"""DeePMD-kit's stages that restore and quantize a part, after a run of reference_run.py.

    python tests/peer/part_run.py NAME FOLDER REFERENCE

trains one step from the float network in the folder REFERENCE, with the switches of SWITCHES[NAME],
and leaves `weight.npy` and, for the frames of the reference, `expected.npz` in FOLDER.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import deepmd_run as run
import numpy as np

KEYS = ("restore_descriptor", "restore_fitting_net", "quantize_descriptor", "quantize_fitting_net")
SWITCHES = {
    "table": (True, True, True, False),
    "fixed": (True, True, False, True),
    "fresh": (False, False, False, True),
    "float": (True, False, False, False),
}


def main(name: str, folder: Path, reference: Path) -> None:
    """Train one step and evaluate the frozen model."""
    shutil.copytree(reference / "nvnmd_cnn", folder / "nvnmd_cnn", dirs_exist_ok=True)
    document = json.loads((reference / "nvnmd_qnn" / "train.json").read_text())
    document["nvnmd"] |= dict(zip(KEYS, SWITCHES[name], strict=True))
    data = document["training"]["training_data"]
    data["systems"] = [str(reference / system) for system in data["systems"]]
    document["training"] |= {"stop_batch": 1, "save_freq": 1, "disp_file": "lcurve.out",
                             "save_ckpt": "model.ckpt"}
    (folder / "part.json").write_text(json.dumps(document))
    run.dp(folder, "train", "part.json", "--skip-neighbor-stat")
    run.dp(folder, "freeze", "-c", ".", "-o", "frozen_model.pb", "-w", "weight.npy")
    frames = np.load(reference / "expected.npz")
    out: dict[str, list] = {}
    for coord, box in zip(frames["coord"], frames["box"], strict=True):
        found = run.evaluate(folder / "frozen_model.pb", coord.reshape(-1, 3), box.reshape(3, 3),
                             frames["type"])
        for key, value in found.items():
            out.setdefault(key, []).append(value)
    np.savez(folder / "expected.npz", **{key: np.stack(value) for key, value in out.items()})


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).resolve(), Path(sys.argv[3]).resolve())
