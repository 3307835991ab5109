"""The float model: DeePMD-kit's numbers, derivatives, invariances, NumPy and TensorFlow alike."""

from __future__ import annotations

import numpy as np
import pytest
from support.float_cases import RCUT, RCUT_SMTH, SEL, SETTINGS, alloy, random_weights

from nvnmd.data.frame_pairs import NeighborCache, largest_counts
from nvnmd.data.systems import System
from nvnmd.deepmd.files import read_dict
from nvnmd.deepmd.weights import from_deepmd
from nvnmd.neighbors.slots import build_neighborhood
from nvnmd.network.math import NumpyMath
from nvnmd.network.model import Shape, atomic_energies, nix, predict_float
from nvnmd.network.nets import embed, fit, switch, tanh4
from nvnmd.network.weights import FloatWeights
from nvnmd.training.continuous.batches import Layout, pack

XP = NumpyMath()
WEIGHTS = random_weights()


def relative(found, wanted):
    return np.abs(found - wanted).max() / np.abs(wanted).max()


def slope(function, x, step=1e-5):
    """Central difference of fourth order."""
    near = function(x + step) - function(x - step)
    return (8 * near - (function(x + 2 * step) - function(x - 2 * step))) / (12 * step)


def energy(coord, box, types):
    return predict_float(WEIGHTS, coord, box, types, **SETTINGS).energy


@pytest.fixture(scope="module")
def golden(shared):
    folder = shared / "golden/v0_ni128_gete"
    weights = from_deepmd(read_dict(folder / "nvnmd_cnn/weight.npy"))
    return weights, np.load(folder / "expected.npz")


@pytest.mark.shared
@pytest.mark.parametrize("frame", [0, 1])
def test_deepmd_kit(golden, frame):
    weights, expected = golden
    found = predict_float(
        weights,
        expected["coord"][frame].reshape(-1, 3),
        expected["box"][frame].reshape(3, 3),
        expected["type"],
        sel=(60, 60),
        rcut=6.0,
        rcut_smth=0.5,
    )
    assert relative(found.energy, expected["cnn_energy"][frame]) < 1e-13
    assert relative(found.atom_energy, expected["cnn_atom_energy"][frame, :, 0]) < 1e-13
    assert relative(found.force, expected["cnn_force"][frame]) < 1e-10
    assert relative(found.virial.ravel(), expected["cnn_virial"][frame]) < 1e-10


@pytest.mark.shared
def test_deepmd_kit_in_tensorflow(golden):
    from nvnmd.training.continuous.tf_model import TfFloatModel

    weights, expected = golden
    types = expected["type"]
    system = System(
        path="golden",
        types=types,
        coord=expected["coord"].reshape(2, -1, 3),
        box=expected["box"].reshape(2, 3, 3),
        energy=expected["cnn_energy"][:, 0],
        force=expected["cnn_force"],
        virial=expected["cnn_virial"].reshape(2, 3, 3),
    )
    cache = NeighborCache([system], (60, 60), 6.0, ("Ge", "Te"))
    atoms = tuple(2 * np.bincount(types))
    batch = pack(cache, 0, [0, 1], Layout(2, atoms, tuple(largest_counts(cache))))
    model = TfFloatModel(weights, sel=(60, 60), rcut=6.0, rcut_smth=0.5)
    found_energy, _, force, virial = model.predict(batch)
    assert relative(found_energy, system.energy) < 1e-13
    assert relative(force, batch.force) < 1e-10
    assert relative(virial, system.virial) < 1e-10
    errors = model.squared_errors(batch)
    assert errors[1] < 1e-20 * np.mean(system.force**2)


def test_nix():
    assert [nix(m) for m in (1, 2, 3, 48, 49, 96, 97, 120, 192, 193)] == [
        1, 2, 2, 32, 64, 64, 128, 128, 128, 256,
    ]  # fmt: skip


def test_switch_is_smooth_and_flat_outside():
    r = np.array([0.1, RCUT_SMTH, 2.2, 3.9, RCUT, 7.0])
    sw, dsw = switch(XP, r, RCUT_SMTH, RCUT)
    np.testing.assert_allclose(sw[[0, 1, 4, 5]], [1, 1, 0, 0], atol=1e-15)
    np.testing.assert_allclose(dsw[[0, 1, 4, 5]], 0, atol=1e-14)
    numeric = slope(lambda x: switch(XP, x, RCUT_SMTH, RCUT)[0], r[2:4])
    np.testing.assert_allclose(dsw[2:4], numeric, rtol=1e-9)


