"""A lone atom has the energy that the input document gives it, after both trainings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support import v1_stage as version1
from support.cnn_runs import data, make_config, train  # noqa: F401
from support.float_cases import RCUT, RCUT_SMTH, SEL
from support.float_systems import make_system
from support.qnn_stage import quiet, run_config, stage  # noqa: F401
from support.v1_stage import folders  # noqa: F401

from nvnmd.errors import InputError
from nvnmd.inputs.config import PrecisionConfig
from nvnmd.network.model import predict_float
from nvnmd.network.statistics import energy_bias
from nvnmd.network.vacuum import vacuum_bias
from nvnmd.network.weights import FloatWeights
from nvnmd.quantize.reference import evaluate_atoms
from nvnmd.training.checkpoint import Checkpoint, unprefixed

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from nvnmd.training.continuous.train import train_cnn
from nvnmd.training.quantized.train import train_qnn


def lone_energy(model, kind):
    """Energy of an atom without neighbours by the integer reference."""
    rij, mask = np.zeros((1, model.nnei, 3)), np.zeros((1, model.nnei), bool)
    args = () if model.version == 0 else (np.zeros((1, model.nnei), int),)
    return evaluate_atoms(model, np.array([kind]), rij, mask, *args).atom_energy[0]


def test_energy_bias_of_the_other_types():
    system = make_system(2, energy=[-21.0, -21.0])
    count = np.bincount(system.types)
    found = energy_bias([system], 2, None, (-2.0, None))
    assert found[0] == -2.0
    np.testing.assert_allclose(count @ found, -21.0, rtol=1e-12)
    np.testing.assert_array_equal(energy_bias([system], 2, None, (1.5, 2.5)), [1.5, 2.5])


def test_float_training(data, tmp_path):
    config = make_config(data[:1], batch_size=(1,), numb_steps=3)
    config = replace(config, descriptor=replace(config.descriptor, set_davg_zero=True),
                     fitting=replace(config.fitting, atom_ener=(-1.25, None)))
    result, _ = train(config, tmp_path)

    def lone(weights, kind):
        return predict_float(weights, np.zeros((1, 3)), None, [kind], sel=SEL, rcut=RCUT,
                             rcut_smth=RCUT_SMTH).energy  # fmt: skip

    np.testing.assert_allclose(lone(result.weights, 0), -1.25, rtol=1e-12)
    assert abs(lone(result.weights, 1) + 1.25) > 1e-3
    # the losses saw the same: the last weights with their bias give the last line's errors
    state = Checkpoint.load(tmp_path, "cnn").arrays
    weights = FloatWeights.from_arrays(unprefixed(state, "weights"))
    assert weights.t_bias_atom_e[0] == -1.25
    bias = vacuum_bias(weights, config.fitting.atom_ener)
    assert bias[0] != -1.25 and bias[1] == weights.t_bias_atom_e[1]
    from nvnmd.data.frame_pairs import NeighborCache, largest_counts
    from nvnmd.data.systems import load_systems
    from nvnmd.training.continuous.batches import make_layouts, pack
    from nvnmd.training.continuous.tf_model import TfFloatModel

    systems = load_systems(data[:1], config.type_map)
    cache = NeighborCache(systems, SEL, RCUT, config.type_map)
    layout, = make_layouts(systems, (1,), largest_counts(cache).tolist())
    model = TfFloatModel(weights, sel=SEL, rcut=RCUT, rcut_smth=RCUT_SMTH,
                         atom_ener=config.fitting.atom_ener)
    found = model.predict(pack(cache, 0, [0], layout))[0][0]
    wanted = predict_float(replace(weights, t_bias_atom_e=bias), systems[0].coord[0],
                           systems[0].box[0], systems[0].types, sel=SEL, rcut=RCUT,
                           rcut_smth=RCUT_SMTH).energy  # fmt: skip
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_quantized_training(stage, tmp_path):
    """`train_qnn` itself compares its atomic energies with the integer reference."""

    folder, weights = stage
    config = run_config(folder, 2)
    config = replace(config, fitting=replace(config.fitting, atom_ener=(None, 3.5)))
    model = train_qnn(config, folder / "cnn", tmp_path, log=quiet).model
    assert model.t_bias_atom_e[0] == weights.t_bias_atom_e[0] != model.t_bias_atom_e[1]
    # the descriptor of a lone atom is not 0 here, as the radial mean is not
    nothing = replace(model, davg=np.zeros((2, 2)), table_u=0.0 * model.table_u)
    zero = lone_energy(nothing, 1)
    assert abs(zero - 3.5) < 1e-6


def test_version_1(folders, tmp_path):
    config = version1.run_config(folders, 2)
    given = (-1.0, None, 2.0)
    config = replace(config, fitting=replace(config.fitting, atom_ener=given))
    train_cnn(config, tmp_path / "cnn", log=quiet)
    model = train_qnn(config, tmp_path / "cnn", tmp_path / "qnn", log=quiet).model
    assert lone_energy(model, 0) == -1.0 and lone_energy(model, 2) == 2.0
    assert abs(lone_energy(model, 1)) not in (1.0, 2.0)


def test_half_quantized(stage, tmp_path):
    from training.test_part_stages import switched

    from nvnmd.training.partial.table_stage import train_table_descriptor

    folder, weights = stage
    config = switched(run_config(folder, 1), "qnn", quantize_fitting_net=False)
    config = replace(config, fitting=replace(config.fitting, atom_ener=(None, 3.5)))
    found = train_table_descriptor(config, folder / "cnn", tmp_path, log=quiet).weights
    assert found.t_bias_atom_e[0] == weights.t_bias_atom_e[0]
    assert found.t_bias_atom_e[1] == vacuum_bias(found, (None, 3.5))[1] != weights.t_bias_atom_e[1]
    single = replace(config, precision=PrecisionConfig(fitting="float32"))
    with pytest.raises(InputError, match="fitting_net/precision: got float32, expected float64"):
        train_table_descriptor(single, folder / "cnn", tmp_path / "no", log=quiet)
