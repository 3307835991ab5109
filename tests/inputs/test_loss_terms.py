"""Labels per atom: atomic energies, weighted and generalised forces, in both trainings."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from support.cnn_runs import data, make_config, train  # noqa: F401
from support.float_cases import RCUT, RCUT_SMTH, SEL
from support.qnn_stage import quiet, run_config, stage  # noqa: F401

from nvnmd.data.systems import load_system
from nvnmd.errors import InputError
from nvnmd.inputs.config import LearningRateConfig, LossConfig
from nvnmd.network.model import predict_float
from nvnmd.network.weights import FloatWeights
from nvnmd.training.checkpoint import Checkpoint, unprefixed
from nvnmd.training.lcurve import read_lcurve

STILL = LearningRateConfig(start_lr=0.0, stop_lr=0.0)
TERMS = LossConfig(start_pref_ae=2.0, limit_pref_ae=2.0, start_pref_pf=3.0, limit_pref_pf=3.0,
                   start_pref_gf=4.0, limit_pref_gf=4.0, numb_generalized_coord=2,
                   enable_atom_ener_coeff=True)  # fmt: skip
WITHOUT = LossConfig(start_pref_e=0.0, limit_pref_e=0.0, start_pref_f=0.0, limit_pref_f=0.0)
LABELS = {"atom_ener": 1, "atom_pref": 1, "drdq": 6, "atom_ener_coeff": 1}


def labelled(source, target):
    """Copy a system and give every frame random labels per atom."""
    shutil.copytree(source, target)
    rng = np.random.default_rng(12)
    frames = len(np.load(target / "set.000/energy.npy"))
    natoms = len((target / "type.raw").read_text().split())
    for name, width in LABELS.items():
        array = rng.uniform(0.5, 1.5, (frames, natoms * width))
        np.save(target / f"set.000/{name}.npy", array)
    return str(target)


def expected_errors(system, frame, energies, forces):
    """Root mean squares of a frame: energy per atom, atomic energy, the two of forces."""
    label = {name: array[frame] for name, array in system.atom_labels.items()}
    off = forces - system.force[frame]
    energy = (label["atom_ener_coeff"] * energies).sum() - system.energy[frame]
    along = np.einsum("nc,ncg->g", off, label["drdq"])
    return {
        "rmse_e_trn": abs(energy) / len(energies),
        "rmse_ae_trn": np.sqrt(np.mean((energies - label["atom_ener"]) ** 2)),
        "rmse_pf_trn": np.sqrt(np.mean(label["atom_pref"][:, None] * off**2)),
        "rmse_gf_trn": np.sqrt(np.mean(along**2)),
    }


def test_errors_of_the_float_training(data, tmp_path):
    folder = labelled(data[0], tmp_path / "data")
    config = make_config((folder,), batch_size=(1,), numb_steps=1, learning_rate=STILL, loss=TERMS)
    train(config, tmp_path / "out")
    curve = read_lcurve(tmp_path / "out/lcurve.out")
    assert curve.dtype.names == ("step", "rmse_trn", "rmse_e_trn", "rmse_ae_trn", "rmse_f_trn",
                                 "rmse_pf_trn", "rmse_gf_trn", "lr")  # fmt: skip
    arrays = Checkpoint.load(tmp_path / "out", "cnn").arrays
    weights = FloatWeights.from_arrays(unprefixed(arrays, "weights"))
    system = load_system(folder, config.type_map,
                         atom_labels={"atom_ener": (), "atom_pref": (), "drdq": (3, 2),
                                      "atom_ener_coeff": ()})  # fmt: skip
    candidates = []
    for frame in range(system.nframes):
        found = predict_float(weights, system.coord[frame], system.box[frame], system.types,
                              sel=SEL, rcut=RCUT, rcut_smth=RCUT_SMTH)  # fmt: skip
        candidates.append(expected_errors(system, frame, found.atom_energy, found.force))
    # one of the frames was drawn
    assert any(all(abs(curve[key][0] / value - 1.0) < 0.01 for key, value in one.items())
               for one in candidates)  # fmt: skip


@pytest.mark.parametrize("term", ["ae", "pf", "gf"])
def test_each_term_is_trained_on(data, tmp_path, term):
    folder = labelled(data[1], tmp_path / "data")
    loss = replace(WITHOUT, **{f"start_pref_{term}": 10.0, f"limit_pref_{term}": 10.0},
                   numb_generalized_coord=2)
    rate = LearningRateConfig(start_lr=3e-3, stop_lr=3e-3, decay_steps=100)
    config = make_config((folder,), batch_size=(4,), numb_steps=12, learning_rate=rate, loss=loss)
    train(config, tmp_path / "out")
    curve = read_lcurve(tmp_path / "out/lcurve.out")
    assert curve.dtype.names == ("step", "rmse_trn", f"rmse_{term}_trn", "lr")
    column = curve[f"rmse_{term}_trn"]
    assert column[-1] < 0.9 * column[0]
    np.testing.assert_allclose(curve["rmse_trn"], np.sqrt(10.0) * column, rtol=0.01)


def test_quantized_training(stage, tmp_path):
    folder, _ = stage
    system = labelled(folder / "data", tmp_path / "data")
    config = run_config(folder, 12)
    terms = replace(config.loss, **{f"{end}_pref_{term}": 100.0 for end in ("start", "limit")
                                    for term in ("ae", "pf", "gf")}, numb_generalized_coord=2)
    config = replace(config, loss=terms,
                     training=replace(config.training, systems=(system,), batch_size=(6,)))
    from nvnmd.training.quantized.train import train_qnn

    train_qnn(config, folder / "cnn", tmp_path / "out", log=quiet)
    curve = read_lcurve(tmp_path / "out/lcurve.out")
    assert curve["rmse_trn"][-1] < 0.9 * curve["rmse_trn"][0]
    natoms = 8
    parts = {"e": 1.0 * natoms, "f": 100.0, "v": 0.1 * natoms, "ae": 100.0, "pf": 100.0,
             "gf": 100.0}
    total = sum(weight * curve[f"rmse_{term}_trn"] ** 2 for term, weight in parts.items())
    np.testing.assert_allclose(curve["rmse_trn"], np.sqrt(total), rtol=0.02)


def test_labels_that_are_missing(data, tmp_path):
    folder = labelled(data[0], tmp_path / "data")
    for term, name in (("ae", "atom_ener"), ("pf", "atom_pref"), ("gf", "drdq")):
        loss = LossConfig(**{f"limit_pref_{term}": 1.0}, numb_generalized_coord=2)
        config = make_config(data[1:], batch_size=(1,), numb_steps=1, loss=loss)
        with pytest.raises(InputError, match=rf"limit_pref_{term} is not 0, .* {name}\.npy: "):
            train(config, tmp_path / "out")
    wrong = make_config((folder,), batch_size=(1,), numb_steps=1,
                        loss=LossConfig(start_pref_gf=1.0, numb_generalized_coord=3))
    with pytest.raises(InputError, match=r"drdq\.npy: expected an array \(frames, 72\)"):
        train(wrong, tmp_path / "out")
    # a system without the label trains on the other terms, and its column reads nan
    both = make_config((folder, data[1]), batch_size=(1, 1), numb_steps=8, disp_freq=1,
                       loss=LossConfig(limit_pref_ae=1.0))  # fmt: skip
    train(both, tmp_path / "both")
    curve = read_lcurve(tmp_path / "both/lcurve.out")
    lacking = np.isnan(curve["rmse_ae_trn"])
    assert lacking.any() and not lacking.all() and np.isfinite(curve["rmse_e_trn"]).all()


def test_factors_of_energies_where_only_some_systems_have_them(data, tmp_path):
    """A batch of both systems: without its file a system's atoms count 1."""
    labelled(data[0], tmp_path / "with")
    shutil.copytree(data[1], tmp_path / "without")
    systems = (str(tmp_path / "with"), str(tmp_path / "without"))
    config = make_config(systems, batch_size=(8, 8), numb_steps=1, learning_rate=STILL,
                         mixed_batch=True, loss=LossConfig(enable_atom_ener_coeff=True))
    train(config, tmp_path / "out")
    curves = [read_lcurve(tmp_path / "out/lcurve.out")["rmse_e_trn"][0]]
    ones = np.ones((4, len((tmp_path / "without/type.raw").read_text().split())))
    np.save(tmp_path / "without/set.000/atom_ener_coeff.npy", ones)
    train(config, tmp_path / "again")
    curves.append(read_lcurve(tmp_path / "again/lcurve.out")["rmse_e_trn"][0])
    assert curves[0] == curves[1]
    np.save(tmp_path / "without/set.000/atom_ener_coeff.npy", 2.0 * ones)
    train(config, tmp_path / "third")
    assert read_lcurve(tmp_path / "third/lcurve.out")["rmse_e_trn"][0] != curves[0]


def test_energies_are_needed_only_for_their_term(data, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(data[0], folder)
    (folder / "set.000/energy.npy").unlink()
    forces = replace(WITHOUT, start_pref_f=1.0, limit_pref_f=1.0)
    result, _ = train(make_config((str(folder),), batch_size=(1,), numb_steps=1, loss=forces),
                      tmp_path / "out")
    np.testing.assert_array_equal(result.weights.t_bias_atom_e, [0.0, 0.0])
    with pytest.raises(InputError, match=r"energy\.npy: missing"):
        train(make_config((str(folder),), batch_size=(1,)), tmp_path / "again")
