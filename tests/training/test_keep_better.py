"""Which weights the quantized stage ends with: the trained ones where they help, else the old."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
from support.qnn_stage import quiet, run_config, stage, write_system  # noqa: F401
from support.small_models import small_config

from nvnmd.data.systems import load_systems
from nvnmd.deepmd.tables import tables_of_weights
from nvnmd.evaluation.potential import Potential
from nvnmd.inputs.config import FittingConfig
from nvnmd.mapping.freeze import freeze_model
from nvnmd.quantize.model import Model
from nvnmd.training.quantized.keep_better import (
    LEAST_FRAMES,
    MOST_ATOMS,
    FrameErrors,
    common_shift,
    compared_frames,
    objection,
)

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from nvnmd.training.quantized.train import train_qnn

UNIT = 2.0**-23


def errors(energy, force=()):
    """Errors of frames: energies in meV/atom, root mean square force errors in eV/Å of 2 atoms."""
    force = 6.0 * np.square(np.array(force, dtype=float))
    return FrameErrors(1e-3 * np.array(energy, dtype=float), force, np.full(len(force), 6.0))


OLD = errors([3.0, -2.0, 1.0, -3.0, 2.0, 0.5], [0.2, 0.3, 0.25, 0.2, 0.3, 0.2])


@pytest.mark.parametrize(("energy", "force", "words"), [
    # every frame's error less
    ([2.5, -1.7, 0.8, -2.6, 1.5, 0.4], OLD.force, ""),
    ([3.1, -2.1, 1.0, -3.1, 2.1, 0.5], OLD.force, "the energy RMSE rose from 2.1311 to 2.2094 meV"),
    ([2.5, -1.5, 0.8, -2.0, 1.5, 0.4], OLD.force,
     "the mean energy error rose from 0.25 to 0.28333 meV/atom"),
    ([2.5, -1.7, 0.8, -2.6, 1.5, 0.4], OLD.force * (1.0 + 1e-9), "the force RMSE rose from 0.24"),
    # four frames better, two worse
    ([2.0, -2.4, 0.8, -2.4, 2.4, 0.5], OLD.force, "the energy RMSE fell from 2.1311 to 1.9222 meV/"
     "atom only, which may be chance on 6 frames"),
    (OLD.energy * 0.9995e3, OLD.force * 0.999, "no error fell by 0.1%"),
    (OLD.energy * 1e3, OLD.force * 0.99, ""),
    ([np.nan] * 6, OLD.force, "the energy RMSE rose from 2.1311 to nan"),
])
def test_what_speaks_for_the_old_weights(energy, force, words):
    new = dataclasses.replace(errors(energy), force=np.asarray(force), components=OLD.components)
    found = objection(OLD, new)
    assert found.startswith(words) and bool(found) == bool(words)


def test_errors_that_are_not_known_have_no_say():
    energies = errors(OLD.energy * 1e3)
    assert objection(energies, errors(OLD.energy * 0.9e3)) == ""
    forces = dataclasses.replace(OLD, energy=np.empty(0))
    assert objection(forces, dataclasses.replace(forces, force=0.9 * forces.force)) == ""
    assert common_shift(forces, forces) == 0.0


def test_the_common_shift():
    old, shifted = errors([3.0, -2.0, 1.0, -1.0]), errors([5.0, 0.0, 3.0, 1.0])
    for sign in (1.0, -1.0):
        before, after = (dataclasses.replace(e, energy=sign * e.energy) for e in (old, shifted))
        found = common_shift(before, after)
        assert found == pytest.approx(sign * 2e-3, abs=UNIT)
        assert (found / UNIT).is_integer()
        # the mean error is never larger than it was
        assert 0.0 <= sign * (after.energy.mean() - found) <= sign * before.energy.mean()
    # a smaller mean error is luck, if the old one was within its scatter
    less = errors([2.9, -2.1, 0.9, -1.1])
    assert common_shift(old, less) == pytest.approx(-1e-4, abs=UNIT)
    # and what the frames ask for, if it was not
    assert common_shift(errors([3.0, 2.0, 1.0, 2.0]), errors([2.0, 1.0, 0.0, 1.0])) == 0.0


def test_frames_are_bounded(stage):
    (system,) = load_systems([str(stage[0] / "data")], ("Cu", "Au"))

    def of(nframes, natoms):
        return dataclasses.replace(
            system, coord=np.zeros((nframes, natoms, 3)), types=np.zeros(natoms, dtype=int))

    assert compared_frames([of(3, 4), of(2, 4)]) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    many = compared_frames([of(1000, 64), of(1000, 64)])
    assert len(many) == len(set(many)) == MOST_ATOMS // 64
    assert many == compared_frames([of(1000, 64), of(1000, 64)]) == sorted(many)
    assert 150 < sum(k == 0 for k, _ in many) < 350
    assert len(compared_frames([of(100, MOST_ATOMS)])) == LEAST_FRAMES


def measured(model, folder):
    """Energy RMSE, size of the mean error (eV/atom) and force RMSE of a system."""
    (system,) = load_systems([str(folder)], model.type_map)
    found = Potential(model).evaluate(system.coord, system.box, system.types)
    error = (found.energy - system.energy) / system.natoms
    return np.array([np.sqrt(np.mean(error**2)), abs(error.mean()),
                     np.sqrt(np.mean((found.force - system.force) ** 2))])


def start_of(stage):
    return freeze_model(stage[1], tables_of_weights(stage[1], 4.0, 1.0), small_config())


def same_nets(one, two):
    return all(np.array_equal(a, b) for name in ("fit_weights", "fit_biases")
               for a, b in zip(getattr(one, name), getattr(two, name), strict=True))


def test_a_training_that_helps_is_kept(stage, tmp_path):
    folder, _ = stage
    lines = []
    model = train_qnn(run_config(folder, 40), folder / "cnn", tmp_path, log=lines.append).model
    assert "kept: the trained weights" in lines
    old, new = (measured(m, folder / "data") for m in (start_of(stage), model))
    assert np.all(new <= old) and np.all(new[[0, 2]] < 0.9 * old[[0, 2]])
    assert "weights" not in model.origin
    shown = [line for line in lines if line.startswith("6 training frames")]
    for line, (energy, _, force) in zip((shown[0], shown[-1]), (old, new), strict=True):
        assert f"energy RMSE {1e3 * energy:.4f}" in line and f"force RMSE {force:.6f} eV/Å" in line


def test_a_training_that_harms_is_discarded(stage, tmp_path):
    folder, _ = stage
    lines = []
    config = run_config(folder, 3, lr=0.1)
    model = train_qnn(config, folder / "cnn", tmp_path, log=lines.append).model
    assert same_nets(model, start_of(stage))
    (line,) = [line for line in lines if line.startswith("kept:")]
    assert line.startswith("kept: the first stage's weights, because the ")
    assert " RMSE rose from " in line and "--keep-last" in line
    assert Model.load(tmp_path / "model.nvnmd").origin == {
        "command": "train-qnn", "steps": 3, "weights": "those of the first stage"}
    # what was discarded is still there, and the option takes it
    last = train_qnn(config, folder / "cnn", tmp_path / "last", restart=tmp_path, keep_last=True,
                     log=quiet).model
    whole = train_qnn(config, folder / "cnn", tmp_path / "whole", keep_last=True, log=quiet).model
    assert same_nets(last, whole) and not same_nets(last, model)
    old, new = (measured(m, folder / "data") for m in (model, last))
    assert np.any(new > old)


@pytest.mark.parametrize("lr", [2e-3, 0.1])
def test_a_continued_run_decides_as_an_uninterrupted_one(stage, tmp_path, lr):
    folder, _ = stage
    whole, parts = [], []
    one = train_qnn(run_config(folder, 12, lr), folder / "cnn", tmp_path / "a", log=whole.append)
    train_qnn(run_config(folder, 8, lr), folder / "cnn", tmp_path / "b", log=quiet)
    two = train_qnn(run_config(folder, 12, lr), folder / "cnn", tmp_path / "b",
                    restart=tmp_path / "b", log=parts.append)
    assert one.model.digest == two.model.digest
    found = [[line for line in lines if "frames" in line or line.startswith("kept:")]
             for lines in (whole, parts)]
    assert found[0] == found[1]
    assert same_nets(one.model, start_of(stage)) == (lr == 0.1)


def test_validation_frames_decide(stage, tmp_path):
    folder, weights = stage
    # frames whose labels are the start's own: every step away from it is a step for the worse
    itself = dataclasses.replace(
        weights, fit_weights=tuple(w / 1.2 for w in weights.fit_weights))
    write_system(tmp_path / "held", itself, np.random.default_rng(4))
    config = run_config(folder, 40)
    training = dataclasses.replace(config.training, validation_systems=(str(tmp_path / "held"),),
                                   validation_batch_size=(1,))
    lines = []
    config = dataclasses.replace(config, training=training)
    model = train_qnn(config, folder / "cnn", tmp_path / "out", log=lines.append).model
    assert same_nets(model, start_of(stage))
    assert sum(line.startswith("6 validation frames") for line in lines) >= 2
    assert not any(line.startswith("6 training frames") for line in lines)


@pytest.mark.parametrize("movable", [True, False])
def test_a_common_shift_is_taken_back(stage, tmp_path, movable):
    folder, _ = stage
    shutil.copytree(folder / "data", tmp_path / "data")
    start, file = start_of(stage), tmp_path / "data" / "set.000" / "energy.npy"
    (system,) = load_systems([str(tmp_path / "data")], start.type_map)
    found = Potential(start).evaluate(system.coord, system.box, system.types).energy
    # a mean error far below its scatter: no frame asks for a shift
    error = np.mean(found - system.energy)
    np.save(file, system.energy + error - 1e-4)
    config = run_config(tmp_path, 40)
    if not movable:
        config = dataclasses.replace(config, fitting=FittingConfig(
            neuron=(16, 16), trainable=(True, True, False)))
    lines = []
    model = train_qnn(config, folder / "cnn", tmp_path / "out", log=lines.append).model
    last = train_qnn(config, folder / "cnn", tmp_path / "last", log=quiet, keep_last=True).model
    assert any("without the common shift" in line for line in lines) == movable
    old, plain = (measured(m, tmp_path / "data")[1] for m in (start, last))
    assert plain > 2.0 * old
    if not movable:
        assert same_nets(model, start)
        return
    assert "kept: the trained weights" in lines
    assert old - UNIT <= measured(model, tmp_path / "data")[1] <= old
    moved = last.fit_biases[-1] - model.fit_biases[-1]
    assert np.ptp(moved) == 0.0 != moved[0, 0]
    for name in ("fit_weights", "fit_biases"):
        layers = list(zip(getattr(model, name), getattr(last, name), strict=True))
        for one, two in layers[:-1] if name == "fit_biases" else layers:
            np.testing.assert_array_equal(one, two)
