#!/bin/sh
# i-PI 3.3.1 (numpy 2.4.6): its bar, atmosphere and pascal are 3e-5 too small for its eV/Å^3.
#
# 1 eV/Å^3 is 1602176.634 bar by the definition of the electronvolt. i-PI's own table of units has
# pressures of bar and of ev/ang3 whose ratio is 1602225.4, 3.05e-5 more; its ev/ang3 agrees with its
# electronvolt and ångström. A pressure that an input states in bar, atmosphere or pascal is
# therefore 3e-5 lower than said, and one that is printed in them is 3e-5 higher. Differences below
# that between two programs are i-PI's unit: compare in eV/Å^3 or atomic units.
#
# Exits 1 if a later installation behaves otherwise.
set -eu
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" -q --disable-pip-version-check install ipi==3.3.1 numpy==2.4.6
cat > "$work/bar.py" <<'PY'
from importlib.metadata import version

from ipi.utils.units import unit_to_internal as internal

EXACT = {"bar": 1602176.634, "pascal": 1.602176634e11, "atmosphere": 1602176.634 / 1.01325}
own = internal("energy", "electronvolt", 1.0) / internal("length", "angstrom", 1.0) ** 3
table = internal("pressure", "ev/ang3", 1.0)
good = version("ipi") == "3.3.1" and abs(table / own - 1) < 1e-6
print(f"ipi {version('ipi')}: ev/ang3 {table!r}, of electronvolt and angstrom {own!r}")
for name, exact in EXACT.items():
    found = table / internal("pressure", name, 1.0)
    off = found / exact - 1
    print(f"1 ev/ang3 is {found:.8g} {name}, expected {exact:.10g}: {off:+.2e}")
    good = good and 2.9e-5 < off < 3.2e-5
print("as described" if good else "NOT as described")
raise SystemExit(0 if good else 1)
PY
"$work/env/bin/python" "$work/bar.py"
