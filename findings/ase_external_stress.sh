#!/bin/sh
# ASE 3.29.0 (numpy 2.4.6, scipy 1.17.1): one `externalstress` compresses or expands, by the class.
#
# A crystal of copper (EMT) at 10 K, 60 steps of 2 fs, with `externalstress=+3 GPa`:
# `MelchionnaNPT` makes it smaller (a number there is a pressure), `LangevinBAOAB` makes it larger
# (a number there is a stress). Nothing warns who changes from one class to the other.
#
# Exits 1 if a later installation behaves otherwise.
set -eu
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" -q --disable-pip-version-check install ase==3.29.0 numpy==2.4.6 scipy==1.17.1
cat > "$work/signs.py" <<'PY'
import ase
import numpy as np
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.melchionna import MelchionnaNPT

TAU = 50 * units.fs


def volume(kind, gpa):
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.calc = EMT()
    stress = gpa * units.GPa
    if kind is MelchionnaNPT:
        run = MelchionnaNPT(atoms, 2 * units.fs, temperature_K=10, externalstress=stress,
                            ttime=None, pfactor=TAU**2 * 0.9)
    else:
        run = LangevinBAOAB(atoms, 2 * units.fs, temperature_K=10, externalstress=stress,
                            hydrostatic=True, T_tau=200 * units.fs, P_tau=TAU, P_mass=2.5e3,
                            rng=np.random.default_rng(1))
    run.run(60)
    return atoms.get_volume()


good = ase.__version__ == "3.29.0"
for kind, smaller in ((MelchionnaNPT, True), (LangevinBAOAB, False)):
    none, pushed = volume(kind, 0.0), volume(kind, 3.0)
    print(f"{kind.__name__}: {none:.2f} Å^3 without, {pushed:.2f} Å^3 with externalstress=+3 GPa")
    good = good and abs(pushed - none) > 0.1 and bool(pushed < none) == smaller
print(f"ase {ase.__version__}: {'as described' if good else 'NOT as described'}")
raise SystemExit(0 if good else 1)
PY
"$work/env/bin/python" "$work/signs.py"