def test_tanh4():
    z = np.array([-3.0, -2.0, -0.7, 0.0, 0.3, 1.9, 2.0, 2.5])
    y, dy = tanh4(XP, z)
    a = np.abs(z[[2, 4, 5]])
    np.testing.assert_allclose(
        y[[2, 4, 5]], np.sign(z[[2, 4, 5]]) * (a**4 / 16 - a**3 / 4 + a), rtol=1e-15
    )
    np.testing.assert_array_equal(y[[0, 1, 3, 6, 7]], [-1, -1, 0, 1, 1])
    np.testing.assert_array_equal(dy[[0, 1, 6, 7]], 0)
    inside = z[[2, 4, 5]]
    np.testing.assert_allclose(
        dy[[2, 4, 5]], slope(lambda x: tanh4(XP, x)[0], inside), rtol=1e-9
    )


def test_embedding_adds_its_input_where_it_doubles():
    net = WEIGHTS.embedding[0]
    s = np.linspace(-1, 3, 7)[:, None]
    x = np.tanh(s @ net[0][0] + net[0][1])
    for weight, bias in net[1:]:
        x = np.concatenate([x, x], -1) + np.tanh(x @ weight + bias)
    g, dg = embed(XP, net, s)
    np.testing.assert_allclose(g, x, rtol=1e-14)
    np.testing.assert_allclose(dg, slope(lambda v: embed(XP, net, v)[0], s), rtol=1e-7, atol=1e-9)


def test_fitting_skips_and_gradient():
    net = [(w[0], b[0]) for w, b in zip(WEIGHTS.fit_weights, WEIGHTS.fit_biases, strict=True)]
    d = np.random.default_rng(0).normal(scale=0.3, size=(3, net[0][0].shape[0]))
    x = tanh4(XP, d @ net[0][0] + net[0][1])[0]
    for weight, bias in net[1:3]:
        x = x + tanh4(XP, x @ weight + bias)[0]
    out, gradient = fit(XP, net, d)
    np.testing.assert_allclose(out, (x @ net[3][0] + net[3][1])[:, 0], rtol=1e-13)
    for k in (0, 5, 40):
        unit = np.eye(d.shape[1])[k]
        numeric = slope(lambda t, unit=unit: fit(XP, net, d + t * unit)[0], 0.0)
        np.testing.assert_allclose(gradient[:, k], numeric, rtol=1e-7, atol=1e-9)


def test_forces_are_minus_the_slope_of_the_energy():
    coord, box, types = alloy()
    force = predict_float(WEIGHTS, coord, box, types, **SETTINGS).force
    assert np.abs(force).max() > 0.05
    for atom in (0, 3, 7):
        for axis in range(3):
            unit = np.zeros_like(coord)
            unit[atom, axis] = 1.0
            numeric = -slope(lambda t, u=unit: energy(coord + t * u, box, types), 0.0, 1e-4)
            np.testing.assert_allclose(force[atom, axis], numeric, rtol=1e-6, atol=1e-8)


def test_virial_is_minus_the_slope_by_strain():
    coord, box, types = alloy()
    virial = predict_float(WEIGHTS, coord, box, types, **SETTINGS).virial
    for a in range(3):
        for b in range(3):
            strain = np.zeros((3, 3))
            strain[a, b] = 1.0

            def strained(t, strain=strain):
                change = np.eye(3) + t * strain
                return energy(coord @ change, box @ change, types)

            np.testing.assert_allclose(
                virial[b, a], -slope(strained, 0.0, 1e-4), rtol=1e-6, atol=1e-7
            )
    np.testing.assert_allclose(virial, virial.T, atol=1e-12)


