"""DeePMD-kit's second stage on the tables of a folder, and what its frozen model gives for frames.

    python tests/peer/octave_run.py FOLDER

trains from `nvnmd_cnn` of the folder, a run of reference_run.py for version 0, 128 slots and two
types, by `qnn.json`, and leaves `nvnmd_qnn/` and `expected.npz`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import deepmd_run as run
from reference_run import evaluate

if __name__ == "__main__":
    folder = Path(sys.argv[1]).resolve()
    run.train_qnn(folder, "qnn.json")
    evaluate(0, 128, 2, folder)
