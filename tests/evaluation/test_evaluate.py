"""`nvnmd test` and the evaluators behind it, on the committed runs of DeePMD-kit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.golden_data import GoldenRun, load_fixture
from support.golden_systems import write_system

from nvnmd.cli.main import main
from nvnmd.data.systems import load_system
from nvnmd.deepmd.files import write_dict
from nvnmd.deepmd.weights import to_deepmd
from nvnmd.errors import InputError, ModelFileError, NeighborOverflowError
from nvnmd.evaluation.backends import FloatNetwork
from nvnmd.evaluation.evaluate import Errors, combine, errors_against_labels, evaluate_system


@pytest.fixture(scope="module")
def run() -> GoldenRun:
    return load_fixture(128)




@pytest.fixture
def model_file(run, tmp_path) -> Path:
    path = tmp_path / "model.nvnmd"
    run.model.save(path)
    return path


def test_fixed_backend_gives_the_forces_of_deepmd_kit(run, tmp_path):
    system = load_system(write_system(tmp_path / "s", run), run.model.type_map)
    result = evaluate_system(run.model, system, "fixed")
    for frame, golden in enumerate(run.frames[:2]):
        assert np.array_equal(result.atom_energy[frame], golden.qnn["atom_energy"])
        assert np.array_equal(result.force[frame], golden.qnn["force"])
        assert np.array_equal(result.virial[frame], golden.qnn["virial"])
        np.testing.assert_allclose(result.energy[frame], golden.qnn["energy"], rtol=1e-14)


def test_atoms_keep_their_order(run, tmp_path):
    order = np.random.default_rng(3).permutation(len(run.frames[0].types))
    folder = write_system(tmp_path / "s", run, frames=1, order=order)
    system = load_system(folder, run.model.type_map)
    result = evaluate_system(run.model, system, "fixed")
    assert np.array_equal(result.atom_energy[0], run.frames[0].qnn["atom_energy"][order])


def save_cnn_folder(folder: Path, run: GoldenRun) -> Path:
    folder.mkdir()
    model = run.model
    write_dict(folder / "config.npy", {
        "dpin": {"type_map": list(model.type_map)},
        "dscp": {"sel": list(model.sel), "rcut": model.rcut, "rcut_smth": model.rcut_smth,
                 "axis_neuron": model.axis_neuron}})
    write_dict(folder / "weight.npy", to_deepmd(run.cnn, model.sel))
    return folder


def test_float_network_gives_the_forces_of_deepmd_kit(run, tmp_path):
    network = FloatNetwork.load(save_cnn_folder(tmp_path / "cnn", run))
    system = load_system(write_system(tmp_path / "s", run, stage="cnn"), network.type_map)
    result = evaluate_system(network, system, "float")
    for frame, golden in enumerate(run.frames[:2]):
        np.testing.assert_allclose(result.atom_energy[frame], golden.cnn["atom_energy"],
                                   rtol=1e-10)
        scale = np.abs(golden.cnn["force"]).max()
        np.testing.assert_allclose(result.force[frame], golden.cnn["force"], atol=1e-10 * scale)
        np.testing.assert_allclose(result.virial[frame], golden.cnn["virial"], atol=1e-9)
    with pytest.raises(InputError, match=r"got fixed, but .* continuous .* --backend float"):
        evaluate_system(network, system, "fixed")


def test_float_network_of_a_damaged_folder(run, tmp_path):
    folder = save_cnn_folder(tmp_path / "cnn", run)
    write_dict(folder / "config.npy", {"dpin": {"type_map": ["A"]}})
    with pytest.raises(ModelFileError, match=r"config\.npy: no usable value of 'dscp'"):
        FloatNetwork.load(folder)


def test_errors():
    errors = Errors.of(np.array([[1.0, -3.0]]))
    assert (errors.mae, errors.rmse, errors.count) == (2.0, np.sqrt(5.0), 2)
    both = combine([{"force": errors}, {"force": Errors(mae=5.0, rmse=7.0, count=6), "energy":
                                        Errors(mae=1.0, rmse=1.0, count=1)}])
    assert both["force"] == Errors(mae=(2 * 2 + 5 * 6) / 8, rmse=np.sqrt((5 * 2 + 49 * 6) / 8),
                                   count=8)
    assert both["energy"].count == 1


def test_only_labels_that_exist_are_compared(run, tmp_path):
    system = load_system(write_system(tmp_path / "s", run, virial=False), run.model.type_map)
    result = evaluate_system(run.model, system, "fixed", frames=1)
    assert list(errors_against_labels(system, result)) == ["energy", "energy_peratom", "force"]


def test_command(run, model_file, tmp_path, capsys):
    folder = write_system(tmp_path / "data" / "s", run)
    detail = tmp_path / "out" / "detail"
    assert main(["test", "-m", str(model_file), "-s", str(tmp_path / "data"),
                 "-d", str(detail)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"# testing system : {folder}" in lines and "# number of test data : 2" in lines
    values = {line.split(" : ")[0].strip(): line.split(" : ")[1].split() for line in lines
              if " : " in line and not line.startswith("#")}
    assert list(values) == [
        "Energy MAE", "Energy RMSE", "Energy MAE/Natoms", "Energy RMSE/Natoms", "Force  MAE",
        "Force  RMSE", "Virial MAE", "Virial RMSE", "Virial MAE/Natoms", "Virial RMSE/Natoms"]
    assert values["Force  RMSE"] == ["0.000000e+00", "eV/Å"]
    assert values["Virial MAE"] == ["0.000000e+00", "eV"]
    assert float(values["Energy MAE"][0]) < 1e-12
    n = len(run.frames[0].types)
    axes = [a + b for a in "xyz" for b in "xyz"]
    for suffix, rows, columns in (("e", 2, ["e"]), ("e_peratom", 2, ["e"]),
                                  ("f", 2 * n, ["fx", "fy", "fz"]),
                                  ("v", 2, [f"v{a}" for a in axes]),
                                  ("v_peratom", 2, [f"v{a}" for a in axes])):
        file = Path(f"{detail}.{suffix}.out")
        header = " ".join(f"{side}_{c}" for side in ("data", "pred") for c in columns)
        assert file.read_text().splitlines()[0] == f"# {folder}: {header}"
        table = np.loadtxt(file, ndmin=2)
        assert table.shape == (rows, 2 * len(columns))
        if suffix == "f":
            assert np.array_equal(table[:n, 3:], run.frames[0].qnn["force"])


def test_command_with_the_float_network_of_a_folder(run, tmp_path, capsys):
    write_system(tmp_path / "s", run, stage="cnn", virial=False)
    folder = save_cnn_folder(tmp_path / "cnn", run)
    assert main(["test", "-m", str(folder), "-s", str(tmp_path / "s"), "-n", "1",
                 "--backend", "float"]) == 0
    out = capsys.readouterr().out
    assert "Virial" not in out and "# number of test data : 1" in out
    (line, _) = [x for x in out.splitlines() if x.startswith("Force  RMSE")]
    assert float(line.split(":")[1].split()[0]) < 1e-11


def test_more_neighbours_than_sel(run, model_file, tmp_path, capsys):
    folder = write_system(tmp_path / "s", run, frames=1)
    coord = np.load(folder / "set.000" / "coord.npy").reshape(-1, 3)
    # half the cell in each direction
    np.save(folder / "set.000" / "coord.npy", (coord * 0.5).reshape(1, -1))
    np.save(folder / "set.000" / "box.npy", np.load(folder / "set.000" / "box.npy") * 0.5)
    system = load_system(folder, run.model.type_map)
    with pytest.raises(NeighborOverflowError, match=r"s: frame 0: atom \d+ has \d+ neighbours of"):
        evaluate_system(run.model, system, "float")
    assert main(["test", "-m", str(model_file), "-s", str(folder), "--backend", "float",
                 "--overflow", "truncate"]) == 0
    assert "neighbours beyond sel were dropped" in capsys.readouterr().err
