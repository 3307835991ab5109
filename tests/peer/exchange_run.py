"""A quantized stage of DeePMD-kit from `nvnmd_cnn` in a folder, by the input document there.

    python tests/peer/exchange_run.py FOLDER

runs `dp train-nvnmd qnn.json -s s2` in the folder, which leaves `nvnmd_qnn/`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import deepmd_run as run

if __name__ == "__main__":
    run.train_qnn(Path(sys.argv[1]).resolve(), "qnn.json")
