"""Plot of the demo's result: parity of the forces, and the learning curves of both stages.

    nvnmd demo
    python benchmarks/parity.py nvnmd_demo -o docs/images/parity.png

Left: force components on the validation set, as labelled and as the quantized network gives them.
Right: force RMSE on batches of the validation set while both networks train, from `lcurve.out`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from nvnmd.data.systems import find_systems, load_systems
from nvnmd.evaluation.evaluate import evaluate_system
from nvnmd.quantize.model import Model


def forces(demo: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Force components of the validation set in eV/Å: labels, and the quantized network's."""
    model = Model.load(demo / "nvnmd_qnn" / "model.nvnmd")
    systems = load_systems(find_systems(demo / "data" / "validation"), model.type_map)
    labels = [system.force.ravel() for system in systems if system.force is not None]
    found = [evaluate_system(model, system, "fixed").force.ravel() for system in systems]
    return np.concatenate(labels), np.concatenate(found)


def learning_curve(folder: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps, and the force RMSE of the validation batches in eV/Å."""
    lines = (folder / "lcurve.out").read_text(encoding="utf-8").splitlines()
    (names,) = (line.lstrip("# ").split() for line in lines if "rmse_f_val" in line)
    table = np.loadtxt(folder / "lcurve.out", ndmin=2)
    return table[:, names.index("step")], table[:, names.index("rmse_f_val")]


def main() -> None:
    """Read the folder of a demo and write the figure."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="the folder that `nvnmd demo` wrote")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the figure to write")
    args = parser.parse_args()

    label, found = forces(args.demo)
    rmse = np.sqrt(np.mean((found - label) ** 2))
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, (parity, curve) = plt.subplots(1, 2, figsize=(8.0, 3.7), layout="constrained")

    limit = 1.05 * max(np.abs(label).max(), np.abs(found).max())
    parity.plot([-limit, limit], [-limit, limit], color="0.6", linewidth=0.8)
    parity.scatter(label, found, s=3, linewidths=0, alpha=0.5, color="#b9550e")
    parity.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal",
               xlabel="labelled force, eV/Å", ylabel="force of the quantized network, eV/Å",
               title=f"validation set: {label.size} components, RMSE {rmse:.3f} eV/Å")

    step, error = learning_curve(args.demo / "nvnmd_cnn")
    curve.semilogy(step, error, "o-", markersize=3, color="#2b6cb0", label="continuous network")
    more, after = learning_curve(args.demo / "nvnmd_qnn")
    curve.semilogy(step[-1] + more, after, "s-", markersize=3, color="#b9550e",
                   label="quantized network")
    curve.set(xlabel="step", ylabel="force RMSE of validation batches, eV/Å",
              title="training, both stages")
    curve.legend(frameon=False)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.output, dpi=130, metadata={"Software": None})
    print(f"{args.output}: force RMSE {rmse:.6f} eV/Å, {label.size} components, "
          f"{args.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
