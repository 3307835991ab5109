"""How often systems are drawn, and the schedule's rise and given rate."""

from __future__ import annotations

import numpy as np
import pytest

from nvnmd.data.probability import blocks_of, problem, system_probabilities
from nvnmd.data.sampler import BatchSampler
from nvnmd.inputs.config import LearningRateConfig
from nvnmd.training.schedule import LearningRate

BATCHES = [1, 3, 4, 8]


@pytest.mark.parametrize(("style", "given", "expected"), [
    ("prob_uniform", None, [0.25, 0.25, 0.25, 0.25]),
    ("prob_sys_size", None, [1 / 16, 3 / 16, 4 / 16, 8 / 16]),
    # a quarter for the first two, three quarters for the other two, by size within
    ("prob_sys_size;0:2:1;2:4:3", None, [1 / 16, 3 / 16, 1 / 4, 1 / 2]),
    ("prob_sys_size; 0:1:0.5; 3:4:0.5", None, [0.5, 0.0, 0.0, 0.5]),
    ("prob_sys_size", [0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4]),
])
def test_probabilities(style, given, expected):
    np.testing.assert_allclose(system_probabilities(BATCHES, style, given), expected, rtol=1e-15)


@pytest.mark.parametrize("style", [
    "uniform", "prob_sys_size;", "prob_sys_size;0:1", "prob_uniform;0:1:1",
    "prob_sys_size;1:1:1", "prob_sys_size;0:1:-1", "prob_sys_size;0:1:1;x"])
def test_what_is_no_style(style):
    with pytest.raises(ValueError, match=style.replace("-", r"\-")):
        blocks_of(style)


def test_styles_that_do_not_fit_the_systems():
    assert problem("prob_sys_size;0:2:1", 2) is None
    assert problem("prob_sys_size;0:3:1", 2) == "blocks within the 2 systems"


def test_sampler_draws_as_often_as_it_is_told():
    sampler = BatchSampler([40, 40, 40], [1, 2, 4], 5, auto_prob="prob_sys_size;0:1:1;1:3:3")
    drawn = np.bincount([sampler.draw()[0] for _ in range(4000)], minlength=3) / 4000
    # deviations of a share of 4000 draws: at most 0.008
    np.testing.assert_allclose(drawn, [0.25, 0.5, 0.25], atol=0.032)
    never = BatchSampler([40, 40], [1, 1], 5, sys_probs=[0.0, 1.0])
    assert {never.draw()[0] for _ in range(50)} == {1}


@pytest.mark.parametrize(("nframes", "size"), [(6, 1), (6, 2), (6, 3), (6, 6), (7, 3)])
def test_a_pass_draws_each_frame_once(nframes, size):
    """Up to those that are fewer than a batch; the next pass has an order of its own."""
    sampler = BatchSampler([nframes], [size], 5)
    passes = []
    for _ in range(4):
        drawn = np.concatenate([sampler.draw()[1] for _ in range(nframes // size)])
        assert len(set(drawn.tolist())) == len(drawn) == nframes // size * size
        passes.append(tuple(drawn.tolist()))
    assert len(set(passes)) > 1


def test_rate_of_the_document():
    rate = LearningRate(LearningRateConfig(start_lr=1.0, stop_lr=0.3, decay_steps=10,
                                           decay_rate=0.5), 100)
    assert [rate(step) for step in (0, 9, 10, 19, 20, 99)] == [1.0, 1.0, 0.5, 0.5, 0.3, 0.3]


def test_rise_to_the_first_rate():
    config = LearningRateConfig(start_lr=1e-2, stop_lr=1e-4, decay_steps=10)
    plain, warm = LearningRate(config, 100), LearningRate(config, 104, warmup_steps=4)
    assert [warm(step) for step in range(4)] == [0.0, 0.0025, 0.005, 0.0075]
    assert [warm(step + 4) for step in range(100)] == [plain(step) for step in range(100)]
    # the loss's prefactors stay those of the start meanwhile
    assert {warm.on_stairs(step) for step in range(4)} == {1e-2}


def test_sampler_goes_through_all_frames_before_it_repeats():
    sampler = BatchSampler([7, 3], [2, 5], 1)
    seen = {0: [], 1: []}
    for _ in range(400):
        system, frames = sampler.draw()
        assert len(frames) == (2, 3)[system]
        seen[system].append(sorted(frames.tolist()))
    for k in range(0, len(seen[0]) - 2, 3):
        epoch = {frame for batch in seen[0][k : k + 3] for frame in batch}
        assert len(epoch) == 6
    assert all(frames == [0, 1, 2] for frames in seen[1])
    # three batches against one
    np.testing.assert_allclose(len(seen[0]) / len(seen[1]), 3.0, rtol=0.3)
