"""A model that fits a small board: sixteen features, layers 64 wide, octave tables, five elements.

    python examples/small_board.py -o small_board
    nvnmd build small_board/nvnmd_qnn --board ulx3s-85f --preset tiny --clock 25 -o board_out

The data are those of `nvnmd demo --version 1`. Needs the extras train and demo.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

NET = {"descriptor": {"neuron": [4, 8, 16], "axis_neuron": 4},
       "fitting_net": {"neuron": [64, 64, 64]}}
STEPS = {"cnn": 1000, "qnn": 200}


def nvnmd(*words: object, folder: Path) -> None:
    """Run a command in the folder, showing it as it is typed."""
    line = [str(word) for word in words]
    print(f"\n$ nvnmd {shlex.join(line)}", flush=True)
    subprocess.run([sys.executable, "-P", "-m", "nvnmd", *line], cwd=folder, check=True)


def reduce_sizes(file: Path, steps: int) -> None:
    """Set the sizes of the nets, the tables and the steps, as you would in an editor."""
    document = json.loads(file.read_text(encoding="utf-8"))
    document["nvnmd"] |= {"net_size": 64, "tables": "octave"}
    document["model"] = NET
    document["training"] |= {"numb_steps": steps, "disp_freq": max(steps // 10, 1),
                             "save_freq": steps}
    document["learning_rate"]["decay_steps"] = max(steps // 40, 1)
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Make the data, train both networks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("small_board"))
    parser.add_argument("--cnn-steps", type=int, default=STEPS["cnn"])
    parser.add_argument("--qnn-steps", type=int, default=STEPS["qnn"])
    args = parser.parse_args()
    folder = args.output.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    nvnmd("demo", "--version", 1, "--data-only", "-o", folder, folder=folder.parent)
    for stage, steps in (("cnn", args.cnn_steps), ("qnn", args.qnn_steps)):
        reduce_sizes(folder / f"input_{stage}.json", steps)
        nvnmd(f"train-{stage}", f"input_{stage}.json", folder=folder)


if __name__ == "__main__":
    main()
