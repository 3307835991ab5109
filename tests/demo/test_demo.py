"""The demo's data set, documents and folder; `make demo` runs the whole."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT

from nvnmd.cli.main import main
from nvnmd.data.systems import find_systems, load_system
from nvnmd.demo.data import RCUT, RECIPES, make_data
from nvnmd.demo.run import CNN_STEPS, MARK, Report, documents, prepare
from nvnmd.errors import InputError
from nvnmd.evaluation.evaluate import Errors
from nvnmd.evaluation.simulate import Simulation
from nvnmd.inputs.read import load_input
from nvnmd.neighbors.slots import build_neighborhood

TYPE_MAP, SEL = RECIPES[0].type_map, RECIPES[0].sel


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "data"
    make_data(folder, RECIPES[0], training=1, validation=1)
    return folder


def test_systems(data):
    for part in ("training", "validation"):
        systems = [load_system(f, TYPE_MAP, require=("energy", "force", "virial"))
                   for f in find_systems(data / part)]
        assert [s.nframes for s in systems] == [3, 3]
        assert [int((s.types == 1).sum()) for s in systems] == [16, 14]
        for system in systems:
            for frame in range(system.nframes):
                hood = build_neighborhood(system.coord[frame], system.cell(frame), system.types,
                                          SEL, RCUT)
                assert hood.counts.sum(axis=1).min() > 40


def test_labels_are_those_of_the_rounded_positions(data):
    system = load_system(find_systems(data / "training")[0], TYPE_MAP)
    for frame in range(system.nframes):
        atoms = Atoms([TYPE_MAP[t] for t in system.types], system.coord[frame],
                      cell=system.cell(frame), pbc=True, calculator=EMT())
        assert atoms.get_potential_energy() == pytest.approx(system.energy[frame], rel=1e-13)
        np.testing.assert_allclose(atoms.get_forces(), system.force[frame], atol=1e-10)
        volume = atoms.get_volume()
        np.testing.assert_allclose(-atoms.get_stress(voigt=False) * volume, system.virial[frame],
                                   atol=1e-9)
    melt = np.sqrt(np.square(system.force[2]).mean())
    crystal = np.sqrt(np.square(system.force[0]).mean())
    assert melt > 2 * crystal > 0


def test_one_seed_one_data_set(data, tmp_path):
    make_data(tmp_path, RECIPES[0], training=1, validation=1)
    names = sorted(p.relative_to(data) for p in data.rglob("*.npy"))
    assert len(names) == 2 * 2 * 3 * 5
    for name in names:
        assert np.array_equal(np.load(data / name), np.load(tmp_path / name)), name
    for name in names:
        if name.parts[0] == "training" and name.name == "coord.npy":
            other = data / "validation" / name.relative_to("training")
            assert not np.array_equal(np.load(data / name), np.load(other)), name


def sites(folder, part, name):
    """Where the atoms of every frame of the undeformed and the strained crystals are, in a/2."""
    found = []
    for part_set in ("set.000", "set.001"):
        coord, box = (np.load(folder / part / name / part_set / f"{key}.npy").astype(float)
                      for key in ("coord", "box"))
        scaled = coord.reshape(len(coord), -1, 3) @ np.linalg.inv(box.reshape(-1, 3, 3))
        found += [{tuple(np.round(4 * atom).astype(int) % 4) for atom in frame[:8]}
                  for frame in scaled]
    assert all(len(one) == 8 for one in found)
    return found


@pytest.mark.parametrize("arrangements", [False, True])
def test_arrangements_of_the_types(tmp_path, monkeypatch, arrangements):
    """The first type's eight atoms: on the same sites in all frames of a system, or on others."""
    # the melt keeps no sites
    monkeypatch.setattr("nvnmd.demo.data.melt", lambda crystal, rng, frames: [crystal] * frames)
    whole = RECIPES[1]
    recipe = replace(whole, alloys=whole.alloys[:1], arrangements=arrangements)
    assert recipe.alloys[0].counts[0] == 8
    make_data(tmp_path, recipe, training=2, validation=1)
    training = sites(tmp_path, "training", recipe.alloys[0].name)
    validation = sites(tmp_path, "validation", recipe.alloys[0].name)
    assert len(training) == 4 and len(validation) == 2
    if arrangements:
        assert len({frozenset(one) for one in training + validation}) == 6
    else:
        assert training == training[:1] * 4 and validation == validation[:1] * 2
        assert training[0] != validation[0]


def test_documents_are_valid(data, tmp_path):
    for name, document in documents(data.parent).items():
        (tmp_path / name).write_text(json.dumps(document))
        config = load_input(tmp_path / name)
        assert len(config.training.systems) == len(config.training.validation_systems) == 2
    assert load_input(tmp_path / "input_cnn.json").training.numb_steps == CNN_STEPS


