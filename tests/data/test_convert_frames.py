"""`nvnmd convert`: frames that differ in what a system holds constant, and labels of every kind."""

from __future__ import annotations

import numpy as np
import pytest

from nvnmd.cli.main import main
from nvnmd.data.find import find_systems
from nvnmd.data.systems import load_groups, load_system

pytest.importorskip("dpdata")
pytest.importorskip("ase")

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import write


def atoms(symbols="CuAu", pbc=True, shift=0.0, **results):
    """A frame with the results of a calculation."""
    n = len(Atoms(symbols))
    found = Atoms(symbols, positions=[[7.0 * k + shift, 0, 0] for k in range(n)],
                  cell=[8, 8, 8] if np.any(pbc) else None, pbc=pbc)
    given = {"energy": -1.0 - shift, "forces": np.full((n, 3), 0.5 + shift)} | results
    found.calc = SinglePointCalculator(found, **{k: v for k, v in given.items() if v is not None})
    return found


def converted(tmp_path, frames, capsys, *options, name="in.xyz", kind="extxyz", code=0):
    write(tmp_path / name, frames)
    out = tmp_path / f"out_{name}"
    assert main(["convert", str(tmp_path / name), "-f", kind, "-o", str(out), *options]) == code
    return out, capsys.readouterr()


@pytest.mark.parametrize("target", ["deepmd/npy", "deepmd/hdf5", "deepmd/npy/mixed"])
def test_open_and_periodic_frames_are_systems_of_their_own(tmp_path, capsys, target):
    frames = [atoms(), atoms(pbc=False, shift=0.25), atoms(shift=0.5)]
    out, shown = converted(tmp_path, frames, capsys, "--format", target)
    assert "2 systems, 3 frames" in shown.out
    parts = [part for path in find_systems(out) for part in load_groups(path, ("Au", "Cu"))]
    by_frames = {part.nframes: part for part in parts}
    assert by_frames[1].box is None and by_frames[2].box is not None
    # 7 Å apart and not 1 Å
    distance = np.linalg.norm(by_frames[1].coord[0, 0] - by_frames[1].coord[0, 1])
    np.testing.assert_allclose(distance, 7.0)


def test_frames_that_are_periodic_in_some_directions(tmp_path, capsys):
    _, shown = converted(tmp_path, [atoms(), atoms(pbc=(True, True, False))], capsys, code=2)
    assert "in.xyz: frame 1: periodic in 2 of 3 directions, expected all or none" in shown.err
    assert shown.err.count("\n") == 1


def test_labels_that_some_frames_lack(tmp_path, capsys):
    stress = np.array([0.1, 0.2, 0.3, 0.0, 0.0, 0.01])
    frames = [atoms(stress=stress), atoms(shift=0.5), atoms(shift=0.25, stress=stress)]
    out, shown = converted(tmp_path, frames, capsys)
    assert "2 systems, 3 frames, labels: energy, force;" in shown.out
    systems = {s.nframes: s for s in (load_system(p, ("Au", "Cu")) for p in find_systems(out))}
    assert systems[1].virial is None
    np.testing.assert_allclose(systems[2].virial[0, 0, 0], -512 * 0.1)
    np.testing.assert_allclose(systems[2].virial[0, 0, 1], -512 * 0.01)
    _, shown = converted(tmp_path, [atoms(), atoms(energy=None)], capsys, name="b.xyz", code=2)
    assert "b.xyz: frame 1: has no energy, expected energies and forces" in shown.err


