"""Relative force errors and gradients of limited length, in both trainings."""

from __future__ import annotations

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from nvnmd.tf_adam import Adam  # noqa: E402
from nvnmd.tf_loss import force_difference  # noqa: E402


def test_force_difference():
    rng = np.random.Generator(np.random.PCG64(2))
    found, label = rng.normal(size=(2, 5, 3)), rng.normal(size=(2, 5, 3))
    label[0, 0] = 0.0
    np.testing.assert_array_equal(force_difference(found, label, None), found - label)
    length = np.sqrt((label**2).sum(axis=-1))
    expected = (found - label) / (length + 0.25)[..., None]
    np.testing.assert_allclose(force_difference(found, label, 0.25), expected, rtol=1e-14)


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