def test_data_and_documents_of_version_1(tmp_path):
    """Five elements, of which two systems lack some; `sel` holds the densest frame."""
    recipe = RECIPES[1]
    make_data(tmp_path / "data", recipe, training=2, validation=1)
    systems = [load_system(f, recipe.type_map) for f in find_systems(tmp_path / "data/training")]
    kinds = [set(system.types) for system in systems]
    assert set.union(*kinds) == set(range(5)) and sorted(map(len, kinds)) == [3, 3, 5]
    for system in systems:
        assert system.natoms == 32
        for frame in range(system.nframes):
            hood = build_neighborhood(system.coord[frame], system.cell(frame), system.types,
                                      recipe.sel, RCUT, ntypes=5)
            assert hood.counts.sum(axis=1).min() > 40
    for name, document in documents(tmp_path, 1).items():
        (tmp_path / name).write_text(json.dumps(document))
        config = load_input(tmp_path / name)
        assert (config.version, config.descriptor.sel, config.ntypes) == (1, (100,), 5)


def test_folder_of_the_demo(tmp_path):
    folder = tmp_path / "demo"
    prepare(folder)
    (folder / "data").mkdir()
    (folder / "notes").mkdir()
    prepare(folder)
    assert sorted(p.name for p in folder.iterdir()) == sorted([MARK, "notes"])
    (folder / MARK).unlink()
    with pytest.raises(InputError, match="not empty and not made by `nvnmd demo`"):
        prepare(folder)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="a file is in the way"):
        prepare(tmp_path / "file")


@pytest.fixture
def finished(monkeypatch):
    """A demo whose stages take no time: the report of one that went through them."""
    def errors(rmse: float) -> dict[str, Errors]:
        return {key: Errors(mae=0.0, rmse=rmse, count=1)
                for key in ("energy_peratom", "force", "virial_peratom")}

    def stages(folder, version, say):
        report = Report(errors={"continuous network": errors(0.25)}, cost=errors(0.0005),
                        title="an alloy", say=say)
        with report.stage("simulate"):
            pass
        report.simulation = Simulation(
            atoms=3, compared=123, differing=4, expected=123, cycles_per_atom=3072.0,
            energy_max=0.0, energy_rms=0.002, force_max=0.0, force_rms=0.125, first=None,
            problems=("4 words differ, 0 too many",), summary={
                "atoms": 3, "words_expected": 123, "words_compared": 123, "words_differing": 4,
                "first_difference": None, "cycles_per_atom": 3072.0, "cycles": 9999,
                "model_digest": "d", "problems": ["4 words differ, 0 too many"]})
        (folder / "hdl").mkdir(parents=True)
        (folder / "hdl" / "file").write_bytes(bytes(2_500_000))
        return report

    for module in ("tensorflow", "amaranth", "cocotb"):
        pytest.importorskip(module)
    monkeypatch.setattr("nvnmd.demo.run.run_demo", stages)


ROWS = (["RMSE of the continuous network", "250", "0.25", "250"],
        ["cost of quantization (RMS)", "0.5", "0.0005", "0.5"],
        ["RTL against the continuous network (RMS)", "2", "0.125"],
        ["words of RTL and reference", "123 compared", "4 differ"],
        ["cycles per atom (fold 32)", "3072"])


def test_summary_where_the_output_is_piped(finished, tmp_path, capsys):
    """Plain aligned text, and the line that scripts look for at the end."""
    assert main(["demo", "-o", str(tmp_path / "demo")]) == 1
    lines = capsys.readouterr().out.splitlines()
    rows = [re.split(r"  +", line) for line in lines]
    for row in ROWS:
        assert row in rows
    assert [str(tmp_path / "demo" / "hdl"), "1 files", "2.5 MB"] in rows
    assert "nvnmd demo: an alloy" in lines and "== simulate" in lines
    assert lines[-1] == "RTL: 3 atoms, 123 words compared, 4 differ"
    assert not any(ord(c) > 0x2000 for line in lines for c in line)


def test_summary_on_a_terminal(finished, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("nvnmd.cli.output.on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "140")
    assert main(["demo", "-o", str(tmp_path / "demo")]) == 1
    rows = [[cell.strip() for cell in line.split("│")[1:-1]]
            for line in capsys.readouterr().out.splitlines() if "│" in line]
    for row in ROWS:
        assert row + [""] * (4 - len(row)) in rows


# jschon 0.11.1 uses what rfc3986 2.0 calls old
@pytest.mark.filterwarnings("ignore:Please use rfc3986:DeprecationWarning")
def test_summary_as_json(finished, tmp_path, capsys):
    """One document, and none of the lines of the stages."""
    jschon = pytest.importorskip("jschon")
    from nvnmd.reports.schemas import schema

    jschon.create_catalog("2020-12")
    assert main(["demo", "-o", str(tmp_path / "demo"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    result = jschon.JSONSchema(schema("demo")).evaluate(jschon.JSON(found))
    assert result.valid, list(result.output("basic")["errors"])
    assert found["errors"]["continuous network"]["force"] == {
        "mae": 0.0, "rmse": 0.25, "count": 1, "unit": "eV/Å"}
    assert found["simulation"]["words_differing"] == 4 and list(found["seconds"]) == ["simulate"]
    assert found["parts"]["hdl"] == {"files": 1, "bytes": 2_500_000}
    assert main(["demo", "-o", str(tmp_path), "--json", "--data-only"]) == 2


def test_data_only(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--data-only", "-o", "mine", "--version", "1"]) == 0
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {
        MARK, "data", "input_cnn.json", "input_qnn.json"}
    # the documents find the data from where the program was called
    assert main(["check", "mine/input_cnn.json"]) == 0
    assert "valid; NVNMD version 1, 5 types, 3 systems" in capsys.readouterr().out
