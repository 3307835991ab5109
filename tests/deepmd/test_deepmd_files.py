"""DeePMD-kit's dictionary files and the weight file: round trips, and refusal of anything else."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
from support.float_cases import SEL, random_weights

from nvnmd.deepmd.config import deepmd_config
from nvnmd.deepmd.files import read_dict, write_dict
from nvnmd.deepmd.weights import from_deepmd, to_deepmd
from nvnmd.errors import ModelFileError
from nvnmd.inputs.config import (
    DescriptorConfig,
    FittingConfig,
    LearningRateConfig,
    LossConfig,
    RunConfig,
    TrainingConfig,
)
from nvnmd.network.weights import FloatWeights

WEIGHTS = random_weights()


def same(one, two):
    assert list(one) == list(two)
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)
        assert np.asarray(one[name]).dtype == np.asarray(two[name]).dtype


def test_weight_npy_round_trip(tmp_path):
    path = tmp_path / "weight.npy"
    written = to_deepmd(WEIGHTS, SEL)
    assert written["descrpt_attr.t_avg"].shape == (2, 4 * sum(SEL))
    second_slot = written["descrpt_attr.t_std"][1, 4:8]
    np.testing.assert_array_equal(second_slot, WEIGHTS.dstd[1, [0, 1, 1, 1]])
    write_dict(path, written)
    same(read_dict(path), written)
    same(from_deepmd(read_dict(path)).arrays(), WEIGHTS.arrays())
    # what plain NumPy, and so DeePMD-kit, sees
    same(np.load(path, allow_pickle=True)[0], written)


def test_names_with_suffix_and_without_embedding():
    names = to_deepmd(WEIGHTS, SEL)
    renamed = {
        (f"{k}_1" if k.startswith(("layer", "final")) else k): v
        for k, v in names.items()
        if not k.startswith("filter")
    }
    found = from_deepmd(renamed)
    np.testing.assert_array_equal(found.fit_weights[1], WEIGHTS.fit_weights[1])
    assert found.embedding == ((), ())


@pytest.mark.parametrize(
    ("drop", "words"),
    [
        ("final_layer_type_1.bias", "'final_layer_type_1.bias' is missing"),
        ("layer_1_type_1.matrix", "'layer_1_type_1.matrix' is missing"),
        ("layer_0_type_0.matrix", "not a model of NVNMD version 0 or 1"),
    ],
)
def test_missing_arrays(drop, words):
    names = to_deepmd(WEIGHTS, SEL)
    del names[drop]
    if drop == "layer_0_type_0.matrix":
        del names["layer_0_type_0.bias"]
    with pytest.raises(ModelFileError, match=f"w.npy: .*{words}"):
        from_deepmd(names, "w.npy")


def test_hostile_pickle_is_refused_by_name(tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/pwned",)

    array = np.empty(1, dtype=object)
    array[0] = {"x": Hostile()}
    np.save(tmp_path / "bad.npy", array, allow_pickle=True)
    with pytest.raises(ModelFileError, match=r"bad\.npy: .*posix\.system, which is not admitted"):
        read_dict(tmp_path / "bad.npy")
    assert not (tmp_path / "pwned").exists()


def test_numpy_1_names_are_read(tmp_path):
    path = tmp_path / "old.npy"
    write_dict(path, {"a": np.arange(3.0), "b": np.float64(2.5)})
    data = path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray_")
    # The names are length-prefixed: keep the length, then cut the filler.
    data = data.replace(b"\x16numpy.core.multiarray_", b"\x15numpy.core.multiarray")
    framed = data.find(b"\x80\x04\x95")
    size = int.from_bytes(data[framed + 3 : framed + 11], "little")
    size -= path.stat().st_size - len(data)
    data = data[: framed + 3] + size.to_bytes(8, "little") + data[framed + 11 :]
    path.write_bytes(data)
    found = read_dict(path)
    np.testing.assert_array_equal(found["a"], [0, 1, 2])
    assert found["b"] == 2.5


@pytest.mark.parametrize("cut", [0, 5, 60, 200, -1])
def test_damaged_files(tmp_path, cut):
    path = tmp_path / "weight.npy"
    write_dict(path, to_deepmd(WEIGHTS, SEL))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ModelFileError, match=r"weight\.npy: not a readable") as error:
        read_dict(path)
    assert "\n" not in str(error.value)


def test_other_content(tmp_path):
    with pytest.raises(ModelFileError, match="No such file"):
        read_dict(tmp_path / "none.npy")
    np.save(tmp_path / "plain.npy", np.zeros(3))
    with pytest.raises(ModelFileError, match="expected one object, found float64"):
        read_dict(tmp_path / "plain.npy")
    array = np.empty(1, dtype=object)
    array[0] = [1, 2]
    np.save(tmp_path / "list.npy", array, allow_pickle=True)
    with pytest.raises(ModelFileError, match="expected a dictionary, found list"):
        read_dict(tmp_path / "list.npy")


def test_weights_file(tmp_path):
    path = tmp_path / "weights.npz"
    WEIGHTS.save(path)
    same(FloatWeights.load(path).arrays(), WEIGHTS.arrays())
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ModelFileError, match="not a readable weight file"):
        FloatWeights.load(path)
    np.savez(path, a=np.zeros(2))
    with pytest.raises(ModelFileError, match="not a weight file of format"):
        FloatWeights.load(path)
    with pytest.raises(ModelFileError, match="no such file"):
        FloatWeights.load(tmp_path / "nothing.npz")


def test_interrupted_write_leaves_the_old_file(tmp_path):
    from nvnmd.atomic_file import atomic_write

    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_told_with_the_file(tmp_path):
    from nvnmd.atomic_file import atomic_write

    path = tmp_path / "file"
    with pytest.raises(OSError, match="No space left") as caught, atomic_write(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.filename == str(path) and not list(tmp_path.iterdir())


def make_config(max_nnei):
    return RunConfig(
        version=0,
        max_nnei=max_nnei,
        type_map=("Ge", "Te"),
        descriptor=DescriptorConfig(sel=(60, 60), rcut=6.0, rcut_smth=0.5),
        fitting=FittingConfig(),
        learning_rate=LearningRateConfig(),
        loss=LossConfig(),
        training=TrainingConfig(systems=("x",), batch_size=(1,), numb_steps=1),
    )


@pytest.mark.shared
def test_config_npy_equals_deepmd_kits(shared):
    folder = shared / "golden/v0_ni128_gete/nvnmd_cnn"
    weights = from_deepmd(read_dict(folder / "weight.npy"))
    wanted = read_dict(folder / "config.npy")
    found = deepmd_config(make_config(128), weights)
    assert found == wanted and list(found) == list(wanted)
    for name, part in wanted.items():
        if isinstance(part, dict):
            assert list(found[name]) == list(part)
            assert [type(v) for v in found[name].values()] == [type(v) for v in part.values()]


def test_config_npy_of_256_neighbors():
    found = deepmd_config(make_config(256), WEIGHTS)
    ctrl = found["ctrl"]
    assert (ctrl["MAX_NNEI"], ctrl["NSTDM"], ctrl["NSTDM_M2"], ctrl["NSEL"]) == (256, 128, 4, 512)
    assert found["nbit"]["NBIT_SEL"] == 9 and found["dscp"]["NI"] == 256