def test_the_same_frames_by_every_route(tmp_path, capsys):
    frames = [atoms("CuAuCu", energy=-3.0, free_energy=-3.25), atoms("CuAuCu", shift=0.5)]
    for frame in frames:
        frame.set_constraint(FixAtoms([0]))
    first, told = converted(tmp_path, frames, capsys)
    second, also = converted(tmp_path, frames, capsys, name="in.traj", kind="ase/traj")
    for shown in (told, also):
        assert "the energy is the free energy, which the forces belong to" in shown.err
    one, other = (load_system(path, ("Au", "Cu")) for path in (first, second))
    for name in ("types", "coord", "box", "energy", "force"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.energy[0] == -3.25 and (first / "type_map.raw").read_text().split() == ["Au", "Cu"]
    # raw forces, those of the fixed atom, too
    assert (one.force[0] == 0.5).all()
    assert (first / "type_map.raw").read_bytes() == (second / "type_map.raw").read_bytes()


def test_labels_that_nothing_uses_are_named(tmp_path, capsys):
    frames = [atoms(magmoms=np.array([1.0, 2.0]), energies=np.array([-0.25, -0.75]))]
    out, shown = converted(tmp_path, frames, capsys, name="in.traj", kind="ase/traj")
    assert "in.traj: not kept: magmoms" in shown.err
    np.testing.assert_array_equal(np.load(out / "set.000/atom_ener.npy"), [[-0.75, -0.25]])


HEAD = ('2\nLattice="8 0 0 0 8 0 0 0 8" Properties=species:S:1:pos:R:3:{force}:R:3 {energy}=-3.0 '
        'pbc="T T T"\n')
BODY = "Cu 1 1 1 0.5 0 0\nAu 3 3 3 -0.5 0 0\n"


@pytest.mark.parametrize(("force", "energy", "code", "words"), [
    ("force", "energy", 0, "not kept: force; labels are read by the names energy, free_energy"),
    ("forces", "dft_energy", 2, "frame 0: has no energy but dft_energy, expected energies and"),
    ("REF_forces", "REF_energy", 2, "frame 0: has no energy but REF_forces, REF_energy, expected"),
])
def test_labels_under_other_names_are_named(tmp_path, capsys, force, energy, code, words):
    (tmp_path / "in.xyz").write_text(HEAD.format(force=force, energy=energy) + BODY)
    assert main(["convert", str(tmp_path / "in.xyz"), "-f", "extxyz", "-o",
                 str(tmp_path / "out")]) == code
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(("old", "new", "words"), [
    ("energy=-3.0", "energy=nan", "frame 1: energy has a value that is not finite"),
    ("0.5 0 0", "inf 0 0", "frame 1: force of atom 0 has a value that is not finite"),
    ("3 3 3", "3 nan 3", "frame 1: coord of atom 1 has a value that is not finite"),
    ("8 0 0 0", "-8 0 0 0", "frame 1: the vectors of the cell are left-handed"),
    ("8 0 0 0", "0 0 0 0", "frame 1: the vectors of the cell span no volume"),
])
def test_numbers_that_no_system_has_are_told_by_frame(tmp_path, capsys, old, new, words):
    whole = HEAD.format(force="forces", energy="energy") + BODY
    (tmp_path / "in.xyz").write_text(whole + whole.replace(old, new, 1))
    assert main(["convert", str(tmp_path / "in.xyz"), "-f", "extxyz", "-o",
                 str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert f"in.xyz: {words}" in told and told.count("\n") == 1


def test_every_label_of_a_system_is_kept(tmp_path, capsys):
    rng = np.random.default_rng(4)
    folder = tmp_path / "s"
    (folder / "set.000").mkdir(parents=True)
    (folder / "type.raw").write_text("1\n0\n1\n")
    (folder / "type_map.raw").write_text("Au Cu")
    arrays = {"coord": (4, 9), "force": (4, 9), "virial": (4, 9), "energy": (4,),
              "atom_ener": (4, 3), "atom_pref": (4, 3), "atom_ener_coeff": (4, 3),
              "drdq": (4, 18)}
    for name, shape in arrays.items():
        np.save(folder / f"set.000/{name}.npy", rng.normal(size=shape))
    np.save(folder / "set.000/box.npy", np.tile(9 * np.eye(3).ravel(), (4, 1)))
    np.save(folder / "set.000/numb_copy.npy", np.array([1, 3, 0, 2]))
    np.save(folder / "set.000/fparam.npy", np.ones((4, 1)))
    out = tmp_path / "out"
    assert main(["convert", str(folder), "-f", "deepmd/npy", "-o", str(out)]) == 0
    assert "set.000/fparam.npy: not kept" in capsys.readouterr().err
    # atoms are sorted by the order of the elements
    order = [1, 0, 2]
    for name in arrays:
        before, after = (np.load(place / f"set.000/{name}.npy") for place in (folder, out))
        if name in ("energy", "virial"):
            np.testing.assert_array_equal(after, before)
        else:
            rows = before.reshape(4, 3, -1)[:, order].reshape(4, -1)
            np.testing.assert_array_equal(after.reshape(4, -1), rows, err_msg=name)
    np.testing.assert_array_equal(np.load(out / "set.000/numb_copy.npy"), [1, 3, 0, 2])
    chain = tmp_path / "chain.hdf5"
    assert main(["convert", str(out), "-f", "deepmd/npy", "-o", str(chain), "--format",
                 "deepmd/hdf5"]) == 0
    again = tmp_path / "again"
    assert main(["convert", str(chain), "-f", "deepmd/hdf5", "-o", str(again)]) == 0
    for file in sorted((out / "set.000").iterdir()):
        np.testing.assert_array_equal(np.load(file), np.load(again / "set.000" / file.name))


def test_no_word_of_open_files(tmp_path, capsys, recwarn):
    write(tmp_path / "in.xyz", [atoms()])
    text = (tmp_path / "in.xyz").read_text()
    (tmp_path / "in.xyz").write_text(text + "1\nbroken\nCu one two\n")
    assert main(["convert", str(tmp_path / "in.xyz"), "-f", "extxyz", "-o",
                 str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "could not be converted from extxyz" in error and "ResourceWarning" not in error
    assert not recwarn.list
