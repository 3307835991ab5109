"""`test`, `compare` and `neighbor-stat` on frames that differ in composition, and in HDF5."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.golden_data import load_fixture
from support.mixed_data import as_hdf5

from nvnmd.cli.main import main
from nvnmd.data.systems import load_groups
from nvnmd.evaluation.backends import make_evaluator
from nvnmd.evaluation.frames import evaluate_frames


@pytest.fixture(scope="module")
def run():
    return load_fixture(128)


@pytest.fixture(scope="module")
def mixed(run, tmp_path_factory) -> tuple[Path, list[np.ndarray]]:
    """Three frames, the second lacks an atom; labelled with the model's own results.

    Also the forces of each frame in the order of the files, without virtual atoms.
    """
    folder = tmp_path_factory.mktemp("data") / "mixed"
    rng, model = np.random.default_rng(5), run.model
    evaluate = make_evaluator(model, "fixed")
    natoms = len(run.frames[0].types)
    columns: dict[str, list] = {"coord": [], "box": [], "energy": [], "force": [],
                                "real_atom_types": []}
    forces = []
    for number, frame in enumerate((run.frames[0], run.frames[1], run.frames[0])):
        order = rng.permutation(natoms)[: natoms - (number == 1)]
        coord, types = frame.coord[order], frame.types[order]
        found = evaluate_frames(model, evaluate, coord[None], frame.box.reshape(1, 3, 3), types)
        forces.append(found.force[0])
        fill = natoms - len(order)
        columns["coord"].append(np.pad(coord, ((0, fill), (0, 0))).ravel())
        columns["force"].append(np.pad(found.force[0], ((0, fill), (0, 0))).ravel())
        columns["box"].append(frame.box.ravel())
        columns["energy"].append(found.energy[0])
        columns["real_atom_types"].append(np.pad(types, (0, fill), constant_values=-1))
    (folder / "set.000").mkdir(parents=True)
    (folder / "type.raw").write_text("0\n" * natoms)
    (folder / "type_map.raw").write_text("\n".join(model.type_map))
    for key, rows in columns.items():
        np.save(folder / "set.000" / f"{key}.npy", np.array(rows))
    return folder, forces


@pytest.mark.parametrize("hdf5", [False, True], ids=["folder", "hdf5"])
def test_errors_and_details_in_the_order_of_the_files(run, mixed, tmp_path, capsys, hdf5):
    folder, forces = mixed
    model = tmp_path / "model.nvnmd"
    run.model.save(model)
    system = as_hdf5(folder, tmp_path / "a.h5", "/m") if hdf5 else str(folder)
    command = ["test", "-m", str(model), "-s", system, "-d", str(tmp_path / "d")]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert out.count(f"testing system : {system}") == 1 and "number of test data : 3" in out
    detail = np.loadtxt(tmp_path / "d.f.out")
    np.testing.assert_array_equal(detail[:, :3], np.concatenate(forces))
    # the same bits, though the atoms were sorted in between
    np.testing.assert_array_equal(detail[:, 3:], detail[:, :3])
    energy = np.loadtxt(tmp_path / "d.e.out")
    np.testing.assert_array_equal(energy[:, 0], np.load(folder / "set.000/energy.npy"))
    np.testing.assert_allclose(energy[:, 1], energy[:, 0], rtol=1e-14)

    assert main([*command, "-n", "2"]) == 0
    assert "number of test data : 2" in capsys.readouterr().out
    assert len(np.loadtxt(tmp_path / "d.f.out")) == len(forces[0]) + len(forces[1])


def test_frames_are_chosen_by_their_number(run, mixed, tmp_path, capsys):
    model = tmp_path / "model.nvnmd"
    run.model.save(model)
    command = ["compare", str(model), "--backends", "reference,fixed", "-s", str(mixed[0])]
    assert main([*command, "--frame", "1"]) == 0
    assert main([*command, "--frame", "3"]) == 2
    assert "--frame: got 3, expected 0 to 2" in capsys.readouterr().err


def test_error_names_the_frame_of_the_files(run, mixed, tmp_path, capsys):
    folder = tmp_path / "crowded"
    groups = load_groups(mixed[0], run.model.type_map)
    assert len(groups) == 2 and groups[1].number(0) == 1
    part = folder / "set.000"
    part.mkdir(parents=True)
    for name in ("type.raw", "type_map.raw"):
        (folder / name).write_bytes((mixed[0] / name).read_bytes())
    for file in (mixed[0] / "set.000").glob("*.npy"):
        array = np.load(file)
        if file.name == "coord.npy":
            array[1] *= 0.5
        if file.name == "box.npy":
            array[1] *= 0.5
        np.save(part / file.name, array)
    model = tmp_path / "model.nvnmd"
    run.model.save(model)
    assert main(["test", "-m", str(model), "-s", str(folder)]) == 1
    error = capsys.readouterr().err
    assert f"{folder}: frame 1: " in error and len(error.splitlines()) == 1


def test_neighbor_stat(run, mixed, tmp_path, capsys):
    names = list(run.model.type_map)
    found = []
    for system in (str(mixed[0]), as_hdf5(mixed[0], tmp_path / "a.h5")):
        assert main(["neighbor-stat", "-s", system, "-r", "5", "-t", *names]) == 0
        found.append(capsys.readouterr().out)
    assert found[0] == found[1] and "most neighbours" in found[0]
