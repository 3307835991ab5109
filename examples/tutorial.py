"""From the output of a DFT program to a report: every step is a command that you can type yourself.

    python examples/tutorial.py -o tutorial_run               # with OUTCARs that it makes itself
    python examples/tutorial.py OUTCAR_1 OUTCAR_2 -o my_run   # with yours; the last one validates

Without files it writes OUTCARs in VASP's form of a small copper-gold cell; the labels are those of
ASE's effective medium theory, a stand-in for DFT that takes no time. Needs the extras train, data
and report (and demo for its own OUTCARs).
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path


def nvnmd(*words: object, folder: Path) -> None:
    """Run a command in the folder, showing it as it is typed."""
    line = [str(word) for word in words]
    print(f"\n$ nvnmd {shlex.join(line)}", flush=True)
    subprocess.run([sys.executable, "-P", "-m", "nvnmd", *line], cwd=folder, check=True)


def make_outcar(path: Path, frames: int, seed: int) -> None:
    """Write what dpdata reads of an OUTCAR: elements, cells, positions and their labels."""
    import numpy as np
    from ase.build import bulk
    from ase.calculators.emt import EMT

    rng = np.random.default_rng(seed)
    crystal = bulk("Cu", "fcc", a=3.85, cubic=True).repeat((2, 2, 1))
    crystal.symbols[8:] = "Au"
    lines = [" TITEL  = PAW_PBE Cu 22Jun2005", " TITEL  = PAW_PBE Au 04Oct2007",
             "   NELM   =     60;   NELMIN=  2; NELMDL= -5", "   NWRITE =      2",
             "   ions per type =               8   8"]
    for _ in range(frames):
        atoms = crystal.copy()
        atoms.positions += rng.normal(scale=0.08, size=(len(atoms), 3))
        atoms.calc = EMT()
        # eV/Å³ as kB, in VASP's order and with its sign
        xx, yy, zz, yz, xz, xy = -atoms.get_stress() * 1602.1766208
        lines += ["--------- Iteration      1(   4)  ----------",
                  "  FORCE on cell =-STRESS in cart. coord.  units (eV):", *["  -"] * 13,
                  f"  in kB   {xx} {yy} {zz} {xy} {yz} {xz}",
                  " VOLUME and BASIS-vectors are now :", *["  -"] * 4]
        lines += [f"  {a} {b} {c} 0.0 0.0 0.0" for a, b, c in atoms.cell.array]
        lines += [" POSITION                                       TOTAL-FORCE (eV/Angst)", " ---"]
        lines += ["  " + " ".join(map(repr, map(float, (*x, *f))))
                  for x, f in zip(atoms.positions, atoms.get_forces(), strict=True)]
        lines += [" ---", f"  free  energy   TOTEN  =      {atoms.get_potential_energy()} eV"]
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def shorten(file: Path, steps: int) -> None:
    """Set the number of steps, as you would in an editor."""
    document = json.loads(file.read_text(encoding="utf-8"))
    document["training"] |= {"numb_steps": steps, "disp_freq": max(steps // 10, 1),
                             "save_freq": steps}
    document["learning_rate"]["decay_steps"] = max(steps // 50, 1)
    file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    """Run the tutorial."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="*", help="outputs of a DFT program")
    parser.add_argument("-f", "--format", default="vasp/outcar", help="dpdata's name for them")
    parser.add_argument("-o", "--output", type=Path, default=Path("tutorial_run"))
    parser.add_argument("--steps", type=int, default=2000, help="of the float network")
    args = parser.parse_args()
    folder = args.output.resolve()
    folder.mkdir(parents=True)
    files = [file.resolve() for file in args.files]
    if not files:
        files = [folder / "dft" / name / "OUTCAR" for name in ("one", "two")]
        for file, frames, seed in zip(files, (40, 10), (1, 2), strict=True):
            make_outcar(file, frames, seed)

    # 1. data: what dpdata reads becomes systems, in parts for training and for validation
    nvnmd("convert", *files[:-1] or files, "-f", args.format, "-o", "data/training", folder=folder)
    if files[:-1]:
        nvnmd("convert", files[-1], "-f", args.format, "-o", "data/validation", folder=folder)
    # 2. documents that fit them
    nvnmd("init", "--from", "data", folder=folder)
    shorten(folder / "input_cnn.json", args.steps)
    shorten(folder / "input_qnn.json", max(args.steps // 10, 1))
    nvnmd("check", "input_cnn.json", folder=folder)
    # 3. the float network, then its quantized form
    nvnmd("train-cnn", "input_cnn.json", folder=folder)
    nvnmd("train-qnn", "input_qnn.json", folder=folder)
    # 4. what the model is, its errors, and everything on one page
    nvnmd("info", "nvnmd_qnn", folder=folder)
    nvnmd("test", "-m", "nvnmd_qnn", "-s", "data/validation" if files[:-1] else "data/training",
          folder=folder)
    nvnmd("report", ".", "-o", "report.html", folder=folder)
    print(f"\nopen {folder / 'report.html'}")


if __name__ == "__main__":
    main()
