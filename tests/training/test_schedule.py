"""Learning rate and prefactors over the steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nvnmd.inputs.config import LearningRateConfig, LossConfig
from nvnmd.training.schedule import LearningRate, prefactors


def test_learning_rate_stairs():
    rate = LearningRate(LearningRateConfig(start_lr=1e-3, stop_lr=3e-8, decay_steps=5000), 20000)
    assert rate(0) == rate(4999) == 1e-3
    np.testing.assert_allclose(rate(5000) / rate(4999), (3e-5) ** 0.25, rtol=1e-12)
    np.testing.assert_allclose(rate(20000), 3e-8, rtol=1e-12)
    assert rate(10**6) == 3e-8
    # A stair longer than the training is shortened.
    assert LearningRate(LearningRateConfig(decay_steps=5000), 2000).decay_steps == 100
    assert LearningRate(LearningRateConfig(decay_steps=5000), 500).decay_steps == 6
    assert LearningRate(LearningRateConfig(decay_steps=5000), 5000).decay_steps == 100
    zero = LearningRate(LearningRateConfig(start_lr=0.0, stop_lr=0.0, decay_steps=3), 10)
    assert zero(0) == zero(9) == 0.0


def test_stairs_begin_after_the_warm_up():
    config = LearningRateConfig(start_lr=1e-3, stop_lr=1e-5, decay_steps=10)
    rate, plain = LearningRate(config, 107, warmup_steps=7), LearningRate(config, 100)
    assert rate(6) < rate(7) == 1e-3
    assert [rate(7 + step) for step in range(101)] == [plain(step) for step in range(101)]


def test_prefactors_follow_the_learning_rate():
    loss = LossConfig(start_pref_v=2.0, limit_pref_v=0.5)
    loss = replace(loss, start_pref_ae=3.0, limit_pref_pf=4.0)
    np.testing.assert_allclose(prefactors(loss, 1e-3, 1e-3), [0.02, 1000, 2, 3, 0, 0])
    np.testing.assert_allclose(prefactors(loss, 0.0, 1e-3), [1, 1, 0.5, 0, 4, 0])
    np.testing.assert_allclose(prefactors(loss, 5e-4, 1e-3), [0.51, 500.5, 1.25, 1.5, 2, 0])
