"""Batches whose frames differ in composition, and trainings on them."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from support.mixed_data import as_hdf5
from support.small_models import random_weights, small_config
from support.type_models import rattled, type_config, type_weights

from nvnmd.data.frame_pairs import NeighborCache
from nvnmd.data.mixed import split
from nvnmd.data.systems import System, load_systems
from nvnmd.deepmd.tables import tables_of_weights
from nvnmd.inputs.config import DescriptorConfig, LearningRateConfig, LossConfig, TrainingConfig
from nvnmd.mapping.freeze import freeze_model
from nvnmd.training.continuous.batches import make_layouts, pack
from nvnmd.training.mixed_batches import FrameDraws, batch_mates
from nvnmd.training.workers import Place

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from nvnmd.training.continuous.tf_model import TfFloatModel
from nvnmd.training.continuous.train import train_cnn
from nvnmd.training.quantized.batches import QuantizedFrames
from nvnmd.training.quantized.model import TfQuantizedModel
from nvnmd.training.quantized.train import train_qnn

# types of the frames, in the order of the files; -1 is virtual
FRAMES = [[0, 1, 1, 0, 1, 0, 0, 0], [1, 0, 1, 1, -1, -1, -1, -1], [0, 0, 1, 0, 0, 1, 0, 1],
          [1, 1, 1, 1, 1, 0, 0, 1], [0, 1, 0, 1, -1, -1, -1, -1]]
FACTORS = np.array([1.0, 100.0, 0.1, 0.0, 0.0, 0.0])


def quiet(_):
    pass


def arrays(rng, frames=FRAMES, shift=0):
    """Rattled frames with labels of no meaning; virtual atoms have zeros."""
    rows = {key: [] for key in ("coord", "box", "energy", "force", "virial", "types")}
    for types in frames:
        kinds = np.array(types)
        cell = rattled(rng, kinds[kinds >= 0])
        pad = ((0, len(kinds) - len(cell.types)), (0, 0))
        rows["coord"].append(np.pad(cell.coord, pad))
        rows["force"].append(np.pad(rng.normal(size=cell.coord.shape), pad))
        rows["box"].append(cell.box)
        rows["energy"].append(rng.normal() * len(cell.types))
        rows["virial"].append(rng.normal(size=(3, 3)))
        rows["types"].append(np.where(kinds >= 0, kinds + shift, -1))
    return {key: np.array(values) for key, values in rows.items()}


def write(folder: Path, data, names) -> str:
    """Write what `arrays` gives in the mixed layout."""
    part = folder / "set.000"
    part.mkdir(parents=True)
    (folder / "type.raw").write_text("0\n" * data["types"].shape[1])
    (folder / "type_map.raw").write_text("\n".join(names))
    for key, values in data.items():
        name = "real_atom_types" if key == "types" else key
        flat = values if values.ndim == 1 else values.reshape(len(values), -1)
        np.save(part / f"{name}.npy", flat)
    return str(folder)


def config_of(version: int):
    if version == 1:
        return type_config(3)
    descriptor = DescriptorConfig(sel=(20,) * 3, rcut=4.0, rcut_smth=1.0, neuron=(4, 8),
                                  axis_neuron=2, seed=1)
    return small_config(3, descriptor=descriptor)


@dataclasses.dataclass
class Case:
    config: object
    weights: object
    model: object
    systems: list[System]
    cache: NeighborCache


@pytest.fixture(scope="module", params=[0, 1])
def case(request):
    """A model of three types, one of which no frame has, and a mixed system of three parts."""
    rng = np.random.default_rng(2)
    config = config_of(request.param)
    weights = (type_weights if request.param else random_weights)(rng, 3)
    model = freeze_model(weights, tables_of_weights(weights, 4.0, 1.0), config)
    systems = split(Path("mixed"), arrays(rng))
    assert [s.natoms for s in systems] == [8, 4, 8, 4]
    cache = NeighborCache(systems, model.sel, model.rcut, model.type_map,
                          shared=request.param == 1)
    return Case(config, weights, model, systems, cache)


WHICH, WHERE = [1, 0], [0, 0]


def singles(atoms, count):
    """What the frames count in a batch whose loss goes by the mean number of atoms."""
    return np.array(atoms) / (count * np.mean(atoms))


def test_float_model(case):
    """A batch is what its frames are, and its gradient the sum of theirs."""
    mates, sizes = batch_mates(case.systems, [2])
    assert mates == [[0, 1, 2, 3]] * 4 and sizes == [2] * 4
    slots = [20] * 3 if case.model.version == 0 else [50]
    layouts = make_layouts(case.systems, sizes, slots, ntypes=3, mates=mates)
    # the most of each type in any frame, for each frame of the batch
    assert len(set(layouts)) == 1 and layouts[0].atoms == (2 * 5, 2 * 6, 0)
    batch = pack(case.cache, WHICH, WHERE, layouts[0])
    assert batch.natoms == (4 + 8) / 2
    network = TfFloatModel(case.weights, sel=case.model.sel, rcut=4.0, rcut_smth=1.0,
                           axis_neuron=2)
    energy, _, force, virial = network.predict(batch)
    gradient = network.gradient(batch, FACTORS).numpy()
    exact = make_layouts(case.systems, [1] * 4, slots, ntypes=3)
    total = np.zeros_like(gradient)
    atoms = [case.systems[k].natoms for k in WHICH]
    for k, (one, frame, share) in enumerate(zip(WHICH, WHERE, singles(atoms, 2), strict=True)):
        alone = pack(case.cache, one, [frame], exact[one])
        energy_1, _, force_1, virial_1 = network.predict(alone)
        np.testing.assert_allclose(energy[k], energy_1[0], rtol=1e-12)
        np.testing.assert_allclose(force[batch.frame == k], force_1, atol=1e-12)
        np.testing.assert_array_equal(batch.force[batch.frame == k], alone.force)
        np.testing.assert_allclose(virial[k], virial_1[0], atol=1e-11)
        total += network.gradient(alone, FACTORS * share).numpy()
    assert not force[batch.frame == 2].any() and np.abs(gradient).max() > 0.0
    np.testing.assert_allclose(gradient, total, rtol=1e-9, atol=1e-11 * np.abs(total).max())


def test_quantized_model(case):
    """Every bit of a frame is that of the frame alone; the gradient is the sum of theirs."""
    mates, _ = batch_mates(case.systems, [2])
    frames = QuantizedFrames(case.model, case.cache, mates)
    batch = frames.merged(WHICH, WHERE)
    assert batch.type_counts == (5, 6, 0) and batch.natoms == 6.0
    network = TfQuantizedModel(case.model, case.weights)
    found = network.predict(batch, once=True)
    gradient = network.gradient(batch, FACTORS).numpy()
    total = np.zeros_like(gradient)
    atoms = [case.systems[k].natoms for k in WHICH]
    for k, (one, frame, share) in enumerate(zip(WHICH, WHERE, singles(atoms, 2), strict=True)):
        alone = frames.batch(one, [frame])
        single = network.predict(alone, once=True)
        here = batch.real[k] > 0
        np.testing.assert_array_equal(found.atom_energy[k][here], single.atom_energy[0])
        np.testing.assert_array_equal(found.force[k][here], single.force[0])
        np.testing.assert_array_equal(found.virial[k], single.virial[0])
        assert not found.force[k][~here].any() and not found.atom_energy[k][~here].any()
        np.testing.assert_allclose(found.energy[k], single.energy[0], rtol=1e-13)
        total += network.gradient(alone, FACTORS * share).numpy()
    assert np.abs(gradient).max() > 0.0
    np.testing.assert_allclose(gradient, total, rtol=1e-9, atol=1e-11 * np.abs(total).max())


def test_draws():
    """All frames of a mixed system are drawn alike; merged batches go over all systems."""
    rng = np.random.default_rng(4)
    one = split(Path("a"), arrays(rng))
    two = split(Path("b"), arrays(rng, [FRAMES[1]] * 3))
    systems = [*one, *two]
    draws = FrameDraws(systems, [2, 3], 1, Place(), sys_probs=[0.25, 0.75])
    assert draws.mates == [[0, 1, 2, 3]] * 4 + [[4]] and draws.sizes == [2] * 4 + [3]
    seen = {0: [], 1: []}
    for _ in range(400):
        which, frames = draws()
        mixed = int(which[0] < 4)
        assert len(which) == (2 if mixed else 3) and (which < 4).all() == bool(mixed)
        seen[mixed] += [systems[s].number(int(f)) for s, f in zip(which, frames, strict=True)]
    assert 60 < len(seen[1]) / 2 < 140
    counts = np.bincount(seen[1])
    # five frames in batches of two: four per round, each as often as the others
    assert len(counts) == 5 and counts.min() > 0.6 * counts.mean()
    assert (np.bincount(seen[0]) == len(seen[0]) // 3).all()
    # blocks count systems, not compositions
    draws = FrameDraws(systems, [1, 1], 1, Place(), auto_prob="prob_sys_size;0:1:1;1:2:9")
    assert 10 < sum(draws()[0][0] < 4 for _ in range(300)) < 60

    draws = FrameDraws(systems, [6, 6], 1, Place(), merged=True, auto_prob="prob_uniform")
    assert draws.mates == [[0, 1, 2, 3, 4]] * 5 and draws.sizes == [6] * 5
    drawn = [draws() for _ in range(100)]
    from_two = sum(int((which == 4).sum()) for which, _ in drawn)
    assert all(len(which) == 6 for which, _ in drawn) and 240 < from_two < 360
    state = draws.sampler.state()
    expected = draws()
    again = FrameDraws(systems, [6, 6], 9, Place(), merged=True, auto_prob="prob_uniform")
    again.sampler.restore(state)
    np.testing.assert_array_equal(again(), expected)


def test_single_frames_of_few_compositions_are_packed_exactly():
    systems = split(Path("a"), arrays(np.random.default_rng(4)))
    assert batch_mates(systems, [1]) == ([[0], [1], [2], [3]], [1] * 4)
    assert batch_mates(systems[:1], [9])[1] == [2]


def run_config(version, systems, **changes):
    training = TrainingConfig(
        systems=tuple(systems), numb_steps=4, seed=3, disp_freq=1, save_freq=2,
        time_training=False, **({"batch_size": (2,) * len(systems)} | changes))
    return dataclasses.replace(
        config_of(version), training=training,
        learning_rate=LearningRateConfig(start_lr=1e-3, stop_lr=1e-3, decay_steps=1000),
        loss=LossConfig(start_pref_e=1.0, start_pref_v=0.1, limit_pref_v=0.1),
        fitting=dataclasses.replace(config_of(version).fitting, seed=1))


def curve(folder):
    """Rows of a learning curve, all finite."""
    rows = np.loadtxt(folder / "lcurve.out", ndmin=2)
    assert len(rows) == 4 and np.isfinite(rows).all()
    return rows.tolist()


def check_header(lines):
    """Names and units end where the numbers below them end, those of validation too."""
    at = next(k for k, line in enumerate(lines) if "step: rmse" in line)
    below = next(line for line in lines if line.startswith("step "))
    names, units = lines[at:at + 2]
    ends = [match.end() for match in re.finditer(r"\S+", names)][2:]
    assert names.split()[2:] == ["loss", "energy", "force", "virial"] * 2
    assert [below[:end].split()[-1] for end in ends] == re.findall(r"\S+e[-+]\d\d", below)[:8]
    assert [units[:end].split()[-1] for end in ends[1:4]] == ["eV/atom", "eV/Å", "eV/atom"]


def test_training(tmp_path):
    """Both stages from one mixed system, with validation from an HDF5 file."""
    folder = write(tmp_path / "data", arrays(np.random.default_rng(6)), ["Cu", "Au"])
    held_out = as_hdf5(Path(folder), tmp_path / "a.h5")
    config = run_config(0, [folder], validation_systems=(held_out,),
                        validation_batch_size=(2,), validation_numb_btch=2)
    lines = []
    whole = train_cnn(config, tmp_path / "cnn", log=lines.append)
    assert "training data: 1 systems of 4 compositions, 5 frames x 4 to 8 atoms" in lines
    check_header(lines)
    result = train_qnn(config, tmp_path / "cnn", tmp_path / "qnn", log=lines.append,
                       keep_last=True)
    # training and validation columns of the four terms, and the learning rate
    assert [len(curve(tmp_path / stage)[0]) for stage in ("cnn", "qnn")] == [10, 10]
    changed = result.model.fit_weights[0] != whole.weights.fit_weights[0]
    assert changed.any() and np.isfinite(result.model.fit_weights[0]).all()


def test_training_on_merged_batches(tmp_path):
    """mixed:N over two mixed systems of other elements, both stages, one continued."""
    rng = np.random.default_rng(7)
    systems = [write(tmp_path / "one", arrays(rng), ["Cu", "Au"]),
               write(tmp_path / "two", arrays(rng, [[0, 1, 0, 1]] * 2), ["Ag", "Cu"])]
    config = run_config(1, systems, mixed_batch=True, batch_size=(3, 3))
    lines = []
    whole = train_cnn(config, tmp_path / "cnn", log=lines.append)
    assert "training data: 2 systems of 5 compositions, 7 frames x 4 to 8 atoms" in lines
    curve(tmp_path / "cnn")
    rest = train_cnn(config, tmp_path / "rest", log=quiet, restart=tmp_path / "cnn/model.ckpt-2")
    for name, array in whole.weights.arrays().items():
        np.testing.assert_array_equal(rest.weights.arrays()[name], array)
    # the TensorFlow graph, whose batches have rows to spare, takes the same way
    graph = train_cnn(config, tmp_path / "graph", log=quiet, xla=False)
    for name, array in whole.weights.arrays().items():
        np.testing.assert_allclose(graph.weights.arrays()[name], array, rtol=1e-6, atol=1e-8)
    lines.clear()
    train_qnn(config, tmp_path / "cnn", tmp_path / "qnn", log=lines.append)
    curve(tmp_path / "qnn")
    # errors before and after, over the frames of all compositions
    assert sum(line.startswith("7 training frames") for line in lines) >= 2


def test_a_mixed_system_of_one_composition_is_a_plain_one(tmp_path):
    data = arrays(np.random.default_rng(8), [[0, 0, 0, 0, 1, 1, 1, 2]] * 4)
    names = ["Cu", "Au", "Ag"]
    mixed = write(tmp_path / "mixed", data, names)
    plain = Path(write(tmp_path / "plain", data, names))
    (plain / "set.000" / "real_atom_types.npy").unlink()
    (plain / "type.raw").write_text("0 0 0 0 1 1 1 2")
    results = [train_cnn(run_config(1, [str(system)]), tmp_path / f"cnn{k}", log=quiet)
               for k, system in enumerate((mixed, plain))]
    for name, array in results[0].weights.arrays().items():
        np.testing.assert_array_equal(results[1].weights.arrays()[name], array)
    assert curve(tmp_path / "cnn0") == curve(tmp_path / "cnn1")
    assert len(load_systems([mixed], names)) == 1
