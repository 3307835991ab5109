"""The fitting net's integers against the arithmetic's text and the reference; no hardware."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.fitnet_bench import (
    config,
    random_net,
    random_types,
    z_corners,
)
from support.fitnet_spec import ONE, assert_same, by_the_spec, of_type
from support.golden_data import load_fixture, load_folder

from nvnmd.errors import InputError, RangeError
from nvnmd.hdl.arith.tanh4 import Tanh4
from nvnmd.hdl.fitting.integers import compute
from nvnmd.hdl.fitting.weights import fit_image
from nvnmd.hdl.host.image import section_beats
from nvnmd.hdl.pipeline.loadbus import Section
from nvnmd.quantize.fitting import fitting_net
from nvnmd.quantize.ops import tanh4, tanh4_grad


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("scale", [0.05, 0.12, 0.3])
def test_integers_equal_the_spec(scale: float, once: bool) -> None:
    # weights of 0.3 leave 27 bits; the integers are the same in more
    cfg = config(128, 32, ntypes=4, data_bits=29 if scale == 0.3 else 27, weights_once=once)
    rng = np.random.default_rng(int(scale * 100))
    weights, biases = random_net(rng, cfg, scale, types=3)
    weights[1][0, :, 5] = 0.0  # a column, and backward a row, of zeros
    weights[1][1, 7, :] = 0.0
    weights[0][2, :, 3] *= 1e-5  # finer than a mantissa of 2**-23 can be
    weights[2][1, 4, :] *= 1e-6
    image = fit_image(weights, biases, cfg)
    for t in range(3):
        for d in (rng.normal(0, 0.3, 128), rng.uniform(-2e-6, 0, 128), np.zeros(128)):
            words = np.floor(d * ONE).astype(np.int64)
            assert_same(compute(image, words, t, cfg), by_the_spec(weights, biases, words, t))


@pytest.mark.parametrize("weight_frac", [19, 12])
def test_weights_kept_once_end_at_8(weight_frac: int) -> None:
    """The largest weights, at both ends, cut to narrower mantissas, too; one more is refused."""
    widths = {"weight_frac": weight_frac, "weight_bits": weight_frac + 2, "data_bits": 32}
    cfg = config(16, 4, ntypes=1, **widths)
    rng = np.random.default_rng(8)
    weights, biases = random_net(rng, cfg, 0.1)
    weights[1][0, 3, :2] = 8.0 - 1 / ONE, -8.0
    once = replace(cfg, weights_once=True)
    found = [compute(fit_image(weights, biases, kind), np.arange(16), 0, kind)
             for kind in (cfg, once)]
    assert_same(*found)
    weights[1][0, 3, 0] = 8.0
    with pytest.raises(RangeError, match="hidden layers: weight"):
        fit_image(weights, biases, once)


@pytest.mark.parametrize("capacity", [128, 256])
def test_trained_weights(capacity: int) -> None:
    """DeePMD-kit's weights and descriptors: its energies, by the spec and by the reference."""
    run = load_fixture(capacity)
    model = run.model
    cfg = config(128, 32, ntypes=4)
    image = fit_image(model.fit_weights, model.fit_biases, cfg)
    frame = run.frames[0]
    order = np.argsort(frame.types, kind="stable")
    d = np.round(frame.slots["descriptor"] * ONE).astype(np.int64)
    for atom in range(0, len(order), max(1, len(order) // 6)):
        t = int(frame.types[order[atom]])
        found = compute(image, d[atom], t, cfg)
        assert_same(found, by_the_spec(list(model.fit_weights), list(model.fit_biases), d[atom], t))
        energy = found.energy / ONE + model.t_bias_atom_e[t]
        assert energy == frame.qnn["atom_energy"][order[atom]]
        net = fitting_net(d[atom][None] / ONE, [w[t] for w in model.fit_weights],
                          [b[t] for b in model.fit_biases])
        np.testing.assert_array_equal(found.dd, net.grad[0] * ONE)


def test_golden_weights(shared: Path) -> None:
    cfg = config(128, 32, ntypes=2)
    model = load_folder(shared / "golden" / "v0_ni128_gete").model
    image = fit_image(model.fit_weights, model.fit_biases, cfg)
    rng = np.random.default_rng(7)
    for t in range(2):
        d = np.floor(rng.normal(0, 0.1, 128) * ONE).astype(np.int64)
        assert_same(compute(image, d, t, cfg),
                    by_the_spec(list(model.fit_weights), list(model.fit_biases), d, t))


def test_tanh4_integers_equal_the_definition() -> None:
    cfg = config()
    z = np.array(z_corners()) / ONE
    pairs = np.array([Tanh4.compute(v, cfg) for v in z_corners()])
    np.testing.assert_array_equal(pairs[:, 0], tanh4(z) * ONE)
    for g in (1.0, -1.0, 7 / ONE, -1 / ONE):
        wanted = tanh4_grad(z, z * 0 + g) * ONE
        np.testing.assert_array_equal(pairs[:, 1] * int(g * ONE) >> 19, wanted)


def test_image_fills_absent_types_and_refuses_what_does_not_fit() -> None:
    cfg = config(16, 4, ntypes=4)
    weights, biases = random_net(np.random.default_rng(1), cfg, types=2)
    image = fit_image(weights, biases, cfg)
    assert {k: v.shape for k, v in image.items()} == {
        k: (n, 4) for k, n in section_beats(cfg).items() if k >= Section.FIT_FORWARD}
    half = len(image[Section.FIT_FORWARD]) // 2
    assert image[Section.FIT_FORWARD][:half].any() and not image[Section.FIT_FORWARD][half:].any()
    with pytest.raises(InputError, match="layer 2 has weights"):
        fit_image([*weights[:2], weights[2][:, :, :5], weights[3]], biases, cfg)
    with pytest.raises(InputError, match="3 weight and 4 bias arrays"):
        fit_image(weights[:3], biases, cfg)
    with pytest.raises(RangeError, match="layer 1: bias 9 leaves"):
        fit_image(weights, [biases[0], biases[1] * 0 + 9, *biases[2:]], cfg)
    with pytest.raises(RangeError, match="not finite"):
        fit_image([weights[0] * np.nan, *weights[1:]], biases, cfg)
    with pytest.raises(RangeError, match="magnitude"):
        fit_image([weights[0] * 2.0**30, *weights[1:]], biases, cfg)


def test_shared_net_of_version_1() -> None:
    """Its integers, the spec's by another way, and the reference; other types, other results."""
    cfg = config(16, 4, ntypes=8, version=1)
    rng = np.random.default_rng(11)
    weights, biases = random_net(rng, cfg)
    terms = random_types(rng, cfg, 5)
    image = fit_image(weights, biases, cfg, terms)
    assert {k: v.shape for k, v in image.items()} == {
        k: (n, 4) for k, n in section_beats(cfg).items()
        if k >= Section.FIT_FORWARD and k not in (Section.TYPE_GAIN, Section.INV_STD)}
    words = (rng.normal(0, 0.5, 16) * ONE).astype(np.int64)
    results = [compute(image, words, t, cfg) for t in range(5)]
    for t, found in enumerate(results):
        assert_same(found, by_the_spec(*of_type(weights, biases, terms, t), words, 0))
        net = fitting_net(words[None] / ONE, [w[0] for w in weights], [b[0] for b in biases],
                          type_term=terms[t : t + 1])
        assert found.energy == net.out[0] * ONE
        np.testing.assert_array_equal(found.dd, net.grad[0] * ONE)
    assert len({found.energy for found in results}) == 5
    with pytest.raises(InputError, match=r"type terms \(9, 16\), expected \(types, 16\)"):
        fit_image(weights, biases, cfg, np.zeros((9, 16)))
    with pytest.raises(InputError, match="version 1 does not go"):
        fit_image(weights, biases, cfg)
    with pytest.raises(RangeError, match="type term 9 leaves"):
        fit_image(weights, biases, cfg, terms * 0 + 9)