def test_invariances():
    coord, box, types = alloy()
    first = predict_float(WEIGHTS, coord, box, types, **SETTINGS)
    np.testing.assert_allclose(first.force.sum(axis=0), 0, atol=1e-12)

    moved = predict_float(WEIGHTS, coord + np.array([0.7, -11.3, 2.2]), box, types, **SETTINGS)
    np.testing.assert_allclose(moved.energy, first.energy, rtol=1e-12)
    np.testing.assert_allclose(moved.force, first.force, atol=1e-11)

    turn, _ = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    turned = predict_float(WEIGHTS, coord @ turn, box @ turn, types, **SETTINGS)
    np.testing.assert_allclose(turned.energy, first.energy, rtol=1e-12)
    np.testing.assert_allclose(turned.force, first.force @ turn, atol=1e-11)

    swap = np.random.default_rng(4).permutation(len(types))
    swapped = predict_float(WEIGHTS, coord[swap], box, types[swap], **SETTINGS)
    np.testing.assert_allclose(swapped.energy, first.energy, rtol=1e-12)
    np.testing.assert_allclose(swapped.atom_energy, first.atom_energy[swap], rtol=1e-12)
    np.testing.assert_allclose(swapped.force, first.force[swap], atol=1e-11)

    with pytest.raises(AssertionError):
        np.testing.assert_allclose(
            predict_float(WEIGHTS, coord, box, 1 - types, **SETTINGS).energy, first.energy
        )


def test_doubled_cell_has_twice_the_energy():
    coord, box, types = alloy()
    one = predict_float(WEIGHTS, coord, box, types, **SETTINGS)
    double = predict_float(
        WEIGHTS,
        np.concatenate([coord, coord + box[2]]),
        box * [[1.0], [1.0], [2.0]],
        np.concatenate([types, types]),
        **SETTINGS,
    )
    np.testing.assert_allclose(double.energy, 2 * one.energy, rtol=1e-12)
    np.testing.assert_allclose(double.force, np.tile(one.force, (2, 1)), atol=1e-11)


def test_empty_slots_in_closed_form_equal_explicit_ones():
    coord, box, types = alloy()
    near = build_neighborhood(coord, box, types, SEL, RCUT)
    assert (near.counts < SEL).all(), "the case must have empty slots of both types"
    layers = list(zip(WEIGHTS.fit_weights, WEIGHTS.fit_biases, strict=True))
    explicit, _ = atomic_energies(
        XP,
        Shape(
            atoms=tuple(np.bincount(types)), slots=SEL, sel=SEL, rcut=RCUT, rcut_smth=RCUT_SMTH
        ),
        WEIGHTS.embedding,
        [[(w[t], b[t]) for w, b in layers] for t in range(2)],
        WEIGHTS.t_bias_atom_e,
        WEIGHTS.davg,
        WEIGHTS.dstd,
        near.rij,
        near.mask,
    )
    found = predict_float(WEIGHTS, coord, box, types, **SETTINGS).atom_energy
    np.testing.assert_allclose(found[near.order], explicit, rtol=1e-13)
    # and they do matter: another sel means other energies
    other = predict_float(WEIGHTS, coord, box, types, sel=(23, 19), rcut=RCUT, rcut_smth=RCUT_SMTH)
    assert np.abs(other.atom_energy - found).max() > 1e-6


def test_isolated_atoms_have_energies_and_no_forces():
    found = predict_float(WEIGHTS, [[0.0, 0, 0], [30, 0, 0]], None, [1, 0], **SETTINGS)
    assert np.isfinite(found.atom_energy).all()
    np.testing.assert_array_equal(found.force, 0)


def test_one_type_missing():
    found = predict_float(WEIGHTS, [[0.0, 0, 0], [2.5, 0, 0]], None, [1, 1], **SETTINGS)
    np.testing.assert_allclose(found.force[0], -found.force[1], atol=1e-13)
    assert np.abs(found.force).max() > 1e-4


def make_system(frames=3, labels=True):
    rng = np.random.default_rng(8)
    many = [alloy(seed) for seed in range(frames)]
    coord = np.stack([c for c, _, _ in many])
    types = many[0][2]
    return System(
        path="random",
        types=types,
        coord=coord,
        box=np.stack([b for _, b, _ in many]),
        energy=rng.normal(size=frames) if labels else None,
        force=rng.normal(size=coord.shape) if labels else None,
        virial=rng.normal(size=(frames, 3, 3)) if labels else None,
    )


