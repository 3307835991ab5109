"""Slips of units, signs and cells, in the data of a pair potential and in those of others."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from nvnmd.cli.main import main
from nvnmd.data.matched import energy_factor
from nvnmd.data.plausible import implausible, seen_twice
from nvnmd.data.radii import COVALENT_RADII
from nvnmd.data.slips import KCAL
from nvnmd.data.system import System
from nvnmd.data.systems import find_systems, load_systems

NAMES = ("Cu", "Au")
DEPTH, STEEP, LENGTH, EDGE = 0.6, 1.4, 2.6, 7.4


def crystal(rng, amplitude):
    unit = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) * EDGE / 4.0
    cells = np.stack(np.meshgrid(*[np.arange(2)] * 3), -1).reshape(-1, 3) * EDGE / 2.0
    return (unit + cells[:, None]).reshape(-1, 3) + rng.normal(0.0, amplitude, (32, 3))


def make(seed, share, steps=False, frames=6):
    rng = np.random.default_rng(seed)
    types = np.sort((np.arange(32) < share).astype(np.int64))
    parts = []
    for k in range(frames):
        # small steps about one structure, or structures of their own
        x = crystal(np.random.default_rng(seed) if steps else rng, 0.06)
        if steps:
            x = x + 0.01 * k * np.random.default_rng(9).normal(size=(32, 3))
        parts.append(labelled(x, types))
    coord, boxes, energy, force = (np.array(values) for values in zip(*parts, strict=True))
    return System(path=f"made{seed}", types=types, coord=coord, box=boxes, energy=energy,
                  force=force, virial=None)


def labelled(x, types):
    """Positions, cell, energy and forces of Morse pairs, and an energy for each type."""
    r = x[:, None] - x
    r -= np.round(r / EDGE) * EDGE
    d = np.sqrt((r**2).sum(-1)) + 100.0 * np.eye(32)
    e = np.exp(-STEEP * (d - LENGTH))
    energy = 0.5 * (DEPTH * (e * e - 2.0 * e)).sum() + np.array([-3.0, -4.0])[types].sum()
    slope = DEPTH * 2.0 * STEEP * (e - e * e)
    return x, np.eye(3) * EDGE, energy, -((slope / d)[..., None] * r).sum(1)


@pytest.fixture(scope="module")
def good():
    return [make(1, 8), make(2, 16), make(3, 20), make(4, 28)]


def scaled(systems, coord=1.0, energy=1.0, force=1.0, box=None):
    return [replace(system, coord=system.coord * coord, energy=system.energy * energy,
                    force=system.force * force,
                    box=system.box * (coord if box is None else box)) for system in systems]


def told(systems, sel=(100, 100), rcut=5.0):
    return implausible(systems, NAMES, rcut, sel)


def test_good_data_have_no_lines(good):
    assert told(good) == []
    assert told([make(5, 16, steps=True)]) == []


def test_a_cell_in_another_unit(good):
    lines = told(scaled(good, box=0.72), sel=(300, 300))
    assert len(lines) == 1 and "expected no less than 0.55 times that: is the cell" in lines[0]
    assert told(scaled(good, coord=3.0), rcut=4.0) == [
        "no two atoms of the data are nearer than 4 Å: are positions and cell in another unit? "
        "Expected Å"]


@pytest.mark.parametrize(("change", "words"), [
    ({"coord": 1.8897261}, ["covalent radii", "are positions and cell in bohr? Expected Å"]),
    ({"force": -1.0}, ["attract each other", "the negative gradient"]),
    ({"energy": KCAL, "force": KCAL}, ["stiffer than any", "kcal/mol/Å"]),
    ({"force": KCAL}, ["stiffer than any", "kcal/mol/Å"]),
    ({"energy": KCAL}, ["energies in kcal/mol", "Expected eV and eV/Å"]),
    ({"energy": 1 / 27.2114, "force": 1 / 51.422}, ["softer than any", "Hartree/bohr"]),
])
def test_slips_of_all_systems(good, change, words):
    lines = told(scaled(good, **change))
    assert len(lines) == 1, lines
    assert all(word in lines[0] for word in words), lines


def test_nanometres_of_a_molecule():
    """Too few atoms for the search to refuse them."""
    system = System(path="dimer", types=np.array([0, 1]), box=None, energy=np.zeros(2),
                    coord=np.array([[[0, 0, 0], [0, 0, 0.25]]] * 2, dtype=float),
                    force=np.zeros((2, 2, 3)), virial=None)
    (line,) = told([system])
    assert "dimer: frame 0: atoms 0 and 1" in line and "in nm? Expected Å" in line


@pytest.mark.parametrize(("change", "words"), [
    ({"energy": KCAL}, "energies in kcal/mol"), ({"force": -1.0}, "the negative gradient"),
    ({"energy": -1.0}, "the negative gradient"), ({"energy": 96.485}, "energies in kJ/mol"),
    ({"energy": 1 / 27.2114}, "energies in Hartree"), ({"energy": 1000.0}, "energies in meV")])
def test_small_steps_from_frame_to_frame(change, words):
    lines = told(scaled([make(5, 16, steps=True)], **change))
    assert any(words in line for line in lines), lines


def test_one_system_of_another_unit(good):
    mixed = [*good[:3], *scaled(good[3:], energy=KCAL)]
    assert any(line.startswith("energy: made4 has") and "is it in kcal/mol?" in line
               for line in told(mixed))
    other = [*good[:3], replace(good[3], energy=good[3].energy / 32)]
    assert any("made4" in line and "is it in eV per atom?" in line for line in told(other))
    twins = [good[0], replace(good[0], path="twin", energy=good[0].energy + 100.0)]
    assert any("twin has" in line and "made1 of the same composition" in line
               for line in told(twins))


def test_one_frame_of_another_method(good):
    energy = good[0].energy.copy()
    energy[4] += 100.0
    lines = told([replace(good[0], energy=energy), *good[1:]])
    assert any(line.startswith("energy: made1: frame 4 has") for line in lines), lines


def test_more_neighbours_than_slots_and_types_that_are_nowhere(good):
    lines = told(good, sel=(100, 4))
    assert len(lines) == 1
    assert lines[0].startswith("sel [100, 4]: made1: frame 0: atom ")
    assert "of one type within 5 Å; the most there are:" in lines[0]
    assert "in all" not in lines[0] and told(good, sel=(60,)) == []
    assert "sel [10]: made1: frame 0" in told(good, sel=(10,))[0]
    lines = implausible(good, (*NAMES, "Ge"), 5.0, (100, 100, 100))
    assert lines == ["type_map: Ge is in no system"]


def test_many_types_cost_nothing(good):
    """Of 31, two are there; of more than the fit is made for, the fit says nothing."""
    names = (*NAMES, *(f"X{k}" for k in range(29)))
    lines = implausible(scaled(good, energy=KCAL), names, 5.0, (128,))
    assert len(lines) == 30 and "energies in kcal/mol" in lines[-1]
    spread = [replace(system, types=np.arange(32) // 4) for system in scaled(good, energy=KCAL)]
    assert energy_factor(spread, 8, 5.0, lambda frames, _: list(range(frames))) is None


def test_bonds_that_pull_are_no_slip_where_energies_say_so(good):
    """A potential of a test, say: its forces are odd, and those of its energies."""
    assert told(scaled(good, energy=-1.0, force=-1.0)) == []


def test_names_that_are_no_elements_are_not_judged(good):
    assert implausible(scaled(good, coord=1.8897261), ("A0", "X1"), 8.0, (200, 200)) == []


def test_random_forces_say_nothing(good):
    rng = np.random.default_rng(99)
    assert told([replace(system, force=rng.normal(size=system.force.shape),
                         energy=rng.normal(size=6)) for system in good[:2]]) == []


def test_published_data_have_no_lines(shared):
    for folder, names, sel in (("gete", ("Ge", "Te"), (60, 60)), ("water", ("O", "H"), (46, 92))):
        systems = load_systems(find_systems(shared / "data" / folder), names)
        assert implausible(systems, names, 6.0, sel) == []
        # energies alone in another unit; frames do not follow each other
        lines = implausible(scaled(systems, energy=KCAL), names, 6.0, sel)
        assert len(lines) == 1 and "energies in kcal/mol" in lines[0]


def test_radii_are_those_of_the_paper():
    data = pytest.importorskip("ase.data")
    for name, radius in COVALENT_RADII.items():
        assert data.covalent_radii[data.atomic_numbers[name]] == radius, name


def test_data_that_are_named_twice(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "link").symlink_to("one")
    one, link = str(tmp_path / "one"), str(tmp_path / "link")
    assert seen_twice([one, "two"], ["three"]) == []
    assert seen_twice(["a", one, link, "a"], []) == [
        f"training_data: {link} is there twice, and 1 more, so its frames count twice; "
        "numb_copy.npy says that of single frames"]
    (line,) = seen_twice([one], ["b", link])
    assert line.startswith(f"validation_data: {link} is in training_data, too; expected frames")


def write(folder, system):
    (folder / "set.000").mkdir(parents=True)
    (folder / "type.raw").write_text("\n".join(map(str, system.types)))
    (folder / "type_map.raw").write_text("\n".join(NAMES))
    for name in ("coord", "box", "energy", "force"):
        values = getattr(system, name)
        np.save(folder / "set.000" / f"{name}.npy", values.reshape(len(values), -1))


def test_check_and_training_say_it(good, tmp_path, capsys):
    write(tmp_path / "data", scaled(good, force=-1.0)[0])
    document = {
        "nvnmd": {"version": 0, "max_nnei": 128, "net_size": 128},
        "model": {"type_map": list(NAMES), "descriptor": {
            "type": "se_e2_a", "sel": [60, 8], "rcut": 5.0, "rcut_smth": 0.5}},
        "learning_rate": {"type": "exp", "start_lr": 1e-3, "stop_lr": 1e-8, "decay_steps": 10},
        "loss": {"start_pref_e": 0.02, "limit_pref_e": 1, "start_pref_f": 1000,
                 "limit_pref_f": 1},
        "training": {"numb_steps": 10, "training_data": {"systems": [str(tmp_path / "data")],
                                                         "batch_size": 1}}}
    file = tmp_path / "input.json"
    file.write_text(json.dumps(document))
    assert main(["check", str(file)]) == 0
    told = capsys.readouterr()
    assert told.err.count("nvnmd: warning: ") == 3
    assert "sel [60, 8]" in told.err and "the negative gradient" in told.err
    assert main(["check", str(file), "--no-data"]) == 0
    assert "negative gradient" not in capsys.readouterr().err
    # what a training would refuse is refused here
    (tmp_path / "data/type_map.raw").write_text("Cu\nAg")
    assert main(["check", str(file)]) == 2
    assert "Ag" in capsys.readouterr().err
