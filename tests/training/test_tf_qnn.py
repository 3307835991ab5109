"""The differentiable quantized network: bits of the reference, surrogate derivatives."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.golden_checks import neighbours
from support.golden_data import Frame, GoldenRun, load_fixture, load_folder
from support.small_models import random_model, rattled_crystal

from nvnmd.quantize import ops
from nvnmd.quantize.forces import assemble_forces
from nvnmd.quantize.reference import evaluate_atoms
from nvnmd.training.quantized.frames import FrameConstants, frame_constants

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from nvnmd.quantize.tensorflow import ops as tf_ops
from nvnmd.quantize.tensorflow.network import FrameTensors, predict
from nvnmd.quantize.tensorflow.runtime import tf


def awkward_numbers(rng, *shape):
    """flt values of widely differing exponents, with zeros of both signs among them."""
    x = rng.normal(size=shape) * 2.0 ** rng.integers(-40, 12, shape)
    x = np.where(rng.random(shape) < 0.1, 0.0, x)
    return ops.trunc_flt(np.where(rng.random(shape) < 0.05, -0.0, x))


def test_each_operation_has_the_bits_of_its_numpy_form():
    rng = np.random.default_rng(0)
    a, b = awkward_numbers(rng, 2, 60, 8)
    w = awkward_numbers(rng, 8, 5)
    xp = tf_ops.TENSORFLOW
    t = tf.constant
    pairs = [
        (ops.mul(a, b), tf_ops.mul(t(a), t(b))),
        (ops.add(a, b), tf_ops.add(t(a), t(b))),
        (ops.add(a, -a), tf_ops.add(t(a), t(-a))),
        (ops.dot(a, b), tf_ops.dot(t(a), t(b))),
        (ops.matmul_flt(a, w, 1), tf_ops.matmul_flt_rows(t(a), t(w))),
        (ops.matmul_flt(a, w, 0), ops.matmul_flt(t(a), t(w), 0, xp=xp)),
        (ops.matmul_flt2fix(a, w), ops.matmul_flt2fix(t(a), t(w), xp=xp)),
        (ops.trunc_flt(a * 1.1), ops.trunc_flt(t(a * 1.1), xp=xp)),
        (ops.floor_bits(a, 23), ops.floor_bits(t(a), 23, xp)),
        (ops.round_bits(a, 23), ops.round_bits(t(a), 23, xp)),
    ]
    z = ops.round_bits(rng.uniform(-2.5, 2.5, (40, 7)), 23)
    g = ops.round_bits(rng.normal(size=(40, 7)), 23)
    pairs.append((ops.tanh4(z), ops.tanh4(t(z), xp)))
    pairs.append((ops.tanh4_grad(z, g), ops.tanh4_grad(t(z), t(g), xp)))
    for number, (expected, found) in enumerate(pairs):
        np.testing.assert_array_equal(
            expected.view(np.int64), found.numpy().view(np.int64), err_msg=f"pair {number}"
        )


def slope(f, *operands):
    """Derivatives of the sum of f by each operand."""
    variables = [tf.constant(x) for x in operands]
    with tf.GradientTape() as tape:
        for v in variables:
            tape.watch(v)
        y = tf.reduce_sum(f(*variables))
    return [g.numpy() for g in tape.gradient(y, variables)]


def test_surrogate_of_each_operation():
    """The derivative of the operation without its roundings, at the quantized operands."""
    rng = np.random.default_rng(1)
    xp = tf_ops.TENSORFLOW
    a, b = ops.trunc_flt(rng.normal(size=(2, 6, 4)))
    a[0, 0] = 0.0
    w = ops.trunc_flt(rng.normal(size=(4, 3)))
    one = np.ones_like(a)
    for rounding in (
        lambda x: ops.trunc_flt(x, xp=xp),
        lambda x: ops.floor_bits(x, 23, xp),
        lambda x: ops.round_bits(x, 23, xp),
    ):
        np.testing.assert_array_equal(slope(rounding, a)[0], one)
    np.testing.assert_array_equal(slope(tf_ops.mul, a, b), [b, a])
    np.testing.assert_array_equal(slope(tf_ops.add, a, b), [one, one])
    np.testing.assert_array_equal(slope(tf_ops.dot, a, b), [b, a])
    by_x, by_w = slope(tf_ops.matmul_flt_rows, a, w)
    np.testing.assert_allclose(by_x, np.ones((6, 3)) @ w.T, rtol=1e-14)
    np.testing.assert_allclose(by_w, a.T @ np.ones((6, 3)), rtol=1e-14)
    # a product in fixed point drops bits of the operands' mantissas only
    by_a, by_b = slope(lambda x, y: ops.product_to_fix(x, y, xp=xp) * 2.0**-23, a, b)
    np.testing.assert_array_equal([by_a, by_b], [b, a])
    # a broadcast operand collects the sum
    column = b[:, :1]
    by_column, _ = slope(tf_ops.mul, column, a)
    np.testing.assert_allclose(by_column, a.sum(axis=1, keepdims=True), rtol=1e-13, atol=1e-15)


def test_surrogate_of_the_activation():
    xp = tf_ops.TENSORFLOW
    z = np.array([-2.5, -2.0, -1.3, -0.2, 0.0, 2.0**-23, 0.4, 1.9, 2.0, 3.0])
    z = ops.round_bits(z, 23)
    a = np.minimum(np.abs(z), 2.0)
    first = np.where(np.abs(z) < 2.0, a**3 / 4 - 3 * a**2 / 4 + 1, 0.0)
    second = np.where(np.abs(z) < 2.0, np.sign(z) * (3 * a**2 / 4 - 3 * a / 2), 0.0)
    np.testing.assert_allclose(slope(lambda x: ops.tanh4(x, xp), z)[0], first, atol=1e-5)
    g = ops.round_bits(np.linspace(-1.0, 1.5, len(z)), 23)
    by_z, by_g = slope(lambda x, y: ops.tanh4_grad(x, y, xp), z, g)
    np.testing.assert_allclose(by_z, second * g, atol=1e-5)
    np.testing.assert_allclose(by_g, first, atol=1e-5)


def constants(model, nb) -> FrameConstants:
    return frame_constants(model, nb.center_types, nb.rij, nb.index)


def tensors(frames: list[FrameConstants]) -> FrameTensors:
    slots = max(f.slots for f in frames)
    frames = [f.padded(slots) for f in frames]
    stacked = {}
    for name in (f.name for f in dataclasses.fields(FrameTensors)):
        x = np.stack([getattr(f, name) for f in frames])
        stacked[name] = tf.constant(x if name == "index" else x.astype(np.float64))
    return FrameTensors(**stacked)


def variables(arrays):
    return [tf.Variable(x) for x in arrays]


@pytest.mark.parametrize("ntypes", [1, 2, 4])
def test_frame_constants_are_those_of_the_reference(ntypes):
    rng = np.random.default_rng(20 + ntypes)
    model = random_model(rng, ntypes)
    nb = rattled_crystal(rng, model)
    frame = constants(model, nb)
    trace = evaluate_atoms(model, nb.center_types, nb.rij, nb.mask)
    np.testing.assert_array_equal(frame.d, trace.d)
    np.testing.assert_array_equal(frame.gr, trace.gr)
    slopes = np.stack([trace.su, trace.hu], axis=-1)
    for atom, filled in enumerate(nb.mask):
        k = filled.sum()
        assert 0 < k < model.nnei
        for mine, theirs in (
            (frame.r4, trace.r4),
            (frame.g, trace.g),
            (frame.gs, trace.gs),
            (frame.r, trace.r),
            (frame.h, trace.h),
            (frame.slopes, slopes),
            (frame.rij, nb.rij),
            (frame.index, nb.index),
        ):
            np.testing.assert_array_equal(mine[atom, :k], theirs[atom, filled])
            assert np.all(mine[atom, k:] == 0)


def check_bits(model, neighborhoods):
    """Energies, dE/d[u,x,y,z], forces and virials of frames together, against the reference."""
    counts = tuple(np.bincount(neighborhoods[0].center_types, minlength=model.ntypes))
    prediction = predict(
        tensors([constants(model, nb) for nb in neighborhoods]),
        [tf.constant(w) for w in model.fit_weights],
        [tf.constant(b) for b in model.fit_biases],
        counts,
        model.nix_shift,
        virial=True,
    )
    for number, nb in enumerate(neighborhoods):
        trace = evaluate_atoms(model, nb.center_types, nb.rij, nb.mask)
        forces = assemble_forces(trace.deriv, nb.rij, nb.index)
        np.testing.assert_array_equal(prediction.out[number].numpy(), trace.out)
        deriv = prediction.deriv[number].numpy()
        for atom, filled in enumerate(nb.mask):
            np.testing.assert_array_equal(deriv[atom, : filled.sum()], trace.deriv[atom, filled])
            assert np.all(deriv[atom, filled.sum() :] == 0.0)
        np.testing.assert_array_equal(prediction.force[number].numpy(), forces.force)
        np.testing.assert_array_equal(
            prediction.virial[number].numpy().reshape(3, 3), forces.virial
        )
        assert np.abs(forces.force).max() > 1e-3


@pytest.mark.parametrize("ntypes", [1, 2, 3])
def test_bits_of_the_reference(ntypes):
    rng = np.random.default_rng(10 + ntypes)
    model = random_model(rng, ntypes)
    first = rattled_crystal(rng, model)
    second = rattled_crystal(np.random.default_rng(99), model)
    check_bits(model, [first])
    if np.array_equal(first.center_types, second.center_types):
        check_bits(model, [first, second])


def test_bits_of_a_batch():
    rng = np.random.default_rng(3)
    model = random_model(rng, 1)
    frames = [rattled_crystal(rng, model, cells) for cells in (2, 2, 2)]
    check_bits(model, frames)


def test_padding_changes_nothing():
    rng = np.random.default_rng(4)
    model = random_model(rng)
    nb = rattled_crystal(rng, model)
    narrow = constants(model, nb)
    assert narrow.slots % 8 == 0 and narrow.slots >= nb.mask.sum(axis=1).max()
    wide = narrow.padded(narrow.slots + 8)
    counts = tuple(np.bincount(nb.center_types, minlength=2))
    nets = variables(model.fit_weights), variables(model.fit_biases)
    a = predict(tensors([narrow]), *nets, counts, model.nix_shift)
    b = predict(tensors([wide]), *nets, counts, model.nix_shift)
    np.testing.assert_array_equal(a.force.numpy(), b.force.numpy())


def unquantized(frame, weights, biases, types, nix):
    """Energies and forces in plain binary64 from the same descriptor side."""
    n = len(types)
    m1 = frame.g.shape[-1]
    m2 = frame.d.shape[-1] // m1
    energy, dd = np.zeros(n), np.zeros(frame.d.shape)
    for atom, kind in enumerate(types):
        x, inputs, slopes = frame.d[atom].astype(np.float64), [], []
        for layer in range(len(weights) - 1):
            z = x @ weights[layer][kind] + biases[layer][kind]
            a = np.minimum(np.abs(z), 2.0)
            y = np.sign(z) * (a - a**3 / 4 + a**4 / 16)
            slopes.append(1 - 3 * a**2 / 4 + a**3 / 4)
            inputs.append(x)
            x = y + x if layer else y
        energy[atom] = (x @ weights[-1][kind] + biases[-1][kind])[0]
        g = weights[-1][kind][:, 0]
        for layer in reversed(range(len(weights) - 1)):
            back = weights[layer][kind] @ (slopes[layer] * g)
            g = back + g if layer else back
        dd[atom] = g
    column = (np.arange(m1)[:, None] + np.arange(m2)) % m1
    scattered = np.zeros((n, m1, m1))
    np.put_along_axis(
        scattered, np.broadcast_to(column, (n, m1, m2)), dd.reshape(n, m1, m2), axis=2
    )
    gr = frame.gr.astype(np.float64)
    dgr = gr @ (scattered + np.swapaxes(scattered, 1, 2)) / nix
    dr4 = frame.g @ np.swapaxes(dgr, 1, 2)
    ds = np.sum(frame.gs * (frame.r4 @ dgr), axis=-1) + dr4[..., 0]
    dh = np.sum(frame.r * dr4[..., 1:], axis=-1)
    du = frame.slopes[..., 0] * ds + frame.slopes[..., 1] * dh
    pair = -2.0 * du[..., None] * frame.r - frame.h[..., None] * dr4[..., 1:]
    force = -pair.sum(axis=1)
    np.add.at(force, frame.index, pair)
    return energy, force


def test_surrogate_of_the_loss_against_finite_differences():
    """An energy and a force loss, by every layer, against the net without any rounding.

    The surrogate is taken at quantized operands (23 fraction bits, weights of 21 bits), so that
    the two agree to about 1e-5 of the gradient, not to rounding.
    """
    rng = np.random.default_rng(7)
    model = random_model(rng)
    nb = rattled_crystal(rng, model)
    frame = constants(model, nb)
    types = nb.center_types
    counts = tuple(np.bincount(types, minlength=2))
    label_e, label_f = 3.0, rng.normal(size=(len(types), 3))
    prefactors = {"energy": (1.0, 0.0), "force": (0.0, 1.0)}
    nets = variables(model.fit_weights), variables(model.fit_biases)

    def loss(weights, biases, which):
        energy, force = unquantized(frame, weights, biases, types, model.nix)
        pe, pf = prefactors[which]
        return pe * (energy.sum() - label_e) ** 2 + pf * np.sum((force - label_f) ** 2)

    for which, (pe, pf) in prefactors.items():
        with tf.GradientTape() as tape:
            p = predict(tensors([frame]), *nets, counts, model.nix_shift)
            value = pe * (tf.reduce_sum(p.out) - label_e) ** 2 + pf * tf.reduce_sum(
                (p.force[0] - label_f) ** 2
            )
        assert float(value) == pytest.approx(
            loss(model.fit_weights, model.fit_biases, which), rel=1e-4
        )
        gradients = tape.gradient(value, nets, unconnected_gradients="zero")
        arrays = (list(model.fit_weights), list(model.fit_biases))
        for kind in (0, 1):
            scale = max(float(tf.reduce_max(tf.abs(g))) for g in gradients[kind])
            for layer, array in enumerate(arrays[kind]):
                for _ in range(3):
                    direction = rng.choice([-1.0, 1.0], size=array.shape)
                    values = []
                    for step in (1e-5, -1e-5):
                        moved = [list(arrays[0]), list(arrays[1])]
                        moved[kind][layer] = array + step * direction
                        values.append(loss(*moved, which))
                    expected = (values[0] - values[1]) / 2e-5
                    found = float(np.sum(gradients[kind][layer].numpy() * direction))
                    bound = 1e-5 * scale * np.sqrt(array.size)
                    assert abs(found - expected) <= bound, (which, kind, layer)


def check_deepmd(run: GoldenRun, frame: Frame):
    """Atomic energies, forces and virial of DeePMD-kit's quantized net, bit for bit."""
    nb = neighbours(run, frame, "truncate" if frame.name == "crushed" else "error")
    model = run.model
    prediction = predict(
        tensors([constants(model, nb)]),
        [tf.constant(w) for w in model.fit_weights],
        [tf.constant(b) for b in model.fit_biases],
        tuple(np.bincount(nb.center_types, minlength=model.ntypes)),
        model.nix_shift,
        virial=True,
    )
    energy = prediction.out[0].numpy() + model.t_bias_atom_e[nb.center_types]
    np.testing.assert_array_equal(energy, frame.qnn["atom_energy"][nb.order])
    np.testing.assert_array_equal(prediction.force[0].numpy(), frame.qnn["force"][nb.order])
    np.testing.assert_array_equal(prediction.virial.numpy().reshape(3, 3), frame.qnn["virial"])


@pytest.mark.parametrize("number", range(5))
def test_bits_of_deepmd_kit(number):
    run = load_fixture(128)
    check_deepmd(run, run.frames[number])


@pytest.mark.shared
def test_bits_of_deepmd_kit_gete(shared):
    run = load_folder(shared / "golden" / "v0_ni128_gete")
    for frame in run.frames:
        check_deepmd(run, frame)