@pytest.mark.parametrize("spare", [0, 3])
def test_batches_equal_single_frames(spare):
    from nvnmd.training.continuous.tf_model import TfFloatModel

    system = make_system()
    cache = NeighborCache([system], SEL, RCUT, ("A", "B"))
    atoms = tuple(int(n) * 3 + spare for n in np.bincount(system.types))
    batch = pack(cache, 0, [2, 0, 1], Layout(3, atoms, tuple(largest_counts(cache))))
    model = TfFloatModel(WEIGHTS, **SETTINGS)
    found_energy, _, force, virial = model.predict(batch)
    squares = np.zeros(3)
    for k, frame in enumerate((2, 0, 1)):
        coord, box = system.coord[frame], system.box[frame]
        one = predict_float(WEIGHTS, coord, box, system.types, **SETTINGS)
        order = cache.pairs(0, frame).order
        np.testing.assert_allclose(found_energy[k], one.energy, rtol=1e-13)
        np.testing.assert_allclose(force[batch.frame == k], one.force[order], atol=1e-12)
        np.testing.assert_allclose(virial[k], one.virial, atol=1e-11)
        squares += [
            (one.energy - system.energy[frame]) ** 2 / 3,
            np.mean((one.force - system.force[frame]) ** 2) / 3,
            np.mean((one.virial - system.virial[frame]) ** 2) / 3,
        ]
    np.testing.assert_allclose(model.squared_errors(batch), [*squares, 0, 0, 0], rtol=1e-10)


def test_gradient_of_the_loss_and_adam_step():
    """The step must move every weight as Adam does along the numerical slope of the loss."""
    from nvnmd.training.continuous.tf_model import TfFloatModel
    from nvnmd.training.tf_adam import EPSILON

    system = make_system(frames=1)
    cache = NeighborCache([system], SEL, RCUT, ("A", "B"))
    layout = Layout(1, tuple(np.bincount(system.types).tolist()), tuple(largest_counts(cache)))
    batch = pack(cache, 0, [0], layout)
    factors, n = np.array([0.7, 30.0, 0.2]), len(system.types)
    scale = factors * [1 / n, 1, 1 / n]

    def loss(weights):
        found = predict_float(weights, system.coord[0], system.box[0], system.types, **SETTINGS)
        errors = [
            (found.energy - system.energy[0]) ** 2,
            np.mean((found.force - system.force[0]) ** 2),
            np.mean((found.virial - system.virial[0]) ** 2),
        ]
        return float(scale @ errors)

    model = TfFloatModel(WEIGHTS, **SETTINGS)
    model.step(batch, np.array([*factors, 0.0, 0.0, 0.0]), 1e-3, 1)
    before, after = WEIGHTS.arrays(), model.weights.arrays()
    rng = np.random.default_rng(0)
    checked = 0
    for name in ("embedding.0.0.weight", "embedding.1.1.weight", "embedding.1.2.bias",
                 "fitting.0.weight", "fitting.2.bias", "fitting.3.weight"):  # fmt: skip
        at = tuple(rng.integers(0, size) for size in before[name].shape)

        def shifted(t, name=name, at=at):
            arrays = dict(before)
            arrays[name] = arrays[name].copy()
            arrays[name][at] += t
            return loss(FloatWeights.from_arrays(arrays))

        gradient = slope(shifted, 0.0, 1e-4)
        # First step: m = 0.1 g, v = 0.001 g², corrected rate lr sqrt(0.001)/0.1.
        change = -1e-3 * np.sqrt(1e-3) * gradient / (np.sqrt(1e-3) * abs(gradient) + EPSILON)
        np.testing.assert_allclose(after[name][at] - before[name][at], change, rtol=1e-4)
        flat = model.moments["first"]
        assert np.isclose(flat / 0.1, gradient, rtol=1e-5, atol=1e-12).any(), name
        checked += 1
    assert checked == 6
    for name in ("davg", "dstd", "t_bias_atom_e"):
        np.testing.assert_array_equal(after[name], before[name])


def test_missing_labels_do_not_train():
    from nvnmd.training.continuous.tf_model import TfFloatModel

    system = make_system(frames=1, labels=False)
    cache = NeighborCache([system], SEL, RCUT, ("A", "B"))
    layout = Layout(1, tuple(np.bincount(system.types).tolist()), tuple(largest_counts(cache)))
    model = TfFloatModel(WEIGHTS, **SETTINGS)
    model.step(pack(cache, 0, [0], layout), np.ones(6), 1e-2, 1)
    for name, array in model.weights.arrays().items():
        np.testing.assert_array_equal(array, WEIGHTS.arrays()[name])
