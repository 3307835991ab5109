"""The continuous stage: checkpoints, exact restart, interruption."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
from support.cnn_runs import data, finished, make_config, train  # noqa: F401

from nvnmd.errors import InputError, ModelFileError
from nvnmd.inputs.config import LearningRateConfig
from nvnmd.npy_archive import digest_of
from nvnmd.training.checkpoint import Checkpoint, find_checkpoint
from nvnmd.training.lcurve import read_lcurve


def test_restart_continues_exactly(finished, tmp_path):
    config, folder, result, _ = finished
    again, _ = train(config, tmp_path, restart=folder / "model.ckpt-4.npz")
    whole = (folder / "lcurve.out").read_text().splitlines()
    later = (tmp_path / "lcurve.out").read_text().splitlines()
    assert later[2:] == whole[5:] and whole[5].split()[0] == "6"
    for name, array in result.weights.arrays().items():
        np.testing.assert_array_equal(again.weights.arrays()[name], array, err_msg=name)
    last = Checkpoint.load(folder, "cnn")
    other = Checkpoint.load(tmp_path, "cnn")
    assert last.step == other.step == 12 and last.state == other.state
    for name, array in last.arrays.items():
        np.testing.assert_array_equal(other.arrays[name], array, err_msg=name)


def test_restart_in_place_rewrites_the_later_lines(data, tmp_path):
    config = make_config(data[:1], batch_size=(2,), numb_steps=6, save_freq=3, disp_freq=1)
    train(config, tmp_path)
    before = (tmp_path / "lcurve.out").read_text()
    train(config, tmp_path, restart=tmp_path / "model.ckpt-3")
    assert (tmp_path / "lcurve.out").read_text() == before


def test_restart_of_a_finished_run_does_nothing(finished, tmp_path):
    config, folder, result, _ = finished
    again, lines = train(config, tmp_path, restart=folder)
    assert any("nothing to do: 12 of 12" in line for line in lines)
    np.testing.assert_array_equal(again.weights.fit_weights[0], result.weights.fit_weights[0])


def test_init_model_takes_the_weights_only(finished, data, tmp_path):
    _, folder, result, _ = finished
    config = make_config(data[:1], batch_size=(1,), numb_steps=1, disp_training=False,
                         learning_rate=LearningRateConfig(start_lr=0.0, stop_lr=0.0))  # fmt: skip
    for k, source in enumerate((folder / "weights.npz", folder / "model.ckpt-12.npz")):
        again, _ = train(config, tmp_path / str(k), init_model=source)
        assert again.step == 1
        for name, array in result.weights.arrays().items():
            np.testing.assert_array_equal(again.weights.arrays()[name], array, err_msg=name)


def test_old_checkpoints_are_deleted(data, tmp_path):
    config = make_config(data[:1], batch_size=(1,), numb_steps=5, save_freq=1, max_ckpt_keep=2)
    # as a run that was killed while writing leaves it
    half = tmp_path / ".model.ckpt-3.npz.5a1_x9"
    half.write_bytes(b"PK")
    others = [tmp_path / ".checkpoint.ab12_x9z", tmp_path / ".weights.npz.kq0pv2_1"]
    mine = tmp_path / ".vimrc.ab12_x9z"
    for path in (*others, mine):
        path.write_bytes(b"")
    train(config, tmp_path)
    assert not half.exists() and not any(path.exists() for path in others) and mine.exists()
    kept = sorted(path.name for path in tmp_path.glob("model.ckpt-*"))
    assert kept == ["model.ckpt-4.npz", "model.ckpt-5.npz"]
    assert find_checkpoint(tmp_path / "model.ckpt").name == "model.ckpt-5.npz"


def test_interrupt_leaves_a_checkpoint_that_continues(finished, data, tmp_path):
    config, folder, result, _ = finished
    from nvnmd.training.continuous.train import train_cnn

    lines = []

    def log(line):
        lines.append(line)
        if line.startswith("step       6"):
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as interrupt:
        train_cnn(config, tmp_path, log=log)
    assert signal.getsignal(signal.SIGINT) is handler
    step = Checkpoint.load(tmp_path, "cnn").step
    assert step in (6, 7)
    message = str(interrupt.value)
    assert message.startswith(f"interrupted at step {step}; to continue: --restart {tmp_path}")
    again, _ = train(config, tmp_path, restart=tmp_path)
    assert (tmp_path / "lcurve.out").read_text() == (folder / "lcurve.out").read_text()
    for name, array in result.weights.arrays().items():
        np.testing.assert_array_equal(again.weights.arrays()[name], array, err_msg=name)


def test_interrupt_after_the_last_step_tells_how_to_continue(finished, tmp_path):
    config, folder, *_ = finished

    def log(line):
        # what Ctrl-C does there; a signal would not, where tests run in workers that ignore it
        if line.startswith("tables: "):
            raise KeyboardInterrupt

    from nvnmd.training.continuous.train import train_cnn

    with pytest.raises(KeyboardInterrupt) as interrupt:
        train_cnn(config, tmp_path, log=log)
    checkpoint = tmp_path / "model.ckpt"
    expected = f"interrupted after the last step; to continue: --restart {checkpoint}"
    assert str(interrupt.value) == expected
    train(config, tmp_path, restart=checkpoint)
    for name in ("map.npy", "weight.npy"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_bad_checkpoints(finished, data, tmp_path):
    config, folder, _, _ = finished
    with pytest.raises(ModelFileError, match="no checkpoint there"):
        train(config, tmp_path, restart=tmp_path / "model.ckpt-9.npz")
    broken = tmp_path / "model.ckpt-4.npz"
    broken.write_bytes((folder / "model.ckpt-4.npz").read_bytes()[:1000])
    with pytest.raises(ModelFileError, match="not a readable checkpoint"):
        train(config, tmp_path, restart=broken)
    broken.unlink()
    other = replace(config, descriptor=replace(config.descriptor, rcut=4.5))
    with pytest.raises(InputError, match=r"written with rcut = 4\.6, the input has 4\.5"):
        train(other, tmp_path, restart=folder)
    fewer = make_config(data[:1], batch_size=(1,))
    with pytest.raises(InputError, match="training: 1 systems, 2 then"):
        train(fewer, tmp_path, restart=folder)
    with pytest.raises(InputError, match=r"does not fit .*frames"):
        train(fewer, tmp_path / "new", restart=folder, allow_changed_data=True)
    with pytest.raises(ModelFileError, match="not of train-qnn"):
        Checkpoint.load(folder, "qnn")
    with pytest.raises(InputError, match="exclude each other"):
        train(config, tmp_path, restart=folder, init_model=folder)


@pytest.mark.parametrize(("name", "change", "message"), [
    ("weights/embedding.0.1.bias", None, r"the array 'embedding\.0\.1\.bias' is missing"),
    ("weights/davg", np.array([["a", "b"]]), "weights/davg holds other than finite numbers"),
    ("weights/fitting.1.weight", np.array([[[np.nan]]]),
     r"weights/fitting\.1\.weight holds other than finite numbers"),
    ("weights/min_nbor_dist", np.ones(2), "not the arrays of weights"),
    ("header", {"step": -3}, "not a readable checkpoint"),
    ("header", {"state": []}, "not a readable checkpoint"),
    ("header", {"state": {"model": 3}}, "its settings of the model are no section"),
])
def test_damaged_checkpoints_are_one_line(
    finished, tmp_path, name, change, message
):
    config, folder, _, _ = finished
    with np.load(folder / "model.ckpt-4.npz") as file:
        arrays = dict(file)
    header = json.loads(str(arrays.pop("header")))
    if name == "header":
        header |= change
    else:
        arrays = {key: array for key, array in arrays.items() if key != name}
        arrays |= {} if change is None else {name: change}
    # a digest that is right: what else is wrong is told
    del header["digest"]
    header["digest"] = digest_of(header, arrays)
    path = tmp_path / "model.ckpt-4.npz"
    np.savez(path, header=np.array(json.dumps(header)), **arrays)
    begins = {"restart": path}, {"init_model": path}
    for begin in begins:
        with pytest.raises(ModelFileError, match=message) as caught:
            train(config, tmp_path / "out", **begin)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()


def test_an_earlier_curve_of_other_columns_stays_as_comments(data, tmp_path):
    config = make_config(data[:1], batch_size=(1,), numb_steps=4, save_freq=2, disp_freq=1)
    train(config, tmp_path)
    before = (tmp_path / "lcurve.out").read_text().splitlines()
    more = make_config(data[:1], batch_size=(1,), numb_steps=4, save_freq=2, disp_freq=1,
                       validation_systems=data[1:], validation_batch_size=(2,))
    train(more, tmp_path, restart=tmp_path / "model.ckpt-2.npz")
    after = (tmp_path / "lcurve.out").read_text().splitlines()
    assert after[2:5] == [before[0].rstrip(), *(f"# {line.strip()}" for line in before[2:4])]
    curve = read_lcurve(tmp_path / "lcurve.out")
    np.testing.assert_array_equal(curve["step"], [3, 4])
    assert np.isfinite(curve["rmse_f_val"]).all()


def test_a_line_of_the_curve_that_was_cut_short_is_dropped(data, tmp_path):
    config = make_config(data[:1], batch_size=(1,), numb_steps=12, save_freq=2, disp_freq=2)
    train(config, tmp_path)
    curve = tmp_path / "lcurve.out"
    whole = curve.read_text()
    # step 10, cut behind its first digit
    curve.write_text(whole[: whole.index("\n     10 ") + 7])
    train(config, tmp_path, restart=tmp_path / "model.ckpt-8.npz")
    assert curve.read_text() == whole


@pytest.mark.parametrize("content", [b'{"a": 1}\n', b"step\nx 1\n", b"\xff\xfe\x00"])
def test_a_restart_beside_a_file_that_is_no_curve(data, tmp_path, content):
    config = make_config(data[:1], batch_size=(1,), numb_steps=4, save_freq=2)
    train(config, tmp_path)
    (tmp_path / "lcurve.out").write_bytes(content)
    with pytest.raises(InputError, match=r"lcurve\.out: not a learning curve"):
        train(config, tmp_path, restart=tmp_path / "model.ckpt-2.npz")
    assert (tmp_path / "lcurve.out").read_bytes() == content


def test_a_run_that_cannot_begin_touches_nothing(data, tmp_path):
    def state(folder):
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    config = make_config(data[:1], batch_size=(1,), numb_steps=2)
    train(config, tmp_path / "run")
    before = state(tmp_path / "run")
    broken = tmp_path / "broken"
    shutil.copytree(data[1], broken)
    (broken / "set.000/force.npy").write_bytes(b"")
    other = make_config(data[:1], batch_size=(1,), numb_steps=3)
    for changed in ({"systems": (str(broken),)},
                    {"validation_systems": (str(broken),), "validation_batch_size": (1,)}):
        wrong = replace(other, training=replace(other.training, **changed))
        wrong.normalized["other"] = 1
        with pytest.raises(InputError, match=r"force\.npy: not a readable"):
            train(wrong, tmp_path / "run", force=True)
        with pytest.raises(InputError, match=r"force\.npy: not a readable"):
            train(wrong, tmp_path / "new")
    assert state(tmp_path / "run") == before and not (tmp_path / "new").exists()
