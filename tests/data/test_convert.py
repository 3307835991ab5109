"""`nvnmd convert`: files of other programs, read by dpdata."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from nvnmd.cli.main import main
from nvnmd.data.systems import load_groups, load_system

pytest.importorskip("dpdata")

FORCES = np.array([[0.1, -0.2, 0.3], [-0.1, 0.2, -0.3], [0.0, 0.5, 0.25]])


def write_xyz(path: Path, compositions=("Cu Au Cu", "Au Cu Cu", "Au Au Cu"), force="0.5") -> Path:
    """One frame per composition, in extended XYZ."""
    lines = []
    for frame, symbols in enumerate(compositions):
        names = symbols.split()
        lines += [str(len(names)),
                  'Lattice="6 0 0 0 6 0 0 0 6" Properties=species:S:1:pos:R:3:forces:R:3 '
                  f'energy={-1.5 - frame} pbc="T T T"']
        for atom, name in enumerate(names):
            lines.append(f"{name} {atom * 1.5 + 0.1 * frame} 0.25 0.5 {force} 0.0 {0.125 * atom}")
    path.write_text("\n".join(lines) + "\n")
    return path


def write_outcar(path: Path, frames: int = 2, energy: str = "-3.25") -> Path:
    """The lines of a VASP run that hold structures and labels."""
    lines = [" TITEL  = PAW_PBE Cu 22Jun2005", " TITEL  = PAW_PBE Au 04Oct2007",
             "   NELM   =     60;   NELMIN=  2; NELMDL= -5", "   NWRITE =      2",
             "   ions per type =               2   1"]
    for frame in range(frames):
        lines += ["--------- Iteration      1(   4)  ----------",
                  "  FORCE on cell =-STRESS in cart. coord.  units (eV):",
                  *["  filler"] * 13, "  in kB   10.0 20.0 30.0 1.0 2.0 3.0",
                  " VOLUME and BASIS-vectors are now :", *[" filler"] * 4,
                  "  6.0 0.0 0.0 0.1 0.0 0.0", "  0.0 6.0 0.0 0.0 0.1 0.0",
                  "  0.0 0.0 6.0 0.0 0.0 0.1",
                  " POSITION                                       TOTAL-FORCE (eV/Angst)", " ---"]
        for atom, force in enumerate(FORCES):
            x = " ".join(map(str, [1.5 * atom, 0.1 * frame, 0.0, *force]))
            lines.append(f"  {x}")
        lines += [" ---", f"  free  energy   TOTEN  =      {energy} eV"]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_vasp(tmp_path, capsys):
    source = write_outcar(tmp_path / "OUTCAR")
    out = tmp_path / "deep" / "data"
    assert main(["convert", str(source), "-f", "vasp/outcar", "-o", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "1 systems, 2 frames, labels: energy, force, virial; type_map: Au Cu" in shown
    assert (out / "type.raw").exists() and list(out.parent.iterdir()) == [out]
    system = load_system(out, ("Au", "Cu"), require=("energy", "force", "virial"))
    # by the alphabet of the elements: the gold atom first
    np.testing.assert_array_equal(system.types, [0, 1, 1])
    np.testing.assert_array_equal(system.energy, [-3.25, -3.25])
    np.testing.assert_array_equal(system.force, [FORCES[[2, 0, 1]]] * 2)
    np.testing.assert_allclose(system.coord[1, 0], [3.0, 0.1, 0.0], rtol=1e-15)
    # 1 kB is 0.1 GPa, times the volume of 216 Å^3
    np.testing.assert_allclose(system.virial[0, 0, 0], 216 * 10 * 6.241509074e-4, rtol=1e-6)


@pytest.mark.parametrize("target", ["deepmd/npy", "deepmd/hdf5", "deepmd/npy/mixed"])
def test_compositions(tmp_path, capsys, target):
    source = write_xyz(tmp_path / "train.xyz")
    out = tmp_path / ("data.hdf5" if target == "deepmd/hdf5" else "data")
    names = ["Ag", "Au", "Cu"]
    assert main(["convert", str(source), "-f", "extxyz", "-o", str(out), "--format", target,
                 "--type-map", *names]) == 0
    *systems, last = capsys.readouterr().out.splitlines()
    assert f"{len(systems)} systems, 3 frames, labels: energy, force" in last
    assert len(systems) == (1 if target.endswith("mixed") else 2)
    parts = [part for name in systems for part in load_groups(name, names)]
    assert sorted(sorted(part.types.tolist()) for part in parts) == [[1, 1, 2], [1, 2, 2]]
    found = sorted(float(energy) for part in parts for energy in part.energy)
    assert found == [-3.5, -2.5, -1.5]
    # each atom keeps its own position and force
    for part in parts:
        for k in range(part.nframes):
            frame = round(-1.5 - part.energy[k])
            order = ("Cu Au Cu", "Au Cu Cu", "Au Au Cu")[frame].split()
            for atom in range(3):
                place = round((part.coord[k, atom, 0] - 0.1 * frame) / 1.5)
                assert names[part.types[atom]] == order[place]
                np.testing.assert_allclose(part.force[k, atom], [0.5, 0.0, 0.125 * place])


def test_layouts_into_each_other(tmp_path, capsys):
    source = write_xyz(tmp_path / "train.xyz")
    chain = [(str(source), "extxyz", "deepmd/npy/mixed", tmp_path / "a"),
             (str(tmp_path / "a"), "deepmd/npy/mixed", "deepmd/hdf5", tmp_path / "b.hdf5"),
             (str(tmp_path / "b.hdf5"), "deepmd/hdf5", "deepmd/npy", tmp_path / "c"),
             (str(tmp_path / "c"), "deepmd/npy", "deepmd/hdf5", tmp_path / "d.h5")]
    for begin, kind, target, out in chain:
        assert main(["convert", begin, "-f", kind, "-o", str(out), "--format", target]) == 0
        assert "3 frames, labels: energy, force" in capsys.readouterr().out


def test_without_labels(tmp_path, capsys):
    file = tmp_path / "POSCAR"
    file.write_text("Cu Au\n1.0\n6 0 0\n0 6 0\n0 0 6\nCu Au\n2 1\nCartesian\n"
                    "0 0 0\n1.5 0 0\n3 0 0\n")
    command = ["convert", str(file), "-f", "vasp/poscar", "-o", str(tmp_path / "data")]
    assert main(command) == 2
    assert "vasp/poscar has no energies and forces; see --no-labels" in capsys.readouterr().err
    assert main([*command, "--no-labels"]) == 0
    assert "1 frames, labels: none" in capsys.readouterr().out
    assert load_system(tmp_path / "data", ("Cu", "Au"), require=()).natoms == 3


def test_several_files_and_the_end_of_the_name(tmp_path, capsys):
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        files.append(str(write_outcar(tmp_path / name / "OUTCAR")))
    assert main(["convert", *files, "-o", str(tmp_path / "data")]) == 0
    assert "1 systems, 4 frames" in capsys.readouterr().out


def cut(path: Path) -> Path:
    data = path.read_text()
    path.write_text(data[: int(len(data) * 0.6)])
    return path


BAD = {
    "no file": (lambda d: d / "nowhere", "vasp/outcar", [], "nowhere: no such file"),
    "no format": (lambda d: write_outcar(d / "OUTCAR"), "vasp/outcarr", [],
                  "-f: got 'vasp/outcarr' for .*, expected a format as vasp/outcar"),
    "unknown end": (lambda d: write_outcar(d / "run.log7"), "auto", [], "-f: got 'auto' for"),
    "empty": (lambda d: cut(write_outcar(d / "OUTCAR", 0)), "vasp/outcar", [],
              "OUTCAR: could not be converted from vasp/outcar"),
    "garbage": (lambda d: write_outcar(d / "OUTCAR"), "extxyz", [],
                "OUTCAR: could not be converted from extxyz"),
    "nan": (lambda d: write_outcar(d / "OUTCAR", energy="nan"), "vasp/outcar", [],
            "OUTCAR: frame 0: energy has a value that is not finite"),
    "nan force": (lambda d: write_xyz(d / "a.xyz", force="nan"), "extxyz", [],
                  "a value that is not finite"),
    "element": (lambda d: write_outcar(d / "OUTCAR"), "vasp/outcar", ["--type-map", "Cu", "Ag"],
                r"\bAu\b"),
    "element of several": (lambda d: write_xyz(d / "a.xyz"), "extxyz", ["--type-map", "Cu", "Ag"],
                           "--type-map: the data hold Au, which is not among Cu Ag"),
    "twice": (lambda d: write_outcar(d / "OUTCAR"), "vasp/outcar", ["-t", "Cu", "Cu"],
              "expected every element once"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input(tmp_path, capsys, case):
    make, kind, options, words = BAD[case]
    out = tmp_path / "data"
    before = make(tmp_path)
    assert main(["convert", str(before), "-f", kind, "-o", str(out), *options]) == 2
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if "error:" in line]
    assert len(lines) == 1 and re.search(words, lines[0]), error
    assert not out.exists() and "Traceback" not in error
    assert [p.name for p in tmp_path.iterdir()] == ([before.name] if before.exists() else [])


def test_truncated_run_gives_what_is_whole(tmp_path, capsys):
    file = write_outcar(tmp_path / "OUTCAR", frames=3)
    text = file.read_text()
    file.write_text(text[: text.rindex("TOTAL-FORCE") + 80])
    assert main(["convert", str(file), "-o", str(tmp_path / "data")]) == 0
    shown = capsys.readouterr()
    assert "2 frames" in shown.out and "nvnmd: warning: " in shown.err


def test_without_dpdata(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["convert", "OUTCAR", "-o", str(tmp_path / "data")]) == 1
    assert "convert: dpdata, h5py not installed; pip install 'nvnmd[data]'" in (
        capsys.readouterr().err)


def test_nothing_is_overwritten(tmp_path, capsys):
    file = write_outcar(tmp_path / "OUTCAR")
    (tmp_path / "data").mkdir()
    assert main(["convert", str(file), "-o", str(tmp_path / "data")]) == 2
    assert "data: exists already, expected a name that is free" in capsys.readouterr().err
    assert main(["convert", str(file), "-o", str(file / "data")]) == 2
    assert "data: cannot be written (" in capsys.readouterr().err
