"""`nvnmd init`: documents that fit the data, are valid, and overwrite nothing; the examples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nvnmd.cli.main import main
from nvnmd.data.find import find_systems
from nvnmd.data.neighbor_stat import neighbor_stat
from nvnmd.data.systems import load_systems
from nvnmd.inputs.read import for_stage, load_input, parse_document

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def write_system(folder: Path, names: list[str], *, spacing: float = 3.0,
                 labels: tuple[str, ...] = ("energy", "force", "virial")) -> None:
    """Two frames of 8 atoms on a cubic lattice, types in turn."""
    part = folder / "set.000"
    part.mkdir(parents=True)
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), -1).reshape(-1, 3)
    (folder / "type.raw").write_text("\n".join(str(k % len(names)) for k in range(8)))
    (folder / "type_map.raw").write_text("\n".join(names))
    np.save(part / "coord.npy", np.tile((spacing * grid).reshape(1, -1), (2, 1)))
    np.save(part / "box.npy", np.tile((2 * spacing * np.eye(3)).reshape(1, 9), (2, 1)))
    for label, size in (("energy", 1), ("force", 24), ("virial", 9)):
        if label in labels:
            np.save(part / f"{label}.npy", np.zeros((2, size)))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(*argv: str) -> dict[str, dict]:
    """Run `nvnmd init`; return the documents by stage."""
    assert main(["init", *argv]) == 0
    return {stage: json.loads(Path(f"input_{stage}.json").read_text()) for stage in ("cnn", "qnn")}


def test_documents_fit_the_data(folder, capsys):
    write_system(folder / "data" / "training" / "a", ["Cu", "Au"])
    write_system(folder / "data" / "validation" / "b", ["Au", "Cu"], labels=("energy", "force"))
    found = written("--from", "data")
    assert capsys.readouterr().out.split() == ["input_cnn.json", "input_qnn.json"]
    for stage, document in found.items():
        config = for_stage(load_input(Path(f"input_{stage}.json")), stage, None)
        assert config.type_map == ("Cu", "Au") and config.version == 0
        systems = load_systems(find_systems("data"), config.type_map)
        most = neighbor_stat(systems, 2, 6.0).most
        assert (np.array(config.descriptor.sel) >= most).all()
        assert sum(config.descriptor.sel) <= config.max_nnei
        training = document["training"]
        assert training["training_data"]["systems"] == "data/training"
        assert training["validation_data"]["systems"] == "data/validation"
        # one system has no virials
        assert document["loss"]["start_pref_v"] == 0 and document["loss"]["start_pref_f"] > 0
    assert found["cnn"]["nvnmd"] == found["qnn"]["nvnmd"]
    assert found["cnn"]["nvnmd"]["_sel"].startswith("most neighbours in the data: [")


def test_many_elements_and_dense_data(folder):
    write_system(folder / "five", ["A", "B", "C", "D", "E"])
    document = written("--from", "five")["cnn"]["nvnmd"]
    assert document["version"] == 1 and isinstance(document["sel"], int)
    # 1.4 Å apart: more than 256 neighbours within 6 Å
    write_system(folder / "dense", ["A"], spacing=1.4)
    assert main(["init", "--from", "dense", "-o", "out"]) == 0
    document = json.loads(Path("out/input_cnn.json").read_text())["nvnmd"]
    assert document["rcut"] < 6.0 and "too many neighbours" in document["_rcut"]
    assert sum(document["sel"]) <= document["max_nnei"]


def test_without_data(folder):
    document = written("-t", "O", "H", "--rcut", "5")["cnn"]
    assert document["nvnmd"]["type_map"] == ["O", "H"] and document["nvnmd"]["sel"] == "auto"
    assert document["nvnmd"]["rcut"] == 5.0


@pytest.mark.parametrize(("argv", "line"), [
    (["--from", "no"], "no type.raw in this folder"),
    (["--from", "bare"], "no type_map.raw, so the elements have no names"),
    (["--from", "dense", "-r", "6"], "neighbours within 6 Å"),
    (["--from", "unlabelled"], "neither energies nor forces"),
    (["--from", "five", "--version", "0"], "5 elements, expected at most 4"),
    (["-r", "nan"], "--rcut: got nan"),
    ([], "is there already"),
])
def test_mistakes_write_nothing(folder, capsys, argv, line):
    write_system(folder / "bare", ["Cu"])
    (folder / "bare" / "type_map.raw").unlink()
    write_system(folder / "dense", ["Cu"], spacing=1.4)
    write_system(folder / "unlabelled", ["Cu"], labels=())
    write_system(folder / "five", ["A", "B", "C", "D", "E"])
    (folder / "input_qnn.json").write_text("{}")
    assert main(["init", *argv]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert line in said
    assert not (folder / "input_cnn.json").exists()
    assert (folder / "input_qnn.json").read_text() == "{}"


@pytest.mark.parametrize("name", ["alloy", "gete", "water"])
@pytest.mark.parametrize("stage", ["cnn", "qnn"])
def test_examples_are_valid(name, stage):
    file = EXAMPLES / name / f"input_{stage}.json"
    config = parse_document(json.loads(file.read_text()), str(file), find_systems=False)
    assert config.version == (1 if name == "alloy" else 0)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["gete", "water"])
def test_slots_of_the_examples_hold_their_data(shared, name):
    file = EXAMPLES / name / "input_cnn.json"
    config = parse_document(json.loads(file.read_text()), str(file), find_systems=False)
    systems = load_systems(find_systems(shared / "data" / name), config.type_map)
    most = neighbor_stat(systems, config.ntypes, config.descriptor.rcut).most
    assert (np.array(config.descriptor.sel) >= most).all()
