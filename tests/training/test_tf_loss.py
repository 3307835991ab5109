"""Relative force errors and gradients of limited length, in both trainings."""

from __future__ import annotations

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from nvnmd.inputs.loss_terms import size_factors  # noqa: E402
from nvnmd.training.tf_adam import Adam  # noqa: E402
from nvnmd.training.tf_loss import Found, force_difference, squared_errors  # noqa: E402


def test_force_difference():
    rng = np.random.Generator(np.random.PCG64(2))
    found, label = rng.normal(size=(2, 5, 3)), rng.normal(size=(2, 5, 3))
    label[0, 0] = 0.0
    np.testing.assert_array_equal(force_difference(found, label, None), found - label)
    length = np.sqrt((label**2).sum(axis=-1))
    expected = (found - label) / (length + 0.25)[..., None]
    np.testing.assert_allclose(force_difference(found, label, 0.25), expected, rtol=1e-14)


@pytest.mark.parametrize("relative_f", [None, 0.5])
def test_every_term_against_plain_sums(relative_f):
    rng = np.random.Generator(np.random.PCG64(3))
    frames, n, g = 2, 5, 3
    found = {"energy": (frames,), "atomic": (frames, n), "force": (frames, n, 3),
             "virial": (frames, 9)}
    found = {key: rng.normal(size=shape) for key, shape in found.items()}
    label = {"energy": (frames,), "force": (frames, n, 3), "virial": (frames, 9),
             "atom_ener": (frames, n), "atom_pref": (frames, n), "drdq": (frames, n, 3, g),
             "atom_ener_coeff": (frames, n)}
    label = {key: rng.normal(size=shape) for key, shape in label.items()}
    off = found["force"] - label["force"]
    length = np.sqrt((label["force"] ** 2).sum(-1, keepdims=True))
    square = (off if relative_f is None else off / (length + relative_f)) ** 2
    energy = (label["atom_ener_coeff"] * found["atomic"]).sum(1)
    generalized = np.einsum("fnc,fncg->fg", off, label["drdq"])
    expected = [
        np.mean((energy - label["energy"]) ** 2), np.mean(square),
        np.mean((found["virial"] - label["virial"]) ** 2),
        np.mean((found["atomic"] - label["atom_ener"]) ** 2),
        np.mean(square * label["atom_pref"][..., None]), np.mean(generalized**2),
    ]
    got = squared_errors(Found(**found), label, n, lambda x: tf.reduce_sum(x, 1), relative_f)
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    # what EnerStdLoss of DeePMD-kit 3.2.0 gives for the same numbers and prefactors
    loss = np.sum(got * size_factors(n) * np.array([0.7, 2.0, 0.3, 1.1, 0.9, 0.4]))
    theirs = 16.804962052635005 if relative_f is None else 12.841987837503353
    np.testing.assert_allclose(loss, theirs, rtol=1e-13)

    # atoms in one row, with rows between them that hold no atom
    row = np.array([0, 2, 3, 4, 6, 7, 8, 9, 11, 12])
    frame = np.full(14, frames, np.int32)
    frame[row] = np.repeat(np.arange(frames), n)

    def spread(x, filler):
        rows = np.full((14, *x.shape[2:]), filler)
        rows[row] = x.reshape(-1, *x.shape[2:])
        return rows

    for key in ("atomic", "force"):
        found[key] = spread(found[key], 7.0 if key == "atomic" else 0.0)
    for key in label:
        if key not in ("energy", "virial"):
            label[key] = spread(label[key], 0.0)
    got = squared_errors(
        Found(**found), label, n,
        lambda x: tf.math.unsorted_segment_sum(x, frame, frames + 1)[:frames], relative_f,
        present=tf.constant((frame < frames).astype(float)))
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    plain = {key: label[key] for key in ("energy", "force", "virial")}
    without = squared_errors(Found(**found), plain, n, lambda x: x, relative_f)
    assert without[0] == np.mean((found["energy"] - label["energy"]) ** 2)
    assert not np.any(without[3:])


@pytest.mark.parametrize(("limit", "scale"), [(0.0, 1.0), (100.0, 1.0), (2.6, 0.2), (1.3, 0.1)])
def test_a_long_gradient_is_cut(limit, scale):
    # of all variables together the length is 13
    gradients = [tf.constant([3.0, 4.0], tf.float64), tf.constant([[12.0]], tf.float64)]
    adam = Adam([tf.Variable(tf.zeros(g.shape, tf.float64)) for g in gradients], limit)
    adam.apply(gradients, tf.constant(1e-3, tf.float64))
    # the first moment is a tenth of the gradient
    np.testing.assert_allclose(adam.moments["first"], np.array([0.3, 0.4, 1.2]) * scale,
                               rtol=1e-12)


def test_no_gradient_stays_none():
    variable = tf.Variable(tf.ones(2, tf.float64))
    Adam([variable], 1.0).apply([tf.zeros(2, tf.float64)], tf.constant(1.0, tf.float64))
    np.testing.assert_array_equal(variable.numpy(), [1.0, 1.0])
